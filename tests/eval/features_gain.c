/* features_gain - what a context is worth: the mean utility of a router that sees it, over one that
 * sees nothing, on real rows (SHUNT_DATA).
 * Prints, for every file, each context without a task label, with a classifier's label (20 examples
 * a label, whose rows are left out of the stream) and with the caller's: 20 orders, averaged over
 * the cost weights 0, .1, .2, .3, .4 (utility = quality - weight * log-normalised cost).
 * Exits 1 when ctx.v1 does not keep its promises, 77 without SHUNT_DATA. Arguments: files. */
#include "server/route/classify.h"
#include "server/route/features.h"
#include "state/base/rng.h"
#include "tests/eval/examples.h"
#include "tests/eval/play.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PER_LABEL = 20, ORDERS = 20, WEIGHTS = 5 };
static const double cost_weights[WEIGHTS] = {0, .1, .2, .3, .4};

enum task_source { TASK_NONE, TASK_CLASSIFIER, TASK_CALLER };

struct context {
    const char *name;
    struct feature_spec spec; /* task_slots: nonzero, the file's. */
    enum task_source source;
    double mean, gain, gain_sd; /* Over the orders, the weights averaged. */
};

/* What one order of a file needs; the contexts of its rows are made anew for each. */
struct trial {
    const struct rows *rows;
    bool by_family;
    uint32_t *order, *stream;
    bool *used;
    float *x;
    struct classifier *classifier;
};

static const struct names *labels_of(const struct trial *t)
{
    return t->by_family ? &t->rows->families : &t->rows->tasks;
}

/* As the server does it: probabilities of the labels, each in the slot of its name. */
static void guess_task(const struct trial *t, const struct row *row, float *ret_slots)
{
    const struct names *labels = labels_of(t);
    float p[MAX_TASKS];
    memset(ret_slots, 0, MAX_TASKS * sizeof *ret_slots);
    (void)classify_text(t->classifier, (struct slice){row->text, row->text_len}, p);
    for (uint32_t l = 0; l < classify_labels_n(t->classifier); l++)
        for (uint32_t s = 0; s < labels->n; s++)
            if (strcmp(classify_label(t->classifier, l), labels->name[s]) == 0)
                ret_slots[s] = p[l];
}

static void fill_contexts(struct trial *t, const struct context *c, const struct feature_spec *spec)
{
    size_t d = spec_d(spec);
    for (uint32_t i = 0; i < t->rows->n; i++) {
        const struct row *row = &t->rows->row[i];
        float slots[MAX_TASKS];
        struct feature_input in = {.text = {row->text, row->text_len}, .task_slot = -1};
        struct err_detail detail;
        if (c->source == TASK_CALLER)
            in.task_slot = t->by_family ? row->family : row->task;
        if (c->source == TASK_CLASSIFIER) {
            guess_task(t, row, slots);
            in.task_p = slots;
        }
        if (features_fill(spec, &in, t->x + i * d, &detail) != OK) {
            fprintf(stderr, "features_gain: %s\n", detail.text);
            abort();
        }
    }
}

static double play_weights(struct trial *t, const struct context *c, uint32_t n, uint64_t seed)
{
    struct feature_spec spec = c->spec;
    struct router_config config;
    double sum = 0;
    if (spec.task_slots)
        spec.task_slots = (uint16_t)(labels_of(t)->n + 1);
    fill_contexts(t, c, &spec);
    for (int w = 0; w < WEIGHTS; w++) {
        play_config(t->rows, &spec, cost_weights[w], &config);
        struct play p = {.rows = t->rows,
                         .config = &config,
                         .x = t->x,
                         .order = t->stream,
                         .order_n = n,
                         .seed = rng_mix(seed, (uint64_t)w)};
        sum += play_run(&p) / WEIGHTS;
        if (config.metrics_n == 1) /* Without a cost every weight is the same game. */
            return sum * WEIGHTS;
    }
    return sum;
}

/* Draws an order, and what the classifier learns from; returns how many rows are left to play. */
static uint32_t draw(struct trial *t, uint64_t seed)
{
    struct buf examples;
    struct err_detail detail;
    uint32_t n = 0;
    buf_init(&examples);
    rows_shuffle(rng_mix(seed, 1), t->rows->n, t->order);
    examples_put(t->rows, t->order, PER_LABEL, t->by_family, &examples, t->used);
    classify_free(t->classifier);
    t->classifier = NULL;
    if (labels_of(t)->n >= 2 && classify_train((struct slice){examples.data, examples.len},
                                               &t->classifier, &detail) != OK) {
        fprintf(stderr, "features_gain: %s\n", detail.text);
        abort();
    }
    buf_done(&examples);
    rows_shuffle(seed, t->rows->n, t->order);
    for (uint32_t i = 0; i < t->rows->n; i++)
        if (!t->classifier || !t->used[t->order[i]])
            t->stream[n++] = t->order[i];
    return n;
}

