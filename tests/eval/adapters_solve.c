/* adapters_solve [N [K [D]]]: what one plan of the slow loop takes, N adapters (1000), K slots
 * (64), 256 contexts of D features (45): the values of the window, and SolveCache over them. */
#include "server/adapters/solve.h"
#include "server/route/score_window.h"
#include "state/base/rng.h"
#include "state/math/check.h"
#include "state/model/fold.h"
#include "state/model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CONTEXTS = 256, ROUNDS = 7 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void must(enum err e, const char *what)
{
    if (e == OK)
        return;
    fprintf(stderr, "adapters_solve: %s: %s\n", what, err_text(e));
    exit(1);
}

static uint32_t fold(struct model *m, struct event *e)
{
    struct fold_result r;
    must(model_reserve(m, e, 0), "reserve");
    fold_event(m, e, m->position + 1, &r);
    must(r.err, "fold");
    return r.uid;
}

/* A router of n arms that nobody has rated yet: scoring costs the same. */
static struct snapshot *make_router(uint32_t n, uint32_t d)
{
    static struct event e;
    struct model *m;
    struct snapshot *s;
    must(model_new(&m), "model");
    e.kind = EVENT_ROUTER_CREATE;
    settings_defaults(&e.u.router, "timed");
    e.u.router.spec = (struct feature_spec){.version = 1, .features_n = (uint16_t)(d - 1)};
    uint32_t router = fold(m, &e);
    for (uint32_t i = 0; i < n; i++) {
        memset(&e, 0, sizeof e);
        e.kind = EVENT_ARM_ADD;
        e.u.arm.router_uid = router;
        snprintf(e.u.arm.config.name, sizeof e.u.arm.config.name, "a%u", i);
        (void)fold(m, &e);
    }
    must(snapshot_build(m, NULL, &s), "snapshot");
    model_free(m);
    return s;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_times(const char *what, double *ms)
{
    qsort(ms, ROUNDS, sizeof *ms, by_value);
    printf("%-44s median %7.2f ms, worst of %d %7.2f ms\n", what, ms[ROUNDS / 2], ROUNDS,
           ms[ROUNDS - 1]);
}

static void time_values(uint32_t n, uint32_t d)
{
    struct snapshot *s = make_router(n, d);
    float *rows = calloc((size_t)CONTEXTS * d, sizeof *rows);
    float *values = calloc((2 * (size_t)n + 2) * CONTEXTS, sizeof *values);
    double ms[ROUNDS], means_ms[ROUNDS];
    if (!rows || !values)
        must(ERR_NOMEM, "rows");
    for (uint32_t i = 0; i < CONTEXTS * d; i++)
        rows[i] = i % d ? (float)rng_uniform(1, i) : 1;
    struct score_window w = {rows, CONTEXTS, d, 0};
    float *bonus = values + (size_t)n * CONTEXTS, *low = bonus + (size_t)n * CONTEXTS;
    for (int k = 0; k < ROUNDS; k++) {
        double t = now_ms();
        must(score_window(s->routers[0], &w, values, NULL, low, low + CONTEXTS), "values");
        means_ms[k] = now_ms() - t;
        t = now_ms();
        must(score_window(s->routers[0], &w, values, bonus, low, low + CONTEXTS), "values");
        ms[k] = now_ms() - t;
    }
    print_times("values of the window, means alone", means_ms);
    print_times("values of the window, means and widths", ms);
    free(rows);
    free(values);
    snapshot_free(s);
}

/* Specialists of 60 tasks, a third of the slots resident already. */
static void time_solve(uint32_t n, uint32_t slots)
{
    float *q = calloc((size_t)n * CONTEXTS, sizeof *q);
    double *cost = calloc(n, sizeof *cost), ms[ROUNDS];
    uint64_t *bytes = calloc(n, sizeof *bytes);
    uint8_t *flags = calloc(2, n);
    struct solve_result r;
    if (!q || !cost || !bytes || !flags)
        must(ERR_NOMEM, "instance");
    for (int k = 0; k < ROUNDS; k++) {
        uint64_t seed = (uint64_t)k;
        for (uint32_t i = 0; i < n; i++) {
            flags[i] = i < slots / 3 ? SOLVE_RESIDENT : 0;
            cost[i] = .1 + .2 * rng_uniform(seed, i);
            bytes[i] = 50 + rng_below(seed, n + i, 600);
            for (uint32_t c = 0; c < CONTEXTS; c++)
                q[(size_t)i * CONTEXTS + c] =
                    (float)(.3 * rng_uniform(rng_mix(seed, i), c) +
                            (rng_below(seed, 9000000 + c, 60) == i % 60 ? .6 : .2));
        }
        struct solve_input in = {.n = n,
                                 .contexts = CONTEXTS,
                                 .q = q,
                                 .cost = cost,
                                 .bytes = bytes,
                                 .flags = flags,
                                 .slots = slots,
                                 .load_share = .005,
                                 .hysteresis = .0003,
                                 .evictions = n,
                                 .exact_sets = 50000};
        double t = now_ms();
        must(solve_cache(&in, flags + n, &r), "solve");
        ms[k] = now_ms() - t;
    }
    print_times("SolveCache", ms);
    printf("values %.1f MB, other work space %.2f MB; last solve %s: %.4f of %.4f uncached\n",
           4e-6 * n * CONTEXTS, (19.0 * n + 20.0 * CONTEXTS) * 1e-6, solve_how_name(r.how), r.value,
           r.uncached);
    free(q);
    free(cost);
    free(bytes);
    free(flags);
}

int main(int argc, char **argv)
{
    uint32_t n = argc > 1 ? (uint32_t)atoi(argv[1]) : 1000;
    uint32_t slots = argc > 2 ? (uint32_t)atoi(argv[2]) : 64;
    uint32_t d = argc > 3 ? (uint32_t)atoi(argv[3]) : 45;
    if (n < 1 || n > MAX_ARMS || slots < 1 || d < 2 || d > MAX_D || blas_init() != OK)
        return 2;
    time_values(n, d);
    time_solve(n, slots);
    return 0;
}
