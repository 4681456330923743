/* hybrid - what descriptors of arms are worth: a hybrid router against a disjoint one, on real rows
 * (llmrouter9, nine models of known size, family and price; SHUNT_DATA) and on a simulation of 40
 * arms in four families.
 * Prints mean reward over whole streams, how soon the arms of the best family are used, and what
 * becomes of newcomers that join half-way: a bad one of a bad family should be tried less often. (A
 * good one is tried at once by either: a disjoint router believes the best of every newcomer.)
 * Exits 1 when the hybrid breaks what README.md of state/model promises. Argument: orders (40). */
#include "state/base/rng.h"
#include "tests/eval/play.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORDERS = 40, SIM_ARMS = 40, SIM_FAMILIES = 4, SIM_ROWS = 2000, SIM_FEATURES = 4 };

/* Published sizes; prices are the file's own, US$ per million tokens. */
static const struct {
    const char *name, *family;
    double size_b, price;
} models[] = {
    {"codegemma-7b", "gemma", 7, .2},
    {"gemma-2-9b-it", "gemma", 9, .1},
    {"llama-3.1-8b-instruct", "llama", 8, .2},
    {"llama-3.1-nemotron-51b-instruct", "llama", 51, .9},
    {"llama-3.3-nemotron-super-49b-v1", "llama", 49, .9},
    {"llama3-chatqa-1.5-70b", "chatqa", 70, .9},
    {"llama3-chatqa-1.5-8b", "chatqa", 8, .2},
    {"mistral-7b-instruct-v0.3", "mistral", 7, .2},
    {"qwen2.5-7b-instruct", "qwen", 7, .2},
};

/* What one stream showed. */
struct tally {
    uint32_t from, arm; /* The newcomer, if any, and when it came. */
    uint32_t pulls, early;
};
static const uint32_t best_family = UINT32_MAX; /* As tally.arm: the simulation's last family. */
enum { WINDOW = 100, WINDOW_FAMILY = 300 };

static void watch(void *user, const struct play_step *step)
{
    struct tally *t = user;
    bool family = t->arm == best_family;
    bool hit = family ? step->arm % SIM_FAMILIES == SIM_FAMILIES - 1 : step->arm == t->arm;
    if (step->i < t->from || !hit)
        return;
    t->pulls++;
    t->early += step->i < t->from + (uint32_t)(family ? WINDOW_FAMILY : WINDOW);
}

struct world {
    struct rows *rows;
    struct router_config config;
    struct arm_config arms[ROWS_ARMS_MAX];
    float *x;
    uint32_t *order;
};

/* Sums over the orders, of the disjoint router and of the hybrid. */
struct result {
    double mean[2], square; /* square: of the difference. */
    double pulls[2], early[2];
};

/* newcomer: the arm that is watched from half-way, -1 none; the `joining` arms up to it join then.
 */
static void play_order(struct world *w, uint64_t seed, int newcomer, int joining, uint32_t orders,
                       struct result *r)
{
    uint32_t enters[ROWS_ARMS_MAX] = {0};
    double mean[2];
    struct tally t = {.from = newcomer < 0 ? 0 : w->rows->n / 2, .arm = (uint32_t)newcomer};
    for (int k = 0; newcomer >= 0 && k < joining; k++)
        enters[newcomer - k] = t.from;
    rows_shuffle(seed, w->rows->n, w->order);
    for (int hybrid = 0; hybrid < 2; hybrid++) {
        w->config.settings.hybrid = hybrid;
        t.pulls = t.early = 0;
        struct play p = {.rows = w->rows,
                         .config = &w->config,
                         .x = w->x,
                         .order = w->order,
                         .order_n = w->rows->n,
                         .seed = seed,
                         .arms = w->arms,
                         .enters = enters,
                         .watch = watch,
                         .user = &t};
        mean[hybrid] = play_run(&p);
        r->mean[hybrid] += mean[hybrid] / orders;
        r->pulls[hybrid] += (double)t.pulls / orders;
        r->early[hybrid] += (double)t.early / orders;
    }
    r->square += (mean[1] - mean[0]) * (mean[1] - mean[0]) / orders;
}

