#include "state/model/snapshot.h"

#include "state/base/mem.h"
#include "state/base/search.h"
#include "state/math/packed.h"
#include "state/math/power.h"
#include "state/model/hybrid.h"
#include "state/model/model.h"
#include "state/model/view_memory.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { REBUILD_ALL_UP_TO = 64 }; /* Arms: a small pool. */

/* Carves aligned pieces out of one allocation; with base NULL it only measures. */
struct carve {
    uint8_t *base;
    size_t used;
};

static void *carve(struct carve *c, size_t size)
{
    void *at = c->base ? c->base + c->used : NULL;
    c->used += (size + VIEW_ALIGN - 1) & ~(size_t)(VIEW_ALIGN - 1);
    return at;
}

/* Turns to laying out: memory for what was measured, zeroed.
 * *ret_storage is what to free. ERR_NOMEM. */
static MUST_USE enum err carve_open(struct carve *c, void **ret_storage)
{
    size_t size = c->used + VIEW_ALIGN - 1;
    uint8_t *storage = mem_calloc(1, size);
    if (!storage)
        return ERR_NOMEM;
    *ret_storage = storage;
    c->base = storage + (-(uintptr_t)storage & (VIEW_ALIGN - 1));
    c->used = 0;
    return OK;
}

static void arm_view_release(struct arm_view *v)
{
    if (v && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        arm_view_free(v);
}

static void router_view_release(struct router_view *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < v->arms_n; i++)
        arm_view_release(v->arms[i]);
    view_memory_release(v->memory);
    tenants_release(v->tenants);
    mem_free(v->storage);
}

/* A prior of a mean, as so many outcomes at x = bias that came before: Sherman-Morrison on P, whose
 * first column is all that it needs. */
static void lean(const double *P, uint32_t d, const struct hybrid_prior *prior, double *theta)
{
    double weight = (double)prior->weight;
    double gain = weight * ((double)prior->mean - theta[0]) / (1 + weight * P[0]);
    for (uint32_t i = 0; i < d; i++)
        theta[i] += gain * P[packed_n(i)];
}

/* theta_m of one metric: prediction z = theta_m . x, the prior mean on the bias included.
 * slopes: (metrics_n, d), L m_m of the pooled slopes. work: 2 d. */
static void fill_theta(const struct router *r, const struct arm *a, uint32_t m,
                       const double *slopes, const struct hybrid_prior *priors, double *work,
                       struct arm_view *v)
{
    uint32_t d = r->d;
    double *target = work, *theta = work + d;
    stats_theta(a, r->pooled, &r->config, m, slopes + (size_t)m * d, target, theta);
    if (priors && priors[m].weight > 0.0F)
        lean(a->groups[METRIC_RATED].P, d, &priors[m], theta);
    for (uint32_t i = 0; i < d; i++)
        v->theta[(size_t)m * v->stride + i] = (float)theta[i];
}

static bool all_zero(const double *b, uint32_t d)
{
    for (uint32_t i = 0; i < d; i++)
        if (b[i] != 0)
            return false;
    return true;
}

/* The thetas of an arm that nothing happened to, where they lean on what the arms share: rated ones
 * on slopes and level, that of a served metric which it has never shown on the mean of all. */
static void refresh_theta(const struct router *r, const struct arm *a, const double *slopes,
                          double *work, struct arm_view *v)
{
    for (uint32_t m = 0; m < r->config.metrics_n; m++) {
        const struct metric_stats *s = &a->metrics[m];
        bool rated = r->config.metrics[m].group == METRIC_RATED;
        if (!rated && !s->has_prior && all_zero(s->b, r->d)) /* P b = 0. */
            v->theta[(size_t)m * v->stride] = (float)stats_prior(a, r->pooled, &r->config, m);
        else if (rated || !s->has_prior)
            fill_theta(r, a, m, slopes, NULL, work, v);
    }
}

