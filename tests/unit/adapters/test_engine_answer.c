#include "server/adapters/engine_answer.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <string.h>

static struct slice text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

struct seen {
    size_t n;
    char words[512];
};

static void see_model(void *ctx, const char *id, const char *parent)
{
    struct seen *s = ctx;
    size_t at = strlen(s->words);
    s->n++;
    (void)snprintf(s->words + at, sizeof s->words - at, "%s<%s ", id, parent ? parent : "-");
}

static void see_lora(void *ctx, uint32_t id, const char *path, double scale)
{
    struct seen *s = ctx;
    size_t at = strlen(s->words);
    s->n++;
    (void)snprintf(s->words + at, sizeof s->words - at, "%u=%s*%.1f ", id, path, scale);
}

static void reads_lists_of_models(void **state)
{
    struct seen s = {0};
    (void)state;
    assert_int_equal(engine_models(text("{\"object\":\"list\",\"data\":[{\"id\":\"b\",\"parent\":"
                                        "null},{\"id\":\"a1\",\"parent\":\"b\",\"x\":[{}]}]}"),
                                   see_model, &s),
                     OK);
    assert_string_equal(s.words, "b<- a1<b ");
}

static void reads_lists_of_loras(void **state)
{
    struct seen s = {0};
    (void)state;
    assert_int_equal(engine_loras(text("[{\"id\":0,\"path\":\"a.gguf\",\"scale\":1},"
                                       "{\"id\":1,\"path\":\"b.gguf\",\"scale\":0.5}]"),
                                  see_lora, &s),
                     OK);
    assert_string_equal(s.words, "0=a.gguf*1.0 1=b.gguf*0.5 ");
}

static void see_slot(void *ctx, uint32_t id, int32_t lora)
{
    struct seen *s = ctx;
    size_t at = strlen(s->words);
    s->n++;
    (void)snprintf(s->words + at, sizeof s->words - at, "%u=%d ", id, (int)lora);
}

static void reads_what_each_slot_ran_last(void **state)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "[7]",
        "[{\"id\":1}]",
        "[{\"id\":0,\"params\":{}}]",
        "[{\"id\":0,\"params\":{\"lora\":{}}}]",
        "[{\"id\":0,\"params\":{\"lora\":[{\"id\":0}]}}]",
        "[{\"id\":0},{\"id\":0}]",
    };
    struct seen s = {0};
    (void)state;
    assert_int_equal(engine_slots(text("[{\"id\":0,\"n_ctx\":9},"
                                       "{\"id\":1,\"params\":{\"lora\":[]}},"
                                       "{\"id\":2,\"params\":{\"lora\":[{\"id\":0,\"scale\":0.0},"
                                       "{\"id\":3,\"scale\":0.5}]}},"
                                       "{\"id\":3,\"params\":{\"lora\":[{\"id\":0,\"scale\":1},"
                                       "{\"id\":3,\"scale\":0.5}]}}]"),
                                  see_slot, &s),
                     OK);
    assert_string_equal(s.words, "0=-1 1=-1 2=3 3=-1 ");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(engine_slots(text(bad[i]), see_slot, &s), ERR_ENGINE_ANSWER);
}

static void reads_how_many_slots_there_are(void **state)
{
    static const char *const bad[] = {"[]",
                                      "{}",
                                      "{\"total_slots\":0}",
                                      "{\"total_slots\":-3}",
                                      "{\"total_slots\":\"4\"}",
                                      "{\"total_slots\":4294967296}"};
    uint32_t n = 0;
    (void)state;
    assert_int_equal(engine_props(text("{\"total_slots\":4,\"is_sleeping\":false}"), &n), OK);
    assert_int_equal(n, 4);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(engine_props(text(bad[i]), &n), ERR_ENGINE_ANSWER);
}

