#include "tests/unit/model/given.h"

#include "state/base/rng.h"
#include "state/math/packed.h"
#include "state/model/settings.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

void given_config(struct router_config *ret_config)
{
    settings_defaults(ret_config, "r");
    ret_config->spec =
        (struct feature_spec){.task_slots = 0, .scalars = false, .features_n = GIVEN_D - 1};
    ret_config->settings.seed = 7;
    ret_config->settings.drift_policy = DRIFT_NOTHING; /* Sums stay plain sums. */
    ret_config->settings.ridge[METRIC_RATED][1] = 2;
}

void given_open(struct given *g, const struct router_config *config)
{
    memset(g, 0, sizeof *g);
    g->now_us = 1700000000000000;
    assert_int_equal(model_new(&g->model), OK);
    g->event.kind = EVENT_ROUTER_CREATE;
    g->event.u.router = *config;
    struct fold_result r = given_fold(g);
    assert_int_equal(r.err, OK);
    g->router = model_router(g->model, r.uid);
    assert_non_null(g->router);
}

void given_close(struct given *g)
{
    model_free(g->model);
}

struct fold_result given_fold(struct given *g)
{
    struct buf record;
    buf_init(&record);
    g->now_us += 1000000;
    g->event.at_us = g->now_us;
    event_encode(&g->event, &record);
    assert_int_equal(buf_error(&record), OK);
    assert_int_equal(event_decode((struct slice){record.data, record.len}, &g->decoded), OK);
    struct fold_result foreseen, r;
    enum err e = fold_check(g->model, &g->decoded, &foreseen);
    assert_int_equal(model_reserve(g->model, &g->decoded, 0), OK);
    if (e == OK)
        e = fold_check_reserved(g->model, &g->decoded);
    fold_event(g->model, &g->decoded, g->model->position + 1, &r);
    if (e != OK)
        assert_int_equal(r.err, e);
    assert_int_equal(r.duplicate, foreseen.duplicate);
    buf_done(&record);
    g->last = r;
    return r;
}

uint32_t given_arm(struct given *g, const char *name)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_ARM_ADD;
    g->event.u.arm.router_uid = g->router->uid;
    strcpy(g->event.u.arm.config.name, name);
    struct fold_result r = given_fold(g);
    assert_int_equal(r.err, OK);
    return r.uid;
}

struct arm *given_find(const struct given *g, uint32_t uid)
{
    struct arm *a = router_arm(g->router, uid);
    assert_non_null(a);
    return a;
}

struct decision given_decision(struct given *g, uint32_t arm_uid, uint64_t seed)
{
    struct decision d;
    memset(&d, 0, sizeof d);
    uint64_t n = ++g->ids;
    memcpy(d.id, &n, sizeof n);
    d.router_uid = g->router->uid;
    d.arm_uid = arm_uid;
    d.spec_hash = g->router->hash;
    d.issued_us = g->now_us;
    d.propensity = 1;
    d.reason = REASON_EXPLOIT;
    d.d = (uint16_t)g->router->d;
    d.x[0] = 1;
    for (uint32_t i = 1; i < d.d; i++)
        d.x[i] = (float)(rng_uniform(seed, i) - .5);
    return d;
}

struct fold_result given_report(struct given *g, const struct decision *d, uint16_t mask,
                                const double *z, enum outcome_status status)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_OUTCOME;
    struct event_outcome *o = &g->event.u.outcome;
    o->decision = *d;
    o->status = status;
    for (uint32_t m = 0; m < MAX_METRICS; m++)
        if (mask >> m & 1)
            o->metrics[o->metrics_n++] =
                (struct outcome_metric){.index = (uint8_t)m, .raw = 10 * z[m], .z = z[m]};
    return given_fold(g);
}

struct buf given_bytes(const struct given *g)
{
    struct buf b;
    buf_init(&b);
    model_encode(g->model, &b);
    assert_int_equal(buf_error(&b), OK);
    return b;
}

double given_z(uint64_t seed, uint64_t counter)
{
    return (double)rng_below(seed, counter, 257) / 256;
}

void given_theta(const struct given *g, uint32_t arm_uid, uint32_t metric, double *ret_theta)
{
    const struct router *r = g->router;
    const struct arm *a = given_find(g, arm_uid);
    double target[MAX_D];
    pooled_slopes(r->pooled, &r->config, metric, target);
    const struct matrix_stats *matrix = &a->groups[r->config.metrics[metric].group];
    double ridge = matrix->ridge * r->config.settings.ridge[METRIC_RATED][1];
    for (uint32_t i = 0; i < r->d; i++)
        target[i] = a->metrics[metric].b[i] + ridge * target[i];
    target[0] += matrix->ridge * r->config.settings.ridge[METRIC_RATED][0] *
                 stats_level(a, r->pooled, &r->config, metric);
    packed_multiply(matrix->P, r->d, target, ret_theta);
    ret_theta[0] += stats_prior(a, r->pooled, &r->config, metric);
}

double given_predict(const struct given *g, uint32_t arm_uid, uint32_t metric, const double *x)
{
    double theta[MAX_D];
    given_theta(g, arm_uid, metric, theta);
    return vec_dot(theta, x, g->router->d);
}
