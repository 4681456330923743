/* An arm's statistics out of one router and into another. */
#include "state/model/transfer.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <stdio.h>
#include <string.h>

static void small_table(struct router_config *c)
{
    c->spec.task_slots = 3;
}

static void other_spec(struct router_config *c)
{
    c->spec.task_slots = 5;
}

static void labelled_chat(struct router_config *c)
{
    small_table(c);
    c->tasks_n = 1;
    (void)snprintf(c->tasks[0], NAME_CAP, "chat");
}

static void labelled_full(struct router_config *c)
{
    small_table(c);
    c->tasks_n = 2;
    (void)snprintf(c->tasks[0], NAME_CAP, "chat");
    (void)snprintf(c->tasks[1], NAME_CAP, "prose");
}

static void teach(struct served *s, const char *task, double reward, int n)
{
    for (int i = 0; i < n; i++) {
        const struct route_in in = {.text = text("a prompt"), .task = text(task)};
        assert_int_equal(served_ask(s, &in), OK);
        assert_int_equal(served_tell(s, "reward", reward, OUTCOME_OK), OK);
    }
}

static enum err import(struct served *s, const char *router, const struct buf *b, const char *name,
                       double strength, bool replace, char *ret_name)
{
    char ignored[NAME_CAP];
    const struct arm_import in = {.router = text(router),
                                  .name = text(name),
                                  .statistics = {b->data, b->len},
                                  .strength = strength,
                                  .replace = replace};
    s->detail.text[0] = '\0';
    return engine_arm_import(s->w, &in, ret_name ? ret_name : ignored, &s->detail);
}

static void open_taught(struct served *s, struct buf *ret_bytes)
{
    served_open(s);
    served_router(s, "default", small_table);
    served_arm(s, "default", "a");
    teach(s, "math", .9, 20);
    teach(s, "chat", .2, 20);
    buf_init(ret_bytes);
    assert_int_equal(engine_arm_export(s->w, text("default"), text("a"), ret_bytes, &s->detail),
                     OK);
}

static struct buf exported(struct served *s, const char *router, const char *arm)
{
    struct buf b;
    buf_init(&b);
    assert_int_equal(engine_arm_export(s->w, text(router), text(arm), &b, &s->detail), OK);
    return b;
}

static void an_import_survives_a_restart_to_the_byte(void **state)
{
    (void)state;
    struct served s;
    struct buf file;
    char name[NAME_CAP];
    open_taught(&s, &file);
    served_router(&s, "other", small_table);
    assert_int_equal(import(&s, "other", &file, "", 0, false, name), OK);
    assert_string_equal(name, "a");
    struct buf before = exported(&s, "other", "a");
    served_verify(&s);
    served_again(&s);
    struct buf after = exported(&s, "other", "a");
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    served_verify(&s);
    buf_done(&before);
    buf_done(&after);
    buf_done(&file);
    served_close(&s);
}

static void labels_that_the_router_lacks_are_learned_with_it(void **state)
{
    (void)state;
    struct served s;
    struct buf file;
    struct transfer *t;
    open_taught(&s, &file);
    served_router(&s, "other", labelled_chat);
    assert_int_equal(import(&s, "other", &file, "", 0, false, NULL), OK);
    struct buf b = exported(&s, "other", "a");
    assert_int_equal(transfer_decode((struct slice){b.data, b.len}, &t, NULL), OK);
    assert_int_equal(t->from.tasks_n, 2);
    assert_string_equal(t->from.tasks[0], "chat");
    assert_string_equal(t->from.tasks[1], "math");
    /* 20 outcomes of each label, less the first of each, which came before the label was known. */
    uint32_t at = spec_task_at(&t->from.spec);
    const double *A = t->arm->groups[METRIC_RATED].A;
    for (uint32_t i = 0; i < 2; i++) {
        size_t row = at + i;
        assert_true(A[row * (row + 1) / 2] > 15);
    }
    transfer_free(t);
    buf_done(&b);
    served_router(&s, "full", labelled_full);
    assert_int_equal(import(&s, "full", &file, "", 0, false, NULL), ERR_LIMIT);
    assert_non_null(strstr(s.detail.text, "`math`"));
    buf_done(&file);
    served_close(&s);
}