static void refuses_what_is_no_answer_of_that_engine(void **state)
{
    static const char *const bad[] = {
        "",
        "ok",
        "{}",
        "[]x",
        "{\"data\":{}}",
        "{\"data\":[{\"id\":7}]}",
        "{\"data\":[null]}",
        "{\"data\":[{\"id\":\"a\\u0000b\"}]}",
        "{\"success\":1}",
        "[{\"id\":-1,\"path\":\"a\",\"scale\":1}]",
        "[{\"id\":99999,\"path\":\"a\",\"scale\":1}]",
        "[{\"id\":0,\"scale\":1}]",
        "[{\"id\":0,\"path\":\"a\",\"scale\":\"1\"}]",
        "\xff\xfe",
        "{\"choices\":[]}",
        "{\"content\":3}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct engine_load_answer answer;
        struct seen s = {0};
        assert_int_equal(engine_models(text(bad[i]), see_model, &s), ERR_ENGINE_ANSWER);
        assert_int_equal(engine_loras(text(bad[i]), see_lora, &s), ERR_ENGINE_ANSWER);
        assert_int_equal(engine_load(text(bad[i]), "a", &answer), ERR_ENGINE_ANSWER);
        assert_int_equal(engine_completion(text(bad[i])), ERR_ENGINE_ANSWER);
    }
}

static void refuses_what_is_too_deep_or_has_too_many_values(void **state)
{
    static char deep[4096], wide[2 * ENGINE_LIST_VALUES + 100];
    struct seen s = {0};
    (void)state;
    (void)snprintf(deep, sizeof deep, "{\"data\":[],\"x\":%s%s}", "[[[[[[[[[[[[[[[",
                   "]]]]]]]]]]]]]]]");
    assert_int_equal(engine_models(text(deep), see_model, &s), OK); /* 16 deep. */
    (void)snprintf(deep, sizeof deep, "{\"data\":[],\"x\":%s%s}", "[[[[[[[[[[[[[[[[",
                   "]]]]]]]]]]]]]]]]");
    assert_int_equal(engine_models(text(deep), see_model, &s), ERR_ENGINE_ANSWER);
    /* Brackets inside of strings are text. */
    assert_int_equal(
        engine_models(text("{\"data\":[],\"x\":\"[[[[[[[[[[[[[[[[[[\\\"[[[[\"}"), see_model, &s),
        OK);
    size_t n = (size_t)snprintf(wide, sizeof wide, "{\"data\":[],\"x\":[1");
    const size_t begin = n;
    for (int i = 0; i < ENGINE_LIST_VALUES; i++)
        n += (size_t)snprintf(wide + n, sizeof wide - n, ",1");
    (void)snprintf(wide + n, sizeof wide - n, "]}");
    assert_int_equal(engine_models(text(wide), see_model, &s), ERR_ENGINE_ANSWER);
    /* A list of models may be long, other answers not. */
    struct engine_load_answer answer;
    (void)snprintf(wide + begin + 2 * (size_t)ENGINE_JSON_VALUES, 3, "]}");
    assert_int_equal(engine_models(text(wide), see_model, &s), OK);
    const size_t load = (size_t)snprintf(wide, sizeof wide, "{\"success\":true,\"x\":[1");
    n = load;
    for (int i = 0; i < ENGINE_JSON_VALUES; i++)
        n += (size_t)snprintf(wide + n, sizeof wide - n, ",1");
    (void)snprintf(wide + n, sizeof wide - n, "]}");
    assert_int_equal(engine_load(text(wide), "a", &answer), ERR_ENGINE_ANSWER);
    (void)snprintf(wide + load, 3, "]}");
    assert_int_equal(engine_load(text(wide), "a", &answer), OK);
}

static void knows_whether_a_load_is_among_the_loaded(void **state)
{
    struct engine_load_answer a;
    (void)state;
    assert_int_equal(
        engine_load(text("{\"success\":true,\"loaded_adapters\":{\"a\":\"/p\"}}"), "a", &a), OK);
    assert_true(a.success && a.listed == 1);
    assert_int_equal(engine_load(text("{\"success\":true,\"loaded_adapters\":[\"b\",3]}"), "a", &a),
                     OK);
    assert_true(a.success && a.listed == 0);
    assert_int_equal(engine_load(text("{\"success\":false}"), "a", &a), OK);
    assert_true(!a.success && a.listed == -1);
}

