#include "server/route/pacing.h"

#include "server/route/score_frame.h"

#include <math.h>
#include <string.h>

static const double horizon = 200;     /* H, requests. */
static const double bank_low = -1000;  /* B: one report, however wrong, costs no more than this. */
static const double bank_high = 20;    /* B. */
static const double reserve = 5;       /* R, B. */
static const double advance = 60;      /* A, B. */
static const double keep_back = 20;    /* K, B: what chance alone may put into the bank. */
static const double blind = 20;        /* B: what an empty window is expected to overspend. */
static const double wary = 16;         /* Contexts, cheapest cost B, before any is known. */
static const double unknown_cost = 10; /* B, at least. */
static const double spend_high = 8; /* Ceilings: from there the breaker recovers in 500 requests. */
static const double proof_decay = 1 - 1. / 500;
static const double proof_prior = 20; /* B of decisions whose prediction was right. */
/* Times: a charge of unknown_cost or more that is further off was a guess about an arm that nobody
 * knew, and proves nothing of predictions: three such pulls halved what was spent for 500 requests.
 */
static const double guess_span = 5;
static const double unit = 1 << 20;    /* Integers a B. */
static const double cost_max = 4095;   /* B: what an integer holds. */
static const double bearable_cost = 2; /* B: an arm at this mean cost can be lived with. */
static const double trial_room =
    1.5; /* B: what must be affordable, or a trial is never paid back. */
enum { TRIALS = 2, UNSURE = 5 };

/* Prices in utility per B, from 2^-30 to 2^10. The bits of a float sort as its value: the exponent
 * and four bits of the fraction number the bins. */
enum { BIN_BITS = 4, BIN_SHIFT = 23 - BIN_BITS, BIN_FIRST = (127 - 30) << BIN_BITS };

static uint16_t bin_of(double price)
{
    float f = (float)price;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    int64_t bin = (int64_t)(bits >> BIN_SHIFT) - BIN_FIRST;
    return (uint16_t)(bin < 0 ? 0 : bin >= PACING_BINS ? PACING_BINS - 1 : bin);
}

/* Low end of a bin; of the bin past the last, the high end of the last. */
static double bin_low(uint32_t bin)
{
    uint32_t bits = (bin + BIN_FIRST) << BIN_SHIFT;
    float f;
    memcpy(&f, &bits, sizeof f);
    return bin == 0 ? 0 : (double)f;
}

static double clip(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}

static uint32_t to_units(double cost)
{
    return (uint32_t)(clip(cost, 0, cost_max) * unit + .5);
}

void pacing_init(struct pacing *p, double budget, double ceiling, struct pacing_slot *slots,
                 uint32_t slots_n)
{
    memset(p, 0, sizeof *p);
    p->budget = budget;
    p->ceiling = ceiling;
    p->slots = slots;
    p->slots_n = slots_n;
}

/* Adds (sign 1) or takes off (sign -1) a slot. Unsigned sums wrap and come back exactly. */
static void count_slot(struct pacing *p, const struct pacing_slot *s, uint64_t sign)
{
    p->base += sign * s->base;
    for (uint32_t i = 0; i < s->n; i++) {
        p->bin[s->bin[i]] += sign * s->cost[i];
        if (s->bin[i] > p->cursor)
            p->above += sign * s->cost[i];
    }
}

/* In B, of predictions: they are charged, and worth `proved` of what is true. */
static double rate_of(const struct pacing *p)
{
    double rate = 1 + (p->bank - reserve) / horizon;
    double proved = (p->charged + proof_prior) / (p->cost + proof_prior);
    return (rate > 0 ? rate : 0) * proved;
}

double pacing_rate(const struct pacing *p)
{
    return rate_of(p) * p->budget;
}

/* The price: the cursor rests on the bin in which the steps stop fitting into what may be spent on
 * them; within it they are taken to lie evenly. */
