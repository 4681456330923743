#include "server/rpc/codec.h"
#include "server/rpc/codec_plain.h"
#include "server/rpc/message.h"
#include "server/rpc/wire.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES_MAX = 64 * 1024 };

struct wire {
    struct arena arena;
    uint8_t bytes[BYTES_MAX];
    size_t len;
    struct route_lists lists;
    struct route_in in;
    struct err_detail detail;
};

static int setup(void **state)
{
    struct wire *w = calloc(1, sizeof *w);
    arena_init(&w->arena, 1 << 20);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct wire *w = *state;
    arena_done(&w->arena);
    free(w);
    return 0;
}

static void put(struct wire *w, unsigned number, const void *bytes, size_t len)
{
    assert_true(len < 128);
    w->bytes[w->len++] = (uint8_t)(number << 3 | 2);
    w->bytes[w->len++] = (uint8_t)len;
    memcpy(w->bytes + w->len, bytes, len);
    w->len += len;
}

/* A map entry: key = 1 (text), value = 2 (double). */
static void put_pair(struct wire *w, unsigned number, const char *key, double value)
{
    uint8_t entry[100];
    size_t n = strlen(key);
    entry[0] = 1 << 3 | 2;
    entry[1] = (uint8_t)n;
    memcpy(entry + 2, key, n);
    entry[2 + n] = 2 << 3 | 1;
    memcpy(entry + 3 + n, &value, sizeof value);
    put(w, number, entry, 3 + n + sizeof value);
}

static enum err decode(struct wire *w)
{
    ProtobufCMessage *m = NULL;
    struct slice body = {w->bytes, w->len};
    TRY(message_unpack(&shunt__v1__route_request__descriptor, body, &w->arena, &m, &w->detail));
    return codec_route_in((const Shunt__V1__RouteRequest *)m, body, &w->lists, &w->in, &w->detail);
}

static void an_empty_message_is_all_defaults(void **state)
{
    struct wire *w = *state;
    assert_int_equal(decode(w), OK);
    assert_int_equal(w->in.router.len, 0);
    assert_int_equal(w->in.text.len, 0);
    assert_int_equal(w->in.max_ranked, 1);
    assert_int_equal(w->in.weights_n + w->in.candidates_n + w->in.exclude_n, 0);
    assert_false(w->in.dry_run || w->in.explain);
}

static void of_two_equal_keys_the_last_one_wins(void **state)
{
    struct wire *w = *state;
    put_pair(w, 6, "quality", .25);
    put_pair(w, 6, "cost", 1);
    put_pair(w, 6, "quality", .75);
    assert_int_equal(decode(w), OK);
    assert_int_equal(w->in.weights_n, 2);
    assert_memory_equal(w->in.weights[0].name.data, "quality", 7);
    assert_true(w->in.weights[0].value == .75);
}

static void sixteen_names_fit_in_a_map_and_seventeen_do_not(void **state)
{
    struct wire *w = *state;
    char name[8];
    for (int i = 0; i < 16; i++) {
        (void)snprintf(name, sizeof name, "m%d", i);
        put_pair(w, 6, name, 1);
    }
    assert_int_equal(decode(w), OK);
    assert_int_equal(w->in.weights_n, 16);
    put_pair(w, 6, "m16", 1);
    assert_int_equal(decode(w), ERR_OUT_OF_RANGE);
}

static void a_map_entry_without_a_name_is_refused(void **state)
{
    struct wire *w = *state;
    put_pair(w, 6, "", 1);
    assert_int_equal(decode(w), ERR_BAD_NAME);
}

static void more_candidates_than_allowed_are_refused(void **state)
{
    struct wire *w = *state;
    for (int i = 0; i < MAX_CANDIDATES; i++)
        put(w, 7, "a", 1);
    assert_int_equal(decode(w), OK);
    assert_int_equal(w->in.candidates_n, MAX_CANDIDATES);
    put(w, 7, "a", 1);
    assert_int_equal(decode(w), ERR_OUT_OF_RANGE);
}

