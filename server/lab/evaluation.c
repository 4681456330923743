#include "server/lab/evaluation.h"

#include "server/lab/predict.h"

#include <string.h>

/* Mass that is worth no warning. */
static const double negligible = 1e-6;

const char *evaluation_warning_text(uint32_t warning)
{
    static const char *const texts[] = {
#define X(name, text) text,
        EVALUATION_WARNINGS(X)
#undef X
    };
    return warning < EVALUATION_WARNINGS_N ? texts[warning] : NULL;
}

const char *evaluation_warning_code(uint32_t warning)
{
    static const char *const codes[] = {
#define X(name, text) &#name[sizeof "WARN"],
        EVALUATION_WARNINGS(X)
#undef X
    };
    return warning < EVALUATION_WARNINGS_N ? codes[warning] : NULL;
}

const char *verdict_text(enum verdict v)
{
    switch (v) {
    case VERDICT_NONE:
        return "no verdict";
    case VERDICT_BETTER:
        return "better";
    case VERDICT_WORSE:
        return "worse";
    case VERDICT_CANNOT_TELL:
        return "cannot tell";
    }
    return "";
}

void evaluation_init(struct evaluation_sums *s)
{
    memset(s, 0, sizeof *s);
    s->w_possible = 1;
    estimate_sums_init(&s->utility);
    for (uint32_t m = 0; m < MAX_METRICS; m++)
        estimate_sums_init(&s->metric[m]);
}

double evaluation_utility(const struct utility *u, const struct logged_row *row)
{
    double sum = 0;
    if (u->mask & ~row->has_mask)
        return (double)NAN;
    for (uint16_t left = u->mask; left; left = (uint16_t)(left & (left - 1))) {
        uint32_t m = (uint32_t)__builtin_ctz(left);
        sum += u->weight[m] * row->z[m];
    }
    return sum;
}

/* q and v of one metric, on the unit interval and in its own unit. */
struct predicted {
    double q_z, v_z, q_raw, v_raw;
};

static struct predicted predict_metric(const struct evaluated_row *in, uint32_t m)
{
    struct predicted p = {0};
    for (uint32_t i = 0; i < in->row->arms_n; i++) {
        double mass = (double)in->pmf[i];
        bool chosen = i == in->row->chosen && in->at[i] != EVALUATION_NO_ARM;
        if (!chosen && !(mass > 0))
            continue;
        const struct arm_view *arm = in->view->arms[in->at[i]];
        double z = predict_z(in->view, arm, m, in->row->x);
        double raw = predict_raw(in->view, arm, m, z);
        p.v_z += mass * z;
        p.v_raw += mass * raw;
        if (chosen) {
            p.q_z = z;
            p.q_raw = raw;
        }
    }
    return p;
}

static double possible_weight(const struct evaluated_row *in)
{
    const struct logged_row *row = in->row;
    double most = 0;
    if (!row->pmf)
        return 1 / row->propensity;
    for (uint32_t i = 0; i < row->arms_n; i++)
        if (row->pmf[i] > 0)
            most = fmax(most, (double)in->pmf[i] / (double)row->pmf[i]);
    return most;
}

/* Mass of the target on arms that the log could not, or did never, choose. */
static double unsupported_mass(const struct evaluation_sums *s, const struct evaluated_row *in)
{
    const struct logged_row *row = in->row;
    double mass = 0;
    for (uint32_t i = 0; i < row->arms_n; i++) {
        bool never = s->logged_n && s->logged_n[row->arms[i]] == 0;
        if (never || (row->pmf && !(row->pmf[i] > 0)))
            mass += (double)in->pmf[i];
    }
    return mass;
}

static void add_overlap(struct evaluation_sums *s, const struct evaluated_row *in, double w)
{
    const struct logged_row *row = in->row;
    double unsupported = unsupported_mass(s, in);
    s->w_max = fmax(s->w_max, w);
    s->agreement += (double)in->pmf[row->chosen];
    s->unsupported += unsupported;
    s->unsupported_rows += unsupported > negligible;
    s->logged_share[row->arms[row->chosen]] += 1;
    for (uint32_t i = 0; i < row->arms_n; i++)
        s->target_share[row->arms[i]] += (double)in->pmf[i];
}

static void widen(struct evaluation_sums *s, const struct utility *u)
{
    double low = 0, high = 0;
    for (uint32_t m = 0; m < MAX_METRICS; m++) {
        low += fmin(0, u->weight[m]);
        high += fmax(0, u->weight[m]);
    }
    s->low = fmin(s->low, low);
    s->high = fmax(s->high, high);
}

