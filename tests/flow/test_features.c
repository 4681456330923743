/* The context of a request as an operator sees it, and a classifier learned while serving. */
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <grpc/status.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Words that occur nowhere else. */
#define PROMPT "Peel the zanzibarquince and bake the cake"
static char examples[] = "cooking\tpeel the apples and bake a cake\n"
                         "cooking\tstir the sauce until it is thick\n"
                         "smithing\tforge the grimsteelanvil until it glows\n"
                         "smithing\tsharpen the blade with oil\n";

static void create(struct call_channel *admin, char *name, char *context)
{
    Shunt__V1__ArmSpec arm = SHUNT__V1__ARM_SPEC__INIT, *arms[] = {&arm};
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    char a[] = "a";
    arm.name = a;
    spec.name = name;
    spec.context = context;
    spec.has_agent = 1;
    spec.agent = strcmp(context, "ctx.v1") == 0;
    spec.arms = arms;
    spec.n_arms = 1;
    request.spec = &spec;
    assert_int_equal(call_unary(admin, "/shunt.v1.Admin/CreateRouter", &request.base,
                                &shunt__v1__router_info__descriptor, 20, &response, &error),
                     0);
    protobuf_c_message_free_unpacked(response, NULL);
}

static Shunt__V1__FeaturesResponse *features_of(struct call_channel *admin, char *router,
                                                char *text)
{
    Shunt__V1__RouteRequest inner = SHUNT__V1__ROUTE_REQUEST__INIT;
    Shunt__V1__FeaturesRequest request = SHUNT__V1__FEATURES_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    inner.router = router;
    inner.text = text;
    inner.has_tool_errors = 1;
    inner.tool_errors = 20;
    request.request = &inner;
    assert_int_equal(call_unary(admin, "/shunt.v1.Admin/Features", &request.base,
                                &shunt__v1__features_response__descriptor, 20, &response, &error),
                     0);
    return (Shunt__V1__FeaturesResponse *)response;
}

/* The value of that name; fails when there is none. */
static double value_of(const Shunt__V1__FeaturesResponse *r, const char *name)
{
    for (size_t b = 0; b < r->n_blocks; b++)
        for (size_t i = 0; i < r->blocks[b]->n_names; i++)
            if (strcmp(r->blocks[b]->names[i], name) == 0)
                return (double)r->blocks[b]->values[i];
    fail_msg("no value is named %s", name);
    return (double)NAN;
}

static void train(struct call_channel *admin, char *text, int status, const char *word)
{
    Shunt__V1__TrainClassifierRequest request = SHUNT__V1__TRAIN_CLASSIFIER_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    request.examples = text;
    assert_int_equal(call_unary(admin, "/shunt.v1.Admin/TrainClassifier", &request.base,
                                &shunt__v1__train_classifier_response__descriptor, 20, &response,
                                &error),
                     status);
    if (status != 0) {
        assert_non_null(strstr(error.message, word));
        return;
    }
    const Shunt__V1__TrainClassifierResponse *r = (const void *)response;
    assert_int_equal(r->examples, 4);
    assert_int_equal(r->n_labels, 2);
    assert_string_equal(r->labels[0], word);
    protobuf_c_message_free_unpacked(response, NULL);
}

static void route_text(struct call_channel *router, char *name, char *text)
{
    Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    request.router = name;
    request.text = text;
    assert_int_equal(call_unary(router, "/shunt.v1.Router/RouteRequest", &request.base,
                                &shunt__v1__route_response__descriptor, 20, &response, &error),
                     0);
    protobuf_c_message_free_unpacked(response, NULL);
}

static void assert_not_kept(const struct server *s, const char *word)
{
    char command[512];
    (void)snprintf(command, sizeof command, "grep -rqaF '%s' '%s'", word, s->dir);
    assert_true(system(command) != 0);
    assert_false(server_log_has(s, word, ""));
}

