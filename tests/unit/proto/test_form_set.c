#include "proto/form/set.h"
#include "shunt/v1/admin.pb-c.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

struct fixture {
    Shunt__V1__RouterSpec *spec;
    Shunt__V1__UpdateRouterRequest *update;
};

static int make(void **state)
{
    static struct fixture f;
    f.spec = malloc(sizeof *f.spec);
    f.update = malloc(sizeof *f.update);
    shunt__v1__router_spec__init(f.spec);
    shunt__v1__update_router_request__init(f.update);
    *state = &f;
    return 0;
}

static int drop(void **state)
{
    struct fixture *f = *state;
    protobuf_c_message_free_unpacked(&f->spec->base, NULL);
    protobuf_c_message_free_unpacked(&f->update->base, NULL);
    return 0;
}

static void set(ProtobufCMessage *m, const char *path, const char *value)
{
    struct form_error error = {""};
    if (form_set_field(m, path, value, &error) != FORM_OK)
        fail_msg("%s=%s: %s", path, value, error.text);
}

static void assert_refused(ProtobufCMessage *m, const char *path, const char *value,
                           const char *sentence)
{
    struct form_error error = {""};
    assert_int_equal(form_set_field(m, path, value, &error), FORM_BAD);
    if (!strstr(error.text, sentence))
        fail_msg("\"%s\" does not hold \"%s\"", error.text, sentence);
}

static void a_path_creates_what_is_absent_on_its_way(void **state)
{
    struct fixture *f = *state;
    set(&f->spec->base, "name", "old");
    set(&f->spec->base, "name", "r");
    set(&f->spec->base, "settings.explore_floor", "0");
    assert_string_equal(f->spec->name, "r");
    assert_true(f->spec->settings->has_explore_floor);
    assert_true(f->spec->settings->explore_floor == 0);
    assert_false(f->spec->settings->has_alpha);
}

static void named_elements_are_found_or_created(void **state)
{
    struct fixture *f = *state;
    set(&f->spec->base, "metrics.cost_usd.norm_high", "0.01");
    set(&f->spec->base, "metrics.quality.weight", "1");
    set(&f->spec->base, "metrics.cost_usd.better", "lower");
    assert_int_equal(f->spec->n_metrics, 2);
    assert_string_equal(f->spec->metrics[0]->name, "cost_usd");
    assert_true(f->spec->metrics[0]->norm_high == 0.01);
    assert_int_equal(f->spec->metrics[0]->better, SHUNT__V1__BETTER__BETTER_LOWER);
    assert_true(f->spec->metrics[1]->weight == 1);
}

static void names_may_hold_dots(void **state)
{
    struct fixture *f = *state;
    set(&f->spec->base, "arms.gpt-4.1.priors.a.b", "0.5");
    set(&f->spec->base, "arms.gpt-4.1.description", "d");
    assert_int_equal(f->spec->n_arms, 1);
    assert_string_equal(f->spec->arms[0]->name, "gpt-4.1");
    assert_string_equal(f->spec->arms[0]->priors[0]->key, "a.b");
    assert_true(f->spec->arms[0]->priors[0]->value == 0.5);
}

static void a_map_keeps_one_entry_a_key(void **state)
{
    struct fixture *f = *state;
    set(&f->update->base, "weights.quality", "1");
    set(&f->update->base, "weights.cost_usd", "2");
    set(&f->update->base, "weights.quality", "3");
    assert_int_equal(f->update->n_weights, 2);
    assert_true(f->update->weights[0]->value == 3);
    assert_true(f->update->weights[0]->has_value);
    assert_refused(&f->update->base, "weights.latency_ms", "slow", "expected a number");
    assert_int_equal(f->update->n_weights, 2);
}

static void maps_of_messages_are_reached_through_their_key(void **unused)
{
    (void)unused;
    Shunt__V1__StatsResponse *m = malloc(sizeof *m);
    shunt__v1__stats_response__init(m);
    set(&m->base, "routers.a.b.arms.x.issued", "7");
    assert_string_equal(m->routers[0]->key, "a.b");
    assert_int_equal(m->routers[0]->value->arms[0]->value->issued, 7);
    protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void a_list_is_replaced_whole(void **state)
{
    struct fixture *f = *state;
    set(&f->spec->base, "tasks", "code,math,chat");
    set(&f->spec->base, "tasks", "code,sql");
    assert_int_equal(f->spec->n_tasks, 2);
    assert_string_equal(f->spec->tasks[1], "sql");
    set(&f->spec->base, "tasks", "");
    assert_int_equal(f->spec->n_tasks, 0);
    Shunt__V1__ExplainResponse *m = malloc(sizeof *m);
    shunt__v1__explain_response__init(m);
    set(&m->base, "context", "1,2.5");
    assert_refused(&m->base, "context", "1,x", "expected a number");
    assert_int_equal(m->n_context, 2);
    assert_true(m->context[1] == 2.5f);
    protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void elements_from_the_wire_can_be_added_to(void **unused)
{
    (void)unused;
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    char name[] = "r";
    Shunt__V1__Metric metric = SHUNT__V1__METRIC__INIT, *metrics[] = {&metric, &metric, &metric};
    spec.name = metric.name = name;
    spec.metrics = metrics;
    spec.n_metrics = 3;
    uint8_t bytes[64];
    size_t len = protobuf_c_message_pack(&spec.base, bytes);
    Shunt__V1__RouterSpec *m = shunt__v1__router_spec__unpack(NULL, len, bytes);
    set(&m->base, "metrics.new.weight", "1");
    assert_int_equal(m->n_metrics, 4);
    assert_string_equal(m->metrics[3]->name, "new");
    shunt__v1__router_spec__free_unpacked(m, NULL);
}

static void wrong_paths_are_refused(void **state)
{
    struct fixture *f = *state;
    ProtobufCMessage *m = &f->spec->base;
    assert_refused(m, "colour", "red", "known are name, metrics");
    assert_refused(m, "settings.alhpa", "1", "settings.alhpa: unknown key; known are alpha");
    assert_refused(m, "settings", "1", "ends too early");
    assert_refused(m, "name.x", "1", "goes on");
    assert_refused(m, "metrics.cost_usd", "1", "expected NAME.FIELD");
    assert_refused(m, "metrics..weight", "1", "expected NAME.FIELD");
    assert_refused(m, "settings.alpha", "1e999", "expected a number");
    assert_refused(m, "settings.newcomer_pulls", "2.5", "expected an integer");
    assert_refused(m, "", "1", "unknown key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_path_creates_what_is_absent_on_its_way, make, drop),
        cmocka_unit_test_setup_teardown(named_elements_are_found_or_created, make, drop),
        cmocka_unit_test_setup_teardown(names_may_hold_dots, make, drop),
        cmocka_unit_test_setup_teardown(a_map_keeps_one_entry_a_key, make, drop),
        cmocka_unit_test(maps_of_messages_are_reached_through_their_key),
        cmocka_unit_test_setup_teardown(a_list_is_replaced_whole, make, drop),
        cmocka_unit_test(elements_from_the_wire_can_be_added_to),
        cmocka_unit_test_setup_teardown(wrong_paths_are_refused, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
