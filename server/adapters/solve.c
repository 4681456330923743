#include "server/adapters/solve.h"

#include "state/base/mem.h"

#include <math.h>
#include <string.h>

enum { SWAPS_MAX = 256, LANES = 8 }; /* Swaps bound the work; each one strictly improves V. */
static const double better = 1e-9;   /* Less is rounding of float sums. */

/* A set on its way, with what each context gets from it. */
struct board {
    const struct solve_input *in;
    uint8_t *has;   /* (n) */
    float *f, *g;   /* (contexts): the best there is, and the best without `who`. */
    uint32_t *who;  /* (contexts): whose f it is; n: nobody's of the set. */
    float *f0, *g0; /* The same with an empty set: the best of all arms at their price. */
    double *loss;   /* (n), work of a swap search. */
    double *bound;  /* (n), work of greedy. */
    uint32_t count;
    uint64_t bytes;
};

static bool selectable(const struct solve_input *in, uint32_t i)
{
    return !(in->flags[i] & SOLVE_ALWAYS);
}

static const float *worth(const struct solve_input *in, uint32_t i)
{
    return in->q + (size_t)i * in->contexts;
}

/* sum_x max(0, q - f): eight sums side by side, so that the loop keeps the vector unit busy. */
static double gain_over(const float *q, const float *f, uint32_t n)
{
    float sum[LANES] = {0};
    uint32_t c = 0;
    for (; c + LANES <= n; c += LANES)
        for (uint32_t l = 0; l < LANES; l++) {
            float d = q[c + l] - f[c + l];
            sum[l] += d > 0 ? d : 0;
        }
    for (; c < n; c++)
        sum[0] += q[c] > f[c] ? q[c] - f[c] : 0;
    double total = 0;
    for (uint32_t l = 0; l < LANES; l++)
        total += (double)sum[l];
    return total;
}

/* What loading i takes off V. */
static double load_of(const struct solve_input *in, uint32_t i)
{
    return in->flags[i] & SOLVE_RESIDENT ? 0 : in->load_share * in->cost[i];
}

static double gain_of(const struct board *b, uint32_t i)
{
    return gain_over(worth(b->in, i), b->f, b->in->contexts) / b->in->contexts - load_of(b->in, i);
}

/* With a budget of bytes: the gain of each. */
static double density_of(const struct board *b, uint32_t i)
{
    uint64_t bytes = b->in->bytes[i];
    return b->in->budget ? gain_of(b, i) / (double)(bytes ? bytes : 1) : gain_of(b, i);
}

static bool room_for(const struct board *b, uint32_t i)
{
    const struct solve_input *in = b->in;
    return (in->slots == 0 || b->count < in->slots) &&
           (in->budget == 0 ||
            (in->bytes[i] <= in->budget && b->bytes <= in->budget - in->bytes[i]));
}

static void note_best(struct board *b, uint32_t i)
{
    const float *q = worth(b->in, i);
    for (uint32_t c = 0; c < b->in->contexts; c++) {
        if (q[c] > b->f[c]) {
            b->g[c] = b->f[c];
            b->f[c] = q[c];
            b->who[c] = i;
        } else if (q[c] > b->g[c]) {
            b->g[c] = q[c];
        }
    }
}

static void board_add(struct board *b, uint32_t i)
{
    b->has[i] = 1;
    b->count++;
    b->bytes += b->in->bytes[i];
    note_best(b, i);
}

/* f, g and who anew from the set. */
static void board_refresh(struct board *b)
{
    const struct solve_input *in = b->in;
    memcpy(b->f, b->f0, in->contexts * sizeof *b->f);
    memcpy(b->g, b->g0, in->contexts * sizeof *b->g);
    b->count = 0;
    b->bytes = 0;
    for (uint32_t c = 0; c < in->contexts; c++)
        b->who[c] = in->n;
    for (uint32_t i = 0; i < in->n; i++)
        if (b->has[i])
            board_add(b, i);
}

/* V is compared with the empty set's loads left out: musts pay theirs in every set alike. */
static double board_value(const struct board *b)
{
    double sum = 0;
    for (uint32_t c = 0; c < b->in->contexts; c++)
        sum += (double)b->f[c];
    sum /= b->in->contexts;
    for (uint32_t i = 0; i < b->in->n; i++)
        if (b->has[i])
            sum -= load_of(b->in, i);
    return sum;
}

static void board_set(struct board *b, const uint8_t *has)
{
    memcpy(b->has, has, b->in->n);
    board_refresh(b);
}

