#include "tests/bench/score.h"

#include "server/route/decide.h"
#include "state/math/packed.h"
#include "tests/bench/bandwidth.h"
#include "tests/bench/machine.h"
#include "tests/bench/pool.h"

#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS_MAX = 1001 };

struct options {
    int rounds;
    const char *only; /* NULL: all. */
    uint32_t arms, d; /* Of one point, instead of the grid; 0: the grid. */
    bool quick, json;
    bool more; /* Something was printed: JSON needs a comma. */
};

/* A pool, and what asks it. */
struct asking {
    struct pool pool;
    const struct router_view *router;
    struct utility u;
    struct eligible *arms;
    struct score *scores; /* (SCORE_CONTEXTS, arms_n) */
    void *bytes;          /* As many as the matrices of a group, in one piece. */
    size_t bytes_n;
    uint32_t next; /* Context. */
};

static void asking_look(struct asking *a)
{
    pool_look(&a->pool);
    a->router = a->pool.snapshot->routers[0];
    utility_init(&a->u, a->router, NULL);
}

static void asking_open(struct asking *a, uint32_t arms_n, uint32_t d, uint32_t outcomes,
                        void (*set)(struct router_settings *settings))
{
    memset(a, 0, sizeof *a);
    pool_open(&a->pool, arms_n, d, set);
    pool_teach(&a->pool, outcomes);
    asking_look(a);
    a->bytes_n = (arms_n * packed_n(d) * sizeof(float) + 511) / 512 * 512;
    a->bytes = aligned_alloc(4096, (a->bytes_n + 4095) / 4096 * 4096);
    a->arms = malloc(arms_n * sizeof *a->arms);
    a->scores = malloc((size_t)SCORE_CONTEXTS * arms_n * sizeof *a->scores);
    pool_must(a->bytes && a->arms && a->scores ? OK : ERR_NOMEM, "score");
    memset(a->bytes, 1, a->bytes_n);
    for (uint32_t i = 0; i < arms_n; i++)
        a->arms[i] = (struct eligible){.index = i, .issued = 1000};
}

static void asking_close(struct asking *a)
{
    pool_close(&a->pool);
    free(a->bytes);
    free(a->arms);
    free(a->scores);
}

static void ask(struct asking *a)
{
    score_arms(a->router, &a->u, pool_context(&a->pool, a->next++), a->arms, a->pool.arms_n, 1,
               a->scores);
}

/* Calls that take about a quarter of a millisecond. */
static uint32_t calls_of(struct asking *a)
{
    for (uint32_t calls = 1;; calls *= 2) {
        double began = machine_cpu_us();
        for (uint32_t i = 0; i < calls; i++)
            ask(a);
        if (machine_cpu_us() - began > 250 || calls >= 1 << 16)
            return calls;
    }
}

/* Spread of the middle four fifths, as a part of the median. */
static double noise_of(double *values, size_t n)
{
    double low = machine_quantile(values, n, .1), high = machine_quantile(values, n, .9);
    return (high - low) / machine_quantile(values, n, .5);
}

static void comma(struct options *o)
{
    if (o->json)
        (void)fputs(o->more ? ",\n " : "\n ", stdout);
    o->more = true;
}

/* ---- grid ---- */