static uint32_t labels_of(struct served *s, const char *router)
{
    struct buf b = exported(s, router, "mine");
    struct transfer *t;
    assert_int_equal(transfer_decode((struct slice){b.data, b.len}, &t, NULL), OK);
    uint32_t n = t->from.tasks_n;
    transfer_free(t);
    buf_done(&b);
    return n;
}

static void an_import_that_fails_leaves_no_label_behind(void **state)
{
    (void)state;
    struct served s;
    struct buf file;
    open_taught(&s, &file); /* Knows math and chat. */
    served_router(&s, "other", small_table);
    served_arm(&s, "other", "mine");
    assert_int_equal(import(&s, "other", &file, "mine", 0, false, NULL), ERR_ARM_EXISTS);
    assert_int_equal(labels_of(&s, "other"), 0);
    served_router(&s, "tight", labelled_chat);
    served_arm(&s, "tight", "mine");
    assert_int_equal(import(&s, "tight", &file, "mine", 0, false, NULL), ERR_ARM_EXISTS);
    assert_int_equal(labels_of(&s, "tight"), 1);
    assert_int_equal(import(&s, "tight", &file, "a", 0, false, NULL), OK);
    assert_int_equal(labels_of(&s, "tight"), 2);
    buf_done(&file);
    served_verify(&s);
    served_close(&s);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct served s;
    struct buf file;
    open_taught(&s, &file);
    served_router(&s, "wide", other_spec);
    assert_int_equal(import(&s, "wide", &file, "", 0, false, NULL), ERR_SPEC_MISMATCH);
    assert_int_equal(import(&s, "default", &file, "", 0, false, NULL), ERR_ARM_EXISTS);
    assert_int_equal(import(&s, "default", &file, "../x", 0, false, NULL), ERR_BAD_NAME);
    assert_int_equal(import(&s, "default", &file, "b", -1, false, NULL), ERR_OUT_OF_RANGE);
    assert_int_equal(import(&s, "default", &file, "b", 2e6, false, NULL), ERR_OUT_OF_RANGE);
    assert_int_equal(import(&s, "nowhere", &file, "b", 0, false, NULL), ERR_ROUTER_NOT_FOUND);
    file.data[file.len / 2] ^= 1;
    assert_int_equal(import(&s, "default", &file, "b", 0, false, NULL), ERR_PARSE);
    file.len = 3;
    assert_int_equal(import(&s, "default", &file, "b", 0, false, NULL), ERR_PARSE);
    struct buf out;
    buf_init(&out);
    assert_int_equal(engine_arm_export(s.w, text("default"), text("b"), &out, &s.detail),
                     ERR_ARM_NOT_FOUND);
    buf_done(&out);
    buf_done(&file);
    served_verify(&s);
    served_close(&s);
}

static void a_replacement_is_a_new_version(void **state)
{
    (void)state;
    struct served s;
    struct buf file;
    open_taught(&s, &file);
    assert_int_equal(import(&s, "default", &file, "", 10, true, NULL), OK);
    struct buf b = exported(&s, "default", "a");
    struct transfer *t;
    assert_int_equal(transfer_decode((struct slice){b.data, b.len}, &t, NULL), OK);
    assert_int_equal(t->arm->version, 2);
    assert_true(t->arm->groups[METRIC_RATED].evidence <= 10.000001);
    transfer_free(t);
    teach(&s, "math", .9, 5); /* It serves. */
    served_verify(&s);
    buf_done(&b);
    buf_done(&file);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_import_survives_a_restart_to_the_byte),
        cmocka_unit_test(labels_that_the_router_lacks_are_learned_with_it),
        cmocka_unit_test(an_import_that_fails_leaves_no_label_behind),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_replacement_is_a_new_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