/* Of metric m, when the view's counts and means of it are known. */
static struct raw_line raw_line_of(const struct metric_def *def, const struct arm_view *v,
                                   uint32_t m)
{
    double span = def->norm_high - def->norm_low, mean = v->recent_raw[m], z = v->recent_z[m];
    bool seen = v->seen_mask >> m & 1, shown = v->mean_mask >> m & 1;
    if (!seen || (shown && !(mean > 0)) || def->logarithmic)
        return (struct raw_line){0};
    if (!shown)
        return (struct raw_line){def->norm_low, span, 0, (double)INFINITY};
    struct raw_line l = {mean, 0, VIEW_NEAR * mean, VIEW_FAR * mean};
    double at_mean = def->norm_low + z * span;
    if (at_mean > 0) {
        l.at_zero = def->norm_low * mean / at_mean;
        l.slope = span * mean / at_mean;
    }
    if (def->group == METRIC_RATED || v->n[m] == 0)
        return l;
    /* Predictions are floats, and kept near the mean before they are turned into the unit. */
    double low = l.at_zero + l.slope * (double)(float)(VIEW_NEAR * z);
    double high = l.at_zero + l.slope * (double)(float)(VIEW_FAR * z);
    l.low = low > l.low ? low : l.low;
    l.high = high < l.high ? high : l.high;
    return l;
}

static void fill_arm_counts(const struct router *r, const struct arm *a, struct arm_view *v)
{
    v->uid = a->uid;
    v->version = a->version;
    v->paused = a->paused;
    v->drain_since_us = a->drain_since_us;
    v->suspect = drift_suspect(a);
    v->answered_at = a->answered_at;
    v->cooldown_until_us = a->cooldown_until_us;
    v->answered = a->answered;
    v->trial_served = a->trial_served;
    v->trial_chosen = a->trial_chosen;
    v->failures = a->failures;
    v->cooldowns = a->cooldowns;
    v->tallied = a->issued;
    v->pooled_n = r->pooled->matrix.n;
    v->clock = a->clock;
    for (int g = 0; g < METRIC_GROUPS; g++) {
        v->folded[g] = a->groups[g].n;
        v->stood_in[g] = a->stood_in[g];
        v->evidence[g] = a->groups[g].evidence;
        v->ridge[g] = (float)a->groups[g].ridge;
    }
    for (uint32_t m = 0; m < r->config.metrics_n; m++) {
        const struct metric_stats *s = &a->metrics[m];
        v->n[m] = s->n;
        bool recent = s->recent.n > 0;
        if (s->n) {
            v->mean_raw[m] = s->sum_raw / (double)s->n;
            v->mean_z[m] = s->sum_z / (double)s->n;
        }
        if (s->n || recent) {
            v->recent_raw[m] = recent ? s->recent.sum_raw / s->recent.n : v->mean_raw[m];
            v->recent_z[m] = recent ? s->recent.sum_z / s->recent.n : v->mean_z[m];
            v->mean_mask = (uint16_t)(v->mean_mask | 1u << m);
        }
        if (s->n || recent || s->has_prior)
            v->seen_mask = (uint16_t)(v->seen_mask | 1u << m);
        v->raw[m] = raw_line_of(&r->config.metrics[m], v, m);
    }
}

/* The P that widths come from. With priors the rated one holds the lightest of them: a width serves
 * every weighting of the metrics. */
static void fill_inverses(const struct router *r, const struct arm *a,
                          const struct hybrid_prior *priors, struct arm_view *v)
{
    const double *P = a->groups[METRIC_RATED].P;
    double weight = priors ? (double)hybrid_lightest(r, priors) : 0;
    double lost = weight / (1 + weight * P[0]);
    /* d prediction / d prior mean = rho L_0 (P x)_0. */
    double prior = a->groups[METRIC_RATED].ridge * r->config.settings.ridge[METRIC_RATED][0];
    for (uint32_t i = 0; i < r->d; i++) {
        size_t row = packed_n(i);
        v->prior_share[i] = (float)(prior * P[row] / (1 + weight * P[0]));
        for (uint32_t j = 0; j <= i; j++)
            v->P[METRIC_RATED][row + j] = (float)(P[row + j] - lost * P[row] * P[packed_n(j)]);
    }
    for (size_t i = 0; i < packed_n(r->d); i++)
        v->P[METRIC_SERVED][i] = (float)a->groups[METRIC_SERVED].P[i];
}

/* Above the largest eigenvalue of P: its Frobenius norm, or its largest row sum of |P_ij| if that
 * is less. (A matrix of few known directions has the one, of few unknown ones the other.) For the
 * floats of P as they are; the sums' own rounding is far below what is added. */
