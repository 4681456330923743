#include "server/lab/sweep.h"

#include "server/lab/predict.h"
#include "state/base/mem.h"

#include <math.h>
#include <string.h>

const char *sweep_warning_text(uint32_t warning)
{
    static const char *const texts[] = {
#define X(name, text) text,
        SWEEP_WARNINGS(X)
#undef X
    };
    return warning < SWEEP_WARNINGS_N ? texts[warning] : NULL;
}

const char *sweep_warning_code(uint32_t warning)
{
    static const char *const codes[] = {
#define X(name, text) &#name[sizeof "SWEEP"],
        SWEEP_WARNINGS(X)
#undef X
    };
    return warning < SWEEP_WARNINGS_N ? codes[warning] : NULL;
}

/* A sweep on its way. */
struct sweep {
    const struct sweep_options *o;
    struct router_config config;
    struct target *target; /* Frozen at the view. */
    double weights[MAX_METRICS];
    struct sweep_step *steps;
    double *shares;
    struct err_detail *detail;
};

static enum err check_metric(const struct sweep *s, uint32_t m, enum metric_group group,
                             const char *what)
{
    const struct router_config *c = &s->config;
    if (m < c->metrics_n && c->metrics[m].group == group)
        return OK;
    return err_say(s->detail, ERR_INVALID,
                   "a sweep's %s metric must be one of the router's %s ones", what,
                   group == METRIC_RATED ? "rated" : "served");
}

/* The arms' predictions of one metric at a context, and what is known to be true. */
struct column {
    uint32_t m;
    double z, raw,
        truth; /* Means under the step's mass; truth NAN: not known of an arm with any. */
};

static void fill_column(const struct sweep *s, const struct logged_row *row, const float *pmf,
                        struct column *c)
{
    const struct router_view *view = target_view(s->target);
    for (uint32_t i = 0; i < row->arms_n; i++) {
        double mass = (double)pmf[i];
        if (!(mass > 0))
            continue;
        const struct arm_view *arm = view->arms[target_arm(s->target, row->arms[i])];
        double z = predict_z(view, arm, c->m, row->x);
        c->z += mass * z;
        c->raw += mass * predict_raw(view, arm, c->m, z);
        c->truth += row->truth ? mass * row->truth[(size_t)i * view->config->metrics_n + c->m]
                               : (double)NAN;
    }
}

static enum err add_step(struct sweep *s, const struct logged_row *row, uint32_t k, uint64_t n)
{
    struct sweep_step *step = &s->steps[k];
    struct target_decision d;
    struct column rated = {.m = s->o->rated}, served = {.m = s->o->served};
    s->weights[s->o->rated] = 1 - step->lambda;
    s->weights[s->o->served] = step->lambda;
    TRY(target_decide(s->target, row, s->weights, n, &d));
    fill_column(s, row, d.pmf, &rated);
    fill_column(s, row, d.pmf, &served);
    step->rated += rated.raw;
    step->served += served.raw;
    step->rated_z += rated.z;
    step->served_z += served.z;
    if (!isnan(rated.truth) && !isnan(served.truth)) {
        step->true_rated += rated.truth;
        step->true_served += served.truth;
        step->true_rows++;
    }
    for (uint32_t i = 0; i < row->arms_n; i++)
        s->shares[(size_t)k * s->o->arms_n + row->arms[i]] += (double)d.pmf[i];
    return OK;
}

static enum err ask_rows(struct sweep *s, const struct logged_source *source,
                         struct sweep_counts *ret)
{
    const struct sweep_options *o = s->o;
    while (!o->rows_max || ret->rows < o->rows_max) {
        struct logged_row row;
        bool end = false;
        memset(&row, 0, sizeof row);
        TRY(source->next(source->self, &row, &end, s->detail));
        if (end)
            break;
        TRY(logged_check(&row, o->arms_n, spec_d(&s->config.spec), s->config.metrics_n, s->detail));
        memset(&row.price, 0, sizeof row.price);
        uint32_t left = target_arms_left(s->target, &row);
        ret->arms_gone += left == 0;
        for (uint32_t k = 0; left && k < o->steps; k++)
            TRY(add_step(s, &row, k, ret->rows));
        ret->arms_fewer += left && left < row.arms_n;
        ret->rows += left > 0;
        TRY(lab_watch_row(&o->watch, ret->rows + ret->arms_gone, o->rows_max));
    }
    return OK;
}