static uint32_t evicted(const struct board *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->in->n; i++)
        n += (b->in->flags[i] & SOLVE_RESIDENT) && selectable(b->in, i) && !b->has[i];
    return n;
}

/* f0: what a request gets when nothing is resident. */
static void price_cold(struct board *b)
{
    const struct solve_input *in = b->in;
    for (uint32_t c = 0; c < in->contexts; c++)
        b->f0[c] = -3e38F;
    for (uint32_t i = 0; i < in->n; i++) {
        float price = selectable(in, i) ? (float)in->cost[i] : 0;
        const float *q = worth(in, i);
        for (uint32_t c = 0; c < in->contexts; c++)
            if (q[c] - price > b->f0[c])
                b->f0[c] = q[c] - price;
    }
    /* Whoever leaves the set, its cold price remains: the best without it is no less than f0. */
    memcpy(b->g0, b->f0, in->contexts * sizeof *b->g0);
}

/* Adds what gains most (with a budget: most a byte) while anything gains. An old gain is an upper
 * bound, since V is submodular [Minoux78], "Accelerated greedy algorithms for maximizing submodular
 * set functions": most are never computed again. only: flag that candidates must have, or 0. */
static void add_greedily(struct board *b, uint8_t only, double least)
{
    const struct solve_input *in = b->in;
    for (uint32_t i = 0; i < in->n; i++)
        b->bound[i] = b->has[i] || !selectable(in, i) ? 0 : density_of(b, i);
    for (;;) {
        uint32_t top = in->n;
        bool fresh = false;
        for (;;) {
            uint32_t best = in->n;
            for (uint32_t i = 0; i < in->n; i++)
                if (selectable(in, i) && !b->has[i] && (!only || in->flags[i] & only) &&
                    room_for(b, i) && (best == in->n || b->bound[i] > b->bound[best]))
                    best = i;
            if (best == in->n || (fresh && best == top))
                break;
            b->bound[best] = density_of(b, best);
            fresh = true;
            top = best;
        }
        if (top == in->n || !(b->bound[top] > least) || !room_for(b, top) || b->has[top])
            return;
        board_add(b, top);
    }
}

/* The change of V when i comes in for j, from two sums over contexts: FastPAM's shortcut [Schubert,
 * Rousseeuw 2019], "Faster k-Medoids Clustering", which finds the best j for i in one pass. */
static double swap_loss(struct board *b, uint32_t i)
{
    const struct solve_input *in = b->in;
    const float *q = worth(in, i);
    double gain = 0;
    for (uint32_t c = 0; c < in->contexts; c++) {
        if (q[c] > b->f[c])
            gain += (double)(q[c] - b->f[c]);
        if (b->who[c] == in->n)
            continue;
        float without = q[c] > b->g[c] ? q[c] : b->g[c];
        float with = q[c] > b->f[c] ? q[c] : b->f[c];
        b->loss[b->who[c]] += (double)(with - without);
    }
    return gain;
}

struct swap {
    uint32_t in, out;
    double gain;
};

/* The best j to leave for i. evictions: residents that may still be evicted. */
static void best_partner(struct board *b, uint32_t i, uint32_t evictions, struct swap *best)
{
    const struct solve_input *in = b->in;
    memset(b->loss, 0, in->n * sizeof *b->loss);
    double gain = swap_loss(b, i);
    bool returns = in->flags[i] & SOLVE_RESIDENT;
    for (uint32_t j = 0; j < in->n; j++) {
        if (!b->has[j] || in->flags[j] & SOLVE_MUST)
            continue;
        if (in->flags[j] & SOLVE_RESIDENT && !returns && evictions == 0)
            continue;
        if (in->budget && b->bytes - in->bytes[j] + in->bytes[i] > in->budget)
            continue;
        double v = (gain - b->loss[j]) / in->contexts - load_of(in, i) + load_of(in, j);
        if (v > best->gain)
            *best = (struct swap){i, j, v};
    }
}

static void improve(struct board *b, uint32_t evictions_max)
{
    const struct solve_input *in = b->in;
    for (int k = 0; k < SWAPS_MAX; k++) {
        uint32_t gone = evicted(b);
        struct swap best = {0, 0, better};
        for (uint32_t i = 0; i < in->n; i++)
            if (selectable(in, i) && !b->has[i])
                best_partner(b, i, evictions_max > gone ? evictions_max - gone : 0, &best);
        if (!(best.gain > better))
            return;
        b->has[best.out] = 0;
        b->has[best.in] = 1;
        board_refresh(b);
    }
}