static float spread_cap(const float *P, uint32_t d)
{
    float sums[MAX_D], squares = 0, largest = 0;
    for (uint32_t i = 0; i < d; i++) {
        const float *row = P + packed_n(i);
        float own = fabsf(row[i]), off = 0;
        for (uint32_t j = 0; j < i; j++) {
            float p = fabsf(row[j]);
            sums[j] += p;
            own += p;
            off += p * p;
        }
        sums[i] = own;
        squares += 2 * off + row[i] * row[i];
    }
    for (uint32_t i = 0; i < d; i++)
        largest = sums[i] > largest ? sums[i] : largest;
    float frobenius = sqrtf(squares);
    return 1.001F * (frobenius < largest ? frobenius : largest);
}

/* A pool that is small has no bounds, and gets them all with the arm that makes it large. */
static bool lacks_caps(const struct router *r, const struct arm_view *v)
{
    return r->arms_n > REBUILD_ALL_UP_TO && v->spread_cap[METRIC_RATED] == HUGE_VALF;
}

static void fill_caps(const struct router *r, struct arm_view *v)
{
    for (int g = 0; g < METRIC_GROUPS; g++)
        v->spread_cap[g] = r->arms_n > REBUILD_ALL_UP_TO ? spread_cap(v->P[g], r->d) : HUGE_VALF;
}

static struct arm_view *build_arm(const struct router *r, const struct arm *a, const double *slopes,
                                  const struct hybrid_prior *priors, double *work,
                                  struct view_memory *memory)
{
    struct arm_view *v = arm_view_new(memory, r->d, r->config.metrics_n, &a->config);
    if (!v)
        return NULL;
    fill_arm_counts(r, a, v);
    for (uint32_t m = 0; m < r->config.metrics_n; m++)
        fill_theta(r, a, m, slopes, priors, work, v);
    fill_inverses(r, a, priors, v);
    fill_caps(r, v);
    return v;
}

/* The view of an arm that nothing happened to: what it shares with the others is anew, the rest is
 * copied. NULL: no memory. */
static struct arm_view *refresh_arm(const struct router *r, const struct arm *a,
                                    const struct arm_view *old, const double *slopes, double *work,
                                    struct view_memory *memory)
{
    struct arm_view *v = arm_view_copy(memory, old);
    if (!v)
        return NULL;
    v->pooled_n = r->pooled->matrix.n;
    refresh_theta(r, a, slopes, work, v);
    if (lacks_caps(r, old))
        fill_caps(r, v);
    return v;
}

struct by_name {
    const char *name;
    uint32_t index;
};

static int compare_names(const void *a, const void *b)
{
    const struct by_name *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static enum err sort_arms(struct router_view *v)
{
    struct by_name *order = mem_alloc(v->arms_n * sizeof *order);
    if (!order)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < v->arms_n; i++)
        order[i] = (struct by_name){v->arms[i]->config->name, i};
    qsort(order, v->arms_n, sizeof *order, compare_names);
    for (uint32_t i = 0; i < v->arms_n; i++)
        v->by_name[i] = order[i].index;
    mem_free(order);
    return OK;
}

static struct router_view *lay_out_router(struct carve *c, const struct router *r,
                                          struct router_config **ret_config)
{
    uint32_t arms_n = r->arms_n;
    struct router_view *v = carve(c, sizeof *v);
    *ret_config = carve(c, sizeof **ret_config);
    struct arm_view **arms = carve(c, arms_n * sizeof(struct arm_view *));
    uint32_t *by_name = carve(c, arms_n * sizeof *by_name);
    float *fade = r->config.settings.gamma == 1 ? NULL : carve(c, arms_n * sizeof *fade);
    size_t priors = (size_t)arms_n * r->config.metrics_n;
    struct hybrid_prior *hybrid =
        r->config.settings.hybrid ? carve(c, priors * sizeof *hybrid) : NULL;
    struct drift_alarm *alarms = carve(c, r->alarms.n * sizeof *alarms);
    struct source_count *sources = carve(c, (r->sources.n + 1) * sizeof *sources);
    if (v) {
        v->sources = sources;
        v->alarms = alarms;
        v->fade = fade;
        v->hybrid = hybrid;
        v->arms = arms;
        v->by_name = by_name;
    }
    return v;
}

