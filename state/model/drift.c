#include "state/model/drift.h"

#include "state/base/mem.h"
#include "state/math/packed.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const double slack = .5;     /* k */
static const double threshold = 13; /* h */
static const double winsor = 3;     /* In sigma. */
static const double least = .01;    /* Of the arm's mean: a smaller sigma is of no use. */
static const double scaled_to = 10; /* Outcomes. */
static const double restore_above = 2;
enum { QUIET = 20, BURN_IN = 5, NOISE_WINDOW = 500, SETTLED_AFTER = 100, RECENT_N = 3 };
enum { FALLING, RISING };

struct drift *drift_new(void)
{
    struct drift *d = mem_calloc(1, sizeof *d);
    for (int g = 0; d && g < METRIC_GROUPS; g++) {
        d->groups[g].scale = 1;
        d->groups[g].matrix.ridge = 1;
    }
    return d;
}

void drift_free(struct drift *d)
{
    for (int g = 0; d && g < METRIC_GROUPS; g++)
        mem_free(d->groups[g].block);
    mem_free(d);
}

static size_t block_doubles(const struct router_config *router, enum metric_group group)
{
    uint32_t d = spec_d(&router->spec);
    size_t metrics = (size_t)__builtin_popcount(stats_group_mask(router, group));
    return 2 * packed_n(d) + metrics * ((size_t)d + RECENT_N);
}

static enum err reserve_block(struct drift_group *g, const struct router_config *router,
                              enum metric_group group)
{
    if (g->block)
        return OK;
    g->block = mem_calloc(block_doubles(router, group), sizeof *g->block);
    if (!g->block)
        return ERR_NOMEM;
    g->matrix.A = g->block;
    g->matrix.P = g->block + packed_n(spec_d(&router->spec));
    return OK;
}

static void drop_block(struct drift_group *g)
{
    mem_free(g->block);
    g->block = g->matrix.A = g->matrix.P = NULL;
}

enum err drift_reserve(struct arm *a, const struct router_config *router, uint64_t ahead)
{
    double reach = (winsor - slack) * ((double)ahead + 1);
    for (int g = 0; g < METRIC_GROUPS; g++) {
        struct drift_group *group = &a->drift->groups[g];
        bool near = false;
        for (uint32_t m = 0; m < router->metrics_n; m++) {
            const struct drift_metric *dm = &a->drift->metrics[m];
            if ((int)router->metrics[m].group == g && dm->seen + ahead + 1 > QUIET)
                near = near || dm->side[FALLING].g + reach > threshold ||
                       dm->side[RISING].g + reach > threshold;
        }
        if (near)
            TRY(reserve_block(group, router, (enum metric_group)g));
        else if (!group->kept && ahead == 0)
            drop_block(group);
    }
    return OK;
}

bool drift_suspect(const struct arm *a)
{
    return a->drift->groups[METRIC_RATED].kept || a->drift->groups[METRIC_SERVED].kept;
}

/* ---- keeping aside ---- */

/* Calls for each metric of the group where its b and its recent stand in the block. */
static double *metric_place(const struct drift_group *g, const struct router_config *router,
                            uint32_t metric)
{
    uint32_t d = spec_d(&router->spec);
    double *at = g->block + 2 * packed_n(d);
    for (uint32_t m = 0; m < metric; m++)
        if (router->metrics[m].group == router->metrics[metric].group)
            at += d + RECENT_N;
    return at;
}

static void keep(struct arm *a, const struct router_config *router, enum metric_group group)
{
    struct drift_group *g = &a->drift->groups[group];
    const struct matrix_stats *from = &a->groups[group];
    uint32_t d = spec_d(&router->spec);
    assert(g->block && "drift_reserve was not asked");
    memcpy(g->matrix.A, from->A, packed_n(d) * sizeof(double));
    memcpy(g->matrix.P, from->P, packed_n(d) * sizeof(double));
    g->matrix.evidence = from->evidence;
    g->matrix.ridge = from->ridge;
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        if (router->metrics[m].group != group)
            continue;
        double *at = metric_place(g, router, m);
        const struct recent *r = &a->metrics[m].recent;
        memcpy(at, a->metrics[m].b, d * sizeof *at);
        memcpy(at + d, (const double[RECENT_N]){r->n, r->sum_raw, r->sum_z}, RECENT_N * sizeof *at);
    }
    g->kept = true;
}