static void solve(struct pacing *p)
{
    double room = rate_of(p) * unit * p->used - (double)p->base;
    while (p->cursor > 0 && (double)(p->above + p->bin[p->cursor]) <= room)
        p->above += p->bin[p->cursor--];
    while (p->cursor < PACING_BINS - 1 && (double)p->above > room)
        p->above -= p->bin[++p->cursor];
    double low = bin_low(p->cursor), high = bin_low(p->cursor + 1);
    double here = (double)p->bin[p->cursor];
    double fits = here > 0 ? (room - (double)p->above) / here : 1;
    p->lambda = high - clip(fits, 0, 1) * (high - low);
}

void pacing_forget(struct pacing *p)
{
    p->used = p->next = p->cursor = 0;
    p->base = p->above = 0;
    memset(p->bin, 0, sizeof p->bin);
}

void pacing_doubt(struct pacing *p)
{
    pacing_forget(p);
    if (p->bank > -blind)
        p->bank = -blind;
}

static uint32_t rescaled(uint32_t cost, double factor)
{
    return to_units((double)cost / unit * factor);
}

void pacing_set(struct pacing *p, double budget, double ceiling)
{
    double factor = p->budget / budget; /* Of what is in units of B, but for the breaker's mean:
                                         * what was within the old budget is no offence now. */
    uint32_t used = p->used, next = p->next;
    p->budget = budget;
    p->ceiling = ceiling;
    p->bank = clip(p->bank * factor, bank_low, bank_high);
    p->charged *= factor;
    p->cost *= factor;
    p->lambda /= factor;
    pacing_forget(p);
    p->used = used;
    p->next = next;
    for (uint32_t i = 0; i < used; i++) {
        struct pacing_slot *s = &p->slots[i];
        s->base = rescaled(s->base, factor);
        for (uint32_t k = 0; k < s->n; k++) {
            double middle = (bin_low(s->bin[k]) + bin_low(s->bin[k] + 1U)) / 2;
            s->bin[k] = bin_of(middle / factor);
            s->cost[k] = rescaled(s->cost[k], factor);
        }
        count_slot(p, s, 1);
    }
    if (used)
        solve(p);
}

struct pacing_kept pacing_keep(const struct pacing *p)
{
    return (struct pacing_kept){p->budget, p->bank,   p->spend,  p->charged,
                                p->cost,   p->lambda, p->tripped};
}

void pacing_restore(struct pacing *p, const struct pacing_kept *kept)
{
    const double all[] = {kept->budget,  kept->bank, kept->spend,
                          kept->charged, kept->cost, kept->lambda};
    double budget = p->budget;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!isfinite(all[i]) || (i != 1 && all[i] < 0))
            return;
    if (!(kept->budget > 0))
        return;
    p->budget = kept->budget;
    p->bank = clip(kept->bank, bank_low, bank_high);
    p->spend = kept->spend;
    p->charged = kept->charged;
    p->cost = kept->cost;
    p->lambda = kept->lambda;
    p->tripped = kept->tripped;
    pacing_forget(p);
    pacing_set(p, budget, p->ceiling);
}

struct pacing_terms pacing_terms(const struct pacing *p)
{
    double cheapest = clip(((double)p->base / unit + wary) / (p->used + wary), 0, 1);
    double ahead = p->bank + advance * (1 - cheapest) - keep_back * cheapest;
    return (struct pacing_terms){
        .budget = p->budget,
        .lambda = p->lambda / p->budget,
        .affordable = (ahead > 1 ? ahead : 1) * p->budget,
        .cheapest_only = p->tripped,
    };
}

/* Neither seen nor declared. */
static bool unknown(const struct router_view *router, const struct eligible *arm, uint32_t metric)
{
    return !(router->arms[arm->index]->seen_mask >> metric & 1);
}

/* The raw value of a prediction z of a logarithmic metric, whose unit interval is `span` in e;
 * around what the arm showed lately, if it did. */
static double exp_of(const struct metric_def *def, const struct arm_view *a, uint32_t m, double z)
{
    double mean = a->recent_raw[m], span = log(def->norm_high / def->norm_low);
    if (!(a->mean_mask & 1U << m))
        return def->norm_low * exp(z * span);
    return clip(mean * exp((z - a->recent_z[m]) * span), VIEW_NEAR * mean, VIEW_FAR * mean);
}

