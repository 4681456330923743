/* From a request to its context: labels of the caller, of the classifier, and of neither. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char examples[] = "cooking\tpeel the apples and bake a cake\n"
                               "cooking\tstir the sauce until it is thick\n"
                               "smithing\tforge the iron until it glows\n"
                               "smithing\tsharpen the blade with oil\n";
static const char other_examples[] = "rowing\tpull the oars\nflying\tspread the wings\n";

static void v1_three_slots(struct router_config *c)
{
    c->spec = (struct feature_spec){.version = 1, .task_slots = 3, .agent = true};
}

static void v0_three_slots(struct router_config *c)
{
    c->spec = (struct feature_spec){.task_slots = 3};
}

static void train(struct served *s, const char *lines)
{
    if (engine_classifier_train(s->w, text(lines), NULL, NULL, NULL, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
}

static struct features_out *features_of(struct served *s, const struct route_in *in)
{
    static struct features_out out;
    if (engine_features(s->w, in, &out, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
    return &out;
}

/* Any event that waits behind the labels in the queue: after it, they are there. */
static void let_labels_in(struct served *s)
{
    assert_int_equal(engine_arm_pause(s->w, text("default"), text("a"), false, &s->detail), OK);
}

static void open_with(struct served *s, void (*set)(struct router_config *config))
{
    served_open(s);
    served_router(s, "default", set);
    served_arm(s, "default", "a");
}

static void the_likeliest_label_takes_a_slot_and_the_rest_is_other_when_full(void **state)
{
    (void)state;
    struct served s;
    struct route_in in = {.text = text("bake an apple cake")};
    open_with(&s, v1_three_slots);
    train(&s, examples);
    const struct features_out *f = features_of(&s, &in);
    assert_int_equal(f->labels_n, 2);
    assert_true(f->label_p[0] > .5F);
    assert_int_equal(f->config.tasks_n, 0); /* Looking teaches nothing. */
    for (int i = 1; i <= 3; i++)
        assert_true(f->x[i] == 0);
    assert_int_equal(served_ask(&s, &in), OK);
    let_labels_in(&s);
    f = features_of(&s, &in);
    assert_int_equal(f->config.tasks_n, 1);
    assert_string_equal(f->config.tasks[0], "cooking");
    assert_true(f->x[1] == f->label_p[0] && f->x[2] == 0 && f->x[3] == 0);
    in.text = text("sharpen the iron blade");
    assert_int_equal(served_ask(&s, &in), OK);
    let_labels_in(&s);
    f = features_of(&s, &in); /* Both have their slots; the third is `other`. */
    assert_true(f->x[1] == f->label_p[0] && f->x[2] == f->label_p[1] && f->x[3] == 0);
    /* Labels that find the table full are `other`, together. */
    train(&s, other_examples);
    f = features_of(&s, &in);
    assert_true(f->x[1] == 0 && f->x[2] == 0);
    assert_true(f->x[3] > .9999F && f->x[3] < 1.0001F); /* Two roundings. */
    served_close(&s);
}

/* Refused by itself, and after it was looked at together with others. */
static void a_refused_request_leaves_no_label(void **state)
{
    (void)state;
    struct served s;
    struct engine_weight unknown = {text("beauty"), 1};
    struct route_in refused = {.task = text("smithing"), .weights = &unknown, .weights_n = 1};
    struct route_in guessed = {
        .text = text("bake an apple cake"), .weights = &unknown, .weights_n = 1};
    struct route_in taken = {.task = text("law")}, dry = {.task = text("art"), .dry_run = true};
    struct route_in *together[] = {&refused, &guessed, &taken, &dry};
    open_with(&s, v1_three_slots);
    train(&s, examples);
    assert_int_equal(served_ask(&s, &refused), ERR_METRIC_NOT_FOUND);
    assert_int_equal(served_ask(&s, &guessed), ERR_METRIC_NOT_FOUND);
    engine_route_ahead(s.w, together, 4);
    assert_true(refused.ahead && guessed.ahead && taken.ahead && dry.ahead);
    assert_int_equal(served_ask(&s, &refused), ERR_METRIC_NOT_FOUND);
    assert_int_equal(served_ask(&s, &guessed), ERR_METRIC_NOT_FOUND);
    assert_int_equal(served_ask(&s, &dry), OK);
    let_labels_in(&s);
    assert_int_equal(features_of(&s, &taken)->config.tasks_n, 0);
    assert_int_equal(served_ask(&s, &taken), OK); /* Its own label, whoever came between. */
    engine_route_ahead_done(s.w);
    let_labels_in(&s);
    const struct features_out *f = features_of(&s, &taken);
    assert_int_equal(f->config.tasks_n, 1);
    assert_string_equal(f->config.tasks[0], "law");
    served_close(&s);
}

