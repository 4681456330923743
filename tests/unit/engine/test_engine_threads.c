/* Many threads on one engine: what was acknowledged is folded once, and seen by the next request.
 */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, DECISIONS = 250, REPEATERS = 8, ROUNDS = 12 };

struct client {
    pthread_t thread;
    struct served *s;
    unsigned number;
    uint64_t acknowledged, duplicates, wrong;
    /* Repeaters: whose decision. */
    const uint8_t *token;
    size_t token_len;
    pthread_barrier_t *barrier;
};

static void *route_and_report(void *arg)
{
    struct client *c = arg;
    struct engine_worker *w;
    struct err_detail detail;
    struct route_out *out = calloc(1, sizeof *out);
    if (!out || engine_worker_new(c->s->e, &w) != OK)
        return NULL;
    uint64_t seen = 0;
    for (int i = 0; i < DECISIONS; i++) {
        struct route_in in = {.text = text("some text"), .max_ranked = 4};
        struct report_out answer;
        if (engine_route(w, &in, out, &detail) != OK) {
            c->wrong++;
            continue;
        }
        c->wrong += out->position < seen; /* What I was told is what I see. */
        struct engine_weight m = {text("reward"), (double)(out->arm[0] - 'a') / 4};
        struct report_in report = {
            .token = {out->token, out->token_len}, .metrics = &m, .metrics_n = 1};
        enum err e;
        while ((e = report_and_wait(w, &report, &answer, &detail)) == ERR_QUEUE_FULL)
            ;
        c->acknowledged += e == OK && !answer.duplicate;
        c->wrong += e != OK || answer.duplicate;
        seen = answer.position;
    }
    engine_worker_free(w);
    free(out);
    return NULL;
}

static void open_with_arms(struct served *s)
{
    served_open(s);
    served_router(s, "default", NULL);
    for (char name[2] = "a"; name[0] < 'e'; name[0]++)
        served_arm(s, "default", name);
}

static void what_was_acknowledged_is_folded_exactly_once_and_seen_by_the_next_request(void **state)
{
    (void)state;
    struct served s;
    struct client clients[THREADS];
    open_with_arms(&s);
    for (unsigned i = 0; i < THREADS; i++) {
        clients[i] = (struct client){.s = &s, .number = i};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, route_and_report, &clients[i]),
                         0);
    }
    /* Meanwhile an administrator is at work. */
    uint64_t position;
    uint32_t id, n;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(engine_arm_pause(s.w, text("default"), text("d"), i % 2 == 0, &s.detail),
                         OK);
        assert_int_equal(engine_keys_rotate(s.w, &id, &n, &s.detail), OK);
        assert_int_equal(engine_checkpoint(s.w, &position, &s.detail), OK);
        served_verify(&s);
    }
    uint64_t acknowledged = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(clients[i].thread, NULL);
        acknowledged += clients[i].acknowledged;
        assert_int_equal(clients[i].wrong, 0);
    }
    assert_int_equal(acknowledged, THREADS * DECISIONS);
    assert_int_equal(served_folded(&s), acknowledged);
    assert_int_equal(served_issued(&s, NULL), acknowledged);
    uint64_t issued = 0;
    for (char name[2] = "a"; name[0] < 'e'; name[0]++)
        issued += served_issued(&s, name);
    assert_int_equal(issued, acknowledged);
    served_verify(&s);
    served_again(&s);
    assert_int_equal(served_folded(&s), acknowledged);
    served_verify(&s);
    served_close(&s);
}

