#include "client/outbox.h"
#include "shunt/v1/router.pb-c.h"
#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A receiver whose verdicts the test sets; it may hold letters back behind a gate. */
struct receiver {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed; /* send waits until the gate opens. */
    bool waiting;
    enum outbox_verdict verdict;
    int fail_first; /* So many RETRY before the verdict. */
    char seen[4096];
};

static enum outbox_verdict receive(void *context, const ProtobufCMessage *message)
{
    struct receiver *r = context;
    const Shunt__V1__ReportRewardRequest *report = (const Shunt__V1__ReportRewardRequest *)message;
    pthread_mutex_lock(&r->lock);
    r->waiting = true;
    pthread_cond_broadcast(&r->changed);
    while (r->closed)
        pthread_cond_wait(&r->changed, &r->lock);
    enum outbox_verdict verdict = r->fail_first > 0 ? OUTBOX_RETRY : r->verdict;
    if (r->fail_first > 0)
        r->fail_first--;
    else if (strlen(r->seen) + 8 < sizeof r->seen)
        strcat(strcat(r->seen, report->decision_id), " ");
    pthread_mutex_unlock(&r->lock);
    return verdict;
}

static void gate(struct receiver *r, bool closed)
{
    pthread_mutex_lock(&r->lock);
    r->closed = closed;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void await_arrival(struct receiver *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->waiting)
        pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

static struct outbox *open_as(struct receiver *r, size_t outcomes_max, size_t bytes_max,
                              double pause_s)
{
    *r = (struct receiver){.verdict = OUTBOX_DELIVERED};
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    const struct outbox_config config = {.outcomes_max = outcomes_max,
                                         .bytes_max = bytes_max,
                                         .first_s = pause_s,
                                         .max_s = 4 * pause_s,
                                         .send = receive,
                                         .context = r};
    struct outbox *o = outbox_new(&config);
    assert_non_null(o);
    return o;
}

static struct outbox *open_box(struct receiver *r, size_t outcomes_max, size_t bytes_max)
{
    return open_as(r, outcomes_max, bytes_max, 0.001);
}

static void await_count(struct outbox *o, uint64_t delivered)
{
    struct outbox_stats stats;
    do {
        sched_yield();
        outbox_read_stats(o, &stats);
    } while (stats.delivered < delivered);
}

static bool put(struct outbox *o, int i, size_t bytes, double wait_s)
{
    Shunt__V1__ReportRewardRequest *report = malloc(sizeof *report);
    shunt__v1__report_reward_request__init(report);
    char id[16];
    (void)snprintf(id, sizeof id, "%d", i);
    report->decision_id = strdup(id);
    return outbox_put_take(o, &report->base, bytes, wait_s);
}

static void outcomes_arrive_once_and_in_order(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 100, 1000);
    for (int i = 0; i < 20; i++)
        assert_true(put(o, i, 10, 0));
    assert_true(outbox_flush(o, 60));
    assert_string_equal(r.seen, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 ");
    struct outbox_stats stats;
    outbox_read_stats(o, &stats);
    assert_int_equal(stats.delivered, 20);
    assert_int_equal(stats.queued + stats.queued_bytes + stats.dropped, 0);
    outbox_free(o);
}

static void a_full_queue_drops_and_counts(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 3, 1000);
    gate(&r, true);
    for (int i = 0; i < 3; i++)
        assert_true(put(o, i, 10, 0));
    assert_false(put(o, 3, 10, 0));
    assert_false(put(o, 4, 10, 0.01)); /* Waits, in vain. */
    struct outbox_stats stats;
    outbox_read_stats(o, &stats);
    assert_int_equal(stats.queued, 3);
    assert_int_equal(stats.dropped, 2);
    assert_false(outbox_flush(o, 0.01));
    gate(&r, false);
    assert_true(outbox_flush(o, 60));
    assert_string_equal(r.seen, "0 1 2 ");
    outbox_free(o);
}

