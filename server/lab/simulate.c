#include "server/lab/simulate.h"

#include "server/adapters/controller.h"
#include "server/lab/plain.h"
#include "server/route/decide.h"
#include "server/route/score_window.h"
#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/model/fold.h"
#include "state/model/model.h"

#include <math.h>
#include <string.h>

enum { TRUTH_CONTEXTS = 2000, TRUTH_SETS = 50000, DEDUP_SPARE = 1000, LOOK_EVERY = 16 };
enum { SEED_DECIDE = 11, SEED_MISSING = 12 };

void simulate_defaults(struct simulate_settings *ret_settings)
{
    memset(ret_settings, 0, sizeof *ret_settings);
    residency_defaults(&ret_settings->residency);
    ret_settings->residency.slots = 5;
    ret_settings->residency.load_ref_ms = 1263;
    ret_settings->alpha = 1.25;
    ret_settings->ridge_bias = 1;
    ret_settings->ridge_context = .05;
    ret_settings->plain_alpha = .8; /* Its best at 20,000 requests: README of server/adapters. */
    ret_settings->request_ms = 100;
}

/* A reward on its way. */
struct waiting {
    struct decision decision;
    uint32_t arm;
    double reward;
    bool lost;
};

struct game {
    const struct workload *w;
    const struct simulate_settings *s;
    struct model *model;
    struct snapshot *snapshot;
    struct event event;
    uint64_t position;
    uint32_t router_uid, *uid;     /* (n) */
    uint64_t *issued, *loads;      /* (n) */
    struct controller *controller; /* NULL: the oracle plays. */
    struct plain *plain;           /* NULL: our learner plays. */
    struct eligible *arms;         /* (n) */
    struct decide_scratch *scratch;
    float *pmf, *x;
    struct waiting *ring; /* (delay + 1) */
    uint64_t answered, learned;
    uint8_t *best; /* (phases, n): what should be resident. */
    double *price; /* (n), true. */
    struct simulate_run run;
};

static void fill_config(const struct game *g, struct router_config *c)
{
    settings_defaults(c, "simulated");
    c->spec = (struct feature_spec){.version = 1, .features_n = (uint16_t)g->w->d};
    c->settings.alpha = g->s->alpha;
    c->settings.ridge[METRIC_RATED][0] = g->s->ridge_bias;
    c->settings.ridge[METRIC_RATED][1] = g->s->ridge_context;
    c->settings.explore_floor = 0;
    c->settings.newcomer_pulls = 0;
    c->settings.pooled_slopes = false;
    c->settings.dedup_max = (uint64_t)g->s->delay + DEDUP_SPARE;
    c->settings.seed = rng_mix(g->w->seed, SEED_DECIDE);
    memset(c->metrics, 0, sizeof c->metrics);
    c->metrics_n = 1;
    c->metrics[0] = (struct metric_def){
        .name = "reward", .group = METRIC_RATED, .max = 1, .norm_high = 1, .weight = 1};
}

static enum err fold(struct game *g, struct fold_result *ret)
{
    TRY(model_reserve(g->model, &g->event, 0));
    fold_event(g->model, &g->event, ++g->position, ret);
    return ret->err;
}

static enum err publish(struct game *g)
{
    struct snapshot *next;
    TRY(snapshot_build(g->model, g->snapshot, &next));
    snapshot_free(g->snapshot);
    g->snapshot = next;
    return OK;
}

static enum err open_model(struct game *g)
{
    struct fold_result r;
    TRY(model_new(&g->model));
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_ROUTER_CREATE;
    fill_config(g, &g->event.u.router);
    TRY(fold(g, &r));
    g->router_uid = r.uid;
    for (uint32_t i = 0; i < g->w->n; i++) {
        memset(&g->event, 0, sizeof g->event);
        g->event.kind = EVENT_ARM_ADD;
        g->event.u.arm.router_uid = g->router_uid;
        memcpy(g->event.u.arm.config.name, g->w->name[i], NAME_CAP);
        TRY(fold(g, &r));
        g->uid[i] = r.uid;
    }
    return publish(g);
}

static double price_of(const struct simulate_settings *s, double load_ms)
{
    return s->residency.load_weight * load_ms / s->residency.load_ref_ms;
}

static bool is_cancelled(const struct game *g)
{
    return g->s->cancelled && g->s->cancelled(g->s->arg);
}