static void grid_point(struct options *o, uint32_t arms_n, uint32_t d)
{
    static double us[ROUNDS_MAX], read_us[ROUNDS_MAX], ratio[ROUNDS_MAX];
    struct asking a;
    volatile unsigned keep = 0;
    asking_open(&a, arms_n, d, d < 100 ? 50 : 5, NULL);
    uint32_t calls = calls_of(&a), rounds = (uint32_t)o->rounds;
    for (uint32_t r = 0; r < rounds; r++) {
        double began = machine_cpu_us();
        for (uint32_t i = 0; i < calls; i++)
            ask(&a);
        double then = machine_cpu_us();
        for (uint32_t i = 0; i < calls; i++)
            keep |= bandwidth_read(a.bytes, a.bytes_n);
        double now = machine_cpu_us();
        us[r] = (then - began) / calls;
        read_us[r] = (now - then) / calls;
        ratio[r] = us[r] / read_us[r];
    }
    (void)keep;
    double score = machine_median(us, rounds), read = machine_median(read_us, rounds);
    double to_read = machine_median(ratio, rounds), noise = noise_of(read_us, rounds);
    comma(o);
    if (o->json)
        (void)printf("{\"what\":\"grid\",\"arms\":%u,\"d\":%u,\"us\":%.3f,\"read_us\":%.3f,"
                     "\"to_read\":%.3f,\"noise\":%.3f}",
                     arms_n, d, score, read, to_read, noise);
    else
        (void)printf("%6u x %-4u %10.2f us   read %9.2f us (%5.1f GB/s)   ratio %5.2f   noise "
                     "%2.0f %%\n",
                     arms_n, d, score, read, (double)a.bytes_n / read * 1e-3, to_read, 100 * noise);
    (void)fflush(stdout);
    asking_close(&a);
}

static void grid(struct options *o)
{
    if (o->arms) {
        grid_point(o, o->arms, o->d);
        return;
    }
    static const uint32_t points[][2] = {
        {16, 39},    {16, 64},  {64, 64},   {256, 64},  {1000, 39}, {1000, 64},
        {10000, 39}, {16, 11},  {16, 128},  {16, 256},  {16, 385},  {16, 512},
        {64, 39},    {256, 39}, {2000, 39}, {4000, 39}, {64, 128},  {64, 385},
    };
    size_t n = o->quick ? 3 : sizeof points / sizeof *points;
    for (size_t i = 0; i < n; i++)
        grid_point(o, points[i][0], points[i][1]);
}

/* ---- kernels ---- */

static void kernels(struct options *o)
{
    static double us[ROUNDS_MAX];
    struct asking a;
    asking_open(&a, 64, 64, 20, NULL);
    const struct score_kernel *kernel;
    for (uint32_t k = 0; (kernel = score_kernel_at(k)) != NULL; k++) {
        const float *row[64];
        float part[64];
        struct score_square square;
        score_square_init(&square, pool_context(&a.pool, 0), 64);
        uint32_t n = score_square_next(&square, kernel);
        for (uint32_t i = 0; i < 64; i++)
            row[i] = a.router->arms[i]->P[METRIC_RATED];
        for (int r = 0; r < o->rounds; r++) {
            double began = machine_cpu_us();
            for (int i = 0; i < 20; i++)
                kernel->multiply(row, 64, square.q, n, part);
            us[r] = (machine_cpu_us() - began) / 20;
        }
        double median = machine_median(us, (size_t)o->rounds);
        comma(o);
        if (o->json)
            (void)printf("{\"what\":\"kernel\",\"name\":\"%s\",\"arms\":64,\"d\":64,\"us\":%.3f}",
                         kernel->name, median);
        else
            (void)printf("    64 x 64   %10.2f us   x'Px alone, kernel %s\n", median, kernel->name);
    }
    asking_close(&a);
}

/* ---- sparse ---- */

static void few_fill(struct score_sparse *few, const float *x, uint32_t d)
{
    few->n = 0;
    for (uint32_t i = 0; i < d; i++) {
        if (!(x[i] > 0))
            continue;
        few->at[few->n] = (uint16_t)i;
        few->v[few->n++] = x[i];
    }
}