static void finish(struct sweep *s, uint64_t rows)
{
    double n = rows ? (double)rows : (double)NAN;
    for (uint32_t k = 0; k < s->o->steps; k++) {
        struct sweep_step *step = &s->steps[k];
        double known = step->true_rows ? (double)step->true_rows : (double)NAN;
        step->rated /= n;
        step->served /= n;
        step->rated_z /= n;
        step->served_z /= n;
        step->true_rated /= known;
        step->true_served /= known;
        for (uint32_t i = 0; rows && i < s->o->arms_n; i++)
            s->shares[(size_t)k * s->o->arms_n + i] /= n;
    }
}

static uint64_t observed(const struct router_view *router, uint32_t m)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < router->arms_n; i++)
        n += router->arms[i]->n[m];
    return n;
}

static uint32_t warnings_of(const struct sweep_options *o, const struct sweep_counts *c)
{
    bool rated = observed(o->router, o->rated) > 0, served = observed(o->router, o->served) > 0;
    uint32_t mask = c->arms_gone || c->arms_fewer ? 1u << SWEEP_ARMS_GONE : 0;
    if (!rated && !served)
        return mask | 1u << SWEEP_NOT_LEARNED;
    return mask | (rated ? 0 : 1u << SWEEP_RATED_UNKNOWN) |
           (served ? 0 : 1u << SWEEP_SERVED_UNKNOWN);
}

static enum err open_sweep(struct sweep *s)
{
    const struct sweep_options *o = s->o;
    s->config = o->config ? *o->config : *o->router->config;
    TRY(check_metric(s, o->rated, METRIC_RATED, "first"));
    TRY(check_metric(s, o->served, METRIC_SERVED, "second"));
    if (o->steps < 2 || o->steps > SWEEP_STEPS_MAX)
        return err_say(s->detail, ERR_OUT_OF_RANGE, "a sweep has 2 to %d steps, not %u",
                       SWEEP_STEPS_MAX, o->steps);
    if (!o->keep_policy) {
        struct router_settings *settings = &s->config.settings;
        memset(settings->policy, 0, sizeof settings->policy);
        memcpy(settings->policy, "greedy", sizeof "greedy");
        settings->explore_floor = 0;
        settings->newcomer_pulls = 0;
    }
    memset(s->shares, 0, (size_t)o->steps * o->arms_n * sizeof *s->shares);
    memset(s->steps, 0, o->steps * sizeof *s->steps);
    for (uint32_t k = 0; k < o->steps; k++)
        s->steps[k].lambda = (double)k / (o->steps - 1);
    const struct target_options t = {.config = &s->config,
                                     .arms = o->arms,
                                     .arms_n = o->arms_n,
                                     .frozen = o->router,
                                     .seed = s->config.settings.seed};
    return target_new(&t, &s->target, s->detail);
}

enum err sweep_run(const struct sweep_options *o, const struct logged_source *source,
                   struct sweep_step *ret_steps, double *ret_shares,
                   struct sweep_counts *ret_counts, struct err_detail *detail)
{
    struct sweep *s = mem_calloc(1, sizeof *s);
    struct sweep_counts counts = {0, 0, 0, 0};
    if (!s)
        return ERR_NOMEM;
    *s = (struct sweep){.o = o, .steps = ret_steps, .shares = ret_shares, .detail = detail};
    enum err e = open_sweep(s);
    if (e == OK)
        e = ask_rows(s, source, &counts);
    if (e == OK) {
        finish(s, counts.rows);
        counts.warnings = warnings_of(o, &counts);
        *ret_counts = counts;
    }
    target_free(s->target);
    mem_free(s);
    return e;
}