/* What each adapter would really give to `many` contexts of the phase; q (n, many). */
static enum err fill_phase(const struct game *g, uint32_t phase, uint32_t many, float *q)
{
    const struct workload *w = g->w;
    for (uint32_t c = 0; c < many; c++) {
        uint64_t t = w->rows ? (uint64_t)c * w->horizon / many : (uint64_t)w->horizon + c;
        if (c % LOOK_EVERY == 0 && is_cancelled(g))
            return ERR_CANCELLED;
        workload_context(w, t, phase, g->x);
        for (uint32_t i = 0; i < w->n; i++)
            q[(size_t)i * many + c] = (float)workload_mean(w, i, t, g->x);
    }
    return OK;
}

/* The best fixed set of each phase, from the true utilities of many contexts of it. */
static enum err find_truth(struct game *g)
{
    const struct workload *w = g->w;
    uint32_t many = TRUTH_CONTEXTS;
    if (w->rows && w->horizon < many)
        many = w->horizon;
    float *q = mem_alloc((size_t)w->n * many * sizeof *q);
    uint8_t *flags = mem_calloc(1, w->n);
    enum err e = q && flags ? OK : ERR_NOMEM;
    for (uint32_t i = 0; e == OK && i < w->n; i++)
        flags[i] = w->bytes[i] ? 0 : SOLVE_ALWAYS;
    for (uint32_t phase = 0; e == OK && phase < w->phases; phase++) {
        struct solve_input in = {.n = w->n,
                                 .contexts = many,
                                 .q = q,
                                 .cost = g->price,
                                 .bytes = w->bytes,
                                 .flags = flags,
                                 .slots = g->s->residency.slots,
                                 .budget = g->s->residency.bytes,
                                 .evictions = UINT32_MAX,
                                 .exact_sets = TRUTH_SETS};
        struct solve_result r;
        e = fill_phase(g, phase, many, q);
        if (e == OK)
            e = solve_cache(&in, g->best + (size_t)phase * w->n, &r);
    }
    mem_free(q);
    mem_free(flags);
    return e;
}

/* Every policy starts with the first adapters that fit. */
static enum err open_controller(struct game *g, const char *policy)
{
    struct residency_settings s = g->s->residency;
    uint32_t n = 0;
    uint64_t bytes = 0;
    memset(s.policy, 0, sizeof s.policy);
    strncpy(s.policy, policy, sizeof s.policy - 1);
    s.seed = rng_mix(g->w->seed, s.seed);
    TRY(controller_new(&s, NULL, 1 + g->w->d, 0, &g->controller));
    for (uint32_t i = 0; i < g->w->n; i++) {
        TRY(controller_arm(g->controller, g->uid[i], g->w->bytes[i], false));
        if (g->w->bytes[i] == 0 || (s.slots && n == s.slots) ||
            (s.bytes && bytes + g->w->bytes[i] > s.bytes))
            continue;
        controller_resident(g->controller, g->uid[i], true);
        n++;
        bytes += g->w->bytes[i];
    }
    return OK;
}

static enum err open_game(struct game *g, const char *policy)
{
    size_t n = g->w->n;
    g->uid = mem_calloc(n, sizeof *g->uid);
    g->issued = mem_calloc(2 * n, sizeof *g->issued);
    g->arms = mem_calloc(n, sizeof *g->arms);
    g->scratch = mem_calloc(1, sizeof *g->scratch);
    g->pmf = mem_calloc(n, sizeof *g->pmf);
    g->x = mem_calloc(1 + (size_t)g->w->d, sizeof *g->x);
    g->ring = mem_calloc((size_t)g->s->delay + 1, sizeof *g->ring);
    g->best = mem_calloc(g->w->phases, n);
    g->price = mem_calloc(n, sizeof *g->price);
    if (!g->uid || !g->issued || !g->arms || !g->scratch || !g->pmf || !g->x || !g->ring ||
        !g->best || !g->price)
        return ERR_NOMEM;
    g->loads = g->issued + n;
    for (uint32_t i = 0; i < n; i++)
        g->price[i] = g->w->bytes[i] ? price_of(g->s, g->w->load_ms[i]) : 0;
    TRY(find_truth(g));
    TRY(open_model(g));
    if (strcmp(policy, SIMULATE_SAME_LEARNER) == 0) {
        policy = cache_oblivious.name;
    } else if (strcmp(policy, SIMULATE_OBLIVIOUS) == 0) {
        TRY(plain_new(g->w->n, g->w->d, g->s->plain_alpha, &g->plain));
        policy = cache_oblivious.name;
    }
    return strcmp(policy, "oracle") == 0 ? OK : open_controller(g, policy);
}

