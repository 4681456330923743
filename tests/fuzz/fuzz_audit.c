/* A record of the decision log: what decodes has exactly one byte form. */
#include "server/loop/audit.h"
#include "state/base/mem.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

bool fuzz_decodes(const uint8_t *data, size_t size)
{
    static struct audit_record r;
    if (audit_decode((struct slice){data, size}, &r) != OK)
        return false;
    mem_free(r.arms);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct audit_record r;
    if (audit_decode((struct slice){data, size}, &r) != OK) {
        FUZZ_CHECK(r.arms == NULL);
        return 0;
    }
    FUZZ_CHECK(r.weights_n <= MAX_METRICS && r.arms_n <= MAX_ARMS);
    struct buf again;
    buf_init(&again);
    audit_encode(&r, &again);
    FUZZ_CHECK(buf_error(&again) != OK || again.len == size);
    FUZZ_CHECK(buf_error(&again) != OK || memcmp(again.data, data, size) == 0);
    buf_done(&again);
    mem_free(r.arms);
    return 0;
}
