#include "server/ops/metrics.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/ops/prom.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct prom_page render(struct metrics *m)
{
    struct buf b;
    struct prom_page page;
    buf_init(&b);
    metrics_render(m, &b);
    assert_int_equal(buf_error(&b), OK);
    const bool good = prom_parse((const char *)b.data, b.len, &page);
    buf_done(&b);
    if (!good)
        fail_msg("%s", page.error);
    return page;
}

static double value_of(const struct prom_page *page, const char *name, const char *labels)
{
    const struct prom_sample *s = prom_find(page, name, labels);
    if (!s)
        fail_msg("no %s{%s}", name, labels);
    return s->value;
}

static void the_parser_refuses_what_the_format_forbids(void **unused)
{
    (void)unused;
    const char *bad[] = {
        "a 1\n",                                   /* No TYPE. */
        "# TYPE a counter\na 1",                   /* No newline at the end. */
        "# TYPE a counter\na one\n",               /* Not a number. */
        "# TYPE a counter\na 0x10\n",              /* C's numbers are not all allowed. */
        "# TYPE a counter\na{b=\"\\x\"} 1\n",      /* Bad escape. */
        "# TYPE a counter\na{b=\"1\"c=\"2\"} 1\n", /* No comma. */
        "# TYPE a counter\na{1b=\"1\"} 1\n",       /* Bad label name. */
        "# TYPE a counter\na 1\na 2\n",            /* A series twice. */
        "# TYPE a counter\na 1\n# TYPE b gauge\nb 1\na{x=\"1\"} 1\n", /* Outside its block. */
        "# TYPE a counter\na 1\n# TYPE b gauge\n# TYPE a counter\n",  /* A block twice. */
        "# TYPE a counter\na 1\n# HELP a late\n",
        "# TYPE a meter\na 1\n",
        "# TYPE a counter\na{b=\"\xff\"} 1\n", /* Not UTF-8. */
        "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 1\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct prom_page page;
        if (prom_parse(bad[i], strlen(bad[i]), &page))
            fail_msg("accepted: %s", bad[i]);
        assert_true(page.error[0]);
        prom_free(&page);
    }
    struct prom_page page;
    const char *good = "# a comment\n\n# HELP a An \\n a.\n# TYPE a gauge\na{b=\"\\\"\"} +Inf\n";
    assert_true(prom_parse(good, strlen(good), &page));
    prom_free(&page);
}

static void values_and_labels_survive_the_page(void **unused)
{
    (void)unused;
    struct metrics *m;
    struct metrics_counter *calls, *others;
    struct metrics_gauge *depth;
    assert_int_equal(metrics_new(&m), OK);
    const struct metrics_label ok[] = {{"method", "Route"}, {"code", "OK"}};
    const struct metrics_label odd[] = {{"method", "a\"b\\c\nd\xff"}, {"code", "ä"}};
    const char *help = "Calls, by \\ and\nby \"code\".";
    assert_int_equal(metrics_add_counter(m, "calls_total", help, ok, 2, &calls), OK);
    assert_int_equal(metrics_add_gauge(m, "depth", "Depth.", NULL, 0, &depth), OK);
    assert_int_equal(metrics_add_counter(m, "calls_total", help, odd, 2, &others), OK);
    metrics_counter_add(calls, 3);
    metrics_counter_add(calls, 9007199254740993 - 3); /* A double would lose the last one. */
    metrics_counter_add(others, 1);
    metrics_gauge_set(depth, -2.5);
    struct prom_page page = render(m);
    assert_true(value_of(&page, "calls_total", "method=\"Route\",code=\"OK\"") >= 9007199254740992);
    assert_true(value_of(&page, "depth", "") == -2.5);
    const char *labels = "method=\"a\\\"b\\\\c\\nd\xef\xbf\xbd\",code=\"ä\"";
    assert_true(value_of(&page, "calls_total", labels) == 1);
    prom_free(&page);
    metrics_free(m);
}

static void a_counter_is_printed_to_its_last_digit(void **unused)
{
    (void)unused;
    struct metrics *m;
    struct metrics_counter *c;
    struct buf b;
    assert_int_equal(metrics_new(&m), OK);
    assert_int_equal(metrics_add_counter(m, "c", "C.", NULL, 0, &c), OK);
    metrics_counter_add(c, 9007199254740993);
    buf_init(&b);
    metrics_render(m, &b);
    buf_put_u8(&b, 0);
    assert_non_null(strstr((const char *)b.data, "\nc 9007199254740993\n"));
    buf_done(&b);
    metrics_free(m);
}

static void a_histogram_counts_each_value_in_one_bucket(void **unused)
{
    (void)unused;
    struct metrics *m;
    struct metrics_histogram *h;
    const double upper[] = {1, 2};
    const struct metrics_buckets shape = {upper, 2, 1e-9};
    assert_int_equal(metrics_new(&m), OK);
    assert_int_equal(metrics_add_histogram(m, "h", "H.", NULL, 0, &shape, &h), OK);
    const double values[] = {0, 1, 1.5, 3, -1, (double)NAN};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        metrics_histogram_observe(h, values[i]);
    struct prom_page page = render(m);
    assert_true(value_of(&page, "h_bucket", "le=\"1\"") ==
                4); /* 0, 1 (a bound is inside), -1, NaN. */
    assert_true(value_of(&page, "h_bucket", "le=\"2\"") == 5);
    assert_true(value_of(&page, "h_bucket", "le=\"+Inf\"") == 6);
    assert_true(value_of(&page, "h_count", "") == 6);
    assert_true(value_of(&page, "h_sum", "") == 5.5);
    prom_free(&page);
    metrics_free(m);
}

static double read_depth(void *arg)
{
    return *(double *)arg;
}

