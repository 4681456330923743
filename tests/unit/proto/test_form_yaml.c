#include "proto/form/yaml.h"
#include "shunt/v1/admin.pb-c.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

static enum form_result from_text(const char *text, ProtobufCMessage **ret,
                                  struct form_error *error)
{
    yaml_document_t document;
    enum form_result r = form_yaml_parse(text, strlen(text), "r.yaml", &document, error);
    if (r != FORM_OK)
        return r;
    r = form_message_from_yaml(&shunt__v1__router_spec__descriptor, &document,
                               yaml_document_get_root_node(&document), "r.yaml", ret, error);
    yaml_document_delete(&document);
    return r;
}

static void assert_refused(const char *text, const char *place, const char *sentence)
{
    ProtobufCMessage *message = NULL;
    struct form_error error = {""};
    assert_int_equal(from_text(text, &message, &error), FORM_BAD);
    assert_null(message);
    if (strncmp(error.text, place, strlen(place)) != 0 || !strstr(error.text, sentence))
        fail_msg("\"%s\" is not \"%s... %s\"", error.text, place, sentence);
}

static void a_router_is_read_as_an_operator_writes_it(void **unused)
{
    (void)unused;
    ProtobufCMessage *m;
    assert_int_equal(
        from_text("name: chat\n"
                  "metrics:\n"
                  "  - {name: quality, weight: 1}\n"
                  "  - {name: cost_usd, better: lower, group: served, norm_high: 1e-2}\n"
                  "tasks: [code, \"null\"]\n"
                  "settings:\n"
                  "  explore_floor: 0\n"
                  "  decision_log: sample\n"
                  "  pooled_slopes: false\n"
                  "  alpha:\n"
                  "arms:\n"
                  "  - name: small\n"
                  "    priors: {quality: .5}\n",
                  &m, NULL),
        FORM_OK);
    const Shunt__V1__RouterSpec *spec = (const Shunt__V1__RouterSpec *)m;
    assert_string_equal(spec->name, "chat");
    assert_int_equal(spec->n_metrics, 2);
    assert_int_equal(spec->metrics[1]->group, SHUNT__V1__METRIC_GROUP__GROUP_SERVED);
    assert_true(spec->metrics[1]->norm_high == 0.01);
    assert_string_equal(spec->tasks[1], "null");
    assert_true(spec->settings->has_explore_floor && spec->settings->explore_floor == 0);
    assert_int_equal(spec->settings->decision_log, SHUNT__V1__DECISION_LOG__DECISION_LOG_SAMPLE);
    assert_true(spec->settings->has_pooled_slopes && !spec->settings->pooled_slopes);
    assert_false(spec->settings->has_alpha);
    assert_true(spec->arms[0]->priors[0]->value == 0.5);
    protobuf_c_message_free_unpacked(m, NULL);
}

static void errors_name_file_line_and_column(void **unused)
{
    (void)unused;
    assert_refused("name: r\nsetings: {}\n", "r.yaml:2:1: ", "unknown key \"setings\"; known are");
    assert_refused("name: r\nsettings:\n  alpha: fast\n",
                   "r.yaml:3:10: settings.alpha: ", "expected a number, got \"fast\"");
    assert_refused("name: r\nsettings:\n  alpha: .nan\n", "r.yaml:3:10: ", "expected a number");
    assert_refused("name: \"r\\0x\"\n", "r.yaml:1:7: name: ", "got text with a NUL byte");
    assert_refused("name: r\nfeatures_n: -3\n", "r.yaml:2:13: features_n: ", "[0, 4294967295]");
    assert_refused("name: r\nname: s\n", "r.yaml:2:7: ", "given twice");
    assert_refused("name: r\narms:\n  - name: a\n    priors: {q: 1, q: 2}\n",
                   "r.yaml:4:23: arms[0].priors", "given twice");
    assert_refused("name: r\nscalars: \"true\"\n", "r.yaml:2:10: ", "expected true or false");
    assert_refused("name: r\n[a]: 3\n", "r.yaml:2:1: ", "expected a plain key");
    assert_refused("settings: {}\n", "r.yaml:1:1: ", "\"name\" is missing");
    assert_refused("name: [\n", "r.yaml:2:1: ", "");
    assert_refused("name: r\n---\nname: s\n", "r.yaml:3:1: ", "one document only");
    assert_refused("", "r.yaml:1:1: ", "empty");
    assert_refused("name: \"a\\0b\"\n", "r.yaml:1:7: ", "expected text");
    assert_refused("name: \xff\n", "r.yaml: at byte 6", "");
}

static void aliases_cannot_grow_without_bound(void **unused)
{
    (void)unused;
    /* 400 aliases of an arm with 4,000 tags: 1.6 million values out of 12 KB of text. */
    static char text[64 * 1024];
    char *p = text;
    p += sprintf(p, "name: r\narms:\n  - &a\n    name: a\n    tags: [");
    for (int i = 0; i < 4000; i++)
        p += sprintf(p, "t,");
    p += sprintf(p, "]\n");
    for (int i = 0; i < 400; i++)
        p += sprintf(p, "  - *a\n");
    struct form_error error;
    ProtobufCMessage *m;
    assert_int_equal(from_text(text, &m, &error), FORM_BAD);
    assert_non_null(strstr(error.text, "more than 1000000 values"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_router_is_read_as_an_operator_writes_it),
        cmocka_unit_test(errors_name_file_line_and_column),
        cmocka_unit_test(aliases_cannot_grow_without_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
