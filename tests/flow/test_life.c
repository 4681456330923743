/* Decisions made ahead, and a source that is forgotten, over the wire. */
#include "tests/flow/play.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

enum { INVALID_ARGUMENT = 3, NOT_FOUND = 5 };

/* gRPC's status. */
static int activate(struct played *f, const struct decision_kept *d, bool *ret_already)
{
    Shunt__V1__ActivateDecisionRequest request = SHUNT__V1__ACTIVATE_DECISION_REQUEST__INIT;
    unsigned char token[sizeof d->token];
    struct call_error error;
    ProtobufCMessage *answer = NULL;
    memcpy(token, d->token, d->token_len);
    request.has_decision_token = 1;
    request.decision_token.data = token;
    request.decision_token.len = d->token_len;
    int status =
        call_unary(f->router, "/shunt.v1.Router/ActivateDecision", &request.base,
                   &shunt__v1__activate_decision_response__descriptor, 20, &answer, &error);
    if (status == 0)
        *ret_already = ((const Shunt__V1__ActivateDecisionResponse *)(const void *)answer)->already;
    protobuf_c_message_free_unpacked(answer, NULL);
    return status;
}

static void a_deferred_decision_is_activated_once(void **state)
{
    struct played *f = *state;
    struct decision_kept d;
    bool already = true;
    play_route_ahead(f->router, "flow", &d);
    assert_int_equal(activate(f, &d, &already), 0);
    assert_false(already);
    assert_int_equal(activate(f, &d, &already), 0);
    assert_true(already);
    d.token[d.token_len / 2] ^= 1;
    assert_int_equal(activate(f, &d, &already), NOT_FOUND);
}

/* gRPC's status. */
static int forget(struct played *f, char *source, bool dry_run, uint64_t *ret_taken)
{
    Shunt__V1__ForgetSourceRequest request = SHUNT__V1__FORGET_SOURCE_REQUEST__INIT;
    struct call_error error;
    ProtobufCMessage *answer = NULL;
    request.source = source;
    request.has_dry_run = 1;
    request.dry_run = dry_run;
    int status = call_unary(f->admin, "/shunt.v1.Admin/ForgetSource", &request.base,
                            &shunt__v1__forget_source_response__descriptor, 20, &answer, &error);
    if (status == 0) {
        const Shunt__V1__ForgetSourceResponse *r = (const void *)answer;
        *ret_taken = r->taken_out;
        assert_int_equal(r->has_position, !dry_run);
    }
    protobuf_c_message_free_unpacked(answer, NULL);
    return status;
}

static void a_source_is_forgotten_and_counted(void **state)
{
    struct played *f = *state;
    struct decision_kept d;
    struct report_seen seen;
    struct call_error error;
    char judge[] = "judge", own[] = "default";
    uint64_t taken = 0;
    for (int i = 0; i < 6; i++) {
        play_route(f->router, "flow", &d);
        assert_int_equal(
            play_report_as(f->router, &d, i % 3 ? "human" : judge, "reward", 1, &seen, &error), 0);
    }
    assert_int_equal(forget(f, own, false, &taken), INVALID_ARGUMENT);
    assert_int_equal(forget(f, judge, true, &taken), 0);
    assert_int_equal(taken, 2);
    assert_int_equal(forget(f, judge, false, &taken), 0);
    assert_int_equal(taken, 2);
    assert_int_equal(forget(f, judge, false, &taken), 0);
    assert_int_equal(taken, 0);
    Shunt__V1__GetRouterRequest request = SHUNT__V1__GET_ROUTER_REQUEST__INIT;
    char name[] = "flow";
    ProtobufCMessage *answer = NULL;
    request.name = name;
    assert_int_equal(call_unary(f->admin, "/shunt.v1.Admin/GetRouter", &request.base,
                                &shunt__v1__router_info__descriptor, 20, &answer, &error),
                     0);
    const Shunt__V1__RouterInfo *r = (const void *)answer;
    assert_int_equal(r->outcomes_folded, 4);
    assert_int_equal(r->n_sources, 2);
    assert_string_equal(r->sources[0]->source, "judge");
    assert_int_equal(r->sources[0]->forgotten, 2);
    assert_int_equal(r->sources[0]->folded, 0);
    assert_int_equal(r->sources[1]->folded, 4);
    protobuf_c_message_free_unpacked(answer, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_deferred_decision_is_activated_once, played_flow_setup,
                                        played_teardown),
        cmocka_unit_test_setup_teardown(a_source_is_forgotten_and_counted, played_flow_setup,
                                        played_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
