/* metrics.h - numbers that operators watch, in the Prometheus text format 0.0.4.
 * Why: a registry of our own is 400 lines; no client library for C is packaged.
 * Owns: families and series. Borrows names, help texts and callbacks' arguments: literals, or alive
 * until metrics_free. Label values are copied.
 * Threads: increments and observations from any thread, each a few relaxed atomic adds, no lock and
 * no allocation; registration and rendering take the registry's mutex. Callbacks run inside
 * metrics_render: they must not register anything, and their owners must outlive whoever renders.
 * A NULL counter, gauge or histogram swallows values, so that a room can be tested without them.
 * Invariant: what is rendered parses: one block a family, names valid, label values escaped. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"

#include <stddef.h>
#include <stdint.h>

#define METRICS_FAMILIES_MAX 256
#define METRICS_SERIES_MAX 4096   /* Per family, of those registered. */
#define METRICS_LABELS_MAX 8      /* Per series. */
#define METRICS_SAMPLES_MAX 50000 /* A render, of those that collectors emit. */
#define METRICS_BUCKETS_MAX 32

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE };

struct metrics_label {
    const char *name, *value;
};

/* Upper bounds in rising order; +Inf is implied. Sums are kept as multiples of `unit` (1e-9 for
 * seconds, 1 for things), because adding an integer is wait-free and adding a double is not. */
struct metrics_buckets {
    const double *upper;
    size_t n;
    double unit;
};

struct metrics;
struct metrics_counter;
struct metrics_gauge;
struct metrics_histogram;
struct metrics_sink;

MUST_USE enum err metrics_new(struct metrics **ret_metrics);
void metrics_free(struct metrics *m);

/* Registering. Series of one name share one family: the first help text stands.
 * ERR_BAD_NAME: not a Prometheus name. ERR_EXISTS: this name with these labels is there.
 * ERR_INVALID: the name is there as another type. ERR_LIMIT: a limit above. */
MUST_USE enum err metrics_add_counter(struct metrics *m, const char *name, const char *help,
                                      const struct metrics_label *labels, size_t labels_n,
                                      struct metrics_counter **ret_counter);
MUST_USE enum err metrics_add_gauge(struct metrics *m, const char *name, const char *help,
                                    const struct metrics_label *labels, size_t labels_n,
                                    struct metrics_gauge **ret_gauge);
MUST_USE enum err metrics_add_histogram(struct metrics *m, const char *name, const char *help,
                                        const struct metrics_label *labels, size_t labels_n,
                                        const struct metrics_buckets *buckets,
                                        struct metrics_histogram **ret_histogram);
/* One value that its owner keeps anyway, read while rendering. */
MUST_USE enum err metrics_add_reader(struct metrics *m, const char *name, const char *help,
                                     enum metrics_type type, double (*read)(void *arg), void *arg);
/* A family whose series come and go (a router's arms): emitted anew at each render. */
MUST_USE enum err metrics_add_collector(struct metrics *m, const char *name, const char *help,
                                        enum metrics_type type,
                                        void (*collect)(struct metrics_sink *sink, void *arg),
                                        void *arg);
/* For collectors. Values beyond METRICS_SAMPLES_MAX are left out and counted in
 * shunt_metrics_samples_dropped; so are labels that are not valid. */
void metrics_emit(struct metrics_sink *sink, const struct metrics_label *labels, size_t labels_n,
                  double value);

void metrics_counter_add(struct metrics_counter *c, uint64_t n);
void metrics_gauge_set(struct metrics_gauge *g, double value);
/* Negative values and NaN count as 0: a clock that stepped must not poison a sum. */
void metrics_histogram_observe(struct metrics_histogram *h, double value);

/* Appends the page to b. Check buf_error(b) at the end. */
void metrics_render(struct metrics *m, struct buf *b);

/* Seconds, from 10 us to 10 s: calls and commits. */
extern const struct metrics_buckets metrics_seconds;
/* Powers of two from 1 to 4096: records in a batch. */
extern const struct metrics_buckets metrics_powers;