/* Both ways of a context that has `n` numbers. */
static void sparse_point(struct options *o, struct asking *a, uint32_t n)
{
    static double us[2][ROUNDS_MAX];
    uint32_t arms_n = a->pool.arms_n, d = a->pool.d;
    const struct arm_view **views = malloc(arms_n * sizeof *views);
    double *spread = malloc(arms_n * sizeof *spread);
    pool_must(views && spread ? OK : ERR_NOMEM, "sparse");
    float x[MAX_D] = {1};
    const float *px = x;
    for (uint32_t i = 1; i < n; i++)
        x[i * (d - 1) / n] = .5F;
    for (uint32_t i = 0; i < arms_n; i++)
        views[i] = a->router->arms[i];
    for (int r = 0; r < o->rounds; r++)
        for (int way = 0; way < 2; way++) {
            struct score_square square;
            struct score_pass pass;
            double began = machine_cpu_us();
            for (int i = 0; i < 20; i++) {
                score_pass_init(&pass, &px, 1, d, arms_n, &square);
                /* What it would not choose itself it has not looked through to the end. */
                pass.sparse = way == 0;
                if (way == 0)
                    few_fill(&pass.few, x, d);
                else
                    score_square_init(&square, x, d);
                for (uint32_t at = 0; at < arms_n; at += SCORE_BLOCK)
                    score_pass_spread(&pass, views + at,
                                      arms_n - at < SCORE_BLOCK ? arms_n - at : SCORE_BLOCK,
                                      METRIC_RATED, spread + at);
            }
            us[way][r] = (machine_cpu_us() - began) / 20;
        }
    double few = machine_median(us[0], (size_t)o->rounds);
    double whole = machine_median(us[1], (size_t)o->rounds);
    bool taken = score_pass_is_sparse(x, d);
    comma(o);
    if (o->json)
        (void)printf("{\"what\":\"sparse\",\"arms\":%u,\"d\":%u,\"numbers\":%u,\"sparse_us\":%.3f,"
                     "\"dense_us\":%.3f,\"taken\":\"%s\"}",
                     arms_n, d, n, few, whole, taken ? "sparse" : "dense");
    else
        (void)printf("%6u x %-4u %2u numbers: looked up %8.2f us, multiplied whole %8.2f us; "
                     "taken: %s\n",
                     arms_n, d, n, few, whole, taken ? "looked up" : "whole");
    free(views);
    free(spread);
}

static void sparse(struct options *o)
{
    static const uint32_t pools[][2] = {{16, 45}, {1000, 45}, {16, 128}};
    static const uint32_t numbers[] = {2, 4, 6, 8, 10, 12, 14, 18, 24};
    for (size_t p = 0; p < (o->quick ? 1 : sizeof pools / sizeof *pools); p++) {
        struct asking a;
        asking_open(&a, pools[p][0], pools[p][1], 5, NULL);
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
            sparse_point(o, &a, numbers[i]);
        asking_close(&a);
    }
}

/* ---- large ---- */

enum { DECISIONS = 2000 };

/* Decisions of one way; cpu: of the thread. */
struct way {
    double wall[DECISIONS], cpu[DECISIONS];
    uint64_t scored;
};

static void set_alpha(struct asking *a, double alpha)
{
    struct router *r = model_router(a->pool.model, a->pool.router_uid);
    r->config.settings.alpha = alpha;
    r->touched = true;
    asking_look(a);
}

/* One decision, timed; *ret_chosen is compared. */
static void decide_once(struct asking *a, struct decide_scratch *scratch, float *pmf, uint32_t i,
                        bool best_only, struct way *way, struct decide_result *ret)
{
    struct decide_input in = {.router = a->router,
                              .x = pool_context(&a->pool, i),
                              .arms = a->arms,
                              .n = a->pool.arms_n,
                              .answer_share = 1,
                              .seed = i,
                              .best_only = best_only};
    double wall = machine_now_us(), cpu = machine_cpu_us();
    decide(&in, scratch, pmf, ret);
    way->cpu[i] = machine_cpu_us() - cpu;
    way->wall[i] = machine_now_us() - wall;
    way->scored += in.n - ret->left_out;
}

/* As many bytes as all matrices have, from one piece: what the machine of this minute allows. */
static void read_once(const struct asking *a, uint32_t i, struct way *way)
{
    double wall = machine_now_us(), cpu = machine_cpu_us();
    way->scored |= bandwidth_read(a->bytes, a->bytes_n); /* Something depends on it. */
    way->cpu[i] = machine_cpu_us() - cpu;
    way->wall[i] = machine_now_us() - wall;
}

