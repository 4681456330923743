/* classify_f1 - how well the task classifier tells a file's families apart, 20 examples a family.
 * Why: a figure that documents quote has a command, and a promise has a test. Trains on 20 random
 * rows of each family of pareto_val, tests on all other rows, 10 draws; prints macro-F1, the time
 * of training and of one text. Exits 1 when the mean F1 is below .93, 77 without $SHUNT_DATA. */
#include "server/route/classify.h"
#include "tests/eval/examples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PER_LABEL = 20, DRAWS = 10 };
static const double f1_least = .93;

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct counts {
    uint32_t right[ROWS_NAMES_MAX], said[ROWS_NAMES_MAX], is[ROWS_NAMES_MAX], tested;
};

static double macro_f1(const struct counts *n, uint32_t labels)
{
    double sum = 0;
    for (uint32_t l = 0; l < labels; l++)
        sum += 2.0 * n->right[l] / (n->said[l] + n->is[l] ? n->said[l] + n->is[l] : 1);
    return sum / labels;
}

static void test_row(const struct classifier *c, const struct rows *rows, uint32_t i,
                     struct counts *n)
{
    float p[MAX_TASKS];
    uint32_t best = 0;
    (void)classify_text(c, (struct slice){rows->row[i].text, rows->row[i].text_len}, p);
    for (uint32_t l = 1; l < classify_labels_n(c); l++)
        if (p[l] > p[best])
            best = l;
    int family = rows->row[i].family;
    n->tested++;
    for (uint32_t f = 0; f < rows->families.n; f++) {
        bool said = strcmp(classify_label(c, best), rows->families.name[f]) == 0;
        n->said[f] += said;
        n->is[f] += (int)f == family;
        n->right[f] += said && (int)f == family;
    }
}

/* One draw; negative when training fails. */
static double draw(const struct rows *rows, uint64_t seed, uint32_t *order, bool *used,
                   double *ret_train_s, double *ret_text_s)
{
    struct buf examples;
    struct classifier *c = NULL;
    struct err_detail detail;
    struct counts n = {0};
    buf_init(&examples);
    rows_shuffle(seed, rows->n, order);
    examples_put(rows, order, PER_LABEL, true, &examples, used);
    double start = now_s();
    enum err e = classify_train((struct slice){examples.data, examples.len}, &c, &detail);
    *ret_train_s += now_s() - start;
    start = now_s();
    for (uint32_t i = 0; e == OK && i < rows->n; i++)
        if (!used[i] && rows->row[i].family >= 0)
            test_row(c, rows, i, &n);
    *ret_text_s += n.tested ? (now_s() - start) / n.tested : 0;
    if (e != OK)
        fprintf(stderr, "classify_f1: %s\n", detail.text);
    classify_free(c);
    buf_done(&examples);
    return e == OK ? macro_f1(&n, rows->families.n) : -1;
}

int main(void)
{
    char *path = rows_path("pareto_val");
    if (!path) {
        printf("skipped: SHUNT_DATA names no folder with pareto_val.jsonl.gz\n");
        return 77;
    }
    struct rows *rows = rows_read(path);
    free(path);
    uint32_t *order = rows ? malloc(rows->n * sizeof *order) : NULL;
    bool *used = rows ? malloc(rows->n * sizeof *used) : NULL;
    double sum = 0, worst = 1, train_s = 0, text_s = 0;
    int rc = order && used ? 0 : 1;
    for (uint64_t k = 0; rc == 0 && k < DRAWS; k++) {
        double f1 = draw(rows, k, order, used, &train_s, &text_s);
        rc = f1 < 0;
        sum += f1;
        worst = f1 < worst ? f1 : worst;
    }
    if (rc == 0)
        printf("pareto_val, %u families, %d examples each, %d draws: macro-F1 %.4f, worst %.4f; "
               "training %.1f ms, a text %.1f us\n",
               rows->families.n, PER_LABEL, DRAWS, sum / DRAWS, worst, train_s / DRAWS * 1e3,
               text_s / DRAWS * 1e6);
    free(order);
    free(used);
    rows_free(rows);
    return rc || sum / DRAWS < f1_least;
}