static void a_label_of_the_caller_is_not_second_guessed(void **state)
{
    (void)state;
    struct served s;
    struct route_in in = {.text = text("bake an apple cake"), .task = text("smithing")};
    open_with(&s, v1_three_slots);
    train(&s, examples);
    for (int i = 1; i <= 3; i++) /* It is new: nothing yet, though the classifier would know. */
        assert_true(features_of(&s, &in)->x[i] == 0);
    assert_int_equal(served_ask(&s, &in), OK);
    let_labels_in(&s);
    const struct features_out *f = features_of(&s, &in);
    assert_true(f->x[1] == 1 && f->x[2] == 0 && f->x[3] == 0);
    served_close(&s);
}

static void without_text_or_in_v0_the_classifier_is_silent(void **state)
{
    (void)state;
    struct served s;
    struct route_in in = {.agent = {.turn = 100}};
    open_with(&s, v1_three_slots);
    train(&s, examples);
    const struct features_out *f = features_of(&s, &in);
    assert_int_equal(f->labels_n, 0);
    for (int i = 1; i <= 3; i++)
        assert_true(f->x[i] == 0);
    assert_true(f->x[4] > .17F); /* The turn: .5 / sqrt(8). */
    served_router(&s, "old", v0_three_slots);
    in = (struct route_in){.router = text("old"), .text = text("bake an apple cake")};
    f = features_of(&s, &in);
    for (int i = 1; i <= 3; i++)
        assert_true(f->x[i] == 0);
    served_close(&s);
}

static void examples_that_are_wrong_leave_what_was_learned(void **state)
{
    (void)state;
    struct served s;
    struct route_in in = {.text = text("bake an apple cake")};
    open_with(&s, v1_three_slots);
    train(&s, examples);
    assert_int_equal(
        engine_classifier_train(s.w, text("one\tlabel\n"), NULL, NULL, NULL, &s.detail), ERR_PARSE);
    assert_int_equal(features_of(&s, &in)->labels_n, 2);
    served_close(&s);
}

struct asker {
    pthread_t thread;
    struct served *s;
    _Atomic bool *stop;
    uint64_t asked, wrong;
};

static void *ask_on(void *arg)
{
    struct asker *a = arg;
    struct engine_worker *w;
    struct err_detail detail;
    struct route_out *out = calloc(1, sizeof *out);
    struct route_in in = {.text = text("bake an apple cake"), .max_ranked = 1};
    if (!out || engine_worker_new(a->s->e, &w) != OK) {
        free(out);
        a->wrong++;
        return NULL;
    }
    while (!atomic_load(a->stop)) {
        a->wrong += engine_route(w, &in, out, &detail) != OK;
        a->asked++;
    }
    engine_worker_free(w);
    free(out);
    return NULL;
}

static void a_classifier_is_replaced_under_requests(void **state)
{
    (void)state;
    enum { ASKERS = 3, TIMES = 25 };
    struct served s;
    struct asker askers[ASKERS];
    _Atomic bool stop = false;
    open_with(&s, v1_three_slots);
    for (int i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){.s = &s, .stop = &stop};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_on, &askers[i]), 0);
    }
    for (int i = 0; i < TIMES; i++)
        train(&s, i % 2 ? examples : other_examples);
    atomic_store(&stop, true);
    for (int i = 0; i < ASKERS; i++) {
        assert_int_equal(pthread_join(askers[i].thread, NULL), 0);
        assert_int_equal(askers[i].wrong, 0);
    }
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_likeliest_label_takes_a_slot_and_the_rest_is_other_when_full),
        cmocka_unit_test(a_refused_request_leaves_no_label),
        cmocka_unit_test(a_label_of_the_caller_is_not_second_guessed),
        cmocka_unit_test(without_text_or_in_v0_the_classifier_is_silent),
        cmocka_unit_test(examples_that_are_wrong_leave_what_was_learned),
        cmocka_unit_test(a_classifier_is_replaced_under_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