static void every_number_of_a_context_is_shown_by_name(void **state)
{
    (void)state;
    struct server s;
    char one[] = "one", zero[] = "zero", v1[] = "ctx.v1", v0[] = "ctx.v0", text[] = PROMPT;
    server_init(&s);
    assert_true(server_start(&s));
    struct call_channel *admin = call_open(s.admin);
    create(admin, one, v1);
    create(admin, zero, v0);
    Shunt__V1__FeaturesResponse *r = features_of(admin, one, text);
    assert_string_equal(r->feature_spec,
                        "ctx.v1 bias task=16 scalars=12 agent=8 features=0 text=16.1 embedding=0");
    size_t n = 0;
    for (size_t b = 0; b < r->n_blocks; b++) {
        assert_int_equal(r->blocks[b]->n_names, r->blocks[b]->n_values);
        n += r->blocks[b]->n_values;
    }
    assert_int_equal(n, r->d);
    assert_true(value_of(r, "bias") == 1);
    assert_true(value_of(r, "scalars.flesch") != 0 && value_of(r, "text.0") != 0);
    assert_true(value_of(r, "agent.tool_errors") > .17); /* Full: .5 / sqrt(8). */
    assert_int_equal(r->n_classifier, 0);
    shunt__v1__features_response__free_unpacked(r, NULL);
    r = features_of(admin, zero, text);
    assert_string_equal(r->feature_spec, "ctx.v0 bias task=16 scalars=9 features=0 embedding=0");
    assert_true(value_of(r, "scalars.tokens") != 0);
    shunt__v1__features_response__free_unpacked(r, NULL);
    call_close(admin);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    assert_not_kept(&s, "zanzibarquince");
    server_free(&s);
}

/* Label events travel behind the answer: asks until the table has it. */
static double wait_for_slot(struct call_channel *admin, char *router, char *text, const char *name)
{
    for (int i = 0; i < 1000; i++) {
        Shunt__V1__FeaturesResponse *r = features_of(admin, router, text);
        bool there = false;
        for (size_t k = 0; k < r->n_classifier; k++)
            there = there ||
                    (strcmp(r->classifier[k]->label, name + 5) == 0 && r->classifier[k]->in_router);
        double v = there ? value_of(r, name) : -1;
        shunt__v1__features_response__free_unpacked(r, NULL);
        if (there)
            return v;
    }
    fail_msg("%s never came", name);
    return -1;
}

static void a_classifier_learned_while_serving_fills_the_task_block(void **state)
{
    (void)state;
    struct server s;
    char one[] = "one", v1[] = "ctx.v1", text[] = PROMPT, again[] = "Forge a red hot horseshoe";
    char wrong[] = "cooking\tfine\nno tab in grimsteelanvil\n";
    server_init(&s);
    assert_true(server_start(&s));
    struct call_channel *admin = call_open(s.admin), *router = call_open(s.router);
    create(admin, one, v1);
    train(admin, wrong, GRPC_STATUS_INVALID_ARGUMENT, "line 2");
    train(admin, examples, GRPC_STATUS_OK, "cooking");
    Shunt__V1__FeaturesResponse *r = features_of(admin, one, text);
    assert_int_equal(r->n_classifier, 2);
    assert_true(r->classifier[0]->probability > .5 && !r->classifier[0]->in_router);
    shunt__v1__features_response__free_unpacked(r, NULL);
    /* A request teaches the router the likeliest label; the next ones have its probability. */
    route_text(router, one, text);
    assert_true(wait_for_slot(admin, one, text, "task.cooking") > .5);
    route_text(router, one, again);
    assert_true(wait_for_slot(admin, one, again, "task.smithing") > .5);
    call_close(router);
    call_close(admin);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    assert_not_kept(&s, "zanzibarquince");
    assert_not_kept(&s, "grimsteelanvil");
    server_free(&s);
}

