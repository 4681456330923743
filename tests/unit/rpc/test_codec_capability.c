#include "server/route/eligible.h"
#include "server/rpc/codec.h"
#include "server/rpc/codec_capability.h"
#include "server/rpc/codec_spec.h"
#include "tests/unit/cmocka_all.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The contract's names, and none that this release does not know. */
static void the_codes_of_the_contract_are_those_of_the_server(void **unused)
{
    (void)unused;
    const ProtobufCEnumDescriptor *d = &shunt__v1__ineligible__descriptor;
    assert_int_equal(d->n_values, NEWCOMERS_SPENT + 1);
    for (unsigned i = 0; i < d->n_values; i++)
        assert_string_equal(d->values[i].name,
                            ineligible_code((enum ineligible)d->values[i].value));
    d = &shunt__v1__modality__descriptor;
    assert_int_equal(d->n_values, MODALITIES);
    for (unsigned i = 0; i < d->n_values; i++) {
        char name[32] = "MODALITY_";
        const char *own = modality_name((uint32_t)d->values[i].value);
        for (size_t k = 0; own[k]; k++)
            name[9 + k] = (char)toupper((unsigned char)own[k]);
        assert_string_equal(d->values[i].name, name);
    }
}

static void label(Shunt__V1__ArmSpec__LabelsEntry *e, const char *key, const char *value)
{
    shunt__v1__arm_spec__labels_entry__init(e);
    e->key = (char *)(uintptr_t)key;
    e->value = (char *)(uintptr_t)value;
}

static void an_arm_that_is_shown_and_declared_again_is_the_same(void **unused)
{
    (void)unused;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct router_config config;
    settings_defaults(&config, "r");
    static struct arm_config arm, again;
    for (int whole = 0; whole < 2; whole++) {
        Shunt__V1__ArmSpec m = SHUNT__V1__ARM_SPEC__INIT;
        Shunt__V1__ArmSpec__LabelsEntry entries[2], *labels[2] = {&entries[0], &entries[1]};
        Shunt__V1__Modality modalities[] = {SHUNT__V1__MODALITY__MODALITY_IMAGE,
                                            SHUNT__V1__MODALITY__MODALITY_TEXT,
                                            SHUNT__V1__MODALITY__MODALITY_IMAGE};
        char name[] = "a";
        m.name = name;
        label(&entries[0], "tier", "small");
        label(&entries[1], "example.org/beta", NULL); /* Absent on the wire: empty. */
        if (whole) {
            m.labels = labels;
            m.n_labels = 2;
            m.has_context_window = m.has_tools = m.has_json = true;
            m.context_window = UINT32_MAX;
            m.tools = true;
            m.modalities = modalities;
            m.n_modalities = 3;
        }
        assert_int_equal(codec_arm_in(&m, &config, &arm, NULL), OK);
        assert_int_equal(arm.labels.n, whole ? 2 : 0);
        assert_int_equal(arm.can.tools, whole ? DECLARED_YES : DECLARED_NOT);
        assert_int_equal(arm.can.json, whole ? DECLARED_NO : DECLARED_NOT);
        assert_int_equal(arm.can.modalities, whole ? 3 : 0);
        const Shunt__V1__ArmSpec *shown = codec_arm_out(&arm, &config, &arena);
        assert_non_null(shown);
        assert_true(shown->has_tools == (whole != 0) && shown->has_json == (whole != 0));
        assert_int_equal(codec_arm_in(shown, &config, &again, NULL), OK);
        assert_memory_equal(&arm, &again, sizeof arm);
    }
    arena_done(&arena);
}

static void what_no_label_or_modality_can_be_is_refused(void **unused)
{
    (void)unused;
    struct err_detail detail;
    static struct arm_config arm;
    Shunt__V1__ArmSpec m = SHUNT__V1__ARM_SPEC__INIT;
    Shunt__V1__ArmSpec__LabelsEntry entry, *labels[1] = {&entry};
    m.labels = labels;
    m.n_labels = 1;
    label(&entry, "a b", "x");
    assert_int_equal(codec_capability_in(&m, &arm, &detail), ERR_BAD_NAME);
    label(&entry, NULL, "x");
    assert_int_equal(codec_capability_in(&m, &arm, &detail), ERR_BAD_NAME);
    m.n_labels = 0;
    static const int wrong[] = {-1, MODALITIES, 300};
    for (size_t i = 0; i < 3; i++) {
        Shunt__V1__Modality list[1];
        memcpy(list, &wrong[i], sizeof list); /* As the wire may bring it. */
        m.modalities = list;
        m.n_modalities = 1;
        assert_int_equal(codec_capability_in(&m, &arm, &detail), ERR_OUT_OF_RANGE);
    }
}