static void logarithmic_costs(const struct router_view *router, uint32_t m,
                              const struct arm_view *const *view, uint32_t n, float *cost)
{
    const struct metric_def *def = &router->config->metrics[m];
    const struct score_bounds b = score_bounds_of(router, m);
    for (uint32_t i = 0; i < n; i++) {
        const struct arm_view *a = view[i];
        bool seen = a->seen_mask & 1U << m;
        float z = (float)score_bounded(&b, a, (double)cost[i]);
        double raw = seen ? exp_of(def, a, m, (double)z) : 0;
        cost[i] = raw > 0 ? (float)raw : 0;
    }
}

/* Of a block: ret_cost (n), 0 of an arm whose cost is unknown; returns how many of those there are.
 */
static uint32_t block_costs(const struct score_pass *pass, const struct router_view *router,
                            uint32_t m, const struct arm_view *const *view, uint32_t n,
                            float *ret_cost)
{
    uint32_t blank = 0;
    score_pass_predict(pass, view, n, m, ret_cost);
    for (uint32_t i = 0; i < n; i++)
        blank += !(view[i]->seen_mask & 1U << m);
    if (router->config->metrics[m].logarithmic) {
        logarithmic_costs(router, m, view, n, ret_cost);
        return blank;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct raw_line *l = &view[i]->raw[m];
        double raw = l->at_zero + l->slope * (double)ret_cost[i];
        raw = raw > l->low ? raw : l->low;
        ret_cost[i] = (float)(raw < l->high ? raw : l->high);
    }
    return blank;
}

void pacing_costs_with(const struct score_pass *pass, const struct router_view *router,
                       uint32_t metric, double budget, const struct eligible *arms, uint32_t n,
                       float *ret_cost)
{
    const struct arm_view *view[SCORE_BLOCK];
    uint32_t unknown_n = 0;
    for (uint32_t at = 0, k; at < n; at += k) {
        k = n - at < SCORE_BLOCK ? n - at : SCORE_BLOCK;
        for (uint32_t i = 0; i < k; i++)
            view[i] = router->arms[arms[at + i].index];
        unknown_n += block_costs(pass, router, metric, view, k, ret_cost + at);
    }
    if (unknown_n == 0 || unknown_n == n) /* All of them 0. */
        return;
    double dearest = unknown_cost * budget;
    for (uint32_t i = 0; i < n; i++)
        dearest = (double)ret_cost[i] > dearest ? (double)ret_cost[i] : dearest;
    for (uint32_t i = 0; i < n; i++)
        if (unknown(router, &arms[i], metric))
            ret_cost[i] = (float)dearest;
}

void pacing_costs(const struct router_view *router, uint32_t metric, const float *x, double budget,
                  const struct eligible *arms, uint32_t n, float *ret_cost)
{
    struct score_square square;
    struct score_pass pass;
    score_pass_init(&pass, &x, 1, router->d, n, &square);
    pacing_costs_with(&pass, router, metric, budget, arms, n, ret_cost);
}

/* By what the arm showed so far: one context's prediction says little about the others. */
static bool bearable(const struct router_view *router, const struct eligible *arm, uint32_t metric,
                     double budget, float cost)
{
    const struct arm_view *a = router->arms[arm->index];
    double mean = a->mean_mask >> metric & 1 ? a->recent_raw[metric] : (double)cost;
    return !unknown(router, arm, metric) && mean <= bearable_cost * budget;
}

/* Of arms with their costs. */
static void swap_arms(struct eligible *arms, float *cost, uint32_t i, uint32_t k)
{
    struct eligible arm = arms[i];
    float c = cost[i];
    arms[i] = arms[k];
    cost[i] = cost[k];
    arms[k] = arm;
    cost[k] = c;
}

static bool unsure(const struct router_view *router, const struct eligible *arm, uint32_t metric)
{
    const struct arm_view *a = router->arms[arm->index];
    return !(a->config->prior_mask >> metric & 1) && a->n[metric] < UNSURE;
}

