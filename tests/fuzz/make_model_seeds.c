/* make_model_seeds DIR - writes the seeds of fuzz_model (into DIR/model) and of fuzz_transfer (into
 * DIR/transfer: `learned`, an arm of that model): a checkpoint's form changes with the
 * model, and a seed of an older form teaches the fuzzer nothing. `empty`: no router. `two_arms`:
 * declared, with descriptors, untaught. `learned`: outcomes in pieces, a failure, a fading gamma
 * that was changed, both sides of a split, an arm that left, a key. `forgotten`: the same without
 * the reports of a source. */
#include "state/model/forget.h"
#include "state/model/model.h"
#include "state/model/transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct maker {
    struct model *model;
    struct event event;
    uint32_t router_uid, arms[3];
    struct forgets forgets;
};

/* Returns the uid that it gave, if it gave one. */
static uint32_t fold(struct maker *k)
{
    struct fold_result r;
    uint32_t uid = k->model->next_uid;
    k->event.at_us = 1700000000000000 + (int64_t)k->model->position * 1000000;
    if (fold_check(k->model, &k->event, &r) != OK ||
        forgets_fold(&k->forgets, k->model, &k->event, k->model->position + 1) != OK)
        abort();
    return uid;
}

static void fresh(struct maker *k, enum event_kind kind)
{
    memset(&k->event, 0, sizeof k->event);
    k->event.kind = kind;
}

static uint32_t add_arm(struct maker *k, const char *name)
{
    fresh(k, EVENT_ARM_ADD);
    struct arm_config *c = &k->event.u.arm.config;
    k->event.u.arm.router_uid = k->router_uid;
    (void)snprintf(c->name, NAME_CAP, "%s", name);
    (void)snprintf(c->family, NAME_CAP, "f");
    c->known = ARM_KNOWS_SIZE;
    c->size_b = 8;
    return fold(k);
}

/* A small router, so that a fuzzer reaches its end. */
static void declare(struct maker *k)
{
    struct router_config *c = &k->event.u.router;
    fresh(k, EVENT_ROUTER_CREATE);
    settings_defaults(c, "r");
    c->spec = (struct feature_spec){.version = 1, .task_slots = 2, .features_n = 1};
    c->metrics_n = 3;
    c->settings.seed = 7;
    c->settings.gamma = .95;
    c->settings.hybrid = true;
    residency_defaults(&c->settings.residency);
    c->settings.aggregation = AGGREGATE_SUM;
    if (defaults_put(&c->settings.defaults, (struct slice){"reward", 6}, 0, NULL) != OK ||
        sources_put(&c->settings.sources, (struct slice){"judge", 5}, (struct slice){"fold", 4},
                    NULL) != OK)
        abort();
    k->router_uid = fold(k);
    k->arms[0] = add_arm(k, "a");
    k->arms[1] = add_arm(k, "b");
}

static void report(struct maker *k, uint32_t arm, uint64_t id, int metric, double z)
{
    struct event_outcome *o = &k->event.u.outcome;
    const struct router *r = model_router(k->model, k->router_uid);
    fresh(k, EVENT_OUTCOME);
    memcpy(o->decision.id, &id, sizeof id);
    o->decision.router_uid = k->router_uid;
    o->decision.arm_uid = arm;
    o->decision.spec_hash = r->hash;
    o->decision.issued_us = 1700000000000000;
    o->decision.propensity = .5F;
    o->decision.evaluable = 1;
    o->decision.epoch = r->trial.epoch;
    o->decision.side = (uint8_t)(r->trial.epoch ? SIDE_A + id % 2 : SIDE_NONE);
    o->decision.d = (uint16_t)r->d;
    o->decision.x[0] = 1;
    o->decision.x[1 + id % 3] = .5F;
    o->status = id == 2 ? OUTCOME_ERROR : OUTCOME_OK;
    (void)snprintf(o->source, NAME_CAP, "%s", id % 2 ? "judge" : "");
    o->piece = 1 + id * 3 + (uint64_t)metric;
    o->served_uid = id == 4 ? k->arms[1] : 0;
    o->metrics_n = 1;
    o->metrics[0] = (struct outcome_metric){(uint8_t)metric, z, z};
    (void)fold(k);
}

static void plan(struct maker *k)
{
    static const float sample[7] = {1, 0, 1, .5F, 1, 1, 0};
    const struct router *r = model_router(k->model, k->router_uid);
    struct residency_arm arms[2] = {{.uid = k->arms[0], .desired = true, .load_ms = 300},
                                    {.uid = k->arms[1], .pulls = 9, .misses = 2}};
    const struct residency_update u = {.epoch = 1,
                                       .requests = 200,
                                       .length = 200,
                                       .arms_n = 2,
                                       .arms = arms,
                                       .samples_n = 1,
                                       .samples = sample,
                                       .d = r->d,
                                       .weights_n = r->config.metrics_n};
    struct buf b;
    buf_init(&b);
    residency_put_update(&u, &b);
    fresh(k, EVENT_RESIDENCY);
    k->event.u.residency.router_uid = k->router_uid;
    k->event.u.residency.update = (struct slice){b.data, b.len};
    (void)fold(k);
    buf_done(&b);
}

