#include "state/model/stages.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>

static struct slice text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static void the_order_of_putting_and_removing_leaves_no_trace(void **unused)
{
    (void)unused;
    static const char *const names[] = {"plan", "act", "pla", "review", "plan.b"};
    enum { N = sizeof names / sizeof *names };
    struct stages first = {0};
    for (size_t i = 0; i < N; i++)
        assert_int_equal(stages_put(&first, text(names[i]), text("tier=large"), NULL), OK);
    for (size_t start = 0; start < N; start++) {
        struct stages other = {0};
        assert_int_equal(stages_put(&other, text("m"), text("x"), NULL), OK);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(
                stages_put(&other, text(names[(start + i) % N]), text("long selector"), NULL), OK);
        assert_true(stages_remove(&other, text("m")));
        assert_false(stages_remove(&other, text("m")));
        for (size_t i = 0; i < N; i++)
            assert_int_equal(stages_put(&other, text(names[i]), text("tier=large"), NULL), OK);
        assert_memory_equal(&first, &other, sizeof first);
    }
}

static void a_stage_is_found_by_its_whole_name_only(void **unused)
{
    (void)unused;
    struct stages s = {0};
    assert_int_equal(stages_put(&s, text("plan"), text("tier=large"), NULL), OK);
    assert_int_equal(stages_put(&s, text("act"), text(""), NULL), OK);
    assert_string_equal(stages_find(&s, text("plan"))->allowed, "tier=large");
    assert_string_equal(stages_find(&s, text("act"))->allowed, "");
    assert_null(stages_find(&s, text("pla")));
    assert_null(stages_find(&s, text("plans")));
    assert_null(stages_find(&s, text("")));
}

static void what_is_refused_changes_nothing(void **unused)
{
    (void)unused;
    struct stages s = {0};
    char selector[STAGE_SELECTOR_CAP + 1];
    memset(selector, 'a', STAGE_SELECTOR_CAP);
    for (int i = 0; i < MAX_STAGES; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%d", i);
        assert_int_equal(
            stages_put(&s, text(name), (struct slice){selector, STAGE_SELECTOR_CAP - 1}, NULL), OK);
    }
    const struct stages before = s;
    assert_int_equal(stages_put(&s, text("more"), text(""), NULL), ERR_OUT_OF_RANGE);
    assert_int_equal(stages_put(&s, text("a b"), text(""), NULL), ERR_BAD_NAME);
    assert_int_equal(stages_put(&s, text("s1"), (struct slice){selector, STAGE_SELECTOR_CAP}, NULL),
                     ERR_TOO_LARGE);
    assert_memory_equal(&s, &before, sizeof s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_of_putting_and_removing_leaves_no_trace),
        cmocka_unit_test(a_stage_is_found_by_its_whole_name_only),
        cmocka_unit_test(what_is_refused_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
