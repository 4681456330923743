#include "server/seal/gcm.h"

#include "state/base/mem.h"

#include <assert.h>
#include <intel-ipsec-mb.h>
#include <sodium.h>
#include <string.h>

static_assert(sizeof(struct gcm_key_data) <= GCM_KEY_ROOM, "an expanded key fits");
static_assert(alignof(struct gcm_key_data) <= alignof(struct gcm_key), "and so does its place");

/* Of the library's table of some hundred functions, those for this CPU that we call. They are given
 * all they work on, so the table itself (200 KB, of which most are its queues) is not kept. */
struct gcm {
    aes_gcm_pre_t expand;
    aes_gcm_enc_dec_t seal, open;
};

/* The library would do without AES in the CPU, by tables whose timing tells of the key. */
bool gcm_available(void)
{
    return crypto_aead_aes256gcm_is_available();
}

enum err gcm_new(struct gcm **ret_gcm)
{
    struct gcm *g = mem_calloc(1, sizeof *g);
    IMB_MGR *table = alloc_mb_mgr(0);
    enum err e = g && table ? OK : ERR_NOMEM;
    if (e == OK) {
        init_mb_mgr_auto(table, NULL); /* Tries its code on known answers. */
        bool passed = imb_get_errno(table) == 0 && (table->features & IMB_FEATURE_SELF_TEST_PASS);
        e = passed ? OK : ERR_UNSUPPORTED;
    }
    if (e == OK) {
        *g = (struct gcm){table->gcm256_pre, table->gcm256_enc, table->gcm256_dec};
        *ret_gcm = g;
    } else {
        mem_free(g);
    }
    free_mb_mgr(table); /* Takes NULL. */
    return e;
}

void gcm_free(struct gcm *g)
{
    mem_free(g);
}

void gcm_expand(const struct gcm *g, const uint8_t secret[GCM_SECRET_BYTES],
                struct gcm_key *ret_key)
{
    memset(ret_key, 0, sizeof *ret_key);
    g->expand(secret, (void *)ret_key->room);
}

void gcm_seal(const struct gcm *g, const struct gcm_key *key, const uint8_t nonce[GCM_NONCE_BYTES],
              struct slice beside, struct slice plain, uint8_t *ret_sealed)
{
    struct gcm_context_data scratch;
    g->seal((const void *)key->room, &scratch, ret_sealed, plain.data, plain.len, nonce,
            beside.data, beside.len, ret_sealed + plain.len, GCM_TAG_BYTES);
}

bool gcm_open(const struct gcm *g, const struct gcm_key *key, const uint8_t nonce[GCM_NONCE_BYTES],
              struct slice beside, struct slice sealed, uint8_t *ret_plain)
{
    struct gcm_context_data scratch;
    uint8_t tag[GCM_TAG_BYTES];
    if (sealed.len < GCM_TAG_BYTES)
        return false;
    size_t len = sealed.len - GCM_TAG_BYTES;
    g->open((const void *)key->room, &scratch, ret_plain, sealed.data, len, nonce, beside.data,
            beside.len, tag, sizeof tag);
    /* In the same time wherever they differ. */
    if (sodium_memcmp(tag, (const uint8_t *)sealed.data + len, sizeof tag) == 0)
        return true;
    sodium_memzero(ret_plain, len);
    sodium_memzero(tag, sizeof tag); /* The right one for a forger's text. */
    return false;
}