static void bytes_are_bounded_too(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 100, 100);
    gate(&r, true);
    assert_false(put(o, 0, 101, 60)); /* Would never fit, so it does not wait either. */
    assert_true(put(o, 1, 60, 0));
    assert_false(put(o, 2, 41, 0));
    assert_true(put(o, 3, 40, 0));
    gate(&r, false);
    assert_true(outbox_flush(o, 60));
    assert_string_equal(r.seen, "1 3 ");
    outbox_free(o);
}

static void *open_the_gate(void *r)
{
    await_arrival(r);
    gate(r, false);
    return NULL;
}

static void a_blocked_caller_gets_in_when_there_is_room(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 1, 1000);
    gate(&r, true);
    assert_true(put(o, 0, 10, 0));
    pthread_t opener;
    assert_int_equal(pthread_create(&opener, NULL, open_the_gate, &r), 0);
    assert_true(put(o, 1, 10, 60));
    pthread_join(opener, NULL);
    assert_true(outbox_flush(o, 60));
    assert_string_equal(r.seen, "0 1 ");
    outbox_free(o);
}

static void a_failed_delivery_is_tried_again(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 10, 1000);
    gate(&r, true);
    r.fail_first = 4;
    assert_true(put(o, 0, 10, 0));
    assert_true(put(o, 1, 10, 0));
    gate(&r, false);
    assert_true(outbox_flush(o, 60));
    assert_string_equal(r.seen, "0 1 ");
    struct outbox_stats stats;
    outbox_read_stats(o, &stats);
    assert_int_equal(stats.retries, 4);
    assert_int_equal(stats.delivered, 2);
    assert_false(outbox_retrying(o));
    outbox_free(o);
}

static void a_nudge_ends_the_pause(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_as(&r, 10, 1000, 1e5);
    gate(&r, true);
    r.fail_first = 1;
    assert_true(put(o, 0, 10, 0));
    await_arrival(&r);
    outbox_nudge(o); /* While it is being sent: counts for the failure to come. */
    gate(&r, false);
    await_count(o, 1);
    pthread_mutex_lock(&r.lock);
    r.fail_first = 1;
    pthread_mutex_unlock(&r.lock);
    assert_true(put(o, 1, 10, 0));
    while (!outbox_retrying(o))
        sched_yield();
    outbox_nudge(o);
    await_count(o, 2);
    assert_string_equal(r.seen, "0 1 ");
    outbox_free(o);
}

static void what_is_refused_for_good_does_not_hold_up_the_rest(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 10, 1000);
    gate(&r, true);
    r.verdict = OUTBOX_REFUSED;
    assert_true(put(o, 0, 10, 0));
    assert_true(put(o, 1, 10, 0));
    gate(&r, false);
    assert_true(outbox_flush(o, 60));
    struct outbox_stats stats;
    outbox_read_stats(o, &stats);
    assert_int_equal(stats.refused, 2);
    assert_int_equal(stats.delivered + stats.retries, 0);
    outbox_free(o);
}

static void closing_does_not_wait_for_a_server_that_is_away(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 10, 1000);
    gate(&r, true);
    r.fail_first = 1 << 30;
    for (int i = 0; i < 5; i++)
        assert_true(put(o, i, 10, 0));
    gate(&r, false);
    assert_false(outbox_flush(o, 0.02));
    outbox_free(o); /* The leak checker sees that the five are freed. */
    assert_string_equal(r.seen, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes_arrive_once_and_in_order),
        cmocka_unit_test(a_full_queue_drops_and_counts),
        cmocka_unit_test(bytes_are_bounded_too),
        cmocka_unit_test(a_blocked_caller_gets_in_when_there_is_room),
        cmocka_unit_test(a_failed_delivery_is_tried_again),
        cmocka_unit_test(a_nudge_ends_the_pause),
        cmocka_unit_test(what_is_refused_for_good_does_not_hold_up_the_rest),
        cmocka_unit_test(closing_does_not_wait_for_a_server_that_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