/* ---- enumeration with a bound ---- */

struct exact {
    struct board *b;
    uint32_t m;          /* Candidates, in order of what each gains alone. */
    uint32_t *item;      /* (m) */
    double *alone;       /* (m) */
    uint32_t *residents; /* (m + 1): residents among item[k...]. */
    uint8_t *now, *best; /* (n) */
    double best_value;
    float *stack;       /* (depth, contexts) */
    uint32_t evictions; /* Allowed. */
};

/* What k more items can add at most: submodularity again. */
static double most_of(const struct exact *e, uint32_t at, uint32_t k)
{
    double sum = 0;
    for (uint32_t i = at; i < e->m && k > 0 && e->alone[i] > 0; i++, k--)
        sum += e->alone[i];
    return sum;
}

static uint32_t slots_left(const struct solve_input *in, uint32_t used)
{
    return in->slots ? (used < in->slots ? in->slots - used : 0) : in->n;
}

/* Recursion is bounded by m, which few sets keep small. */
static void enumerate(struct exact *e, uint32_t at, uint32_t depth, double value, uint32_t gone)
{
    struct board *b = e->b;
    const struct solve_input *in = b->in;
    if (gone + e->residents[at] <= e->evictions && value > e->best_value + better) {
        e->best_value = value;
        memcpy(e->best, e->now, in->n);
    }
    uint32_t left = slots_left(in, b->count);
    if (at == e->m || left == 0 || value + most_of(e, at, left) <= e->best_value + better)
        return;
    uint32_t i = e->item[at];
    if (room_for(b, i)) {
        const float *f = e->stack + (size_t)depth * in->contexts, *q = worth(in, i);
        float *next = e->stack + (size_t)(depth + 1) * in->contexts;
        double gain = gain_over(q, f, in->contexts) / in->contexts - load_of(in, i);
        for (uint32_t c = 0; c < in->contexts; c++)
            next[c] = q[c] > f[c] ? q[c] : f[c];
        e->now[i] = 1;
        b->count++;
        b->bytes += in->bytes[i];
        enumerate(e, at + 1, depth + 1, value + gain, gone);
        b->bytes -= in->bytes[i];
        b->count--;
        e->now[i] = 0;
    }
    gone += in->flags[i] & SOLVE_RESIDENT ? 1 : 0;
    if (gone <= e->evictions)
        enumerate(e, at + 1, depth, value, gone);
}

/* b holds the musts alone. */
static void collect(struct exact *e)
{
    const struct solve_input *in = e->b->in;
    for (uint32_t i = 0; i < in->n; i++) {
        if (!selectable(in, i) || e->b->has[i])
            continue;
        double alone = gain_of(e->b, i);
        uint32_t k = e->m++;
        for (; k > 0 && e->alone[k - 1] < alone; k--) {
            e->alone[k] = e->alone[k - 1];
            e->item[k] = e->item[k - 1];
        }
        e->alone[k] = alone;
        e->item[k] = i;
    }
    e->residents[e->m] = 0;
    for (uint32_t k = e->m; k-- > 0;)
        e->residents[k] = e->residents[k + 1] + (in->flags[e->item[k]] & SOLVE_RESIDENT ? 1 : 0);
}

/* start (n): a set that is allowed; ret_in (n) is at least as good. */
static enum err solve_exactly(struct board *b, const uint8_t *musts, const uint8_t *start,
                              double start_value, uint32_t evictions, uint8_t *ret_in)
{
    const struct solve_input *in = b->in;
    uint32_t depth = in->slots && in->slots < in->n ? in->slots : in->n;
    struct exact e = {.b = b, .best_value = start_value, .evictions = evictions};
    e.item = mem_calloc(2 * (size_t)in->n + 1, sizeof *e.item);
    e.alone = mem_calloc(in->n, sizeof *e.alone);
    e.now = mem_calloc(2, in->n);
    e.stack = mem_alloc(((size_t)depth + 1) * in->contexts * sizeof *e.stack);
    enum err result = e.item && e.alone && e.now && e.stack ? OK : ERR_NOMEM;
    if (result == OK) {
        e.residents = e.item + in->n;
        e.best = e.now + in->n;
        board_set(b, musts);
        memcpy(e.now, musts, in->n);
        memcpy(e.best, start, in->n);
        memcpy(e.stack, b->f, in->contexts * sizeof *e.stack);
        collect(&e);
        enumerate(&e, 0, 0, board_value(b), 0);
        memcpy(ret_in, e.best, in->n);
    }
    mem_free(e.item);
    mem_free(e.alone);
    mem_free(e.now);
    mem_free(e.stack);
    return result;
}