bool evaluation_add(struct evaluation_sums *s, const struct evaluated_row *in, uint16_t fresh)
{
    const struct logged_row *row = in->row;
    const struct utility *u = in->utility;
    double w = (double)in->pmf[row->chosen] / row->propensity, utility = evaluation_utility(u, row);
    bool known = !isnan(utility) && !(u->mask & ~fresh);
    struct estimate_input all = {.w = w, .r = utility};
    s->w_possible = fmax(s->w_possible, possible_weight(in));
    uint16_t wanted = (uint16_t)(row->has_mask & fresh);
    for (; wanted; wanted = (uint16_t)(wanted & (wanted - 1))) {
        uint32_t m = (uint32_t)__builtin_ctz(wanted);
        struct predicted p = predict_metric(in, m);
        const struct estimate_input one = {w, row->raw[m], p.q_raw, p.v_raw};
        estimate_add(&s->metric[m], &one);
        all.q += u->weight[m] * p.q_z;
        all.v += u->weight[m] * p.v_z;
    }
    if (!known)
        return false;
    estimate_add(&s->utility, &all);
    widen(s, u);
    add_overlap(s, in, w);
    return true;
}

void evaluation_add_replay(struct evaluation_sums *s, const struct logged_row *row, double utility)
{
    estimate_add_replay(&s->utility, utility);
    for (uint32_t m = 0; m < MAX_METRICS; m++)
        if (row->has_mask >> m & 1)
            estimate_add_replay(&s->metric[m], row->raw[m]);
}

static void finish_shares(const struct evaluation_sums *s, struct evaluation *ret, uint32_t arms_n)
{
    for (uint32_t i = 0; i < arms_n && ret->used; i++) {
        s->logged_share[i] /= (double)ret->used;
        s->target_share[i] /= (double)ret->used;
        ret->never_logged += s->target_share[i] > negligible && s->logged_n && s->logged_n[i] == 0;
    }
}

/* Mean weights this far from one do not happen: 3.3 standard errors, and a twentieth. */
static bool weights_off(const struct moments *m)
{
    double n = (double)m->n, mean = m->w / n, variance = fmax(0, m->ww / n - mean * mean);
    return fabs(mean - 1) > .05 && fabs(mean - 1) > 3.3 * sqrt(variance / n);
}

static uint32_t warnings_of(const struct evaluation_sums *s, const struct evaluation *r)
{
    bool on[EVALUATION_WARNINGS_N] = {false};
    uint32_t mask = 0;
    on[WARN_NO_ROWS] = r->used == 0;
    on[WARN_ESS] = r->used && r->ess < EVALUATION_ESS_LEAST;
    on[WARN_UNSUPPORTED] = r->unsupported > negligible;
    on[WARN_NEVER_LOGGED] = r->never_logged > 0;
    on[WARN_WEIGHTS] = r->used && weights_off(&s->utility.ips);
    on[WARN_LARGE_WEIGHT] = r->used && r->weight_max > .1 * s->utility.ips.w;
    on[WARN_LEFT_OUT] = (double)r->not_evaluable > .1 * (double)r->rows;
    on[WARN_UNREPORTED] = (double)r->unreported > .5 * (double)r->rows;
    on[WARN_FAILURES] = r->unreported_failures > 0;
    on[WARN_IN_SAMPLE] = r->in_sample > 0;
    on[WARN_REPLAY_BIASED] = r->replay_below > 0;
    on[WARN_PRICED] = r->priced > 0;
    on[WARN_UNPRICED] = r->unpriced > 0;
    on[WARN_ARMS_GONE] = r->arms_fewer > 0 || r->arms_gone > 0;
    on[WARN_SAMPLED] = r->beyond_sample > 0;
    for (uint32_t i = 0; i < EVALUATION_WARNINGS_N; i++)
        mask |= on[i] ? 1u << i : 0;
    return mask;
}

static enum verdict verdict_of(const struct evaluation *r)
{
    const struct interval *less = &r->utility.dr_less_logged.interval;
    uint32_t bad = 1u << WARN_NO_ROWS | 1u << WARN_ESS | 1u << WARN_WEIGHTS;
    if (r->warnings & bad || r->unsupported > EVALUATION_UNSUPPORTED_MOST)
        return VERDICT_NONE;
    return less->low > 0 ? VERDICT_BETTER : less->high < 0 ? VERDICT_WORSE : VERDICT_CANNOT_TELL;
}

void evaluation_finish(const struct evaluation_sums *s, const struct router_config *config,
                       uint32_t arms_n, struct evaluation *ret)
{
    const struct moments *w = &s->utility.ips;
    double n = (double)w->n;
    ret->used = w->n;
    estimate_finish(&s->utility, s->w_possible, s->low, s->high, &ret->utility);
    for (uint32_t m = 0; m < config->metrics_n; m++) {
        const struct metric_def *def = &config->metrics[m];
        bool rated = def->group == METRIC_RATED;
        estimate_finish(&s->metric[m], s->w_possible, rated ? def->min : (double)NAN,
                        rated ? def->max : (double)NAN, &ret->metric[m]);
    }
    ret->ess = ret->utility.ess;
    ret->weight_max = s->w_max;
    ret->weight_possible = s->w_possible;
    ret->unsupported_rows = s->unsupported_rows;
    if (ret->used) {
        ret->weight_mean = w->w / n;
        ret->unsupported = s->unsupported / n;
        ret->agreement = s->agreement / n;
    }
    finish_shares(s, ret, arms_n);
    ret->warnings = warnings_of(s, ret);
    ret->verdict = verdict_of(ret);
}
