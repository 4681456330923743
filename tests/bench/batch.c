/* batch_cost - what a decision costs by itself, without sockets: engine_route of values, and
 * RouteBatch from its bytes to its answer's (batch_run), 32 requests of 32 contexts; 16 arms,
 * contexts of 39 numbers, outcomes reported for one decision in four of the first ones. Each way
 * with the decision log off, and on. Blocks of calls take turns, so that a busy machine slows all
 * alike; printed is the median of the blocks' means, in nanoseconds of CPU time of the calling
 * thread for one decision. Arguments: blocks (30), and one kind of the four. Instructions of 3,200
 * decisions: valgrind --tool=callgrind --toggle-collect=batch_run batch_cost 1 batch (its CPU has
 * no AVX-512). */
#include "server/rpc/core.h"
#include "shunt/v1/router.pb-c.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <grpc/byte_buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ARMS = 16, FEATURES = 38, BATCH = 32, CALLS = 100, BLOCKS_MAX = 1000, KINDS = 4 };
static const char *const kinds[KINDS] = {"engine", "batch", "engine, logged", "batch, logged"};
static char routers[2][8] = {"plain", "logged"};

struct cost {
    struct served s;
    struct handler *h;
    float x[BATCH][FEATURES];
    struct slice bytes[2]; /* A RouteBatchRequest for each router. */
    double ns[KINDS][BLOCKS_MAX];
};

static void configure(struct router_config *c)
{
    c->spec = (struct feature_spec){.version = 1, .features_n = FEATURES};
    bool logged = strcmp(c->name, routers[1]) == 0;
    c->settings.decision_log = logged ? DECISION_LOG_KEEP_ALL : DECISION_LOG_KEEP_NONE;
}

/* A quarter of the first decisions is reported. */
static void teach(struct cost *c, const char *router)
{
    for (int i = 0; i < 800; i++) {
        struct route_in in = {.router = text(router),
                              .features = c->x[i % BATCH],
                              .features_n = FEATURES,
                              .max_ranked = 1};
        assert_int_equal(served_ask(&c->s, &in), OK);
        if (i % 4 == 0)
            (void)served_tell(&c->s, "reward", rng_uniform(7, (uint64_t)i), OUTCOME_OK);
    }
}

static struct slice pack(struct cost *c, char *router)
{
    Shunt__V1__RouteRequest m[BATCH], *list[BATCH];
    Shunt__V1__RouteBatchRequest all = SHUNT__V1__ROUTE_BATCH_REQUEST__INIT;
    for (int i = 0; i < BATCH; i++) {
        shunt__v1__route_request__init(&m[i]);
        m[i].router = router;
        m[i].features = c->x[i];
        m[i].n_features = FEATURES;
        list[i] = &m[i];
    }
    all.requests = list;
    all.n_requests = BATCH;
    uint8_t *bytes = malloc(shunt__v1__route_batch_request__get_packed_size(&all));
    assert_non_null(bytes);
    return (struct slice){bytes, shunt__v1__route_batch_request__pack(&all, bytes)};
}

static void open_all(struct cost *c)
{
    served_open(&c->s);
    struct rpc_loop_options o = {.engine = c->s.e};
    engine_worker_free(c->s.w); /* A thread has one: the handler's. */
    assert_int_equal(handler_open(&o, 1 << 20, &c->h), OK);
    c->s.w = c->h->worker;
    for (int i = 0; i < BATCH; i++)
        for (int k = 0; k < FEATURES; k++)
            c->x[i][k] = (float)rng_uniform((uint64_t)i, (uint64_t)k) - .5F;
    for (int r = 0; r < 2; r++) {
        served_router(&c->s, routers[r], configure);
        for (int i = 0; i < ARMS; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "a%d", i);
            served_arm(&c->s, routers[r], name);
        }
        teach(c, routers[r]);
        c->bytes[r] = pack(c, routers[r]);
    }
}

static void close_all(struct cost *c)
{
    union { /* What was allocated above. */
        const void *in;
        void *out;
    } u;
    c->h->worker = NULL; /* served_close frees it. */
    handler_close(c->h);
    for (int r = 0; r < 2; r++) {
        u.in = c->bytes[r].data;
        free(u.out);
    }
    served_close(&c->s);
}

static void run_engine(struct cost *c, int router)
{
    for (int i = 0; i < CALLS * BATCH; i++) {
        struct route_in in = {.router = text(routers[router]),
                              .features = c->x[i % BATCH],
                              .features_n = FEATURES,
                              .max_ranked = 1};
        assert_int_equal(served_ask(&c->s, &in), OK);
    }
}

static void never(void *ctx, enum err e, grpc_byte_buffer *answer)
{
    (void)ctx;
    (void)answer;
    fail_msg("nothing here waits for the writer: %s", err_code(e));
}

static void run_batch(struct cost *c, int router)
{
    for (int i = 0; i < CALLS; i++) {
        grpc_byte_buffer *answer = NULL;
        struct err_detail detail = {""};
        if (batch_run(c->h, c->bytes[router], 1 << 20, never, NULL, &answer, &detail) != OK)
            fail_msg("%s", detail.text);
        grpc_byte_buffer_destroy(answer);
    }
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double run(struct cost *c, int kind)
{
    double began = now_ns();
    (kind % 2 ? run_batch : run_engine)(c, kind / 2);
    return (now_ns() - began) / (CALLS * BATCH);
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

int main(int argc, char **argv)
{
    static struct cost c;
    int blocks = argc > 1 ? atoi(argv[1]) : 30;
    if (blocks < 1 || blocks > BLOCKS_MAX)
        return 2;
    const char *only = argc > 2 ? argv[2] : NULL;
    grpc_init();
    open_all(&c);
    for (int b = 0; b < blocks; b++)
        for (int k = 0; k < KINDS; k++)
            if (!only || strcmp(only, kinds[k]) == 0)
                c.ns[k][b] = run(&c, k);
    for (int k = 0; k < KINDS; k++) {
        if (only && strcmp(only, kinds[k]) != 0)
            continue;
        qsort(c.ns[k], (size_t)blocks, sizeof *c.ns[k], by_value);
        printf("%-16s %7.0f ns, at best %7.0f\n", kinds[k], c.ns[k][blocks / 2], c.ns[k][0]);
    }
    close_all(&c);
    grpc_shutdown();
    return 0;
}
