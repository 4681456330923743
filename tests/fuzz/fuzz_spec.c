/* A RouterSpec from anywhere: what is accepted passes settings_check, and what is then shown is
 * accepted again and means the same. */
#include "server/rpc/codec_spec.h"
#include "server/rpc/message.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_arms(const Shunt__V1__RouterSpec *m, const struct router_config *config,
                       struct arena *arena)
{
    static struct arm_config arm;
    struct err_detail detail;
    for (size_t i = 0; i < m->n_arms; i++)
        if (codec_arm_in(m->arms[i], config, &arm, &detail) == OK) {
            FUZZ_CHECK(settings_check_arm(&arm, &detail) == OK);
            FUZZ_CHECK(codec_arm_out(&arm, config, arena) || arena->full);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct router_config first, second;
    struct arena arena;
    struct err_detail detail;
    ProtobufCMessage *m = NULL;
    arena_init(&arena, 16 << 20);
    memset(&first, 0, sizeof first);
    memset(&second, 0, sizeof second);
    if (message_unpack(&shunt__v1__router_spec__descriptor, (struct slice){data, size}, &arena, &m,
                       &detail) == OK &&
        codec_spec_in((const Shunt__V1__RouterSpec *)m, &first, &detail) == OK) {
        FUZZ_CHECK(settings_check(&first, &detail) == OK);
        const Shunt__V1__RouterSpec *shown = codec_spec_out(&first, &arena);
        if (shown) {
            FUZZ_CHECK(codec_spec_in(shown, &second, &detail) == OK);
            FUZZ_CHECK(memcmp(&first.settings, &second.settings, sizeof first.settings) == 0);
            FUZZ_CHECK(memcmp(first.metrics, second.metrics, sizeof first.metrics) == 0);
            FUZZ_CHECK(memcmp(&first.spec, &second.spec, sizeof first.spec) == 0);
        }
        check_arms((const Shunt__V1__RouterSpec *)m, &first, &arena);
    }
    arena_done(&arena);
    return 0;
}
