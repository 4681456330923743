/* A RouteRequest from anywhere: what decodes lies inside its bytes and its limits, and deciding
 * about it later can rely on that. */
#include "server/rpc/codec.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct route_lists lists;
    struct slice body = {data, size};
    struct arena arena;
    struct route_in in;
    struct err_detail detail;
    ProtobufCMessage *m = NULL;
    arena_init(&arena, 4 << 20);
    if (message_unpack(&shunt__v1__route_request__descriptor, body, &arena, &m, &detail) == OK &&
        codec_route_in((const Shunt__V1__RouteRequest *)m, body, &lists, &in, &detail) == OK)
        check(&in, data, size);
    arena_done(&arena);
    return 0;
}