/* The same arms in the same order: the old order of names holds. */
static bool same_arms(const struct router_view *v, const struct router_view *last)
{
    if (last->arms_n != v->arms_n)
        return false;
    for (uint32_t i = 0; i < v->arms_n; i++)
        if (last->arms[i]->uid != v->arms[i]->uid)
            return false;
    return true;
}

/* An arm's theta leans on the pooled slopes and level (and on other arms, if hybrid), which every
 * outcome of the router moves. In small pools every batch brings them up to date. In large ones an
 * untouched arm's view is shared until it is 64 to 127 of the router's outcomes old: by uid, so
 * that arms created together are not all refreshed by the same batch. */
enum { REFRESH_EVERY = 64 };

static bool can_share(const struct router *r, const struct arm *a, const struct arm_view *old)
{
    if (!old || a->touched || lacks_caps(r, old))
        return false;
    const struct router_settings *s = &r->config.settings;
    if (!s->pooled_slopes && !s->pooled_level && !s->hybrid)
        return true;
    return r->arms_n > REBUILD_ALL_UP_TO &&
           r->pooled->matrix.n - old->pooled_n < REFRESH_EVERY + a->uid % REFRESH_EVERY;
}

static enum err fill_arms(const struct router *r, const struct router_view *last,
                          struct router_view *v)
{
    uint32_t d = r->d, n = r->config.metrics_n;
    double *slopes = mem_calloc((size_t)n * d + 2 * (size_t)d, sizeof *slopes);
    if (!slopes)
        return ERR_NOMEM;
    for (uint32_t m = 0; m < n; m++) {
        double *lm = slopes + (size_t)m * d;
        pooled_slopes(r->pooled, &r->config, m, lm);
        for (uint32_t i = 0; i < d; i++)
            lm[i] *= r->config.settings.ridge[METRIC_RATED][1];
    }
    enum err e = OK;
    uint32_t k = 0; /* Where the last view's arm of this uid may stand. */
    for (uint32_t i = 0; i < r->arms_n && e == OK; i++) {
        const struct arm *a = r->arms[i];
        while (last && k < last->arms_n && last->arms[k]->uid < a->uid)
            k++;
        struct arm_view *old =
            last && k < last->arms_n && last->arms[k]->uid == a->uid ? last->arms[k] : NULL;
        if (can_share(r, a, old)) {
            atomic_fetch_add_explicit(&old->refs, 1, memory_order_relaxed);
            v->arms[i] = old;
        } else {
            const struct hybrid_prior *priors = v->hybrid ? v->hybrid + (size_t)i * n : NULL;
            double *work = slopes + (size_t)n * d;
            /* Hybrid priors stand in P as well. */
            v->arms[i] = old && !a->touched && !priors
                             ? refresh_arm(r, a, old, slopes, work, v->memory)
                             : build_arm(r, a, slopes, priors, work, v->memory);
        }
        if (!v->arms[i])
            e = ERR_NOMEM;
        else if (v->fade)
            v->fade[i] =
                (float)power_of(r->config.settings.gamma, r->outcomes_folded - v->arms[i]->clock);
    }
    mem_free(slopes);
    return e;
}