static void write_examples(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void examples_in_a_file_are_learned_at_every_start(void **state)
{
    (void)state;
    struct server s;
    char one[] = "one", v1[] = "ctx.v1", text[] = PROMPT;
    char path[256], setting[300];
    server_init(&s);
    (void)snprintf(path, sizeof path, "%s/tasks.tsv", s.dir);
    (void)snprintf(setting, sizeof setting, "classifier.examples=%s", path);
    write_examples(path, examples);
    s.more[0] = "--set";
    s.more[1] = setting;
    for (int start = 0; start < 2; start++) {
        assert_true(server_start(&s));
        assert_true(server_log_has(&s, "classifier_trained", "\"labels\":2"));
        struct call_channel *admin = call_open(s.admin);
        if (start == 0)
            create(admin, one, v1);
        Shunt__V1__FeaturesResponse *r = features_of(admin, one, text);
        assert_int_equal(r->n_classifier, 2);
        assert_true(r->classifier[0]->probability > .5);
        shunt__v1__features_response__free_unpacked(r, NULL);
        call_close(admin);
        assert_int_equal(server_stop(&s, SIGTERM), 0);
    }
    write_examples(path, "cooking\tonly one label\n");
    assert_false(server_start(&s));
    assert_int_equal(server_wait(&s), 1);
    assert_true(server_log_has(&s, "start_failed", "classifier.examples"));
    server_free(&s);
}

static void write_projection(const char *path, float value)
{
    FILE *f = fopen(path, "wbe");
    assert_non_null(f);
    for (int i = 0; i < 32 * 4; i++)
        assert_int_equal(fwrite(&value, sizeof value, 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

static void create_projected(struct call_channel *admin)
{
    char name[] = "projected", projection[] = "minilm", a[] = "a";
    Shunt__V1__ArmSpec arm = SHUNT__V1__ARM_SPEC__INIT, *arms[] = {&arm};
    Shunt__V1__RouterSpec spec = SHUNT__V1__ROUTER_SPEC__INIT;
    Shunt__V1__CreateRouterRequest request = SHUNT__V1__CREATE_ROUTER_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    arm.name = a;
    spec.name = name;
    spec.has_embedding_n = 1;
    spec.embedding_n = 5;
    spec.projection = projection;
    spec.arms = arms;
    spec.n_arms = 1;
    request.spec = &spec;
    assert_int_equal(call_unary(admin, "/shunt.v1.Admin/CreateRouter", &request.base,
                                &shunt__v1__router_info__descriptor, 20, &response, &error),
                     GRPC_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.code, "WRONG_DIMENSION");
    spec.embedding_n = 4;
    assert_int_equal(call_unary(admin, "/shunt.v1.Admin/CreateRouter", &request.base,
                                &shunt__v1__router_info__descriptor, 20, &response, &error),
                     0);
    const Shunt__V1__RouterInfo *info = (const Shunt__V1__RouterInfo *)response;
    assert_string_equal(info->spec->projection, "minilm");
    assert_non_null(strstr(info->feature_spec, "projection=minilm:"));
    protobuf_c_message_free_unpacked(response, NULL);
}

/* The status of a RouteRequest with or without an embedding. */
static int route_projected(struct server *s, bool embedding, struct call_error *error)
{
    char name[] = "projected";
    float e[4] = {3, 0, 4, 0};
    Shunt__V1__RouteRequest m = SHUNT__V1__ROUTE_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_channel *router = call_open(s->router);
    m.router = name;
    m.embedding = e;
    m.n_embedding = embedding ? 4 : 0;
    int status = call_unary(router, "/shunt.v1.Router/RouteRequest", &m.base,
                            &shunt__v1__route_response__descriptor, 20, &response, error);
    protobuf_c_message_free_unpacked(response, NULL);
    call_close(router);
    return status;
}

static void start_again(struct server *s)
{
    if (s->pid)
        assert_int_equal(server_stop(s, SIGTERM), 0);
    assert_true(server_start(s));
}

static void a_router_is_bound_to_the_bytes_of_its_projection(void **state)
{
    (void)state;
    struct server s;
    struct call_error error;
    char path[256], setting[300];
    server_init(&s);
    (void)snprintf(path, sizeof path, "%s/minilm.f32", s.dir);
    (void)snprintf(setting, sizeof setting, "projection.dir=%s", s.dir);
    s.more[0] = "--set";
    s.more[1] = setting;
    write_projection(path, .5F);
    start_again(&s);
    struct call_channel *admin = call_open(s.admin);
    create_projected(admin);
    call_close(admin);
    assert_int_equal(route_projected(&s, true, &error), 0);

    write_projection(path, .25F); /* Another file under the name: the server is up. */
    start_again(&s);
    assert_int_equal(route_projected(&s, true, &error), GRPC_STATUS_FAILED_PRECONDITION);
    assert_string_equal(error.code, "SPEC_MISMATCH");
    assert_non_null(strstr(error.message, "now: put the old file back"));
    assert_int_equal(route_projected(&s, false, &error), 0);

    assert_int_equal(remove(path), 0); /* None. */
    start_again(&s);
    assert_int_equal(route_projected(&s, true, &error), GRPC_STATUS_FAILED_PRECONDITION);
    assert_string_equal(error.code, "SPEC_MISMATCH");

    write_projection(path, .5F); /* The old one again. */
    start_again(&s);
    assert_int_equal(route_projected(&s, true, &error), 0);
    assert_int_equal(server_stop(&s, SIGTERM), 0);

    write_examples(path, "no floats"); /* What is no projection stops the start. */
    assert_false(server_start(&s));
    assert_int_equal(server_wait(&s), 1);
    assert_true(server_log_has(&s, "start_failed", "projection.dir"));
    server_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_of_a_context_is_shown_by_name),
        cmocka_unit_test(a_classifier_learned_while_serving_fills_the_task_block),
        cmocka_unit_test(examples_in_a_file_are_learned_at_every_start),
        cmocka_unit_test(a_router_is_bound_to_the_bytes_of_its_projection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