static void close_game(struct game *g)
{
    controller_free(g->controller);
    plain_free(g->plain);
    snapshot_free(g->snapshot);
    model_free(g->model);
    mem_free(g->uid);
    mem_free(g->issued);
    mem_free(g->arms);
    mem_free(g->scratch);
    mem_free(g->pmf);
    mem_free(g->x);
    mem_free(g->ring);
    mem_free(g->best);
    mem_free(g->price);
}

/* The oracle's arm: best at its price. */
static uint32_t best_arm(const struct game *g, uint64_t t, double *ret_worth)
{
    const uint8_t *in = g->best + (size_t)workload_phase(g->w, t) * g->w->n;
    uint32_t best = 0;
    double most = -(double)INFINITY;
    for (uint32_t i = 0; i < g->w->n; i++) {
        double worth = workload_mean(g->w, i, t, g->x) - (in[i] ? 0 : g->price[i]);
        if (worth > most) {
            most = worth;
            best = i;
        }
    }
    *ret_worth = most;
    return best;
}

/* As the server does it: eligible arms with what is pending and what they cost, then decide. */
static uint32_t choose(struct game *g, uint64_t t)
{
    const struct router_view *r = g->snapshot->routers[0];
    uint32_t forced = controller_force(g->controller, false);
    struct decide_result result;
    for (uint32_t i = 0; i < r->arms_n; i++) {
        uint64_t learned = r->arms[i]->folded[METRIC_RATED];
        if (forced && r->arms[i]->uid == forced) {
            g->run.forced++;
            return i;
        }
        g->arms[i] = (struct eligible){
            .index = i,
            .issued = g->issued[i],
            .pending = g->issued[i] - learned,
            .charge = (float)controller_charge(g->controller, r->arms[i]->uid),
        };
    }
    struct decide_input in = {
        .router = r,
        .x = g->x,
        .arms = g->arms,
        .n = r->arms_n,
        .answer_share = t ? (double)r->learned[METRIC_RATED] / (double)t : 0,
        .seed = rng_mix(r->config->settings.seed, t),
    };
    decide(&in, g->scratch, g->pmf, &result);
    return g->arms[result.chosen].index;
}

/* Serves request t by arm i; returns what it paid. */
static double serve(struct game *g, uint64_t t, uint32_t i, bool resident)
{
    struct waiting *wait = &g->ring[t % ((uint64_t)g->s->delay + 1)];
    double paid = 0;
    g->issued[i]++;
    if (!resident) {
        double ms = workload_load_ms(g->w, i, g->loads[i]++);
        paid = price_of(g->s, ms);
        if (g->controller)
            controller_measured(g->controller, g->uid[i], ms);
    }
    memset(&wait->decision, 0, sizeof wait->decision);
    memcpy(wait->decision.id, &t, sizeof t);
    wait->decision.router_uid = g->router_uid;
    wait->decision.arm_uid = g->uid[i];
    wait->arm = i;
    wait->decision.spec_hash = g->snapshot->routers[0]->hash;
    wait->decision.propensity = 1;
    wait->decision.issued_us = (int64_t)t + 1;
    wait->decision.d = (uint16_t)(1 + g->w->d);
    memcpy(wait->decision.x, g->x, wait->decision.d * sizeof *g->x);
    wait->reward = workload_reward(g->w, i, t, g->x);
    wait->lost = rng_uniform(rng_mix(g->w->seed, SEED_MISSING), t) < g->s->missing;
    return paid;
}

/* The reward of the request `delay` before t arrives. */
static enum err learn(struct game *g, uint64_t t)
{
    if (t < g->s->delay)
        return OK;
    const struct waiting *wait = &g->ring[(t - g->s->delay) % ((uint64_t)g->s->delay + 1)];
    struct event_outcome *o = &g->event.u.outcome;
    struct fold_result r;
    if (wait->lost)
        return OK;
    if (g->plain) {
        g->answered++;
        plain_learn(g->plain, wait->arm, wait->decision.x + 1, wait->reward);
        return OK;
    }
    g->event.kind = EVENT_OUTCOME;
    g->event.at_us = (int64_t)t + 2;
    o->decision = wait->decision;
    o->status = OUTCOME_OK;
    o->served_uid = 0;
    o->source[0] = '\0';
    o->metrics_n = 1;
    o->metrics[0] = (struct outcome_metric){0, wait->reward, wait->reward};
    TRY(fold(g, &r));
    g->answered++;
    return publish(g);
}