static void restore(struct arm *a, const struct router_config *router, enum metric_group group,
                    uint64_t clock)
{
    struct drift_group *g = &a->drift->groups[group];
    struct matrix_stats *to = &a->groups[group];
    uint32_t d = spec_d(&router->spec);
    memcpy(to->A, g->matrix.A, packed_n(d) * sizeof(double));
    memcpy(to->P, g->matrix.P, packed_n(d) * sizeof(double));
    to->evidence = g->matrix.evidence;
    to->ridge = g->matrix.ridge;
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        if (router->metrics[m].group != group)
            continue;
        const double *at = metric_place(g, router, m);
        memcpy(a->metrics[m].b, at, d * sizeof *at);
        a->metrics[m].recent = (struct recent){at[d], at[d + 1], at[d + 2]};
    }
    g->kept = false;
    g->void_from = g->scaled_at;
    g->void_to = clock;
    g->scaled_at = 0;
    g->scale = 1;
}

double drift_weight(const struct arm *a, enum metric_group group, uint64_t clock, uint32_t learned)
{
    const struct drift_group *g = &a->drift->groups[group];
    uint32_t ago = (uint32_t)clock - learned;
    uint64_t at = clock > ago ? clock - ago : 0;
    if (at > g->void_from && at <= g->void_to)
        return 0;
    return at <= g->scaled_at ? g->scale : 1;
}

void drift_fade(struct arm *a, const struct router_config *router, double f, double *scratch)
{
    uint32_t d = spec_d(&router->spec);
    for (int k = 0; k < METRIC_GROUPS; k++) {
        struct drift_group *g = &a->drift->groups[k];
        if (!g->kept)
            continue;
        stats_fade_matrix(&g->matrix, router->settings.ridge[k], f, d, scratch);
        double *rest = g->block + 2 * packed_n(d),
               *end = g->block + block_doubles(router, (enum metric_group)k);
        for (; rest < end; rest++)
            *rest *= f;
    }
}

void drift_reprice(struct arm *a, const struct router_config *router, uint32_t metric,
                   const struct stats_price *price)
{
    struct drift_group *g = &a->drift->groups[router->metrics[metric].group];
    struct drift_metric *dm = &a->drift->metrics[metric];
    uint32_t d = spec_d(&router->spec);
    dm->noise *= price->scale * price->scale;
    dm->seen = 0;
    memset(dm->side, 0, sizeof dm->side);
    if (!g->kept)
        return;
    double *at = metric_place(g, router, metric);
    for (uint32_t i = 0; i < d; i++)
        at[i] *= price->scale;
    at[d + 1] *= price->factor;
    at[d + 2] = price->scale * at[d + 2] + price->shift * at[d];
}

/* ---- the test ---- */

static double clip(double v, double limit)
{
    return v > limit ? limit : v < -limit ? -limit : v;
}

static double sigma_of(const struct arm *a, uint32_t metric)
{
    const struct recent *r = &a->metrics[metric].recent;
    double floor = r->n > 0 ? least * fabs(r->sum_z / r->n) : 0;
    double sigma = sqrt(a->drift->metrics[metric].noise);
    return sigma > floor ? sigma : floor;
}

static void learn_noise(struct drift_metric *dm, double e)
{
    if (dm->noise_n >= BURN_IN) {
        e = clip(e, winsor * sqrt(dm->noise));
    }
    dm->noise_n += dm->noise_n < NOISE_WINDOW;
    dm->noise += (e * e - dm->noise) / (double)dm->noise_n;
}