/* window: of the pulls that are worth showing; 0: none. */
static void print_result(const char *what, const struct result *r, uint32_t orders, int window)
{
    double gain = r->mean[1] - r->mean[0];
    printf("%-44s %.4f %.4f %+.4f (+- %.4f)", what, r->mean[0], r->mean[1], gain,
           sqrt(fmax(0, r->square - gain * gain) / orders));
    if (window)
        printf("  pulls %6.1f %6.1f, of the first %d %5.1f %5.1f", r->pulls[0], r->pulls[1], window,
               r->early[0], r->early[1]);
    printf("\n");
    (void)fflush(stdout);
}

static bool world_open(struct world *w, struct rows *rows, const struct feature_spec *spec,
                       double cost_weight)
{
    w->rows = rows;
    play_config(rows, spec, cost_weight, &w->config);
    w->x = malloc((size_t)rows->n * spec_d(spec) * sizeof *w->x);
    w->order = malloc(rows->n * sizeof *w->order);
    return w->x && w->order;
}

static void world_close(struct world *w)
{
    rows_free(w->rows);
    free(w->x);
    free(w->order);
}

/* ---- llmrouter9 ---- */

static void describe_models(struct world *w)
{
    for (uint32_t a = 0; a < w->rows->arms.n; a++) {
        for (size_t k = 0; k < sizeof models / sizeof *models; k++) {
            if (strcmp(models[k].name, w->rows->arms.name[a]) != 0)
                continue;
            w->arms[a].known = ARM_KNOWS_SIZE | ARM_KNOWS_PRICE_IN;
            w->arms[a].size_b = models[k].size_b;
            w->arms[a].price_in_usd = models[k].price;
            strcpy(w->arms[a].family, models[k].family);
        }
    }
}

static int real_rows(uint32_t orders)
{
    char *path = rows_path("llmrouter9_train");
    struct world w = {0};
    struct rows *rows = path ? rows_read(path) : NULL;
    free(path);
    if (!rows)
        return -1;
    struct feature_spec spec = {.version = 1, .scalars = true, .text_block = true};
    spec.task_slots = (uint16_t)(rows->tasks.n + 1);
    int broken = 0;
    for (int mix = 0; mix < 2; mix++) {
        memset(&w, 0, sizeof w);
        if (!world_open(&w, rows, &spec, mix ? .3 : 0))
            return -1;
        describe_models(&w);
        play_contexts(rows, &spec, true, w.x);
        for (int newcomer = -1; newcomer < (mix ? 0 : (int)rows->arms.n); newcomer++) {
            struct result r = {0};
            char what[96];
            for (uint64_t o = 0; o < orders; o++)
                play_order(&w, o, newcomer, 1, orders, &r);
            snprintf(what, sizeof what, "llmrouter9 %s%s%s", mix ? "quality - .3 cost" : "quality",
                     newcomer < 0 ? "" : ", new: ", newcomer < 0 ? "" : rows->arms.name[newcomer]);
            print_result(what, &r, orders, newcomer >= 0 ? WINDOW : 0);
            /* No harm: not worse by more than .004, beyond two standard errors. */
            double gain = r.mean[1] - r.mean[0];
            double error = sqrt(fmax(0, r.square - gain * gain) / orders);
            broken += newcomer < 0 && gain + 2 * error < -.004;
        }
        free(w.x);
        free(w.order);
    }
    rows_free(rows);
    return broken;
}

/* ---- 40 arms in four families ---- */

static const double family_mean[SIM_FAMILIES] = {.35, .45, .55, .65};

/* Success of each arm: its family's mean, a slope on log size, something of its own, and slopes on
 * the context. ret: arms and a row of chances for every context. */