static void print_read(struct options *o, const struct asking *a, struct way *read, uint32_t n)
{
    double p50 = machine_quantile(read->cpu, n, .5), p99 = machine_quantile(read->cpu, n, .99);
    double wall99 = machine_quantile(read->wall, n, .99);
    comma(o);
    if (o->json)
        (void)printf("{\"what\":\"large_read\",\"arms\":%u,\"d\":%u,\"bytes\":%zu,"
                     "\"cpu_p50_us\":%.0f,\"cpu_p99_us\":%.0f,\"wall_p99_us\":%.0f}",
                     a->pool.arms_n, a->pool.d, a->bytes_n, p50, p99, wall99);
    else
        (void)printf("%6u x %-4u in between, %.1f MB read plainly: %6.0f us, p99 %6.0f (by the "
                     "clock %6.0f)\n",
                     a->pool.arms_n, a->pool.d, (double)a->bytes_n * 1e-6, p50, p99, wall99);
}

static void large_alpha(struct options *o, struct asking *a, double alpha, uint32_t decisions)
{
    static struct way ways[2], read;
    struct decide_scratch *scratch = malloc(sizeof *scratch);
    float *pmf = malloc(2 * a->pool.arms_n * sizeof *pmf);
    pool_must(scratch && pmf ? OK : ERR_NOMEM, "large");
    size_t bytes = a->pool.arms_n * sizeof *pmf;
    uint32_t differ = 0;
    memset(ways, 0, sizeof ways);
    set_alpha(a, alpha);
    for (uint32_t i = 0; i < decisions; i++) {
        struct decide_result all, best;
        decide_once(a, scratch, pmf, i, false, &ways[0], &all);
        decide_once(a, scratch, pmf + a->pool.arms_n, i, true, &ways[1], &best);
        read_once(a, i, &read);
        differ += all.chosen != best.chosen || memcmp(pmf, pmf + a->pool.arms_n, bytes) != 0;
    }
    for (int w = 0; w < 2; w++) {
        struct way *y = &ways[w];
        double share = (double)y->scored / decisions / a->pool.arms_n;
        double p50 = machine_quantile(y->cpu, decisions, .5);
        double p99 = machine_quantile(y->cpu, decisions, .99);
        double wall99 = machine_quantile(y->wall, decisions, .99);
        const char *name = w ? "best alone" : "all scored";
        comma(o);
        if (o->json)
            (void)printf("{\"what\":\"large\",\"arms\":%u,\"d\":%u,\"alpha\":%g,\"way\":\"%s\","
                         "\"scored\":%.4f,\"cpu_p50_us\":%.0f,\"cpu_p99_us\":%.0f,"
                         "\"wall_p99_us\":%.0f,\"differ\":%u}",
                         a->pool.arms_n, a->pool.d, alpha, name, share, p50, p99, wall99, differ);
        else
            (void)printf("%6u x %-4u alpha %-4g %s: %5.1f %% scored, a decision %6.0f us, p99 "
                         "%6.0f (by the clock %6.0f), %u differ\n",
                         a->pool.arms_n, a->pool.d, alpha, name, 100 * share, p50, p99, wall99,
                         differ);
    }
    print_read(o, a, &read, decisions);
    (void)fflush(stdout);
    if (differ)
        exit(EXIT_FAILURE); /* The one thing here that is a promise. */
    free(scratch);
    free(pmf);
}

static void large(struct options *o)
{
    static const double alphas[] = {.1, .5, 1.5};
    struct asking a;
    uint32_t arms_n = o->arms ? o->arms : o->quick ? 500 : 10000, d = o->d ? o->d : 39;
    asking_open(&a, arms_n, d, 100, NULL);
    for (size_t i = 0; i < sizeof alphas / sizeof *alphas; i++)
        large_alpha(o, &a, alphas[i], o->quick ? 50 : DECISIONS);
    asking_close(&a);
}

/* ---- batch ---- */