static void stages_are_added_to_those_that_are_there(void **unused)
{
    (void)unused;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct stages stages = {0}, again = {0};
    assert_int_equal(stages_put(&stages, (struct slice){"plan", 4}, (struct slice){"a", 1}, NULL),
                     OK);
    assert_int_equal(stages_put(&stages, (struct slice){"act", 3}, (struct slice){"b", 1}, NULL),
                     OK);
    Shunt__V1__RouterSettings m = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__RouterSettings__StagesEntry e = SHUNT__V1__ROUTER_SETTINGS__STAGES_ENTRY__INIT,
                                           *list[1] = {&e};
    char key[] = "plan", value[] = "tier=large";
    e.key = key;
    e.value = value;
    m.stages = list;
    m.n_stages = 1;
    assert_int_equal(codec_stages_in(&m, &stages, NULL), OK);
    assert_int_equal(stages.n, 2);
    Shunt__V1__RouterSettings shown = SHUNT__V1__ROUTER_SETTINGS__INIT;
    assert_true(codec_stages_out(&stages, &arena, &shown));
    assert_string_equal(shown.stages[1]->value, "tier=large");
    assert_int_equal(codec_stages_in(&shown, &again, NULL), OK);
    assert_memory_equal(&stages, &again, sizeof stages);
    arena_done(&arena);
}

static void the_named_limits_are_limits_of_their_metric_and_never_twice(void **unused)
{
    (void)unused;
    static struct route_lists lists;
    struct route_in in;
    struct err_detail detail;
    Shunt__V1__RouteRequest m = SHUNT__V1__ROUTE_REQUEST__INIT;
    m.has_max_cost_usd = m.has_max_latency_ms = m.has_min_quality = true;
    m.max_cost_usd = .5;
    m.max_latency_ms = 800;
    m.min_quality = .25;
    assert_int_equal(codec_route_in(&m, (struct slice){0}, &lists, &in, &detail), OK);
    static const char *const names[] = {"cost_usd", "latency_ms", "quality"};
    static const double values[] = {.5, 800, .25};
    assert_int_equal(in.limits_n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(in.limits[i].name.len, strlen(names[i]));
        assert_memory_equal(in.limits[i].name.data, names[i], strlen(names[i]));
        assert_true(in.limits[i].value == values[i]);
    }
    Shunt__V1__RouteRequest__LimitsEntry e = SHUNT__V1__ROUTE_REQUEST__LIMITS_ENTRY__INIT,
                                         *limits[1] = {&e};
    char key[] = "latency_ms";
    e.key = key;
    e.value = 900;
    m.limits = limits;
    m.n_limits = 1;
    assert_int_equal(codec_route_in(&m, (struct slice){0}, &lists, &in, &detail), ERR_INVALID);
    assert_non_null(strstr(detail.text, "max_latency_ms"));
    m.has_max_latency_ms = false;
    assert_int_equal(codec_route_in(&m, (struct slice){0}, &lists, &in, &detail), OK);
    assert_int_equal(in.limits_n, 3);
}

static void arms_left_out_are_shown_with_their_reason_up_to_the_bound(void **unused)
{
    (void)unused;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct route_out *out = calloc(1, sizeof *out);
    assert_non_null(out);
    Shunt__V1__RouteResponse *r = NULL;
    strcpy(out->arm, "a");
    out->excluded_n = 7; /* Stale: nobody asked. */
    assert_int_equal(codec_route_out(out, false, &arena, &r, NULL), OK);
    assert_true(r->n_excluded == 0 && !r->has_excluded_n);
    out->shows_excluded = true;
    out->excluded_n = MAX_EXCLUDED + 3;
    for (int i = 0; i < MAX_EXCLUDED; i++) {
        snprintf(out->excluded[i].name, NAME_CAP, "x%d", i);
        out->excluded[i].why = OVER_LIMIT;
        snprintf(out->excluded[i].detail, EXCLUDED_DETAIL_CAP, "%s", i ? "figures" : "");
    }
    assert_int_equal(codec_route_out(out, false, &arena, &r, NULL), OK);
    assert_int_equal(r->n_excluded, MAX_EXCLUDED);
    assert_int_equal(r->excluded_n, MAX_EXCLUDED + 3);
    assert_string_equal(r->excluded[MAX_EXCLUDED - 1]->arm_id, "x63");
    assert_int_equal(r->excluded[1]->reason, SHUNT__V1__INELIGIBLE__OVER_LIMIT);
    assert_string_equal(r->excluded[1]->detail, "figures");
    assert_null(r->excluded[0]->detail);
    free(out);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_codes_of_the_contract_are_those_of_the_server),
        cmocka_unit_test(an_arm_that_is_shown_and_declared_again_is_the_same),
        cmocka_unit_test(what_no_label_or_modality_can_be_is_refused),
        cmocka_unit_test(stages_are_added_to_those_that_are_there),
        cmocka_unit_test(the_named_limits_are_limits_of_their_metric_and_never_twice),
        cmocka_unit_test(arms_left_out_are_shown_with_their_reason_up_to_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
