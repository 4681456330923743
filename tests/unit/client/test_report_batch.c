/* shunt_report_batch, and how the queue delivers many, against a server that answers as told. */
#include "tests/unit/client/router_double.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 2500 };

static const struct shunt_value quality[] = {{"quality", 0.5}};

struct batch {
    struct shunt_report reports[MANY];
    const struct shunt_report *list[MANY];
    struct shunt_outcome outcomes[MANY], *to[MANY];
    enum shunt_result results[MANY];
    struct shunt_error errors[MANY];
};

static struct batch *batch_new(void)
{
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    for (int i = 0; i < MANY; i++) {
        b->reports[i] = (struct shunt_report)SHUNT_REPORT_INIT;
        b->reports[i].decision_id = DOUBLE_ID;
        b->reports[i].metrics = quality;
        b->reports[i].metrics_n = 1;
        b->list[i] = &b->reports[i];
        b->outcomes[i] = (struct shunt_outcome)SHUNT_OUTCOME_INIT;
        b->to[i] = &b->outcomes[i];
        b->results[i] = SHUNT_EMPTY; /* None of those that a report can have. */
    }
    return b;
}

static enum shunt_result report(struct shunt_client *client, struct batch *b, size_t n)
{
    return shunt_report_batch(client, b->list, n, b->to, b->results, b->errors, NULL);
}

static struct shunt_client *open_client(const char *address, size_t queue_max)
{
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    options.address = address;
    options.report_timeout_s = 60; /* No test waits for it but those that set their own. */
    options.retry_first_s = 0.005;
    options.retry_max_s = 0.02;
    options.queue_max = queue_max;
    struct shunt_client *client = shunt_open(&options, NULL);
    assert_non_null(client);
    return client;
}

static struct shunt_stats stats_of(struct shunt_client *client)
{
    struct shunt_stats stats = SHUNT_STATS_INIT;
    shunt_stats(client, &stats);
    return stats;
}

static void more_than_a_message_holds_goes_in_several(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, 0);
    struct batch *b = batch_new();
    assert_true(shunt_has("report-batch"));
    assert_int_equal(report(client, b, MANY), SHUNT_OK);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(b->results[i], SHUNT_OK);
        assert_false(b->outcomes[i].queued);
        assert_int_equal(b->outcomes[i].position, 7);
        assert_true(b->outcomes[i].duplicate == (i > 0)); /* As the double counts. */
        assert_int_equal(b->errors[i].status, 0);
    }
    assert_int_equal(atomic_load(&d.batches), 3);
    assert_int_equal(atomic_load(&d.largest_batch), 1000);
    assert_int_equal(atomic_load(&d.reports), MANY);
    assert_string_equal(d.last_batch->reports[499]->decision_id, DOUBLE_ID);
    assert_true(d.last_batch->reports[499]->metrics[0]->value == 0.5);
    free(b);
    shunt_close(client);
    router_double_stop(&d);
}

