#include "client/outbox.h"
#include "shunt/v1/router.pb-c.h"
#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SENDS_KEPT = 64, SEND_MAX = 8 };

/* A receiver whose verdicts the test sets; it may hold letters back behind a gate. */
struct receiver {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed; /* send waits until the gate opens. */
    bool waiting;
    enum outbox_verdict verdict;
    int fail_first;  /* So many sends get RETRY before the verdict. */
    int defer_first; /* So many letters with a source get DEFER. */
    int fail_at;     /* This send gets RETRY for every second letter. */
    int sends;
    size_t sizes[SENDS_KEPT]; /* Letters of each. */
    char seen[4096];
};

/* What is written in its source overrules the verdict: "defer". */
static enum outbox_verdict verdict_on(struct receiver *r, const ProtobufCMessage *message)
{
    const Shunt__V1__ReportRewardRequest *report = (const Shunt__V1__ReportRewardRequest *)message;
    if (report->source && r->defer_first > 0) {
        r->defer_first--;
        return OUTBOX_DEFER;
    }
    if (strlen(r->seen) + 8 < sizeof r->seen)
        strcat(strcat(r->seen, report->decision_id), " ");
    return r->verdict;
}

static void receive(void *context, const ProtobufCMessage *const *messages, size_t n,
                    enum outbox_verdict *ret_verdicts)
{
    struct receiver *r = context;
    pthread_mutex_lock(&r->lock);
    r->waiting = true;
    pthread_cond_broadcast(&r->changed);
    while (r->closed)
        pthread_cond_wait(&r->changed, &r->lock);
    bool fails = r->fail_first > 0;
    if (fails)
        r->fail_first--;
    for (size_t i = 0; i < n; i++)
        ret_verdicts[i] =
            fails || r->fail_at == r->sends ? OUTBOX_RETRY : verdict_on(r, messages[i]);
    if (r->fail_at == r->sends && n > 1) /* Half of that send came through. */
        for (size_t i = 0; i < n; i += 2)
            ret_verdicts[i] = verdict_on(r, messages[i]);
    if (r->sends < SENDS_KEPT)
        r->sizes[r->sends] = n;
    r->sends++;
    pthread_mutex_unlock(&r->lock);
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
    *r = (struct receiver){.verdict = OUTBOX_DELIVERED, .fail_at = -1};
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    const struct outbox_config config = {.outcomes_max = outcomes_max,
                                         .bytes_max = bytes_max,
                                         .first_s = pause_s,
                                         .max_s = 4 * pause_s,
                                         .send_max = SEND_MAX,
                                         .send_bytes_max = 100,
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

static bool put_from(struct outbox *o, const char *source, int i, size_t bytes, double wait_s)
{
    Shunt__V1__ReportRewardRequest *report = malloc(sizeof *report);
    shunt__v1__report_reward_request__init(report);
    char id[16];
    (void)snprintf(id, sizeof id, "%d", i);
    report->decision_id = strdup(id);
    report->source = source ? strdup(source) : NULL;
    return outbox_put_take(o, &report->base, bytes, wait_s);
}

static bool put(struct outbox *o, int i, size_t bytes, double wait_s)
{
    return put_from(o, NULL, i, bytes, wait_s);
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

/* The first one is sent alone, behind the gate; the rest wait meanwhile and go together. */
static void many_that_wait_go_together_within_both_limits(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 100, 10000);
    gate(&r, true);
    assert_true(put(o, 0, 1, 0));
    await_arrival(&r);
    for (int i = 1; i <= 10; i++) /* Eight, and two. */
        assert_true(put(o, i, 1, 0));
    for (int i = 11; i <= 13; i++) /* One more goes with those two: 2 + 60; then 60 alone twice. */
        assert_true(put(o, i, 60, 0));
    assert_true(put(o, 14, 5000, 0)); /* Longer than a send may be: alone. */
    gate(&r, false);
    assert_true(outbox_flush(o, 60));
    assert_string_equal(r.seen, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 ");
    const size_t sizes[] = {1, 8, 3, 1, 1, 1};
    assert_int_equal(r.sends, 6);
    assert_memory_equal(r.sizes, sizes, sizeof sizes);
    outbox_free(o);
}

/* A server that is away is knocked at with one; then 1, 2, 4, 8 go together. */
static void after_a_failure_sends_begin_small_and_double(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 100, 10000);
    gate(&r, true);
    r.fail_first = 3;
    for (int i = 0; i < 20; i++)
        assert_true(put(o, i, 1, 0));
    gate(&r, false);
    assert_true(outbox_flush(o, 60));
    assert_string_equal(r.seen, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 ");
    const size_t sizes[] = {1, 1, 1, 2, 4, 8, 5}; /* From the second failure on. */
    assert_int_equal(r.sends, 8);
    assert_memory_equal(r.sizes + 1, sizes, sizeof sizes);
    struct outbox_stats stats;
    outbox_read_stats(o, &stats);
    assert_int_equal(stats.retries, 3);
    outbox_free(o);
}

static void what_of_many_was_not_taken_stays_in_its_order(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 100, 10000);
    gate(&r, true);
    r.fail_at = 1;
    assert_true(put(o, 0, 1, 0));
    await_arrival(&r);
    for (int i = 1; i <= 8; i++)
        assert_true(put(o, i, 1, 0));
    gate(&r, false);
    assert_true(outbox_flush(o, 60));
    assert_string_equal(r.seen, "0 1 3 5 7 2 4 6 8 ");
    struct outbox_stats stats;
    outbox_read_stats(o, &stats);
    assert_int_equal(stats.delivered, 9);
    assert_int_equal(stats.queued + stats.queued_bytes, 0);
    outbox_free(o);
}

static void one_that_has_to_wait_lets_the_others_pass(void **unused)
{
    (void)unused;
    struct receiver r;
    struct outbox *o = open_box(&r, 100, 10000);
    gate(&r, true);
    r.defer_first = 2 + 2 + 1; /* Two of them are deferred twice, then one of them once more. */
    assert_true(put(o, 0, 1, 0));
    await_arrival(&r);
    assert_true(put_from(o, "capped", 1, 1, 0));
    assert_true(put_from(o, "capped", 2, 1, 0));
    for (int i = 3; i <= 12; i++)
        assert_true(put(o, i, 1, 0));
    assert_false(outbox_retrying(o));
    gate(&r, false);
    assert_true(outbox_flush(o, 60));
    assert_string_equal(r.seen, "0 3 4 5 6 7 8 9 10 11 12 2 1 ");
    outbox_free(o);
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
        cmocka_unit_test(many_that_wait_go_together_within_both_limits),
        cmocka_unit_test(after_a_failure_sends_begin_small_and_double),
        cmocka_unit_test(what_of_many_was_not_taken_stays_in_its_order),
        cmocka_unit_test(one_that_has_to_wait_lets_the_others_pass),
        cmocka_unit_test(closing_does_not_wait_for_a_server_that_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
