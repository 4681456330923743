/* Tokens from strangers: never a crash, and what opens was sealed by us. The first byte says
 * whether the rest is a token to open, or a decision to seal and open again. */
#include "server/seal/seal.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void open_token(struct sealer *s, const struct key_view *ring, struct slice token)
{
    static struct decision d;
    if (seal_open(s, ring, 2, token, &d) == OK) {
        FUZZ_CHECK(d.d <= MAX_D);
        FUZZ_CHECK(d.propensity > 0 && d.propensity <= 1);
    }
}

static void seal_and_open(struct sealer *s, const struct key_view *ring, struct slice bytes)
{
    static struct decision in, out;
    static uint8_t token[TOKEN_BYTES_MAX];
    struct reader r;
    size_t len = 0;
    reader_init(&r, bytes);
    if (decision_decode(&r, &in) != OK)
        return;
    FUZZ_CHECK(seal_decision(s, ring, 2, &in, token, &len) == OK && len <= sizeof token);
    FUZZ_CHECK(seal_open(s, ring, 2, (struct slice){token, len}, &out) == OK);
    FUZZ_CHECK(in.d == out.d && memcmp(in.x, out.x, in.d * sizeof *in.x) == 0);
    FUZZ_CHECK(memcmp(in.id, out.id, ID_BYTES) == 0);
    token[bytes.len % len] ^= 1;
    FUZZ_CHECK(seal_open(s, ring, 2, (struct slice){token, len}, &out) == ERR_DECISION_NOT_FOUND);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct key_view ring[2]; /* Fixed: the seeds were sealed with the first. */
    struct sealer *s = NULL;
    if (size == 0 || seal_init() != OK || sealer_new(&s) != OK)
        return 0;
    for (uint32_t i = 0; i < 2; i++) {
        ring[i].id = i + 1;
        memset(ring[i].secret, (int)i + 1, KEY_BYTES);
    }
    if (data[0] & 2)
        sealer_use_portable(s);
    if (data[0] & 1)
        seal_and_open(s, ring, (struct slice){data + 1, size - 1});
    else
        open_token(s, ring, (struct slice){data + 1, size - 1});
    sealer_free(s);
    return 0;
}
