#include "tests/engines/fleet.h"

#include "server/ops/clock.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { PATIENCE_MS = 30000, NAP_MS = 5, ADAPTER_BYTES = 1000 };

static const char *const names[FLEET_ADAPTERS] = {"a0", "a1", "a2", "a3", "a4", "a5"};
static const char *const paths[FLEET_ADAPTERS] = {"/models/a0.gguf", "/models/a1.gguf",
                                                  "/models/a2.gguf", "/models/a3.gguf",
                                                  "/models/a4.gguf", "/models/a5.gguf"};

void fleet_stub(struct fleet *f, enum engine_kind kind, int slots, const char *const *more)
{
    const char *args[STUB_ARGS_MAX] = {"--slots", NULL, "--load-ms", "5"};
    char text[16];
    size_t n = 4;
    (void)snprintf(text, sizeof text, "%d", slots);
    args[1] = text;
    for (int i = 0; kind == ENGINE_LLAMACPP && i < FLEET_ADAPTERS; i++) {
        args[n++] = "--lora";
        args[n++] = paths[i];
    }
    for (; more && *more; more++)
        args[n++] = *more;
    f->kind = kind;
    stub_start(&f->stubs[f->stubs_n++], engine_kind_name(kind), args);
}

static void traffic(void *ctx, uint32_t replica, uint32_t uid, struct engine_traffic *ret)
{
    struct fleet *f = ctx;
    (void)replica;
    ret->in_flight = atomic_load(&f->in_flight[uid]);
    ret->routed_us = ret->served_us = atomic_load(&f->used_us[uid]);
}

static void on_load(void *ctx, uint32_t replica, uint32_t uid, double ms, bool ok)
{
    struct fleet *f = ctx;
    (void)replica;
    assert_true(ms >= 0);
    atomic_fetch_add(ok ? &f->loads[uid] : &f->failures[uid], 1);
}

static void on_change(void *ctx)
{
    struct fleet *f = ctx;
    struct engine_replica_view v;
    atomic_fetch_add(&f->changes, 1);
    if (reconciler_replica(f->r, 0, &v) && v.up)
        atomic_fetch_add(&f->changes_up, 1);
}

void fleet_config(struct fleet *f, struct reconciler_config *ret, struct engine_replica *replicas,
                  uint32_t slots)
{
    static const char *const called[FLEET_REPLICAS] = {"r0", "r1"};
    for (uint32_t i = 0; i < f->stubs_n; i++)
        replicas[i] = (struct engine_replica){called[i], f->stubs[i].url, NULL};
    *ret = (struct reconciler_config){
        .kind = f->kind,
        .replicas_n = f->stubs_n,
        .replicas = replicas,
        .slots = slots,
        .tick_ms = 20,
        .call_timeout_ms = 5000,
        .load_timeout_ms = 5000,
        .backoff_min_ms = 1,
        .backoff_max_ms = 1,
        .seed = 7,
        .calls = {f, traffic, on_load, on_change},
    };
}

void fleet_open(struct fleet *f, uint32_t slots)
{
    struct reconciler_config config;
    struct engine_replica replicas[FLEET_REPLICAS];
    struct err_detail detail = {""};
    fleet_config(f, &config, replicas, slots);
    config.bytes = slots ? 0 : 2 * ADAPTER_BYTES;
    assert_int_equal(reconciler_open(&config, &f->r, &detail), OK);
}

void fleet_done(struct fleet *f)
{
    reconciler_close(f->r);
    f->r = NULL;
    for (uint32_t i = 0; i < f->stubs_n; i++)
        stub_done(&f->stubs[i]);
    f->stubs_n = 0;
}

void fleet_desire(struct fleet *f, const char *wanted)
{
    struct engine_adapter all[FLEET_ADAPTERS];
    struct err_detail detail = {""};
    for (uint32_t i = 0; i < FLEET_ADAPTERS; i++)
        all[i] = (struct engine_adapter){i + 1, names[i], paths[i], ADAPTER_BYTES, 0, false, 0};
    double rate = 1;
    for (const char *w = wanted; *w; w++, rate /= 2) {
        all[*w - '0'].desired = true;
        all[*w - '0'].rate = rate;
    }
    assert_int_equal(reconciler_desire(f->r, all, FLEET_ADAPTERS, &detail), OK);
}

struct engine_replica_view fleet_view(struct fleet *f, uint32_t replica)
{
    struct engine_replica_view v;
    assert_true(reconciler_replica(f->r, replica, &v));
    return v;
}

static void nap(void)
{
    const struct timespec t = {0, NAP_MS * 1000000L};
    (void)nanosleep(&t, NULL);
}

int fleet_ticks(struct fleet *f, int n)
{
    for (int i = 1; i <= n; i++) {
        nap(); /* Longer than every back-off of these tests. */
        enum err e = reconciler_tick(f->r, 0);
        if (e == OK && fleet_view(f, 0).converged)
            return i;
    }
    return n + 1;
}

struct engine_row fleet_row(struct fleet *f, uint32_t replica, uint32_t uid)
{
    struct engine_row rows[FLEET_REPLICAS * FLEET_ADAPTERS];
    size_t n = reconciler_rows(f->r, rows, FLEET_REPLICAS * FLEET_ADAPTERS);
    assert_true(n <= FLEET_REPLICAS * FLEET_ADAPTERS);
    for (size_t i = 0; i < n; i++)
        if (rows[i].replica == replica && rows[i].uid == uid)
            return rows[i];
    return (struct engine_row){.replica = replica, .uid = uid, .phase = ENGINE_COLD};
}

void fleet_holds(struct fleet *f, const char *wanted)
{
    for (const char *w = wanted; *w; w++) {
        assert_true(stub_has(&f->stubs[0], "resident", names[*w - '0']));
        assert_int_equal(fleet_row(f, 0, (uint32_t)(*w - '0') + 1).phase, ENGINE_RESIDENT);
    }
}

bool fleet_until(struct fleet *f, bool (*holds)(struct fleet *))
{
    for (int i = 0; i < PATIENCE_MS / NAP_MS; i++) {
        if (holds(f))
            return true;
        nap();
    }
    return false;
}