static void fill_router(const struct router *r, struct router_view *v)
{
    uint32_t n = r->config.metrics_n;
    v->uid = r->uid;
    v->hash = r->hash;
    v->d = r->d;
    v->outcomes_folded = r->outcomes_folded;
    v->orphaned = r->orphaned;
    v->requests_tallied = r->requests;
    v->logged = r->logged;
    v->gated = r->gated;
    v->swept_until_us = r->sweep.until_us;
    v->swept_before = r->sweep.before;
    v->swept_found = r->sweep.found;
    v->unaccounted = r->sweep.lost;
    v->defaulted = r->sweep.applied;
    const char *budget = r->config.settings.budget_metric;
    v->tenants = tenants_hold(r->tenants);
    v->budget_metric = settings_metric_index(&r->config, budget, strlen(budget));
    if (r->trial.epoch) /* Kilobytes: only where there is one. */
        v->trial = r->trial;
    v->alarms_raised = r->alarms.raised;
    v->alarms_n = r->alarms.n;
    if (v->alarms_n)
        memcpy(v->alarms, r->alarms.rows, v->alarms_n * sizeof *v->alarms);
    v->sources_n = r->sources.n;
    memcpy(v->sources, r->sources.all, r->sources.n * sizeof *v->sources);
    v->sources[r->sources.n] = r->sources.others;
    v->learned[METRIC_RATED] = r->pooled->matrix.n;
    for (uint32_t i = 0; i < r->arms_n; i++)
        v->learned[METRIC_SERVED] += r->arms[i]->groups[METRIC_SERVED].n;
    memcpy(v->noise, r->pooled->noise, (size_t)n * n * sizeof *v->noise);
    for (uint32_t m = 0; m < n; m++) {
        v->pooled_n[m] = r->pooled->metric_n[m];
        v->level[m] = r->pooled->level[m];
        const struct recent *recent = &r->pooled->recent[m];
        if (recent->n > 0)
            v->pooled_mean_z[m] = recent->sum_z / recent->n;
        else if (v->pooled_n[m])
            v->pooled_mean_z[m] = r->pooled->metric_sum_z[m] / (double)v->pooled_n[m];
    }
}

/* What arms say of one another moves slowly where there are many: a large pool's fit is kept for
 * arms_n / 64 outcomes, unless arms came or went. */
static enum err fill_hybrid(const struct router *r, const struct router_view *last,
                            struct router_view *v)
{
    uint64_t now = r->pooled->matrix.n;
    bool keep = last && last->hybrid && last->arms_n == r->arms_n &&
                now - last->hybrid_at < r->arms_n / REBUILD_ALL_UP_TO;
    for (uint32_t i = 0; keep && i < r->arms_n; i++)
        keep = last->arms[i]->uid == r->arms[i]->uid;
    v->hybrid_at = keep ? last->hybrid_at : now;
    if (!keep)
        return hybrid_fit(r, v->hybrid);
    memcpy(v->hybrid, last->hybrid, (size_t)r->arms_n * r->config.metrics_n * sizeof *v->hybrid);
    return OK;
}

/* A pool that has become large leaves the heap arm by arm, as they are built anew. */
static enum err find_memory(const struct router *r, const struct router_view *last,
                            struct router_view *v)
{
    uint32_t d = r->d, metrics_n = r->config.metrics_n;
    if (last && last->memory && view_memory_fits(last->memory, d, metrics_n))
        v->memory = view_memory_acquire(last->memory);
    else if (r->arms_n > REBUILD_ALL_UP_TO)
        return view_memory_new(d, metrics_n, &v->memory);
    return OK;
}

static enum err build_router(const struct router *r, const struct router_view *last,
                             struct router_view **ret_view)
{
    struct router_config *config;
    struct carve c = {NULL, 0};
    void *storage;
    (void)lay_out_router(&c, r, &config);
    TRY(carve_open(&c, &storage));
    struct router_view *v = lay_out_router(&c, r, &config);
    v->storage = storage;
    *config = r->config;
    v->config = config;
    v->arms_n = r->arms_n;
    atomic_init(&v->refs, 1);
    fill_router(r, v);
    enum err e = find_memory(r, last, v);
    if (e == OK && v->hybrid)
        e = fill_hybrid(r, last, v);
    if (e == OK)
        e = fill_arms(r, last, v);
    if (e == OK && last && same_arms(v, last))
        memcpy(v->by_name, last->by_name, v->arms_n * sizeof *v->by_name);
    else if (e == OK)
        e = sort_arms(v);
    if (e != OK)
        router_view_release(v);
    else
        *ret_view = v;
    return e;
}

static enum err sort_routers(struct snapshot *s)
{
    struct by_name *order = mem_alloc(s->routers_n * sizeof *order);
    if (!order)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < s->routers_n; i++)
        order[i] = (struct by_name){s->routers[i]->config->name, i};
    qsort(order, s->routers_n, sizeof *order, compare_names);
    for (uint32_t i = 0; i < s->routers_n; i++)
        s->by_name[i] = order[i].index;
    mem_free(order);
    return OK;
}