/* 100 reports of 60 KiB each are two messages of at most 3 MiB. */
static void more_bytes_than_a_message_holds_go_in_several(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    struct shunt_client *client = open_client(d.address, 0);
    struct batch *b = batch_new();
    size_t len = 60 << 10;
    char *source = calloc(1, (70 << 10) + 1);
    memset(source, 's', len);
    for (int i = 0; i < 100; i++)
        b->reports[i].source = source;
    assert_int_equal(report(client, b, 100), SHUNT_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(b->results[i], SHUNT_OK);
    assert_int_equal(atomic_load(&d.batches), 2);
    assert_int_equal(atomic_load(&d.reports), 100);
    memset(source, 's', 70 << 10);
    assert_int_equal(report(client, b, 2), SHUNT_OK);
    assert_int_equal(b->results[0], SHUNT_INVALID);
    assert_non_null(strstr(b->errors[0].message, "at most 65536"));
    assert_int_equal(shunt_report(client, b->list[0], NULL, NULL), SHUNT_INVALID);
    assert_int_equal(atomic_load(&d.reports), 100);
    free(source);
    free(b);
    shunt_close(client);
    router_double_stop(&d);
}

static void each_report_stands_for_itself(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.choosy, true);
    struct shunt_client *client = open_client(d.address, 0);
    struct batch *b = batch_new();
    b->list[1] = NULL;
    b->reports[2].decision_id = NULL; /* A fallback. */
    b->reports[3].source = "refused"; /* For good. */
    b->reports[4].source = "capped";  /* For now. */
    b->reports[5].metrics_n = 65;
    b->outcomes[6].size = 0;
    b->to[7] = NULL;
    b->reports[8].later = true;
    assert_int_equal(report(client, b, 10), SHUNT_OK);
    const enum shunt_result expected[10] = {SHUNT_OK,      SHUNT_INVALID, SHUNT_NOT_REPORTABLE,
                                            SHUNT_REFUSED, SHUNT_OK,      SHUNT_INVALID,
                                            SHUNT_INVALID, SHUNT_OK,      SHUNT_OK,
                                            SHUNT_OK};
    for (int i = 0; i < 10; i++)
        assert_int_equal(b->results[i], expected[i]);
    assert_string_equal(b->errors[3].code, "SOURCE_REFUSED");
    assert_int_equal(b->errors[3].status, 7);
    assert_true(b->outcomes[4].queued && b->outcomes[8].queued);
    assert_string_equal(b->errors[4].code, "SOURCE_CAP");
    assert_string_equal(b->errors[8].message, "");
    assert_false(b->outcomes[0].queued || b->outcomes[9].queued);
    while (stats_of(client).delivered < 1) /* The one that is only later overtakes. */
        ;
    atomic_store(&d.choosy, false);
    assert_int_equal(shunt_flush(client, 60), SHUNT_OK);
    assert_int_equal(stats_of(client).delivered, 2);
    assert_int_equal(atomic_load(&d.reports), 5); /* 0, 4, 7, 8 and 9: once each. */
    free(b);
    shunt_close(client);
    router_double_stop(&d);
}

static void what_nobody_acknowledged_is_queued_and_delivered_together(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.status, 14);
    struct shunt_client *client = open_client(d.address, 0);
    struct batch *b = batch_new();
    assert_int_equal(report(client, b, MANY), SHUNT_OK);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(b->results[i], SHUNT_OK);
        assert_true(b->outcomes[i].queued);
        assert_true(i >= 1000 || b->errors[i].status == 14);
    }
    assert_int_equal(stats_of(client).queued, MANY);
    while (stats_of(client).retries == 0) /* From then on it knocks with one. */
        ;
    atomic_store(&d.status, 0);
    assert_int_equal(shunt_flush(client, 60), SHUNT_OK);
    struct shunt_stats stats = stats_of(client);
    assert_int_equal(stats.delivered, MANY);
    assert_int_equal(stats.queued + stats.queued_bytes + stats.refused, 0);
    assert_int_equal(atomic_load(&d.reports), MANY);
    /* 1, 2, 4 ... 512, 1000 and the rest. */
    assert_int_equal(atomic_load(&d.batches), 11);
    assert_int_equal(atomic_load(&d.largest_batch), 1000);
    free(b);
    shunt_close(client);
    router_double_stop(&d);
}