/* Whether C(n, k) (2^n without a bound on slots) stays within `most`. */
static bool few_sets(const struct solve_input *in)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->n; i++)
        n += selectable(in, i) && !(in->flags[i] & SOLVE_MUST);
    double sets = 1, k = in->slots && in->slots < n ? in->slots : n;
    if (in->budget)
        return n < 60 && (double)(1ULL << n) <= (double)in->exact_sets;
    for (uint32_t i = 1; i <= (uint32_t)k; i++) {
        sets = sets * (n - k + i) / i;
        if (sets > (double)in->exact_sets)
            return false;
    }
    return sets <= (double)in->exact_sets;
}

/* ---- the whole ---- */

struct solving {
    struct board b;
    uint8_t *musts, *kept, *best; /* (n) */
    uint32_t evictions;           /* Allowed, with what cannot be avoided. */
    bool same;                    /* kept is what is resident now, and holds every must. */
};

static enum err open_board(struct board *b, const struct solve_input *in)
{
    size_t floats = 4 * (size_t)in->contexts;
    b->in = in;
    b->has = mem_calloc(1, in->n);
    b->f = mem_alloc(floats * sizeof *b->f);
    b->who = mem_alloc(in->contexts * sizeof *b->who);
    b->loss = mem_alloc(2 * (size_t)in->n * sizeof *b->loss);
    if (!b->has || !b->f || !b->who || !b->loss)
        return ERR_NOMEM;
    b->g = b->f + in->contexts;
    b->f0 = b->g + in->contexts;
    b->g0 = b->f0 + in->contexts;
    b->bound = b->loss + in->n;
    price_cold(b);
    return OK;
}

/* The musts that fit, then with them the residents that fit: the least change there is. */
static void find_kept(struct solving *s, struct solve_result *r)
{
    struct board *b = &s->b;
    const struct solve_input *in = b->in;
    board_refresh(b);
    uint32_t new_musts = 0;
    r->dropped = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        if (!selectable(in, i) || !(in->flags[i] & SOLVE_MUST))
            continue;
        if (!room_for(b, i)) {
            r->dropped++;
            continue;
        }
        board_add(b, i);
        new_musts += !(in->flags[i] & SOLVE_RESIDENT);
    }
    memcpy(s->musts, b->has, in->n);
    r->uncached = board_value(b);
    add_greedily(b, SOLVE_RESIDENT, -1);
    memcpy(s->kept, b->has, in->n);
    r->kept = board_value(b);
    uint32_t forced = evicted(b);
    s->same = forced == 0 && new_musts == 0;
    s->evictions = in->evictions > UINT32_MAX - forced ? UINT32_MAX : in->evictions + forced;
}

/* The best adapter alone, where greedy by the byte may have filled up with small ones. */
static double best_single(struct solving *s)
{
    struct board *b = &s->b;
    uint32_t best = b->in->n;
    double most = 0;
    board_set(b, s->musts);
    for (uint32_t i = 0; i < b->in->n; i++)
        if (selectable(b->in, i) && !b->has[i] && room_for(b, i) && gain_of(b, i) > most) {
            most = gain_of(b, i);
            best = i;
        }
    if (best < b->in->n)
        board_add(b, best);
    add_greedily(b, 0, 0);
    return board_value(b);
}

static double solve_greedily(struct solving *s, enum solve_how *ret_how)
{
    struct board *b = &s->b;
    uint32_t n = b->in->n;
    board_set(b, s->musts);
    add_greedily(b, 0, 0);
    improve(b, UINT32_MAX);
    add_greedily(b, 0, 0);
    memcpy(s->best, b->has, n);
    double value = board_value(b);
    *ret_how = SOLVE_GREEDY;
    if (b->in->budget) {
        double single = best_single(s);
        if (single > value) {
            memcpy(s->best, b->has, n);
            value = single;
            *ret_how = SOLVE_SINGLE;
        }
        board_set(b, s->best);
    }
    if (evicted(b) <= s->evictions)
        return value;
    board_set(b, s->kept);
    add_greedily(b, 0, 0);
    improve(b, s->evictions);
    memcpy(s->best, b->has, n);
    *ret_how = SOLVE_CAPPED;
    return board_value(b);
}