uint32_t pacing_filter(const struct router_view *router, uint32_t metric,
                       const struct pacing_terms *t, struct eligible *arms, float *cost, uint32_t n,
                       uint32_t *ret_trials)
{
    float cheapest = cost[0], dearest = cost[0];
    bool any_bearable = false;
    uint32_t kept = 0, trials = 0;
    if (ret_trials)
        *ret_trials = 0;
    for (uint32_t i = 1; i < n; i++)
        dearest = cost[i] > dearest ? cost[i] : dearest;
    if (!t->cheapest_only && (double)dearest <= t->affordable)
        return n;
    for (uint32_t i = 1; i < n; i++)
        cheapest = cost[i] < cheapest ? cost[i] : cheapest;
    for (uint32_t i = 0; i < n && !any_bearable; i++)
        any_bearable = bearable(router, &arms[i], metric, t->budget, cost[i]);
    for (uint32_t i = 0; i < n; i++) {
        bool trial = !any_bearable && arms[i].issued < TRIALS && unknown(router, &arms[i], metric);
        bool affordable = !t->cheapest_only && (double)cost[i] <= t->affordable;
        if (cost[i] > cheapest && !affordable && !trial)
            continue;
        swap_arms(arms, cost, kept++, i);
    }
    bool may_try = ret_trials && !t->cheapest_only && t->affordable > trial_room * t->budget;
    for (uint32_t i = kept; may_try && i < n; i++)
        if (unsure(router, &arms[i], metric))
            swap_arms(arms, cost, kept + trials++, i);
    if (ret_trials)
        *ret_trials = trials;
    return kept;
}

/* The arms that a menu is made of, four at a time. Their number is filled up with copies of the
 * first, which never come before it. */
struct field {
    float *u, *c; /* (n4) */
    float best;   /* Of u. */
    uint32_t n, n4;
    const struct score *scores; /* (n) */
    double width_share;
};

typedef float quad __attribute__((vector_size(16)));
typedef int32_t quad_int __attribute__((vector_size(16)));

/* What u rounds, for a price that is good to its last bit. */
static double utility_of(const struct field *f, uint32_t i)
{
    return (double)f->scores[i].mean + f->width_share * (double)f->scores[i].width;
}