static void measure(struct maker *k)
{
    const struct residency_load loads[2] = {{k->arms[0], 310.5, 2}, {k->arms[1], 40, 1}};
    struct buf b;
    buf_init(&b);
    residency_put_loads(loads, 2, &b);
    fresh(k, EVENT_RESIDENCY);
    k->event.u.residency.router_uid = k->router_uid;
    k->event.u.residency.update = (struct slice){b.data, b.len};
    (void)fold(k);
    buf_done(&b);
}

static void teach(struct maker *k)
{
    for (uint64_t id = 0; id < 5; id++)
        for (int metric = 0; metric < 3; metric++)
            report(k, k->arms[id % 2], id, metric, .25 * (double)(id % 4));
    fresh(k, EVENT_ROUTER_UPDATE);
    k->event.u.update.router_uid = k->router_uid;
    k->event.u.update.settings = model_router(k->model, k->router_uid)->config.settings;
    k->event.u.update.settings.gamma = .99;
    (void)snprintf(k->event.u.update.settings.split_policy, NAME_CAP, "random");
    (void)fold(k);
    report(k, k->arms[0], 9, 0, 1);
    report(k, k->arms[1], 10, 0, .5);
    report(k, k->arms[1], 10, 2, .25);
    plan(k);
    measure(k);
    fresh(k, EVENT_ARM_REMOVE);
    k->event.u.state.router_uid = k->router_uid;
    k->event.u.state.arm_uid = k->arms[1];
    (void)fold(k);
    fresh(k, EVENT_LABEL_ADD);
    k->event.u.label.router_uid = k->router_uid;
    (void)snprintf(k->event.u.label.label, NAME_CAP, "maths");
    (void)fold(k);
    fresh(k, EVENT_KEY_ADD);
    (void)fold(k);
    fresh(k, EVENT_SESSION);
    k->event.u.session.router_uid = k->router_uid;
    (void)snprintf(k->event.u.session.name, NAME_CAP, "run-17");
    k->event.u.session.metric = 2;
    k->event.u.session.budget = 50000000;
    k->event.u.session.ttl_us = 3600000000;
    for (uint8_t i = 1; i <= 3; i++) {
        k->event.u.session.amount = 1000 * i;
        k->event.u.session.id[0] = i;
        (void)fold(k);
    }
}

static void write_bytes(const struct buf *b, size_t len, const char *dir, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (buf_error(b) != OK || !f || fwrite(b->data, 1, len, f) != len || fclose(f) != 0) {
        fprintf(stderr, "%s cannot be written\n", path);
        exit(1);
    }
}

static void write_seed(const struct maker *k, const char *dir, const char *name)
{
    char path[4096];
    struct buf b;
    buf_init(&b);
    model_encode(k->model, &b);
    (void)snprintf(path, sizeof path, "model/%s", name);
    write_bytes(&b, b.len, dir, path);
    buf_done(&b);
}

/* Without the checksum, which the target puts behind whatever the fuzzer makes of it. */
static void write_transfer(const struct maker *k, const char *dir)
{
    struct buf b;
    const struct router *r = model_router(k->model, k->router_uid);
    buf_init(&b);
    transfer_encode(router_arm(r, k->arms[0]), &r->config, r->outcomes_folded, &b);
    write_bytes(&b, b.len - sizeof(uint64_t), dir, "transfer/learned");
    buf_done(&b);
}

static int forgotten(const char *dir)
{
    static struct maker k;
    struct event_forget what = {.router_uid = 0, .source = "judge"};
    forgets_init(&k.forgets);
    if (model_new(&k.model) != OK || forgets_note(&k.forgets, &what, UINT64_MAX) != OK)
        return 1;
    declare(&k);
    teach(&k);
    write_seed(&k, dir, "forgotten");
    model_free(k.model);
    forgets_done(&k.forgets);
    return 0;
}

int main(int argc, char **argv)
{
    static struct maker k;
    if (argc != 2 || model_new(&k.model) != OK) {
        fprintf(stderr, "usage: make_model_seeds DIR\n");
        return 2;
    }
    write_seed(&k, argv[1], "empty");
    declare(&k);
    write_seed(&k, argv[1], "two_arms");
    teach(&k);
    write_seed(&k, argv[1], "learned");
    write_transfer(&k, argv[1]);
    model_free(k.model);
    return forgotten(argv[1]);
}