static bool same_routers(const struct snapshot *s, const struct snapshot *last)
{
    if (last->routers_n != s->routers_n)
        return false;
    for (uint32_t i = 0; i < s->routers_n; i++)
        if (last->routers[i]->uid != s->routers[i]->uid)
            return false;
    return true;
}

static enum err fill_snapshot(const struct model *model, const struct snapshot *last,
                              struct snapshot *s)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < model->routers_n; i++) {
        const struct router *r = model->routers[i];
        while (last && k < last->routers_n && last->routers[k]->uid < r->uid)
            k++;
        struct router_view *old = last && k < last->routers_n && last->routers[k]->uid == r->uid
                                      ? last->routers[k]
                                      : NULL;
        if (old && !r->touched) {
            atomic_fetch_add_explicit(&old->refs, 1, memory_order_relaxed);
            s->routers[i] = old;
        } else {
            TRY(build_router(r, old, &s->routers[i]));
        }
        s->routers_n = i + 1;
    }
    if (!last || !same_routers(s, last))
        return sort_routers(s);
    memcpy(s->by_name, last->by_name, s->routers_n * sizeof *s->by_name);
    return OK;
}

static void clear_touched(struct model *model)
{
    for (uint32_t i = 0; i < model->routers_n; i++) {
        struct router *r = model->routers[i];
        if (!r->touched)
            continue;
        r->touched = false;
        for (uint32_t k = 0; k < r->arms_n; k++)
            r->arms[k]->touched = false;
    }
}

enum err snapshot_build(struct model *model, const struct snapshot *last,
                        struct snapshot **ret_snapshot)
{
    struct snapshot *s = mem_calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->routers = mem_calloc(model->routers_n, sizeof(struct router_view *));
    s->by_name = mem_calloc(model->routers_n, sizeof *s->by_name);
    s->position = model->position;
    s->clock_us = model->clock_us;
    s->keys_n = model->keys_n;
    memcpy(s->keys, model->keys, model->keys_n * sizeof *s->keys);
    enum err e = s->routers && s->by_name ? fill_snapshot(model, last, s) : ERR_NOMEM;
    if (e != OK) {
        snapshot_free(s);
        return e;
    }
    clear_touched(model);
    *ret_snapshot = s;
    return OK;
}

void snapshot_free(struct snapshot *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; s->routers && i < s->routers_n; i++)
        router_view_release(s->routers[i]);
    mem_free(s->routers);
    mem_free(s->by_name);
    explicit_bzero(s->keys, sizeof s->keys);
    mem_free(s);
}

static int compare_slice(const char *name, const char *s, size_t len)
{
    int c = strncmp(name, s, len);
    return c ? c : name[len] ? 1 : 0;
}

const struct router_view *snapshot_router(const struct snapshot *s, const char *name, size_t len)
{
    uint32_t low = 0, high = s->routers_n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct router_view *r = s->routers[s->by_name[middle]];
        int c = compare_slice(r->config->name, name, len);
        if (c == 0)
            return r;
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct router_view *snapshot_router_uid(const struct snapshot *s, uint32_t uid)
{
    uint32_t at = search_pointers(s->routers, s->routers_n, offsetof(struct router_view, uid), uid);
    return at < s->routers_n && s->routers[at]->uid == uid ? s->routers[at] : NULL;
}

struct router_view *snapshot_router_hold(const struct snapshot *s, uint32_t uid)
{
    uint32_t at = search_pointers(s->routers, s->routers_n, offsetof(struct router_view, uid), uid);
    if (at == s->routers_n || s->routers[at]->uid != uid)
        return NULL;
    atomic_fetch_add_explicit(&s->routers[at]->refs, 1, memory_order_relaxed);
    return s->routers[at];
}

void snapshot_router_release(struct router_view *r)
{
    router_view_release(r);
}

int router_view_arm(const struct router_view *r, const char *name, size_t len)
{
    uint32_t low = 0, high = r->arms_n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int c = compare_slice(r->arms[r->by_name[middle]]->config->name, name, len);
        if (c == 0)
            return (int)r->by_name[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

int router_view_arm_uid(const struct router_view *r, uint32_t uid)
{
    uint32_t at = search_pointers(r->arms, r->arms_n, offsetof(struct arm_view, uid), uid);
    return at < r->arms_n && r->arms[at]->uid == uid ? (int)at : -1;
}
