/* A RouteRequest from anywhere: what decodes lies inside its bytes and its limits, and deciding
 * about it later can rely on that. */
#include "server/rpc/codec.h"
#include "server/rpc/codec_plain.h"
#include "server/rpc/message.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_names(const struct slice *names, size_t n)
{
    FUZZ_CHECK(n <= MAX_CANDIDATES);
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(!names[i].len || !memchr(names[i].data, 0, names[i].len));
}

static void check(const struct route_in *in, const uint8_t *data, size_t size)
{
    const uint8_t *text = in->text.data;
    FUZZ_CHECK(in->max_ranked <= MAX_RANKED && in->weights_n <= MAX_METRICS);
    FUZZ_CHECK(in->limits_n <= MAX_METRICS && !(in->modalities >> MODALITIES));
    FUZZ_CHECK(!in->text.len || (text >= data && text + in->text.len <= data + size));
    FUZZ_CHECK(in->features_n <= size && in->embedding_n <= size);
    check_names(in->candidates, in->candidates_n);
    check_names(in->exclude, in->exclude_n);
    for (size_t i = 0; i < in->weights_n; i++)
        for (size_t k = 0; k < i; k++)
            FUZZ_CHECK(in->weights[i].name.len != in->weights[k].name.len ||
                       memcmp(in->weights[i].name.data, in->weights[k].name.data,
                              in->weights[i].name.len) != 0);
}

static void check_same(struct slice a, struct slice b)
{
    FUZZ_CHECK(a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len) == 0));
}

/* What is read without a message is what the message says. */
static void check_plain(const struct route_in *a, const struct route_in *b)
{
    check_same(a->router, b->router);
    check_same(a->text, b->text);
    check_same(a->task, b->task);
    check_same(a->tenant, b->tenant);
    check_same(a->session, b->session);
    check_same(a->decision_id, b->decision_id);
    FUZZ_CHECK(a->max_ranked == b->max_ranked && a->features_n == b->features_n);
    FUZZ_CHECK(a->embedding_n == b->embedding_n && !b->weights_n && !b->candidates_n);
    FUZZ_CHECK(!b->exclude_n && !b->limits_n && !b->dry_run && !b->defer && !b->explain);
    FUZZ_CHECK(!b->session_metric.data && !b->selector.len && !b->stage.len && !b->baseline.len);
    size_t n = a->features_n * sizeof(float), embedding_n = a->embedding_n * sizeof(float);
    FUZZ_CHECK(!n || memcmp(a->features, b->features, n) == 0);
    FUZZ_CHECK(!embedding_n || memcmp(a->embedding, b->embedding, embedding_n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct route_lists lists;
    struct slice body = {data, size};
    struct arena arena;
    struct route_in in, plain_in;
    struct err_detail detail;
    ProtobufCMessage *m = NULL;
    arena_init(&arena, 4 << 20);
    bool plain = codec_plain_in(body, &arena, &plain_in), read = false;
    if (message_unpack(&shunt__v1__route_request__descriptor, body, &arena, &m, &detail) == OK &&
        codec_route_in((const Shunt__V1__RouteRequest *)m, body, &lists, &in, &detail) == OK) {
        check(&in, data, size);
        read = true;
    }
    FUZZ_CHECK(!plain || read);
    if (plain)
        check_plain(&plain_in, &in);
    arena_done(&arena);
    return 0;
}
