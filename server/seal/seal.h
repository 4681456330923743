/* seal.h - the sealed decision token: what fold needs of a decision, carried by the caller.
 * Why: RouteRequest needs no fsync and any replica can take the outcome, since the decision travels
 * with it; nobody can make one up or change one.
 * Form: version u8 | algorithm u8 | key id u32 | salt 16 | counter u64 (salt and counter give the
 * nonce) | AEAD(decision bytes, header as associated data) | tag 16. The sealing key is derived
 * (BLAKE2b, crypto_generichash keyed) from the ring's key and the salt, which is random per sealer,
 * so a counter never repeats under one key whatever crashes. AES-256-GCM where the CPU has it, else
 * XChaCha20-Poly1305. A replica whose CPU lacks AES cannot open the tokens of one that has it. A
 * token that does not open is ERR_DECISION_NOT_FOUND, whatever is wrong with it. Owns: a sealer
 * owns its derived keys (wiped when freed) and belongs to one thread. Borrows the keys. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/event.h"
#include "state/model/snapshot.h"

struct sealer;

enum { TOKEN_BYTES_MAX = DECISION_BYTES_MAX + 64 };

/* Call once, before any thread: initialises libsodium. */
MUST_USE enum err seal_init(void);
MUST_USE enum err sealer_new(struct sealer **ret_sealer);
void sealer_free(struct sealer *s);
/* Seals with XChaCha20-Poly1305 from now on, whatever the CPU has: replicas of mixed machines,
 * tests. */
void sealer_use_portable(struct sealer *s);

/* Seals with the newest key of keys[keys_n]. ret_token has TOKEN_BYTES_MAX. No allocation. */
MUST_USE enum err seal_decision(struct sealer *s, const struct key_view *keys, uint32_t keys_n,
                                const struct decision *decision, uint8_t *ret_token,
                                size_t *ret_len);
/* Opens with whichever key of the ring the token names. */
MUST_USE enum err seal_open(struct sealer *s, const struct key_view *keys, uint32_t keys_n,
                            struct slice token, struct decision *ret_decision);
/* Fresh secret for a KEY_ADD event, from the kernel. */
void seal_make_key(uint8_t ret_key[KEY_BYTES]);
/* Random bytes for an id, from a stream with a fresh key of the kernel's every 8 KiB. */
void sealer_random(struct sealer *s, uint8_t *ret_bytes, size_t len);