static void collect_arms(struct metrics_sink *sink, void *arg)
{
    const int *n = arg;
    for (int i = 0; i < *n; i++) {
        char arm[16];
        (void)snprintf(arm, sizeof arm, "arm%d", i);
        const struct metrics_label labels[] = {{"router", "default"}, {"arm", arm}};
        metrics_emit(sink, labels, 2, i / 10.0);
    }
    const struct metrics_label bad = {"a b", "x"};
    metrics_emit(sink, &bad, 1, 1);
}

static void callbacks_are_read_when_the_page_is_made(void **unused)
{
    (void)unused;
    struct metrics *m;
    double depth = 1;
    int arms = 2;
    assert_int_equal(metrics_new(&m), OK);
    assert_int_equal(metrics_add_reader(m, "d", "D.", METRICS_GAUGE, read_depth, &depth), OK);
    assert_int_equal(metrics_add_collector(m, "share", "S.", METRICS_GAUGE, collect_arms, &arms),
                     OK);
    depth = 7;
    arms = 3;
    struct prom_page page = render(m);
    assert_true(value_of(&page, "d", "") == 7);
    assert_true(value_of(&page, "share", "router=\"default\",arm=\"arm2\"") == .2);
    assert_true(value_of(&page, "shunt_metrics_samples_dropped", "") == 1);
    prom_free(&page);
    metrics_free(m);
}

static void bad_and_repeated_registrations_are_refused(void **unused)
{
    (void)unused;
    struct metrics *m;
    struct metrics_counter *c = NULL;
    struct metrics_gauge *g = NULL;
    struct metrics_histogram *h = NULL;
    double d = 0;
    assert_int_equal(metrics_new(&m), OK);
    const struct metrics_label le = {"le", "1"}, dash = {"a-b", "1"};
    const struct metrics_label twice[] = {{"a", "1"}, {"a", "2"}};
    assert_int_equal(metrics_add_counter(m, "9a", "", NULL, 0, &c), ERR_BAD_NAME);
    assert_int_equal(metrics_add_counter(m, "a b", "", NULL, 0, &c), ERR_BAD_NAME);
    assert_int_equal(metrics_add_counter(m, "a", "", &le, 1, &c), ERR_BAD_NAME);
    assert_int_equal(metrics_add_counter(m, "a", "", &dash, 1, &c), ERR_BAD_NAME);
    assert_int_equal(metrics_add_counter(m, "a", "", twice, 2, &c), ERR_BAD_NAME);
    assert_int_equal(metrics_add_counter(m, "a", "", NULL, 0, &c), OK);
    assert_int_equal(metrics_add_counter(m, "a", "", NULL, 0, &c), ERR_EXISTS);
    assert_int_equal(metrics_add_gauge(m, "a", "", NULL, 0, &g), ERR_INVALID);
    assert_int_equal(metrics_add_reader(m, "a", "", METRICS_COUNTER, read_depth, &d), ERR_INVALID);
    const struct metrics_buckets huge = {NULL, METRICS_BUCKETS_MAX + 1, 1};
    assert_int_equal(metrics_add_histogram(m, "h", "", NULL, 0, &huge, &h), ERR_LIMIT);
    struct prom_page page = render(m);
    prom_free(&page);
    metrics_free(m);
}

#define THREADS 4
#define ROUNDS 20000

struct shared {
    struct metrics *m;
    struct metrics_counter *c;
    struct metrics_histogram *h;
};

static void *count(void *arg)
{
    const struct shared *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        metrics_counter_add(s->c, 1);
        metrics_histogram_observe(s->h, i % 3);
    }
    return NULL;
}

static void no_increment_is_lost_between_threads(void **unused)
{
    (void)unused;
    struct shared s;
    pthread_t threads[THREADS];
    assert_int_equal(metrics_new(&s.m), OK);
    assert_int_equal(metrics_add_counter(s.m, "c", "", NULL, 0, &s.c), OK);
    assert_int_equal(metrics_add_histogram(s.m, "h", "", NULL, 0, &metrics_powers, &s.h), OK);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, &s), 0);
    for (int i = 0; i < 20; i++) { /* Pages made meanwhile are consistent, too. */
        struct prom_page page = render(s.m);
        prom_free(&page);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    struct prom_page page = render(s.m);
    assert_true(value_of(&page, "c", "") == THREADS * ROUNDS);
    assert_true(value_of(&page, "h_count", "") == THREADS * ROUNDS);
    assert_true(value_of(&page, "h_bucket", "le=\"1\"") == THREADS * 13334);
    prom_free(&page);
    metrics_free(s.m);
}

static void every_failed_allocation_is_an_error_and_no_leak(void **unused)
{
    (void)unused;
    for (long n = 1;; n++) {
        struct metrics *m = NULL;
        struct metrics_counter *c = NULL;
        const struct metrics_label l = {"a", "b"};
        mem_fail_nth(n);
        enum err e = metrics_new(&m);
        if (!e)
            e = metrics_add_counter(m, "c", "C.", &l, 1, &c);
        const bool reached = mem_count() >= n;
        mem_fail_nth(0);
        assert_int_equal(e, reached ? ERR_NOMEM : OK);
        metrics_free(m);
        if (!reached)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parser_refuses_what_the_format_forbids),
        cmocka_unit_test(values_and_labels_survive_the_page),
        cmocka_unit_test(a_counter_is_printed_to_its_last_digit),
        cmocka_unit_test(a_histogram_counts_each_value_in_one_bucket),
        cmocka_unit_test(callbacks_are_read_when_the_page_is_made),
        cmocka_unit_test(bad_and_repeated_registrations_are_refused),
        cmocka_unit_test(no_increment_is_lost_between_threads),
        cmocka_unit_test(every_failed_allocation_is_an_error_and_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
