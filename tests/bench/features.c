#include "tests/bench/features.h"

#include "server/route/classify.h"
#include "server/route/features.h"
#include "server/route/flesch.h"
#include "server/route/text_block.h"
#include "tests/bench/allocations.h"
#include "tests/eval/examples.h"

#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PASSES = 5, TASK_SLOTS = 10, PER_LABEL = 20 };

struct options {
    const char *file;
    bool json;
};

/* Microseconds, one value for each text and pass. */
struct part {
    const char *name;
    void (*work)(const struct classifier *c, struct slice text);
    double *us;
    double median, p99, most;
    unsigned long allocations;
};

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* A context of ctx.v1 with every block: bias, ten task slots, scalars, agent, text. */
static void make_context(const struct classifier *c, struct slice text)
{
    const struct feature_spec spec = {
        .version = 1, .task_slots = TASK_SLOTS, .scalars = true, .agent = true, .text_block = true};
    float x[MAX_D], p[MAX_TASKS];
    struct feature_input in = {.text = text, .task_slot = -1};
    if (classify_text(c, text, p))
        in.task_p = p;
    if (features_fill(&spec, &in, x, NULL) != OK)
        abort();
}

static void make_label(const struct classifier *c, struct slice text)
{
    float p[MAX_TASKS];
    (void)classify_text(c, text, p);
}

static void make_block(const struct classifier *c, struct slice text)
{
    (void)c;
    float block[TEXT_D];
    text_block(text, block);
}

static void make_ease(const struct classifier *c, struct slice text)
{
    (void)c;
    volatile double ease = flesch_ease(text);
    (void)ease;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Every text once a pass, so that a text finds the table as other texts left it in the caches. */
static int measure(struct part *part, const struct classifier *c, const struct rows *rows)
{
    size_t n = (size_t)rows->n * PASSES, at = 0;
    part->us = calloc(n, sizeof *part->us);
    if (!part->us)
        return -1;
    unsigned long before = allocations_count();
    for (int pass = 0; pass < PASSES; pass++)
        for (uint32_t i = 0; i < rows->n; i++) {
            double began = now_us();
            part->work(c, (struct slice){rows->row[i].text, rows->row[i].text_len});
            part->us[at++] = now_us() - began;
        }
    part->allocations = allocations_count() - before;
    qsort(part->us, n, sizeof *part->us, by_value);
    part->median = part->us[n / 2];
    part->p99 = part->us[n - 1 - n / 100];
    part->most = part->us[n - 1];
    free(part->us);
    return 0;
}

static void print(const struct part *part, const struct options *o, const struct rows *rows)
{
    const char *name = part->name;
    if (o->json)
        printf("{\"file\": \"%s\", \"texts\": %u, \"part\": \"%s\", \"median_us\": %.2f, "
               "\"p99_us\": %.2f, \"max_us\": %.2f, \"allocations\": %lu}\n",
               o->file, rows->n, name, part->median, part->p99, part->most, part->allocations);
    else
        printf("%s, %u texts: %-14s median %6.2f  p99 %6.2f  max %7.2f us, %lu allocations\n",
               o->file, rows->n, name, part->median, part->p99, part->most, part->allocations);
}

/* 20 rows of each label, as an operator would; NULL when the file has no two labels. */
static struct classifier *train(const struct rows *rows)
{
    struct classifier *c = NULL;
    struct err_detail detail;
    struct buf examples;
    uint32_t *order = malloc(rows->n * sizeof *order);
    bool *used = malloc(rows->n * sizeof *used);
    buf_init(&examples);
    if (order && used) {
        rows_shuffle(1, rows->n, order);
        examples_put(rows, order, PER_LABEL, false, &examples, used);
        if (classify_train((struct slice){examples.data, examples.len}, &c, &detail) != OK)
            (void)fprintf(stderr, "without a classifier: %s\n", detail.text);
    }
    buf_done(&examples);
    free(order);
    free(used);
    return c;
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: shunt-bench features [--file NAME] [--json]\n"
                          "NAME.jsonl.gz is read from $SHUNT_DATA; pareto_val by default\n");
    return 2;
}

int bench_features(int argc, char **argv)
{
    struct options o = {.file = "pareto_val"};
    static const struct option longs[] = {{"file", required_argument, NULL, 'f'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        o.file = c == 'f' ? optarg : o.file;
        o.json = o.json || c == 'j';
        if (c == '?')
            return usage();
    }
    char *path = rows_path(o.file);
    if (!path) {
        printf("skipped: SHUNT_DATA holds no %s\n", o.file);
        return 77;
    }
    struct rows *rows = rows_read(path);
    free(path);
    if (!rows || rows->n == 0)
        return EXIT_FAILURE;
    struct classifier *c = train(rows);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    (void)sched_setaffinity(0, sizeof here, &here);
    struct part parts[] = {{.name = "context", .work = make_context},
                           {.name = "text block", .work = make_block},
                           {.name = "reading ease", .work = make_ease},
                           {.name = "classifier", .work = make_label}};
    int rc = EXIT_SUCCESS;
    for (size_t i = 0; rc == EXIT_SUCCESS && i < sizeof parts / sizeof *parts; i++) {
        rc = measure(&parts[i], c, rows) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        if (rc == EXIT_SUCCESS)
            print(&parts[i], &o, rows);
        rc = parts[i].allocations ? EXIT_FAILURE : rc; /* The one figure that is a promise. */
    }
    classify_free(c);
    rows_free(rows);
    return rc;
}
