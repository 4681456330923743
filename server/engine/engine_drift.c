/* engine_drift.c - alarms and what follows them; arms that change price, drain, or begin anew. */
#include "server/engine/engine_parts.h"

#include <math.h>
#include <string.h>

static const double factor_least = 1e-3, factor_most = 1e3;
static const double strength_most = 1e6;

void engine_alarmed(struct engine *e, uint32_t router_uid, const struct fold_result *result)
{
    pacers_doubt(e->pacers, router_uid);
    if (result->alarms)
        log_event(e->o.log, LOG_WARN, "alarm", LOG_UINT("router_uid", router_uid),
                  LOG_UINT("alarms", result->alarms),
                  LOG_STR("hint", "an arm is not what it was; shuntctl alarms says which"),
                  LOG_END);
}

/* What an arm operation is about. */
struct target {
    uint32_t router_uid, arm_uid;
    int metric; /* -1: none of that name. */
    bool served;
    struct metric_def def;
    struct arm_config config;
};

static enum err look_up(struct engine_worker *w, struct slice router, struct slice arm,
                        struct slice metric, struct target *ret, struct err_detail *detail)
{
    const struct router_view *r;
    uint32_t k = 0;
    enum err e = engine_find_arm(engine_snapshot_acquire(w), router, arm, &r, &k, detail);
    if (e == OK) {
        ret->router_uid = r->uid;
        ret->arm_uid = r->arms[k]->uid;
        ret->config = *r->arms[k]->config;
        ret->metric = metric.len ? settings_metric_index(r->config, metric.data, metric.len) : -1;
        if (ret->metric >= 0)
            ret->def = r->config->metrics[ret->metric];
    }
    engine_snapshot_release(w);
    return e;
}

static enum err submit(struct engine_worker *w, const char *what, struct err_detail *detail)
{
    enum err e = engine_submit(w, &w->event, NULL);
    return e == OK ? OK : err_say(detail, e, "%s", what);
}

static struct event *fresh(struct engine_worker *w, enum event_kind kind)
{
    memset(&w->event, 0, sizeof w->event);
    w->event.kind = kind;
    w->event.at_us = clock_unix_us();
    return &w->event;
}

/* raw' = f raw on the unit interval. Here, since fold knows no logarithm. */
static void scale_price(const struct metric_def *m, double factor, struct event_arm_price *ret)
{
    ret->factor = factor;
    if (m->logarithmic) {
        ret->z_scale = 1;
        ret->z_shift = log(factor) / (log(m->norm_high) - log(m->norm_low));
    } else {
        ret->z_scale = factor;
        ret->z_shift = (factor - 1) * m->norm_low / (m->norm_high - m->norm_low);
    }
}

enum err engine_arm_price(struct engine_worker *w, struct slice router, struct slice arm,
                          struct slice metric, double factor, struct err_detail *detail)
{
    struct target t;
    char name[NAME_CAP];
    if (!(factor >= factor_least && factor <= factor_most))
        return err_say(detail, ERR_OUT_OF_RANGE, "factor is %.10g; it must lie in [%g, %g]", factor,
                       factor_least, factor_most);
    TRY(engine_name(metric, "the metric", name, detail));
    TRY(look_up(w, router, arm, metric, &t, detail));
    if (t.metric < 0)
        return err_say(detail, ERR_METRIC_NOT_FOUND, "the router has no metric `%s`", name);
    if (t.def.group != METRIC_SERVED)
        return err_say(detail, ERR_INVALID, "metric `%s` is rated, not served: it has no price",
                       name);
    struct event_arm_price *p = &fresh(w, EVENT_ARM_PRICE)->u.price;
    p->router_uid = t.router_uid;
    p->arm_uid = t.arm_uid;
    p->metric = (uint8_t)t.metric;
    scale_price(&t.def, factor, p);
    if (!(fabs(p->z_shift) <= 1e6))
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "factor %.10g moves metric `%s` far off its norm_low and norm_high", factor,
                       name);
    TRY(submit(w, "the arm's price was not changed", detail));
    pacers_doubt(w->engine->pacers, t.router_uid);
    return OK;
}

enum err engine_arm_drain(struct engine_worker *w, struct slice router, struct slice arm,
                          struct err_detail *detail)
{
    struct target t;
    TRY(look_up(w, router, arm, (struct slice){NULL, 0}, &t, detail));
    fresh(w, EVENT_ARM_STATE)->u.state =
        (struct event_arm_state){t.router_uid, t.arm_uid, true, true};
    return submit(w, "the arm's state was not changed", detail);
}

static enum err check_strength(double strength, struct err_detail *detail)
{
    if (strength > 0 && strength <= strength_most)
        return OK;
    return err_say(detail, ERR_OUT_OF_RANGE, "strength is %.10g; it must lie in (0, %g] outcomes",
                   strength, strength_most);
}

enum err engine_arm_add_like(struct engine_worker *w, struct slice router,
                             const struct arm_config *arm, struct slice like, double strength,
                             struct err_detail *detail)
{
    struct target t;
    TRY(settings_check_arm(arm, detail));
    TRY(check_strength(strength, detail));
    TRY(look_up(w, router, like, (struct slice){NULL, 0}, &t, detail));
    struct event_arm *a = &fresh(w, EVENT_ARM_ADD)->u.arm;
    a->router_uid = t.router_uid;
    a->config = *arm;
    a->like_uid = t.arm_uid;
    a->strength = strength;
    enum err e = engine_submit(w, &w->event, NULL);
    return e == OK ? OK
                   : err_say(detail, e, "arm `%s` %s", arm->name,
                             e == ERR_ARM_EXISTS ? "exists already" : "was not added");
}

enum err engine_arm_reload(struct engine_worker *w, struct slice router, struct slice arm,
                           double strength, struct err_detail *detail)
{
    struct target t;
    if (strength != 0)
        TRY(check_strength(strength, detail));
    TRY(look_up(w, router, arm, (struct slice){NULL, 0}, &t, detail));
    struct event_arm *a = &fresh(w, EVENT_ARM_ADD)->u.arm;
    a->router_uid = t.router_uid;
    a->config = t.config;
    a->like_uid = strength != 0 ? t.arm_uid : 0;
    a->strength = strength;
    a->replace = true;
    return submit(w, "the arm was not reloaded", detail);
}

uint64_t engine_in_flight(struct engine *e, const struct router_view *r, const struct arm_view *a,
                          int64_t now_us)
{
    uint64_t issued = engine_issued(e, a->uid);
    double waited_s = (double)(now_us - a->drain_since_us) * 1e-6;
    if (a->drain_since_us && waited_s >= r->config->settings.reward_wait_s)
        return 0; /* Too late for what has not come. */
    return issued > a->answered ? issued - a->answered : 0;
}
