/* gcm.h - AES-256-GCM [SP 800-38D] of short messages.
 * Why: whose code it is decides what a token costs. 178 bytes with 30 beside them take libsodium
 * .26 us; intel-ipsec-mb .06 on a CPU with VAES, .10 to .14 on others (server/seal/README.md). So a
 * build for x86-64 that has intel-ipsec-mb uses it (gcm_ipsec.c), any other libsodium
 * (gcm_sodium.c). The bytes are the same: replicas of both builds read each other's tokens.
 * Owns: a gcm is the code that suits this CPU, and nothing secret; the key is the caller's storage,
 * who wipes it.
 * Threads: a gcm and an expanded key are read only. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"

#include <stdalign.h>
#include <stdint.h>

enum { GCM_SECRET_BYTES = 32, GCM_NONCE_BYTES = 12, GCM_TAG_BYTES = 16, GCM_KEY_ROOM = 1024 };

struct gcm;

/* A secret, expanded: what it holds is the library's. */
struct gcm_key {
    alignas(64) uint8_t room[GCM_KEY_ROOM];
};

/* Whether this CPU has what it takes; nothing below may be called where it has not. After
 * seal_init(). */
bool gcm_available(void);
/* ERR_UNSUPPORTED: the library failed its own test on this machine. */
MUST_USE enum err gcm_new(struct gcm **ret_gcm);
void gcm_free(struct gcm *g);

void gcm_expand(const struct gcm *g, const uint8_t secret[GCM_SECRET_BYTES],
                struct gcm_key *ret_key);
/* ret_sealed: plain.len bytes, then the tag; may not overlap plain. A nonce serves once a key. */
void gcm_seal(const struct gcm *g, const struct gcm_key *key, const uint8_t nonce[GCM_NONCE_BYTES],
              struct slice beside, struct slice plain, uint8_t *ret_sealed);
/* ret_plain has sealed.len - GCM_TAG_BYTES. False: forged or damaged, or shorter than a tag; then
 * nothing of the text is left in ret_plain. */
MUST_USE bool gcm_open(const struct gcm *g, const struct gcm_key *key,
                       const uint8_t nonce[GCM_NONCE_BYTES], struct slice beside,
                       struct slice sealed, uint8_t *ret_plain);