/* The plan's loads run while requests are served; the next request finds them done. */
static enum err end_epoch(struct game *g, int64_t now_us)
{
    const struct router_view *r = g->snapshot->routers[0];
    struct controller_window window = controller_close(g->controller);
    struct controller_values v = {.arms_n = r->arms_n, .uids = g->uid};
    struct controller_plan plan;
    size_t cells = (size_t)r->arms_n * window.n;
    float *values = mem_alloc((2 * cells + 2 * (size_t)window.n + 1) * sizeof *values);
    enum err e = values ? OK : ERR_NOMEM;
    if (e == OK && window.n) {
        float *bonus = window.bonus ? values + cells : NULL;
        float *low = values + 2 * cells, *high = low + window.n;
        const struct score_window sw = {window.rows, window.n, window.stride, 0};
        e = score_window(r, &sw, values, bonus, low, high);
        v.neutral = values;
        v.bonus = bonus;
        v.low = low;
        v.high = high;
    }
    if (e == OK)
        e = controller_plan(g->controller, window.n ? &v : NULL, now_us, &plan);
    mem_free(values);
    if (e != OK)
        return e;
    g->run.planned_loads += plan.loads;
    g->run.epochs++;
    g->run.regret += g->s->residency.kappa * plan.load_price;
    g->run.utility -= g->s->residency.kappa * plan.load_price;
    for (uint32_t i = 0; i < g->w->n; i++) {
        struct controller_arm_view a = controller_look(g->controller, g->uid[i]);
        if (a.desired && !a.resident)
            controller_measured(g->controller, g->uid[i], workload_load_ms(g->w, i, g->loads[i]++));
        controller_resident(g->controller, g->uid[i], a.desired);
    }
    return OK;
}

static enum err step(struct game *g, uint64_t t)
{
    int64_t now_us = (int64_t)((double)(t + 1) * g->s->request_ms * 1e3);
    double most;
    workload_context(g->w, t, workload_phase(g->w, t), g->x);
    uint32_t i = best_arm(g, t, &most);
    const uint8_t *best = g->best + (size_t)workload_phase(g->w, t) * g->w->n;
    bool resident = best[i] || g->w->bytes[i] == 0;
    if (g->controller) {
        i = g->plain ? plain_choose(g->plain, g->x + 1) : choose(g, t);
        resident = controller_look(g->controller, g->uid[i]).resident;
    }
    double paid = serve(g, t, i, resident);
    double regret = most - workload_mean(g->w, i, t, g->x) + (resident ? 0 : g->price[i]);
    g->run.regret += regret;
    g->run.blind += g->answered ? 0 : regret;
    g->run.utility += workload_reward(g->w, i, t, g->x) - paid;
    g->run.miss_rate += resident ? 0 : 1;
    TRY(learn(g, t));
    if (!g->controller)
        return OK;
    controller_pull(g->controller, g->uid[i], resident, g->x);
    return controller_due(g->controller, now_us) ? end_epoch(g, now_us) : OK;
}

enum err simulate_run(const struct workload *w, const struct simulate_settings *s,
                      const char *policy, struct simulate_run *ret_run)
{
    struct game *g = mem_calloc(1, sizeof *g);
    if (!g)
        return ERR_NOMEM;
    g->w = w;
    g->s = s;
    enum err e = open_game(g, policy);
    for (uint64_t t = 0; e == OK && t < w->horizon; t++) {
        if (t % LOOK_EVERY == 0 && is_cancelled(g))
            e = ERR_CANCELLED;
        else
            e = step(g, t);
        for (uint32_t k = 0; k < SIMULATE_POINTS; k++)
            if (t + 1 == w->horizon >> (SIMULATE_POINTS - 1 - k))
                g->run.curve[k] = g->run.regret;
    }
    g->run.miss_rate /= w->horizon;
    if (e == OK)
        *ret_run = g->run;
    close_game(g);
    mem_free(g);
    return e;
}