static void *repeat(void *arg)
{
    struct client *c = arg;
    struct engine_worker *w;
    struct err_detail detail;
    if (engine_worker_new(c->s->e, &w) != OK)
        abort(); /* The others would wait for it at the barrier. */
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(c->barrier); /* The token of the round is there. */
        struct engine_weight m = {text("reward"), .1 * c->number};
        struct report_in report = {
            .token = {c->s->route->token, c->s->route->token_len}, .metrics = &m, .metrics_n = 1};
        struct report_out answer;
        enum err e = report_and_wait(w, &report, &answer, &detail);
        c->acknowledged += e == OK && answer.counted_n == 1;
        c->duplicates += e == OK && answer.duplicate;
        c->wrong += e != OK || answer.duplicate == (answer.counted_n == 1);
        pthread_barrier_wait(c->barrier);
    }
    engine_worker_free(w);
    return NULL;
}

static void of_eight_reports_at_once_of_one_decision_exactly_one_counts(void **state)
{
    (void)state;
    struct served s;
    struct client clients[REPEATERS];
    pthread_barrier_t barrier;
    open_with_arms(&s);
    pthread_barrier_init(&barrier, NULL, REPEATERS + 1);
    for (unsigned i = 0; i < REPEATERS; i++) {
        clients[i] = (struct client){.s = &s, .number = i, .barrier = &barrier};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, repeat, &clients[i]), 0);
    }
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        served_route(&s);
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        assert_int_equal(served_folded(&s), round);
    }
    uint64_t counted = 0, duplicates = 0;
    for (int i = 0; i < REPEATERS; i++) {
        pthread_join(clients[i].thread, NULL);
        assert_int_equal(clients[i].wrong, 0);
        counted += clients[i].acknowledged;
        duplicates += clients[i].duplicates;
    }
    assert_int_equal(counted, ROUNDS);
    assert_int_equal(duplicates, ROUNDS * (REPEATERS - 1));
    pthread_barrier_destroy(&barrier);
    served_verify(&s);
    served_close(&s);
}

struct racer {
    pthread_t thread;
    struct served *s;
    pthread_barrier_t *barrier;
    char arm[ROUNDS][NAME_CAP];
    uint8_t token_end[ROUNDS];
    uint64_t wrong;
};

/* All ask with the same id at once: one decides, the others are told the same or to wait. */
static void *ask_with_one_id(void *arg)
{
    struct racer *r = arg;
    struct engine_worker *w;
    struct err_detail detail;
    struct route_out *out = calloc(1, sizeof *out);
    if (!out || engine_worker_new(r->s->e, &w) != OK)
        abort();
    for (int i = 0; i < ROUNDS; i++) {
        char id[] = "01234567-89ab-4def-8123-4567890000xx";
        id[34] = (char)('0' + i / 10);
        id[35] = (char)('0' + i % 10);
        struct route_in in = {
            .text = text("x"), .decision_id = text(id), .body = text("x"), .max_ranked = 1};
        pthread_barrier_wait(r->barrier);
        enum err e;
        while ((e = engine_route(w, &in, out, &detail)) == ERR_OVERLOADED)
            ;
        r->wrong += e != OK;
        memcpy(r->arm[i], out->arm, NAME_CAP);
        r->token_end[i] = out->token[out->token_len - 1];
    }
    engine_worker_free(w);
    free(out);
    return NULL;
}

static void one_id_asked_by_four_threads_at_once_is_one_decision(void **state)
{
    (void)state;
    struct served s;
    struct racer racers[THREADS];
    pthread_barrier_t barrier;
    open_with_arms(&s);
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){.s = &s, .barrier = &barrier};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, ask_with_one_id, &racers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(racers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(racers[i].wrong, 0);
        for (int k = 0; k < ROUNDS; k++) {
            assert_string_equal(racers[i].arm[k], racers[0].arm[k]);
            assert_int_equal(racers[i].token_end[k], racers[0].token_end[k]);
        }
    }
    assert_int_equal(served_issued(&s, NULL), ROUNDS);
    pthread_barrier_destroy(&barrier);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_is_folded_exactly_once_and_seen_by_the_next_request),
        cmocka_unit_test(of_eight_reports_at_once_of_one_decision_exactly_one_counts),
        cmocka_unit_test(one_id_asked_by_four_threads_at_once_is_one_decision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