static bool step(struct drift_side *s, double v, double e, double z, double raw)
{
    s->g += v - slack;
    if (!(s->g > 0)) {
        memset(s, 0, sizeof *s);
        return false;
    }
    s->n++;
    s->sum_e += e;
    s->sum_z += z;
    s->sum_raw += raw;
    return s->g > threshold;
}

/* The side that alarms; -1: none does. */
static int test(struct arm *a, const struct router_config *router, uint32_t metric, double e,
                double z, double raw)
{
    struct drift_metric *dm = &a->drift->metrics[metric];
    enum metric_group group = router->metrics[metric].group;
    double sigma = sigma_of(a, metric);
    int alarm = -1;
    dm->seen++;
    if (dm->seen > QUIET && sigma > 0 && !a->drift->groups[group].kept) {
        double v = clip(e / sigma, winsor);
        if (step(&dm->side[FALLING], -v, e, z, raw))
            alarm = FALLING;
        if (step(&dm->side[RISING], v, e, z, raw))
            alarm = RISING;
    }
    if (dm->seen > BURN_IN || dm->noise_n > 0)
        learn_noise(dm, e);
    return alarm;
}

/* ---- alarms ---- */

static struct drift_alarm *add_alarm(struct drift_log *log)
{
    if (log->n == DRIFT_ALARMS_MAX) {
        memmove(&log->rows[0], &log->rows[1], (DRIFT_ALARMS_MAX - 1) * sizeof *log->rows);
        log->n--;
    }
    struct drift_alarm *row = &log->rows[log->n++];
    memset(row, 0, sizeof *row);
    row->id = ++log->raised;
    return row;
}

/* The suspicion that is open of the arm's group, if its alarm is still listed, ends. */
static void end_alarm(struct drift_log *log, const struct arm *a,
                      const struct router_config *router, enum metric_group group,
                      enum drift_end end, int64_t at_us)
{
    for (uint32_t i = log->n; i-- > 0;) {
        struct drift_alarm *row = &log->rows[i];
        if (row->arm_uid != a->uid || router->metrics[row->metric].group != group ||
            row->end != DRIFT_OPEN)
            continue;
        row->end = (uint8_t)end;
        row->ended_us = at_us;
    }
}

/* Scales the group, and leaves recent means at what was seen since the change began. */
static void widen(struct arm *a, const struct router_config *router, uint32_t metric, double shift,
                  const struct drift_side *run, double *scratch)
{
    enum metric_group group = router->metrics[metric].group;
    struct matrix_stats *g = &a->groups[group];
    struct metric_stats *s = &a->metrics[metric];
    uint32_t d = spec_d(&router->spec);
    double *column = scratch;
    /* P (b + shift A e0) = P b + shift e0: the whole arm moves by the estimate. */
    for (uint32_t i = 0; i < d; i++)
        column[i] = g->A[packed_n(i)];
    vec_add_scaled(s->b, shift, column, d);
    s->recent.sum_z = s->recent.n * run->sum_z / run->n;
    s->recent.sum_raw = s->recent.n * run->sum_raw / run->n;
}

static void act(struct arm *a, const struct router_config *router, uint32_t metric,
                const struct drift_alarm *row, const struct drift_side *run, uint64_t clock,
                double *scratch)
{
    enum metric_group group = router->metrics[metric].group;
    struct drift_group *g = &a->drift->groups[group];
    double evidence = a->groups[group].evidence;
    if (row->policy == DRIFT_NOTHING)
        return;
    if (row->policy == DRIFT_WIDEN && row->worse)
        keep(a, router, group);
    g->metric = (uint8_t)metric;
    g->gain = 0;
    g->tries = 0;
    g->scale = evidence > scaled_to ? scaled_to / evidence : 1;
    g->scaled_at = clock;
    stats_scale(a, router, group, g->scale, scratch);
    if (row->policy == DRIFT_WIDEN)
        widen(a, router, metric, row->estimate, run, scratch);
}