static void a_nul_is_refused_in_names_and_kept_in_a_prompt(void **state)
{
    struct wire *w = *state;
    put(w, 2, "a\0b", 3);
    assert_int_equal(decode(w), OK);
    assert_int_equal(w->in.text.len, 3);
    assert_memory_equal(w->in.text.data, "a\0b", 3);
    put(w, 7, "arm\0x", 5);
    assert_int_equal(decode(w), ERR_PARSE);
    assert_non_null(strstr(w->detail.text, "candidates"));
}

static void a_nul_in_the_name_of_a_map_entry_is_refused(void **state)
{
    struct wire *w = *state;
    put(w, 6, "\x0a\x03m\0x", 5);
    assert_int_equal(decode(w), ERR_PARSE);
}

static void bytes_that_are_no_message_are_refused_wherever_they_are_cut(void **state)
{
    struct wire *w = *state;
    put(w, 1, "default", 7);
    put_pair(w, 6, "quality", 1);
    put(w, 7, "arm", 3);
    size_t whole = w->len;
    assert_int_equal(decode(w), OK);
    int refused = 0;
    for (w->len = 1; w->len < whole; w->len++) {
        arena_reset(&w->arena);
        enum err e = decode(w);
        assert_true(e == OK || e == ERR_PARSE);
        refused += e == ERR_PARSE;
    }
    assert_true(refused > (int)whole / 2);
}

static void a_message_that_would_grow_too_large_is_refused(void **state)
{
    struct wire *w = *state;
    struct arena small;
    ProtobufCMessage *m = NULL;
    arena_init(&small, 4096);
    for (int i = 0; i < 20000; i++) { /* Two bytes each on the wire, many more unpacked. */
        w->bytes[w->len++] = 7 << 3 | 2;
        w->bytes[w->len++] = 0;
    }
    assert_int_equal(message_unpack(&shunt__v1__route_request__descriptor,
                                    (struct slice){w->bytes, w->len}, &small, &m, &w->detail),
                     ERR_TOO_LARGE);
    arena_done(&small);
}

static void a_decision_is_encoded_whole_and_a_dry_run_has_no_token(void **state)
{
    struct wire *w = *state;
    struct route_out *out = calloc(1, sizeof *out);
    Shunt__V1__RouteResponse *r = NULL;
    assert_non_null(out);
    (void)strcpy(out->decision_id, "018f4e2a-0000-7000-8000-0123456789ab");
    (void)strcpy(out->arm, "arm");
    memcpy(out->token, "a\0token", 7);
    out->token_len = 7;
    out->propensity = .5;
    out->reason = SHUNT__V1__REASON__REASON_NEWCOMER;
    out->position = 42;
    out->arm_version = 3;
    out->ranked_n = 1;
    (void)strcpy(out->ranked[0].name, "arm");
    out->ranked[0].mean = .25;
    out->ranked[0].width = .125;
    out->ranked[0].terms.predicted[1] = .75F;
    out->ranked[0].terms.contribution[1] = -.375F;
    out->ranked[0].terms.silence = -.5F;
    out->ranked[0].terms.charge = -.25F;
    out->metrics_n = 2;
    out->weighted_mask = 2;
    (void)strcpy(out->metric_names[1], "quality");
    assert_int_equal(codec_route_out(out, true, &w->arena, &r, &w->detail), OK);
    w->len = shunt__v1__route_response__pack(r, w->bytes);
    Shunt__V1__RouteResponse *back = shunt__v1__route_response__unpack(NULL, w->len, w->bytes);
    assert_non_null(back);
    assert_string_equal(back->decision_id, out->decision_id);
    assert_int_equal(back->decision_token.len, 7);
    assert_memory_equal(back->decision_token.data, out->token, 7);
    assert_int_equal(back->reason, SHUNT__V1__REASON__REASON_NEWCOMER);
    assert_int_equal(back->position, 42);
    assert_int_equal(back->version, 3);
    assert_int_equal(back->n_ranking, 1);
    assert_true(back->ranking[0]->score == .375);
    assert_int_equal(back->ranking[0]->terms->n_predicted, 1);
    assert_string_equal(back->ranking[0]->terms->predicted[0]->key, "quality");
    assert_true(back->ranking[0]->terms->predicted[0]->value == .75);
    assert_int_equal(back->ranking[0]->terms->n_contributions, 1);
    assert_string_equal(back->ranking[0]->terms->contributions[0]->key, "quality");
    assert_true(back->ranking[0]->terms->contributions[0]->value == -.375);
    assert_true(back->ranking[0]->terms->silence == -.5);
    assert_true(back->ranking[0]->terms->charge == -.25);
    shunt__v1__route_response__free_unpacked(back, NULL);
    out->token_len = 0;
    assert_int_equal(codec_route_out(out, false, &w->arena, &r, &w->detail), OK);
    assert_null(r->decision_id);
    assert_false(r->has_decision_token);
    assert_null(r->ranking[0]->terms);
    free(out);
}