static inline quad load(const float *from)
{
    quad v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline quad_int choose(quad_int which, quad_int yes, quad_int no)
{
    return (which & yes) | (~which & no);
}

/* Where a context starts: the cheapest arm, the best of those at the same cost. */
static uint32_t find_start(const struct field *f)
{
    uint32_t at = 0;
    float least = f->c[0];
    for (uint32_t i = 1; i < f->n; i++)
        if (f->c[i] < least || (f->c[i] <= least && f->u[i] > f->u[at])) {
            at = i;
            least = f->c[i];
        }
    return at;
}

/* Where its steps end: the best arm, the cheapest of those as good. */
static uint32_t find_end(const struct field *f)
{
    uint32_t at = 0;
    for (uint32_t i = 1; i < f->n; i++)
        if (f->u[i] > f->u[at] || (f->u[i] >= f->u[at] && f->c[i] < f->c[at]))
            at = i;
    return at;
}

/* Of every lane its best, and which that is: the first of those as good, `none` where no value is
 * above 0. Floats that are not negative sort as their bits. */
static uint32_t first_best(quad value, quad_int index, uint32_t none)
{
    int64_t best = 0;
    for (uint32_t i = 0; i < 4; i++) {
        int32_t bits;
        float v = value[i];
        memcpy(&bits, &v, sizeof bits);
        int64_t key = (int64_t)bits << 32 | (INT32_MAX - index[i]);
        best = key > best ? key : best;
    }
    return best >> 32 ? (uint32_t)(INT32_MAX - (int32_t)(best & INT32_MAX)) : none;
}

/* Gift wrapping: from one corner of the hull to the next is the steepest rise, of the arms that are
 * better and dearer than the corner; `from`: there is none. No branch: which arm it is is as good
 * as random, and each wrong guess of a CPU costs more than the rest. */
static uint32_t climb(const struct field *f, uint32_t from)
{
    const quad u = {f->u[from], f->u[from], f->u[from], f->u[from]};
    const quad c = {f->c[from], f->c[from], f->c[from], f->c[from]};
    quad_int at = {0}, here = {0, 1, 2, 3};
    quad steepest = {0};
    for (uint32_t i = 0; i < f->n4; i += 4) {
        quad up = load(f->u + i) - u, run = load(f->c + i) - c;
        quad_int above = (up > 0) & (run > 0);
        quad rise = (quad)(above & (quad_int)(up / run));
        quad_int steeper = rise > steepest;
        steepest = (quad)choose(steeper, (quad_int)rise, (quad_int)steepest);
        at = choose(steeper, here, at);
        here += 4;
    }
    return first_best(steepest, at, from);
}

/* More corners than a menu holds: the last step goes straight to the end. */
static void fill_menu(const struct field *f, struct pacing_menu *m)
{
    uint32_t at = find_start(f);
    m->base = (double)f->c[at];
    for (m->n = 0; m->n < PACING_STEPS && f->u[at] < f->best; m->n++) {
        uint32_t next = climb(f, at);
        if (next == at)
            return;
        if (m->n == PACING_STEPS - 1)
            next = find_end(f);
        double run = (double)f->c[next] - (double)f->c[at];
        m->price[m->n] = (utility_of(f, next) - utility_of(f, at)) / run;
        m->cost[m->n] = run;
        at = next;
    }
}

void pacing_apply(double lambda, const float *cost, uint32_t n, double width_share,
                  struct score *scores, float *work, struct pacing_menu *ret_menu)
{
    uint32_t n4 = (n + 3) / 4 * 4;
    float width = (float)width_share, best = scores[0].mean + width * scores[0].width;
    for (uint32_t i = 0; i < n; i++) {
        float u = scores[i].mean + width * scores[i].width;
        best = u > best ? u : best;
        work[i] = u;
    }
    memcpy(work + n4, cost, n * sizeof *cost);
    const struct field f = {.u = work,
                            .c = work + n4,
                            .best = best,
                            .n = n,
                            .n4 = n4,
                            .scores = scores,
                            .width_share = width_share};
    for (uint32_t i = n; i < n4; i++) {
        f.u[i] = f.u[0];
        f.c[i] = f.c[0];
    }
    fill_menu(&f, ret_menu);
    for (uint32_t i = 0; i < n; i++)
        scores[i].mean = (float)((double)scores[i].mean - lambda * (double)cost[i]);
}

static void remember(struct pacing *p, const struct pacing_menu *menu)
{
    struct pacing_slot *s = &p->slots[p->next];
    if (p->used == p->slots_n)
        count_slot(p, s, (uint64_t)-1);
    else
        p->used++;
    p->next = (p->next + 1) % p->slots_n;
    s->base = to_units(menu->base / p->budget);
    s->n = menu->n;
    for (uint32_t i = 0; i < menu->n; i++) {
        s->cost[i] = to_units(menu->cost[i] / p->budget);
        s->bin[i] = bin_of(menu->price[i] * p->budget);
    }
    count_slot(p, s, 1);
}

static void watch(struct pacing *p)
{
    if (p->spend > p->ceiling)
        p->tripped = true;
    else if (p->spend <= 1)
        p->tripped = false;
}

void pacing_charge(struct pacing *p, const struct pacing_menu *menu, double cost)
{
    double c = cost / p->budget;
    p->bank = clip(p->bank + 1 - c, bank_low, bank_high);
    p->spend = clip(p->spend + (c - p->spend) / PACING_W, 0, spend_high * p->ceiling);
    watch(p);
    remember(p, menu);
    solve(p);
}

void pacing_give_back(struct pacing *p, double more)
{
    p->bank = clip(p->bank + more / p->budget, bank_low, bank_high);
}

void pacing_correct(struct pacing *p, double charged, double cost)
{
    double was = clip(charged / p->budget, 0, cost_max), is = clip(cost / p->budget, 0, cost_max);
    p->bank = clip(p->bank + was - is, bank_low, bank_high);
    p->spend = clip(p->spend + (is - was) / PACING_W, 0, spend_high * p->ceiling);
    bool guess = was >= unknown_cost && (is > guess_span * was || was > guess_span * is);
    if (!guess) {
        p->charged = p->charged * proof_decay + was;
        p->cost = p->cost * proof_decay + is;
    }
    watch(p);
}