/* One alarm a report: the tests of the whole group begin anew. */
static void alarm(struct arm *a, const struct router_config *router, uint32_t metric, int side,
                  const struct drift_input *in, struct drift_log *log, double *scratch)
{
    const struct drift_side run = a->drift->metrics[metric].side[side];
    const struct recent *r = &a->metrics[metric].recent;
    enum drift_policy policy = router->settings.drift_policy;
    struct drift_alarm *row = add_alarm(log);
    row->at_us = in->at_us;
    row->arm_uid = a->uid;
    row->arm_version = a->version;
    memcpy(row->arm, a->config.name, NAME_CAP);
    row->metric = (uint8_t)metric;
    row->rising = side == RISING;
    row->worse = row->rising == router->metrics[metric].lower_is_better;
    row->end = row->worse && policy == DRIFT_WIDEN ? DRIFT_OPEN : DRIFT_NONE;
    row->policy = (uint8_t)policy;
    row->estimate = run.sum_e / run.n;
    row->after = run.sum_raw / run.n;
    row->before = r->n > run.n ? (r->sum_raw - run.sum_raw) / (r->n - run.n) : row->after;
    row->pulls = a->metrics[metric].n;
    a->drift->groups[router->metrics[metric].group].alarms++;
    act(a, router, metric, row, &run, in->clock, scratch);
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        if (router->metrics[m].group != router->metrics[metric].group)
            continue;
        a->drift->metrics[m].seen = 0;
        memset(a->drift->metrics[m].side, 0, sizeof a->drift->metrics[m].side);
    }
}

/* ---- what was kept, on trial ---- */

/* z as what was kept predicts it. scratch: 3 d. */
static double kept_prediction(const struct arm *a, const struct pooled *p,
                              const struct router_config *router, uint32_t metric, const double *x,
                              double *scratch)
{
    enum metric_group group = router->metrics[metric].group;
    const struct drift_group *g = &a->drift->groups[group];
    uint32_t d = spec_d(&router->spec);
    double *px = scratch, *u = px + d, *w = u + d;
    packed_multiply(g->matrix.P, d, x, px);
    double z = stats_prior(a, p, router, metric) + vec_dot(px, metric_place(g, router, metric), d);
    z += g->matrix.ridge * router->settings.ridge[group][0] * px[0] *
         stats_level(a, p, router, metric);
    if (group != METRIC_RATED || !router->settings.pooled_slopes)
        return z;
    u[0] = 0;
    for (uint32_t i = 1; i < d; i++)
        u[i] = g->matrix.ridge * router->settings.ridge[METRIC_RATED][1] * px[i];
    packed_multiply(p->matrix.P, d, u, w);
    return z + vec_dot(w, p->b[metric], d);
}

static void weigh_kept(struct arm *a, const struct pooled *p, const struct router_config *router,
                       enum metric_group group, const struct drift_input *in, struct drift_log *log,
                       double *scratch)
{
    struct drift_group *g = &a->drift->groups[group];
    uint32_t m = g->metric;
    double sigma = sigma_of(a, m), limit = winsor * sigma;
    if (!(in->mask >> m & 1) || !(sigma > 0))
        return;
    double old = clip(in->z[m] - kept_prediction(a, p, router, m, in->x, scratch), limit);
    double now = clip(in->residual[m], limit);
    g->gain += .5 * (now * now - old * old) / (sigma * sigma);
    g->gain = g->gain > 0 ? g->gain : 0;
    g->tries++;
    if (g->gain > restore_above) {
        restore(a, router, group, in->clock);
        end_alarm(log, a, router, group, DRIFT_RESTORED, in->at_us);
        memset(a->drift->metrics[m].side, 0, sizeof a->drift->metrics[m].side);
    } else if (g->tries >= SETTLED_AFTER) {
        g->kept = false;
        end_alarm(log, a, router, group, DRIFT_SETTLED, in->at_us);
    }
}

