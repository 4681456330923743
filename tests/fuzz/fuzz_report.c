/* A ReportRewardRequest from anywhere: decoded lists stay in their limits, and keys differ. */
#include "server/rpc/codec.h"
#include "server/rpc/message.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check(const struct report_in *in, size_t size)
{
    FUZZ_CHECK(in->metrics_n <= MAX_METRICS && in->token.len <= size);
    FUZZ_CHECK(in->status >= 0 && in->status < OUTCOME_STATUS_N);
    for (size_t i = 0; i < in->metrics_n; i++) {
        FUZZ_CHECK(in->metrics[i].name.len > 0);
        for (size_t k = 0; k < i; k++)
            FUZZ_CHECK(in->metrics[i].name.len != in->metrics[k].name.len ||
                       memcmp(in->metrics[i].name.data, in->metrics[k].name.data,
                              in->metrics[i].name.len) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct engine_weight metrics[MAX_METRICS];
    struct arena arena;
    struct report_in in;
    struct err_detail detail;
    ProtobufCMessage *m = NULL;
    arena_init(&arena, 4 << 20);
    if (message_unpack(&shunt__v1__report_reward_request__descriptor, (struct slice){data, size},
                       &arena, &m, &detail) == OK &&
        codec_report_in((const Shunt__V1__ReportRewardRequest *)m, metrics, &in, &detail) == OK)
        check(&in, size);
    arena_done(&arena);
    return 0;
}
