#include "client/ctl/replay_row.h"

#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse(const char *line, struct replay_row *row, struct replay_error *error)
{
    *row = (struct replay_row){0};
    error->text[0] = '\0';
    return replay_row_parse(line, strlen(line), true, row, error);
}

static void a_row_is_read_with_everything_in_it(void **unused)
{
    (void)unused;
    struct replay_row row;
    struct replay_error error;
    assert_true(
        parse("{\"id\":7,\"family\":\"x\",\"task\":\"math\",\"text\":\"2+2?\\n\",\"outcomes\":"
              "{\"small\":{\"quality\":0.25,\"cost_usd\":1e-5,\"energy_j\":null},"
              "\"large\":{\"quality\":1,\"latency_ms\":900}}}",
              &row, &error));
    assert_string_equal(row.task, "math");
    assert_string_equal(row.text, "2+2?\n");
    assert_int_equal(row.outcomes_n, 2);
    assert_string_equal(row.outcomes[0].arm, "small");
    assert_true(row.outcomes[0].value[REPLAY_QUALITY] == 0.25);
    assert_true(row.outcomes[0].value[REPLAY_COST_USD] == 1e-5);
    assert_true(isnan(row.outcomes[0].value[REPLAY_ENERGY_J]));
    assert_true(row.outcomes[1].value[REPLAY_QUALITY] == 1);
    assert_true(row.outcomes[1].value[REPLAY_LATENCY_MS] == 900);
    assert_true(isnan(row.outcomes[1].value[REPLAY_COST_USD]));
    replay_row_done(&row);
    assert_null(row.text);
}

static void text_that_is_not_wanted_is_not_kept(void **unused)
{
    (void)unused;
    const char *line = "{\"text\":\"secret\",\"outcomes\":{\"a\":{\"quality\":1}}}";
    struct replay_row row;
    struct replay_error error;
    assert_true(replay_row_parse(line, strlen(line), false, &row, &error));
    assert_null(row.text);
    assert_null(row.task);
    replay_row_done(&row);
}

static void every_bad_row_is_refused_with_its_reason(void **unused)
{
    (void)unused;
    static const struct {
        const char *line, *reason;
    } bad[] = {
        {"", "not a JSON object"},
        {"[]", "not a JSON object"},
        {"{}", "'outcomes' is missing"},
        {"{\"outcomes\":{}}", "names no arm"},
        {"{\"outcomes\":[1]}", "not an object"},
        {"{\"outcomes\":{\"a\":1}}", "outcomes.a is not an object"},
        {"{\"outcomes\":{\"a\":{}}}", "outcomes.a.quality is missing"},
        {"{\"outcomes\":{\"a\":{\"quality\":null}}}", "not a number"},
        {"{\"outcomes\":{\"a\":{\"quality\":\"1\"}}}", "not a number"},
        {"{\"outcomes\":{\"a\":{\"quality\":true}}}", "not a number"},
        {"{\"outcomes\":{\"a\":{\"quality\":1.01}}}", "outside [0, 1]"},
        {"{\"outcomes\":{\"a\":{\"quality\":-0.01}}}", "outside [0, 1]"},
        {"{\"outcomes\":{\"a\":{\"quality\":NaN}}}", "not a JSON object"},
        {"{\"outcomes\":{\"a\":{\"quality\":1e999}}}", "not a JSON object"},
        {"{\"outcomes\":{\"a\":{\"quality\":1,\"cost_usd\":-1}}}", "outcomes.a.cost_usd is -1"},
        {"{\"outcomes\":{\"a\":{\"quality\":1,\"energy_j\":1e13}}}", "outside [0, 1e+12]"},
        {"{\"outcomes\":{\"a\":{\"quality\":1,\"cost_us\":1}}}", "outcomes.a.cost_us is unknown"},
        {"{\"outcomes\":{\"a\":{\"quality\":1},\"a\":{\"quality\":0}}}", "duplicate"},
        {"{\"outcomes\":{\"\":{\"quality\":1}}}", "is empty"},
        {"{\"outcomes\":{\"a\\n\":{\"quality\":1}}}", "control character"},
        {"{\"task\":\"\",\"outcomes\":{\"a\":{\"quality\":1}}}", "'task' is empty"},
        {"{\"task\":7,\"outcomes\":{\"a\":{\"quality\":1}}}", "'task' is not a string"},
        {"{\"text\":[],\"outcomes\":{\"a\":{\"quality\":1}}}", "'text' is not a string"},
        {"{\"text\":\"\\u0000\",\"outcomes\":{\"a\":{\"quality\":1}}}", "not a JSON object"},
        {"{\"text\":\"\xFF\",\"outcomes\":{\"a\":{\"quality\":1}}}", "not a JSON object"},
        {"{\"outcomes\":{\"a\":{\"quality\":1}}} x", "not a JSON object"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct replay_row row;
        struct replay_error error;
        assert_false(parse(bad[i].line, &row, &error));
        if (!strstr(error.text, bad[i].reason))
            fail_msg("%s: '%s' does not say '%s'", bad[i].line, error.text, bad[i].reason);
    }
}

static void more_arms_than_candidates_are_refused(void **unused)
{
    (void)unused;
    char *line = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&line, &len);
    fputs("{\"outcomes\":{", out);
    for (int i = 0; i <= REPLAY_ROW_ARMS_MAX; i++)
        fprintf(out, "%s\"a%d\":{\"quality\":1}", i ? "," : "", i);
    fputs("}}", out);
    fclose(out);
    struct replay_row row;
    struct replay_error error;
    assert_false(replay_row_parse(line, len, true, &row, &error));
    assert_non_null(strstr(error.text, "257 arms"));
    free(line);
}

/* A little fuzzing: every cut and every single byte changed must end in a row or in a sentence; the
 * sanitizers watch the rest. */
static void cut_and_changed_rows_never_crash(void **unused)
{
    (void)unused;
    static const char good[] =
        "{\"task\":\"t\",\"text\":\"\\u00e9 x\",\"outcomes\":{\"a\":{\"quality\":"
        "0.5,\"cost_usd\":0.1},\"b\":{\"quality\":1}}}";
    static const char swaps[] = "\0\"{}[],:\\x-9e.\x80\xFF";
    size_t rows = 0, refused = 0;
    char line[sizeof good];
    for (size_t i = 0; i < sizeof good - 1; i++) {
        for (size_t s = 0; s < sizeof swaps; s++) {
            struct replay_row row = {0};
            struct replay_error error = {.text = ""};
            memcpy(line, good, sizeof good);
            size_t len = s == sizeof swaps - 1 ? i : sizeof good - 1;
            line[i] = swaps[s];
            if (replay_row_parse(line, len, true, &row, &error)) {
                assert_true(row.outcomes_n > 0);
                replay_row_done(&row);
                rows++;
            } else {
                assert_true(strlen(error.text) > 0);
                refused++;
            }
        }
    }
    assert_true(rows > 0 && refused > rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_read_with_everything_in_it),
        cmocka_unit_test(text_that_is_not_wanted_is_not_kept),
        cmocka_unit_test(every_bad_row_is_refused_with_its_reason),
        cmocka_unit_test(more_arms_than_candidates_are_refused),
        cmocka_unit_test(cut_and_changed_rows_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