void drift_learn(struct arm *a, const struct pooled *p, const struct router_config *router,
                 enum metric_group group, const struct drift_input *in, struct drift_log *log,
                 double *scratch, struct drift_news *news)
{
    int worst = -1;
    uint32_t metric = 0;
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        if (!(in->mask >> m & 1) || router->metrics[m].group != group)
            continue;
        int side = test(a, router, m, in->residual[m], in->z[m], in->raw[m]);
        if (side >= 0 && worst < 0) {
            worst = side;
            metric = m;
        }
    }
    if (a->drift->groups[group].kept) {
        weigh_kept(a, p, router, group, in, log, scratch);
        news->ended += !a->drift->groups[group].kept;
    } else if (worst >= 0) {
        alarm(a, router, metric, worst, in, log, scratch);
        news->raised++;
    }
}

/* ---- byte forms ---- */

static double take_finite(struct reader *r)
{
    double v = reader_f64(r);
    if (isfinite(v))
        return v;
    r->failed = true;
    return 0;
}

static double take_positive(struct reader *r)
{
    double v = take_finite(r);
    if (v >= 0)
        return v;
    r->failed = true;
    return 0;
}

static bool take_bool(struct reader *r)
{
    uint8_t v = reader_u8(r);
    if (v > 1)
        r->failed = true;
    return v == 1;
}

static void put_side(const struct drift_side *s, struct buf *out)
{
    buf_put_f64(out, s->g);
    buf_put_f64(out, s->n);
    buf_put_f64(out, s->sum_e);
    buf_put_f64(out, s->sum_z);
    buf_put_f64(out, s->sum_raw);
}

static void take_side(struct reader *r, struct drift_side *ret)
{
    ret->g = take_positive(r);
    ret->n = take_positive(r);
    ret->sum_e = take_finite(r);
    ret->sum_z = take_finite(r);
    ret->sum_raw = take_finite(r);
    if ((ret->g > 0) != (ret->n >= 1))
        r->failed = true; /* A run divides by its length. */
}

static void put_group(const struct drift_group *g, const struct router_config *router,
                      enum metric_group group, struct buf *out)
{
    buf_put_u8(out, g->kept);
    buf_put_u8(out, g->metric);
    buf_put_f64(out, g->gain);
    buf_put_u64(out, g->tries);
    buf_put_u64(out, g->alarms);
    buf_put_u64(out, g->scaled_at);
    buf_put_f64(out, g->scale);
    buf_put_u64(out, g->void_from);
    buf_put_u64(out, g->void_to);
    if (!g->kept)
        return;
    buf_put_f64(out, g->matrix.evidence);
    buf_put_f64(out, g->matrix.ridge);
    buf_put(out, g->block, block_doubles(router, group) * sizeof *g->block);
}

static enum err take_group(struct reader *r, const struct router_config *router,
                           enum metric_group group, struct drift_group *ret)
{
    ret->kept = take_bool(r);
    ret->metric = reader_u8(r);
    ret->gain = take_positive(r);
    ret->tries = reader_u64(r);
    ret->alarms = reader_u64(r);
    ret->scaled_at = reader_u64(r);
    ret->scale = take_positive(r);
    ret->void_from = reader_u64(r);
    ret->void_to = reader_u64(r);
    if (r->failed || (ret->kept && (ret->metric >= router->metrics_n ||
                                    router->metrics[ret->metric].group != group)))
        return ERR_CORRUPT;
    if (!ret->kept)
        return OK;
    TRY(reserve_block(ret, router, group));
    ret->matrix.evidence = take_positive(r);
    ret->matrix.ridge = take_positive(r);
    size_t n = block_doubles(router, group);
    reader_copy(r, ret->block, n * sizeof *ret->block);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(ret->block[i]))
            return ERR_CORRUPT;
    return r->failed || !(ret->matrix.ridge > 0 && ret->matrix.ridge <= 1) ? ERR_CORRUPT : OK;
}