/* A decision whose numbers take from one byte to as many as they can. */
static void fill_plain(struct route_out *out, uint32_t k)
{
    memset(out, 0, sizeof *out);
    (void)strcpy(out->decision_id, "018f4e2a-0000-7000-8000-0123456789ab");
    out->token_len = k % 4 ? k * 67 % sizeof out->token : 0;
    memset(out->token, (int)k, out->token_len);
    memset(out->arm, 'a', 1 + k % (NAME_CAP - 1));
    out->propensity = 1 / (1 + (double)k);
    out->reason = (int)(k % 12);
    out->position = UINT64_MAX >> k % 64;
    out->arm_version = UINT32_MAX >> k % 32;
    out->strict = k & 1;
    out->reserved = .25 * (double)k;
    out->left = -.5;
    out->limits_uncertain = k & 2;
    out->ranked_n = k % 5 ? k % 5 : k % MAX_RANKED;
    for (uint32_t i = 0; i < out->ranked_n; i++) {
        memset(out->ranked[i].name, 'b', 1 + (k + i) % (NAME_CAP - 1));
        out->ranked[i].mean = (double)i - 3;
        out->ranked[i].width = .1 * (double)k;
    }
}

static void a_plain_answer_has_the_bytes_that_protobuf_packs(void **state)
{
    struct wire *w = *state;
    struct route_out *out = calloc(1, sizeof *out);
    uint8_t *bytes = malloc(BYTES_MAX);
    assert_true(out && bytes);
    for (uint32_t k = 0; k < 300; k++) {
        Shunt__V1__RouteResponse *r = NULL;
        fill_plain(out, k);
        assert_true(codec_plain_is(out) && codec_plain_max(out) <= BYTES_MAX);
        assert_int_equal(codec_route_out(out, false, &w->arena, &r, &w->detail), OK);
        w->len = shunt__v1__route_response__pack(r, w->bytes);
        memset(bytes, 0xee, BYTES_MAX);
        assert_int_equal(codec_plain_pack(out, bytes), w->len);
        assert_memory_equal(bytes, w->bytes, w->len);
        for (size_t i = codec_plain_max(out); i < BYTES_MAX; i++)
            assert_int_equal(bytes[i], 0xee);
        arena_reset(&w->arena);
    }
    free(bytes);
    free(out);
}

static void what_plain_bytes_cannot_say_is_not_plain(void **state)
{
    (void)state;
    struct route_out *out = calloc(1, sizeof *out);
    assert_non_null(out);
    out->shows_excluded = true;
    assert_false(codec_plain_is(out));
    out->shows_excluded = false;
    out->adapter.shown = true;
    assert_false(codec_plain_is(out));
    free(out);
    /* Another one: codec_plain.c writes it, or codec_plain_is says no when it is there. */
    assert_int_equal(shunt__v1__route_response__descriptor.n_fields, 15);
    assert_int_equal(shunt__v1__ranked_arm__descriptor.n_fields, 4);
}