static void a_full_queue_is_of_the_reports_that_found_no_room(void **unused)
{
    (void)unused;
    struct shunt_client *client = open_client("unix:/nonexistent/shunt.sock", 7);
    struct batch *b = batch_new();
    assert_int_equal(report(client, b, 10), SHUNT_OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(b->results[i], i < 7 ? SHUNT_OK : SHUNT_QUEUE_FULL);
    struct shunt_stats stats = stats_of(client);
    assert_int_equal(stats.queued, 7);
    assert_int_equal(stats.dropped, 3);
    free(b);
    shunt_close(client);
}

/* It hangs for ever: the first report's deadline is that of all. */
static void a_batch_is_back_by_the_deadline_of_its_first_report(void **unused)
{
    (void)unused;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.status, FAKE_HANG);
    struct shunt_options options = SHUNT_OPTIONS_INIT;
    options.address = d.address;
    options.report_timeout_s = 0.05; /* Of what the queue tries meanwhile, so that it ends. */
    struct shunt_client *client = shunt_open(&options, NULL);
    struct batch *b = batch_new();
    b->reports[0].timeout_s = 0.1;
    for (int i = 1; i < MANY; i++)
        b->reports[i].timeout_s = 3600;
    assert_int_equal(report(client, b, MANY), SHUNT_OK);
    for (int i = 0; i < MANY; i++)
        assert_true(b->results[i] == SHUNT_OK && b->outcomes[i].queued);
    assert_int_equal(b->errors[0].status, 4);
    free(b);
    shunt_close(client);
    router_double_stop(&d);
}

/* The queue finds out one by one what a refusal of the whole does not say. */
static void a_batch_refused_as_a_whole_is_delivered_one_by_one(void **unused)
{
    (void)unused;
    const int unimplemented = 12;
    struct router_double d;
    router_double_start(&d, 0);
    atomic_store(&d.no_batches, true);
    struct shunt_client *client = open_client(d.address, 0);
    struct batch *b = batch_new();
    assert_int_equal(report(client, b, 2), SHUNT_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(b->results[i], SHUNT_REFUSED);
        assert_int_equal(b->errors[i].status, unimplemented);
    }
    for (int i = 0; i < 6; i++)
        b->reports[i].later = true;
    assert_int_equal(report(client, b, 6), SHUNT_OK);
    assert_int_equal(shunt_flush(client, 60), SHUNT_OK);
    assert_int_equal(stats_of(client).delivered, 6);
    assert_int_equal(stats_of(client).refused, 0);
    assert_int_equal(atomic_load(&d.reports), 6);
    free(b);
    shunt_close(client);
    router_double_stop(&d);
}

static void wrong_arguments_send_nothing(void **unused)
{
    (void)unused;
    struct shunt_error error;
    struct shunt_client *client = open_client("unix:/nonexistent/shunt.sock", 0);
    struct batch *b = batch_new();
    assert_int_equal(shunt_report_batch(client, b->list, 0, NULL, b->results, NULL, &error),
                     SHUNT_INVALID);
    assert_non_null(strstr(error.message, "100000"));
    assert_int_equal(shunt_report_batch(client, b->list, 100001, NULL, b->results, NULL, NULL),
                     SHUNT_INVALID);
    assert_int_equal(shunt_report_batch(client, b->list, 1, NULL, NULL, NULL, NULL), SHUNT_INVALID);
    assert_int_equal(shunt_report_batch(client, NULL, 1, NULL, b->results, NULL, NULL),
                     SHUNT_INVALID);
    assert_int_equal(shunt_report_batch(NULL, b->list, 1, NULL, b->results, NULL, NULL),
                     SHUNT_INVALID);
    assert_int_equal(stats_of(client).queued, 0);
    /* Outcomes and errors may be left out. */
    assert_int_equal(shunt_report_batch(client, b->list, 3, NULL, b->results, NULL, NULL),
                     SHUNT_OK);
    assert_int_equal(stats_of(client).queued, 3);
    free(b);
    shunt_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_a_message_holds_goes_in_several),
        cmocka_unit_test(more_bytes_than_a_message_holds_go_in_several),
        cmocka_unit_test(each_report_stands_for_itself),
        cmocka_unit_test(what_nobody_acknowledged_is_queued_and_delivered_together),
        cmocka_unit_test(a_full_queue_is_of_the_reports_that_found_no_room),
        cmocka_unit_test(a_batch_is_back_by_the_deadline_of_its_first_report),
        cmocka_unit_test(a_batch_refused_as_a_whole_is_delivered_one_by_one),
        cmocka_unit_test(wrong_arguments_send_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