void drift_encode(const struct arm *a, const struct router_config *router, struct buf *out)
{
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        const struct drift_metric *dm = &a->drift->metrics[m];
        buf_put_u64(out, dm->seen);
        buf_put_u64(out, dm->noise_n);
        buf_put_f64(out, dm->noise);
        put_side(&dm->side[FALLING], out);
        put_side(&dm->side[RISING], out);
    }
    for (int g = 0; g < METRIC_GROUPS; g++)
        put_group(&a->drift->groups[g], router, (enum metric_group)g, out);
}

enum err drift_decode(struct reader *r, const struct router_config *router, struct arm *a)
{
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        struct drift_metric *dm = &a->drift->metrics[m];
        dm->seen = reader_u64(r);
        dm->noise_n = reader_u64(r);
        dm->noise = take_positive(r);
        take_side(r, &dm->side[FALLING]);
        take_side(r, &dm->side[RISING]);
        if (dm->noise_n > NOISE_WINDOW)
            r->failed = true;
    }
    for (int g = 0; g < METRIC_GROUPS; g++)
        TRY(take_group(r, router, (enum metric_group)g, &a->drift->groups[g]));
    return r->failed ? ERR_CORRUPT : OK;
}

void drift_log_encode(const struct drift_log *log, struct buf *out)
{
    buf_put_u64(out, log->raised);
    buf_put_u32(out, log->n);
    for (uint32_t i = 0; i < log->n; i++) {
        const struct drift_alarm *a = &log->rows[i];
        buf_put_u64(out, a->id);
        buf_put_u64(out, (uint64_t)a->at_us);
        buf_put_u32(out, a->arm_uid);
        buf_put_u32(out, a->arm_version);
        buf_put_str(out, a->arm);
        buf_put_u8(out, a->metric);
        buf_put_u8(out, a->rising);
        buf_put_u8(out, a->worse);
        buf_put_u8(out, a->policy);
        buf_put_u8(out, a->end);
        buf_put_u64(out, (uint64_t)a->ended_us);
        buf_put_f64(out, a->estimate);
        buf_put_f64(out, a->before);
        buf_put_f64(out, a->after);
        buf_put_u64(out, a->pulls);
    }
}

static void take_alarm(struct reader *r, uint32_t metrics_n, struct drift_alarm *ret)
{
    ret->id = reader_u64(r);
    ret->at_us = (int64_t)reader_u64(r);
    ret->arm_uid = reader_u32(r);
    ret->arm_version = reader_u32(r);
    size_t before = reader_left(r);
    reader_str(r, ret->arm, sizeof ret->arm);
    size_t len = before - reader_left(r) - sizeof(uint16_t);
    ret->metric = reader_u8(r);
    ret->rising = take_bool(r);
    ret->worse = take_bool(r);
    ret->policy = reader_u8(r);
    ret->end = reader_u8(r);
    ret->ended_us = (int64_t)reader_u64(r);
    ret->estimate = take_finite(r);
    ret->before = take_finite(r);
    ret->after = take_finite(r);
    ret->pulls = reader_u64(r);
    if (r->failed || !name_valid(ret->arm, len) || ret->metric >= metrics_n ||
        ret->policy >= DRIFT_POLICIES || ret->end >= DRIFT_ENDS)
        r->failed = true;
}

void drift_log_decode(struct reader *r, uint32_t metrics_n, struct drift_log *ret)
{
    ret->raised = reader_u64(r);
    uint32_t n = reader_u32(r);
    if (r->failed || n > DRIFT_ALARMS_MAX || n > ret->raised) {
        r->failed = true;
        return;
    }
    for (ret->n = 0; ret->n < n && !r->failed; ret->n++)
        take_alarm(r, metrics_n, &ret->rows[ret->n]);
}