/* As a packer writes it, with the fields of `mask`; bit 8: max_ranked. */
static void pack_request(struct wire *w, uint32_t mask)
{
    Shunt__V1__RouteRequest m = SHUNT__V1__ROUTE_REQUEST__INIT;
    char router[] = "r", text[] = "What is two and two?", task[] = "maths", tenant[] = "acme",
         session[] = "run-1", id[] = "018f4e2a-0000-7000-8000-0123456789ab";
    float v[200];
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        v[i] = (float)i / 7 - 3;
    m.router = mask & 1 ? router : NULL;
    m.text = mask & 2 ? text : NULL;
    m.task = mask & 4 ? task : NULL;
    m.tenant = mask & 8 ? tenant : NULL;
    m.session_id = mask & 16 ? session : NULL;
    m.decision_id = mask & 32 ? id : NULL;
    m.features = v;
    m.n_features = mask & 64 ? 38 : 0;
    m.embedding = v;
    m.n_embedding = mask & 128 ? 200 : 0;
    m.has_max_ranked = (mask & 256) != 0;
    m.max_ranked = MAX_RANKED;
    w->len = shunt__v1__route_request__pack(&m, w->bytes);
}

static void assert_same_text(struct slice a, struct slice b)
{
    assert_int_equal(a.len, b.len);
    assert_int_equal(!a.data, !b.data);
    if (a.len)
        assert_memory_equal(a.data, b.data, a.len);
}

static void assert_same_vector(const float *a, size_t a_n, const float *b, size_t b_n)
{
    assert_int_equal(a_n, b_n);
    if (a_n)
        assert_memory_equal(a, b, a_n * sizeof *a);
}

static void a_plain_request_means_what_its_message_means(void **state)
{
    struct wire *w = *state;
    for (uint32_t mask = 0; mask < 512; mask++) {
        struct route_in in;
        arena_reset(&w->arena);
        pack_request(w, mask);
        assert_true(codec_plain_in((struct slice){w->bytes, w->len}, &w->arena, &in));
        assert_int_equal(decode(w), OK);
        assert_same_text(in.router, w->in.router);
        assert_same_text(in.text, w->in.text);
        assert_same_text(in.task, w->in.task);
        assert_same_text(in.tenant, w->in.tenant);
        assert_same_text(in.session, w->in.session);
        assert_same_text(in.decision_id, w->in.decision_id);
        assert_same_text(in.body, w->in.body);
        assert_same_vector(in.features, in.features_n, w->in.features, w->in.features_n);
        assert_same_vector(in.embedding, in.embedding_n, w->in.embedding, w->in.embedding_n);
        assert_int_equal(in.max_ranked, w->in.max_ranked);
        /* What neither brings is as absent here as there. */
        assert_true(!in.weights_n && !in.candidates_n && !in.exclude_n && !in.limits_n);
        assert_true(!in.dry_run && !in.defer && !in.explain && !in.latency_critical);
        assert_true(!in.session_metric.data && !in.baseline.len && !in.selector.len);
        assert_true(!in.stage.len && !in.input_tokens && !in.modalities && !in.now_us);
        assert_true(!in.agent.turn && !in.agent.tool_step && !in.agent.tool_errors);
        assert_true(!in.agent.tokens_so_far && !in.agent.images && !in.agent.max_output_tokens);
        assert_true(!in.agent.json_required && !in.agent.tools_required);
    }
}

static bool is_plain(struct wire *w, const char *bytes, size_t len)
{
    struct route_in in;
    arena_reset(&w->arena);
    return codec_plain_in((struct slice){bytes, len}, &w->arena, &in);
}