static enum err run(struct solving *s, struct solve_result *r)
{
    struct board *b = &s->b;
    const struct solve_input *in = b->in;
    find_kept(s, r);
    if (few_sets(in)) {
        TRY(solve_exactly(b, s->musts, s->kept, r->kept, s->evictions, s->best));
        board_set(b, s->best);
        r->value = board_value(b);
        r->how = SOLVE_EXACT;
    } else {
        r->value = solve_greedily(s, &r->how);
    }
    if (s->same ? r->value < r->kept + in->hysteresis : r->value < r->kept) {
        memcpy(s->best, s->kept, in->n);
        r->value = r->kept;
        r->how = SOLVE_KEPT;
    }
    /* A slot that gains nothing is no reason to throw out who is in it. */
    board_set(b, s->best);
    add_greedily(b, SOLVE_RESIDENT, -1);
    memcpy(s->best, b->has, in->n);
    return OK;
}

static enum err solve(const struct solve_input *in, uint8_t *ret_in,
                      struct solve_result *ret_result)
{
    struct solving s = {.b = {.in = in}};
    struct solve_result r = {0};
    enum err e = open_board(&s.b, in);
    s.musts = mem_calloc(3, in->n);
    if (e == OK && !s.musts)
        e = ERR_NOMEM;
    if (e == OK) {
        s.kept = s.musts + in->n;
        s.best = s.kept + in->n;
        e = run(&s, &r);
    }
    if (e == OK) {
        memcpy(ret_in, s.best, in->n);
        *ret_result = r;
    }
    mem_free(s.b.has);
    mem_free(s.b.f);
    mem_free(s.b.who);
    mem_free(s.b.loss);
    mem_free(s.musts);
    return e;
}

enum err solve_cache(const struct solve_input *in, uint8_t *ret_in, struct solve_result *ret_result)
{
    if (in->n == 0) {
        memset(ret_result, 0, sizeof *ret_result);
        return OK;
    }
    if (in->contexts > 0)
        return solve(in, ret_in, ret_result);
    /* Nothing was asked yet: one context to which all are worth nothing. Pins still count. */
    struct solve_input blank = *in;
    float *zeros = mem_calloc(in->n, sizeof *zeros);
    if (!zeros)
        return ERR_NOMEM;
    blank.contexts = 1;
    blank.q = zeros;
    enum err e = solve(&blank, ret_in, ret_result);
    mem_free(zeros);
    return e;
}

/* The best at its price and the best of the others, for context x. */
struct top {
    uint32_t best;
    double first, second;
};

static double at_price(const struct solve_input *in, const uint8_t *set, uint32_t i, uint32_t x)
{
    double q = (double)in->q[(size_t)i * in->contexts + x];
    return in->flags[i] & SOLVE_ALWAYS || set[i] ? q : q - in->cost[i];
}

static struct top find_top(const struct solve_input *in, const uint8_t *set, uint32_t x)
{
    struct top t = {0, -(double)INFINITY, -(double)INFINITY};
    for (uint32_t i = 0; i < in->n; i++) {
        double v = at_price(in, set, i, x);
        if (v > t.first) {
            t.second = t.first;
            t.first = v;
            t.best = i;
        } else if (v > t.second) {
            t.second = v;
        }
    }
    return t;
}

void solve_gains(const struct solve_input *in, const uint8_t *set, double *ret_gain)
{
    memset(ret_gain, 0, in->n * sizeof *ret_gain);
    for (uint32_t x = 0; x < in->contexts; x++) {
        struct top t = find_top(in, set, x);
        for (uint32_t i = 0; i < in->n; i++) {
            double q = (double)in->q[(size_t)i * in->contexts + x];
            if (!set[i])
                ret_gain[i] += q > t.first ? q - t.first : 0;
        }
        if (set[t.best]) {
            double cold = t.first - in->cost[t.best];
            ret_gain[t.best] += t.first - (cold > t.second ? cold : t.second);
        }
    }
    for (uint32_t i = 0; i < in->n; i++)
        ret_gain[i] =
            in->flags[i] & SOLVE_ALWAYS ? 0 : ret_gain[i] / (in->contexts ? in->contexts : 1);
}

const char *solve_how_name(enum solve_how how)
{
    static const char *const names[] = {"kept", "greedy", "single", "exact", "capped"};
    return names[how];
}