static void finds_the_engines_words_in_every_form_of_error(void **state)
{
    static const char *const forms[][2] = {
        {"{\"error\":{\"message\":\"no such path\",\"code\":404}}", "no such path"},
        {"{\"success\":false,\"error_message\":\"is pinned\"}", "is pinned"},
        {"{\"detail\":\"Not Found\"}", "Not Found"},
        {"{\"error\":\"Unauthorized\"}", "Unauthorized"},
        {"Bad\ngateway\x01  ", "Bad gateway"},
        {"", ""},
    };
    char words[ENGINE_WORDS_CAP], body[1000];
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        engine_error(text(forms[i][0]), NULL, words);
        assert_string_equal(words, forms[i][1]);
    }
    memset(body, 'x', sizeof body);
    engine_error((struct slice){body, sizeof body}, "sk-1", words);
    assert_int_equal(strlen(words), ENGINE_WORDS_CAP - 1);
}

static void words_that_repeat_the_token_are_left_out(void **state)
{
    char words[ENGINE_WORDS_CAP], body[300];
    (void)state;
    engine_error(text("{\"error\":\"not taken: Bearer sk\\/1x\"}"), "sk/1x", words);
    assert_null(strstr(words, "sk"));
    assert_string_not_equal(words, "");
    engine_error(text("Authorization: Bearer sk/1x"), "sk/1x", words);
    assert_null(strstr(words, "sk"));
    /* Half of it stands where words are cut. */
    (void)snprintf(body, sizeof body, "%0*d sk/1x", ENGINE_WORDS_CAP - 4, 0);
    engine_error(text(body), "sk/1x", words);
    assert_null(strstr(words, "sk"));
    engine_error(text("Bearer sk-2"), "sk/1x", words);
    assert_string_equal(words, "Bearer sk-2");
    engine_error(text(""), "sk/1x", words);
    assert_string_equal(words, "");
}

static void reads_metrics_line_by_line(void **state)
{
    struct slice rest = text("# HELP a b\n"
                             "plain 1.5\n"
                             "bad{ 3\n"
                             "m{x=\"1,}\\\"\",adapter_name=\"a\\\\1\" } 7 1234\n"
                             "\n"
                             "nothing\n"
                             "last{} 2");
    struct engine_metric m;
    char value[16];
    (void)state;
    assert_true(engine_metric_next(&rest, &m));
    assert_memory_equal(m.name.data, "plain", m.name.len);
    assert_true(m.value > 1.4 && m.value < 1.6);
    assert_false(engine_metric_label(&m, "x", value, sizeof value));
    assert_true(engine_metric_next(&rest, &m));
    assert_true(engine_metric_label(&m, "adapter_name", value, sizeof value));
    assert_string_equal(value, "a\\1");
    assert_true(engine_metric_label(&m, "x", value, sizeof value));
    assert_string_equal(value, "1,}\"");
    assert_false(engine_metric_label(&m, "x", value, 3)); /* Too long for it. */
    assert_false(engine_metric_label(&m, "adapter", value, sizeof value));
    assert_true(engine_metric_next(&rest, &m));
    assert_memory_equal(m.name.data, "last", m.name.len);
    assert_false(engine_metric_next(&rest, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_lists_of_models),
        cmocka_unit_test(reads_lists_of_loras),
        cmocka_unit_test(reads_what_each_slot_ran_last),
        cmocka_unit_test(reads_how_many_slots_there_are),
        cmocka_unit_test(refuses_what_is_no_answer_of_that_engine),
        cmocka_unit_test(refuses_what_is_too_deep_or_has_too_many_values),
        cmocka_unit_test(knows_whether_a_load_is_among_the_loaded),
        cmocka_unit_test(finds_the_engines_words_in_every_form_of_error),
        cmocka_unit_test(words_that_repeat_the_token_are_left_out),
        cmocka_unit_test(reads_metrics_line_by_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