static void batch_point(struct options *o, uint32_t arms_n, uint32_t d)
{
    static double alone[ROUNDS_MAX], together[ROUNDS_MAX];
    struct asking a;
    const float *x[SCORE_CONTEXTS];
    struct score_sheet *sheet = NULL;
    asking_open(&a, arms_n, d, 20, NULL);
    pool_must(score_sheet_new(&sheet), "batch");
    for (int r = 0; r < o->rounds; r++) {
        for (uint32_t c = 0; c < SCORE_CONTEXTS; c++)
            x[c] = pool_context(&a.pool, a.next + c);
        double began = machine_cpu_us();
        for (int k = 0; k < SCORE_CONTEXTS; k++)
            ask(&a);
        double then = machine_cpu_us();
        pool_must(score_sheet_fill(sheet, a.router, &a.u, x, SCORE_CONTEXTS), "batch");
        for (uint32_t c = 0; c < SCORE_CONTEXTS; c++)
            score_sheet_read(sheet, c, &a.u, a.arms, arms_n, 1, a.scores + (size_t)c * arms_n);
        together[r] = (machine_cpu_us() - then) / SCORE_CONTEXTS;
        alone[r] = (then - began) / SCORE_CONTEXTS;
    }
    double one = machine_median(alone, (size_t)o->rounds);
    double many = machine_median(together, (size_t)o->rounds);
    comma(o);
    if (o->json)
        (void)printf("{\"what\":\"batch\",\"arms\":%u,\"d\":%u,\"contexts\":%d,\"alone_us\":%.2f,"
                     "\"together_us\":%.2f}",
                     arms_n, d, SCORE_CONTEXTS, one, many);
    else
        (void)printf("%6u x %-4u a context alone %8.2f us, one of %d that share a pass %8.2f us\n",
                     arms_n, d, one, SCORE_CONTEXTS, many);
    score_sheet_free(sheet);
    asking_close(&a);
}

static void batch(struct options *o)
{
    static const uint32_t points[][2] = {{16, 39}, {1000, 39}, {1000, 64}, {16, 385}, {10000, 39}};
    for (size_t i = 0; i < (o->quick ? 1 : sizeof points / sizeof *points); i++)
        batch_point(o, points[i][0], points[i][1]);
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: shunt-bench score [--only grid|kernels|sparse|large|batch] "
                          "[--arms N --d D] [--rounds N] [--quick] [--json]\n");
    return 2;
}

int bench_score(int argc, char **argv)
{
    struct options o = {.rounds = 101};
    static const struct option longs[] = {{"only", required_argument, NULL, 'o'},
                                          {"rounds", required_argument, NULL, 'r'},
                                          {"arms", required_argument, NULL, 'a'},
                                          {"d", required_argument, NULL, 'd'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    static const struct {
        const char *name;
        void (*run)(struct options *o);
    } parts[] = {{"grid", grid},
                 {"kernels", kernels},
                 {"sparse", sparse},
                 {"large", large},
                 {"batch", batch}};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        o.only = c == 'o' ? optarg : o.only;
        o.rounds = c == 'r' && optarg ? atoi(optarg) : o.rounds;
        o.arms = c == 'a' && optarg ? (uint32_t)atoi(optarg) : o.arms;
        o.d = c == 'd' && optarg ? (uint32_t)atoi(optarg) : o.d;
        o.quick = o.quick || c == 'q';
        o.json = o.json || c == 'j';
        if (c == '?')
            return usage();
    }
    if (o.rounds < 1 || o.rounds > ROUNDS_MAX || o.arms > MAX_ARMS || o.d > MAX_D ||
        !o.arms != !o.d)
        return usage();
    char machine[256];
    machine_name(machine, sizeof machine);
    (void)printf(o.json ? "{\"machine\":\"%s\",\"rows\":[" : "%s\n", machine);
    machine_pin();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!o.only || strcmp(o.only, parts[i].name) == 0)
            parts[i].run(&o);
    if (o.json)
        (void)puts("\n]}");
    return EXIT_SUCCESS;
}