static void a_request_that_is_unusual_is_left_to_its_message(void **state)
{
    struct wire *w = *state;
    assert_true(is_plain(w, "\x0a\x01r", 3));
    assert_false(is_plain(w, "\x0a\x01r\x0a\x01s", 6)); /* Twice. */
    assert_false(is_plain(w, "\x0a\x01\0", 3));         /* A name with a NUL. */
    assert_true(is_plain(w, "\x12\x01\0", 3));          /* A prompt with one. */
    assert_false(is_plain(w, "\x0a\x81\0r", 4));        /* A length longer than it need be. */
    assert_false(is_plain(w, "\x8a\0\x01r", 4));        /* Such a key. */
    assert_false(is_plain(w, "\x0a\x01r\x12", 4));      /* Cut after a key, */
    assert_false(is_plain(w, "\x0a\x02r", 3));          /* and in a text. */
    assert_false(is_plain(w, "\x22\x03\0\0\0", 5));     /* Not whole floats. */
    assert_false(is_plain(w, "\x25\0\0\0\0", 5));       /* A float that is not packed. */
    assert_false(is_plain(w, "\x58\x81\x02", 3));       /* max_ranked 257. */
    assert_false(is_plain(w, "\x50\x01", 2));           /* dry_run. */
    assert_false(is_plain(w, "\x3a\x01m", 3));          /* A candidate. */
    assert_false(is_plain(w, "\x08\x01", 2));           /* A router that is a number. */
    assert_false(is_plain(w, "\xa2\x06\x01x", 4));      /* A field that nobody knows. */
    static char floats[6000] = "\x22\xec\x2e";          /* 5,996 bytes of them. */
    arena_done(&w->arena);
    arena_init(&w->arena, 4096);
    assert_false(is_plain(w, floats, 3 + 5996)); /* More than the arena may hold. */
}

static void a_status_that_does_not_exist_is_refused(void **state)
{
    struct wire *w = *state;
    Shunt__V1__ReportRewardRequest m = SHUNT__V1__REPORT_REWARD_REQUEST__INIT;
    struct engine_weight metrics[MAX_METRICS];
    struct report_in in;
    m.has_status = 1;
    m.status = (Shunt__V1__Status)3;
    assert_int_equal(codec_report_in(&m, metrics, &in, &w->detail), OK);
    assert_int_equal(in.status, OUTCOME_TIMEOUT);
    m.status = (Shunt__V1__Status)4;
    assert_int_equal(codec_report_in(&m, metrics, &in, &w->detail), ERR_OUT_OF_RANGE);
    m.status = (Shunt__V1__Status)-1;
    assert_int_equal(codec_report_in(&m, metrics, &in, &w->detail), ERR_OUT_OF_RANGE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Whether the room that was left is what the length takes, too much or too little. */
static void a_length_filled_in_is_the_length_put_before(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 127, 128, 5000, 16383, 16384, 20000};
    static uint8_t put[20000 + WIRE_VARINT_MAX], filled[20000 + WIRE_VARINT_MAX];
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (size_t k = 0; k < lengths[i]; k++)
            put[k] = filled[WIRE_ROOM + k] = (uint8_t)(k * 7 + i);
        size_t n = (size_t)(wire_put_length(put, put + lengths[i]) - put);
        uint8_t *end = filled + WIRE_ROOM + lengths[i];
        assert_int_equal(wire_fill_length(filled, end) - filled, n);
        assert_memory_equal(filled, put, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_filled_in_is_the_length_put_before),
        TEST(an_empty_message_is_all_defaults),
        TEST(of_two_equal_keys_the_last_one_wins),
        TEST(sixteen_names_fit_in_a_map_and_seventeen_do_not),
        TEST(a_map_entry_without_a_name_is_refused),
        TEST(more_candidates_than_allowed_are_refused),
        TEST(a_nul_is_refused_in_names_and_kept_in_a_prompt),
        TEST(a_nul_in_the_name_of_a_map_entry_is_refused),
        TEST(bytes_that_are_no_message_are_refused_wherever_they_are_cut),
        TEST(a_message_that_would_grow_too_large_is_refused),
        TEST(a_decision_is_encoded_whole_and_a_dry_run_has_no_token),
        TEST(a_plain_answer_has_the_bytes_that_protobuf_packs),
        TEST(what_plain_bytes_cannot_say_is_not_plain),
        TEST(a_plain_request_means_what_its_message_means),
        TEST(a_request_that_is_unusual_is_left_to_its_message),
        TEST(a_status_that_does_not_exist_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