static struct rows *simulate(uint64_t seed, struct world *w)
{
    struct rows *rows = calloc(1, sizeof *rows);
    double mean[SIM_ARMS], slope[SIM_ARMS][SIM_FEATURES];
    if (!rows || !(rows->row = calloc(SIM_ROWS, sizeof *rows->row)))
        abort();
    rows->n = SIM_ROWS;
    rows->arms.n = SIM_ARMS;
    for (uint32_t a = 0; a < SIM_ARMS; a++) {
        double size = 1 + floor(5 * rng_uniform(seed, a)); /* Binary logarithm of 2 to 32. */
        snprintf(rows->arms.name[a], ROWS_NAME_CAP, "arm%u", a);
        mean[a] = family_mean[a % SIM_FAMILIES] + .02 * (size - 3) +
                  .16 * (rng_uniform(seed, 100 + a) - .5);
        for (uint32_t j = 0; j < SIM_FEATURES; j++)
            slope[a][j] = .3 * (rng_uniform(seed, 1000 + a * SIM_FEATURES + j) - .5);
        w->arms[a].known = ARM_KNOWS_SIZE;
        w->arms[a].size_b = exp2(size);
        snprintf(w->arms[a].family, NAME_CAP, "family%u", a % SIM_FAMILIES);
    }
    /* The last two join late: a bad arm of the worst family, a good one of the best. */
    mean[36] = .3;
    mean[39] = .75;
    w->x = malloc((size_t)SIM_ROWS * (1 + SIM_FEATURES) * sizeof *w->x);
    w->order = malloc(SIM_ROWS * sizeof *w->order);
    if (!w->x || !w->order)
        abort();
    for (uint32_t i = 0; i < SIM_ROWS; i++) {
        float *x = w->x + (size_t)i * (1 + SIM_FEATURES);
        uint64_t s = rng_mix(seed, 5000 + i);
        x[0] = 1;
        for (uint32_t j = 0; j < SIM_FEATURES; j++)
            x[1 + j] = (float)(rng_uniform(s, j) - .5);
        for (uint32_t a = 0; a < SIM_ARMS; a++) {
            double p = mean[a];
            for (uint32_t j = 0; j < SIM_FEATURES; j++)
                p += slope[a][j] * (double)x[1 + j];
            rows->row[i].quality[a] = rng_uniform(s, 100 + a) < p;
        }
    }
    return rows;
}

static int simulated(uint32_t orders)
{
    static const struct {
        const char *what;
        int newcomer, joining;
    } cases[] = {{"simulated 40 arms (pulls: the best family)", -1, 0},
                 {"simulated, new: bad arm of the worst family", 36, 1},
                 {"simulated, new: eight, a good one among them", 39, 8}};
    struct result r[3] = {0};
    for (uint64_t o = 0; o < orders; o++) {
        struct world w = {0};
        struct feature_spec spec = {.version = 1, .features_n = SIM_FEATURES};
        w.rows = simulate(rng_mix(77, o), &w);
        play_config(w.rows, &spec, 0, &w.config);
        for (int k = 0; k < 3; k++)
            play_order(&w, o, cases[k].newcomer, cases[k].joining, orders, &r[k]);
        world_close(&w);
    }
    for (int k = 0; k < 3; k++)
        print_result(cases[k].what, &r[k], orders, k ? WINDOW : WINDOW_FAMILY);
    return (r[0].mean[1] < r[0].mean[0]) + (r[1].pulls[1] >= r[1].pulls[0]) +
           (r[0].early[1] <= r[0].early[0]) + (r[2].mean[1] <= r[2].mean[0]);
}

int main(int argc, char **argv)
{
    uint32_t orders = argc > 1 ? (uint32_t)atoi(argv[1]) : ORDERS;
    printf("%-44s disjoint hybrid gain\n", "");
    int broken = simulated(orders);
    int real = real_rows(orders);
    if (real < 0)
        printf("llmrouter9 skipped: SHUNT_DATA names no folder with it\n");
    return broken + (real > 0 ? real : 0) > 0;
}
