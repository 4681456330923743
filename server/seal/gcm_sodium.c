#include "server/seal/gcm.h"

#include "state/base/mem.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static_assert(crypto_aead_aes256gcm_KEYBYTES == GCM_SECRET_BYTES, "the key of AES-256");
static_assert(crypto_aead_aes256gcm_NPUBBYTES == GCM_NONCE_BYTES, "the nonce of AES-GCM");
static_assert(crypto_aead_aes256gcm_ABYTES == GCM_TAG_BYTES, "the tag of AES-GCM");
static_assert(sizeof(crypto_aead_aes256gcm_state) <= GCM_KEY_ROOM, "an expanded key fits");
static_assert(alignof(crypto_aead_aes256gcm_state) <= alignof(struct gcm_key),
              "and so does its place");

/* libsodium has one code for all CPUs. */
struct gcm {
    bool available;
};

bool gcm_available(void)
{
    return crypto_aead_aes256gcm_is_available();
}

enum err gcm_new(struct gcm **ret_gcm)
{
    struct gcm *g = mem_calloc(1, sizeof *g);
    if (!g)
        return ERR_NOMEM;
    g->available = gcm_available();
    *ret_gcm = g;
    return OK;
}

void gcm_free(struct gcm *g)
{
    mem_free(g);
}

void gcm_expand(const struct gcm *g, const uint8_t secret[GCM_SECRET_BYTES],
                struct gcm_key *ret_key)
{
    assert(g->available);
    (void)g;
    crypto_aead_aes256gcm_beforenm((void *)ret_key->room, secret);
}

void gcm_seal(const struct gcm *g, const struct gcm_key *key, const uint8_t nonce[GCM_NONCE_BYTES],
              struct slice beside, struct slice plain, uint8_t *ret_sealed)
{
    (void)g;
    crypto_aead_aes256gcm_encrypt_afternm(ret_sealed, NULL, plain.data, plain.len, beside.data,
                                          beside.len, NULL, nonce, (const void *)key->room);
}

bool gcm_open(const struct gcm *g, const struct gcm_key *key, const uint8_t nonce[GCM_NONCE_BYTES],
              struct slice beside, struct slice sealed, uint8_t *ret_plain)
{
    (void)g;
    return crypto_aead_aes256gcm_decrypt_afternm(ret_plain, NULL, NULL, sealed.data, sealed.len,
                                                 beside.data, beside.len, nonce,
                                                 (const void *)key->room) == 0;
}