/* contexts[0] is the bias alone, which the gains are over. */
static void measure(struct trial *t, struct context *contexts, uint32_t contexts_n)
{
    double squares[16] = {0};
    for (uint64_t o = 0; o < ORDERS; o++) {
        uint32_t n = draw(t, o);
        double base = 0;
        for (uint32_t k = 0; k < contexts_n; k++) {
            double u = play_weights(t, &contexts[k], n, o);
            base = k == 0 ? u : base;
            contexts[k].mean += u / ORDERS;
            contexts[k].gain += (u - base) / ORDERS;
            squares[k] += (u - base) * (u - base) / ORDERS;
        }
    }
    for (uint32_t k = 0; k < contexts_n; k++)
        contexts[k].gain_sd = sqrt(fmax(0, squares[k] - contexts[k].gain * contexts[k].gain));
}

#define V0 .scalars = true
#define V1 .version = 1, .scalars = true, .text_block = true
static const struct context all_contexts[] = {
    {.name = "bias alone"},
    {.name = "ctx.v0", .spec = {V0}},
    {.name = "ctx.v1", .spec = {V1}},
    {.name = "ctx.v1 without the text block", .spec = {.version = 1, .scalars = true}},
    {.name = "ctx.v1 classifier", .spec = {V1, .task_slots = 1}, .source = TASK_CLASSIFIER},
    {.name = "classifier alone",
     .spec = {.version = 1, .task_slots = 1},
     .source = TASK_CLASSIFIER},
    {.name = "ctx.v0 caller's task", .spec = {V0, .task_slots = 1}, .source = TASK_CALLER},
    {.name = "ctx.v1 caller's task", .spec = {V1, .task_slots = 1}, .source = TASK_CALLER},
};
enum { CONTEXTS = sizeof all_contexts / sizeof *all_contexts, AT_V1 = 2, AT_CLASSIFIER = 4 };

struct promise {
    const char *file;
    uint32_t context;
    double least;  /* Gain over the bias alone. */
    double errors; /* Standard errors of the mean that it may lie below: "not worse". */
};
static const struct promise promises[] = {
    {"pareto_val", AT_V1, .002, 0},
    {"pareto_val", AT_CLASSIFIER, .0035, 0},
    {"routellm_gsm8k", AT_V1, 0, 2},
    {"llmrouter9_train", AT_V1, 0, 2},
};

static int print_file(const char *name, const struct context *c)
{
    int broken = 0;
    printf("%s\n", name);
    for (uint32_t k = 0; k < CONTEXTS; k++)
        printf("  %-30s %.4f  %+.4f (sd of an order %.4f)\n", c[k].name, c[k].mean, c[k].gain,
               c[k].gain_sd);
    for (size_t i = 0; i < sizeof promises / sizeof *promises; i++) {
        const struct promise *p = &promises[i];
        if (strcmp(p->file, name) != 0)
            continue;
        double slack = p->errors * c[p->context].gain_sd / sqrt(ORDERS);
        bool kept = c[p->context].gain >= p->least - slack;
        printf("  %s: %s gains %+.4f, promised %+.4f (within %.4f)\n", kept ? "kept" : "BROKEN",
               c[p->context].name, c[p->context].gain, p->least, slack);
        broken += !kept;
    }
    (void)fflush(stdout);
    return broken;
}

static int run_file(const char *name)
{
    char *path = rows_path(name);
    struct rows *rows = path ? rows_read(path) : NULL;
    struct context contexts[CONTEXTS];
    int rc = -1;
    free(path);
    if (!rows)
        return -1;
    struct trial t = {.rows = rows, .by_family = rows->families.n >= 2};
    t.order = malloc(rows->n * sizeof *t.order);
    t.stream = malloc(rows->n * sizeof *t.stream);
    t.used = malloc(rows->n * sizeof *t.used);
    t.x = malloc((size_t)rows->n * MAX_D * sizeof *t.x);
    memcpy(contexts, all_contexts, sizeof contexts);
    if (t.order && t.stream && t.used && t.x) {
        measure(&t, contexts, CONTEXTS);
        rc = print_file(name, contexts);
    }
    classify_free(t.classifier);
    free(t.order);
    free(t.stream);
    free(t.used);
    free(t.x);
    rows_free(rows);
    return rc;
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"pareto_val", "routellm_gsm8k", "llmrouter9_train"};
    int broken = 0;
    char *path = rows_path("pareto_val");
    if (!path) {
        printf("skipped: SHUNT_DATA names no folder with the data files\n");
        return 77;
    }
    free(path);
    for (int i = 0; i < (argc > 1 ? argc - 1 : 3); i++) {
        int rc = run_file(argc > 1 ? argv[i + 1] : usual[i]);
        if (rc < 0)
            return 1;
        broken += rc;
    }
    return broken > 0;
}
