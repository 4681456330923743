#include "server/seal/seal.h"

#include "server/seal/gcm.h"
#include "state/base/mem.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

enum { SEAL_VERSION = 1 };
enum seal_algorithm { SEAL_AES256GCM = 1, SEAL_XCHACHA20 = 2 };

enum {
    SALT_BYTES = 16,
    HEADER_BYTES = 1 + 1 + 4 + SALT_BYTES + 8,
    TAG_BYTES = 16,
    SUBKEY_BYTES = 32,
    /* Derived keys kept for reading: one per sealer that issued the tokens coming back, which is
     * one per rpc thread of each replica. */
    FOREIGN_N = 16,
    RANDOM_BYTES = 8192, /* A system call for 800 ids. */
};

static_assert(HEADER_BYTES + TAG_BYTES + DECISION_BYTES_MAX <= TOKEN_BYTES_MAX, "a token fits");
static_assert((int)GCM_TAG_BYTES == (int)TAG_BYTES, "the tag of AES-GCM");
static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == TAG_BYTES, "the tag of Poly1305");
static_assert((int)GCM_SECRET_BYTES == (int)SUBKEY_BYTES, "the key of AES-256");
static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == SUBKEY_BYTES, "the key of XChaCha20");

/* A key derived from (ring key, salt, algorithm), ready for use. */
struct subkey {
    struct gcm_key aes;          /* For SEAL_AES256GCM; first, for its alignment. */
    uint8_t plain[SUBKEY_BYTES]; /* For SEAL_XCHACHA20. */
    uint8_t secret[KEY_BYTES];   /* Derived from what; part of the cache's key. */
    uint8_t salt[SALT_BYTES];
    uint8_t algorithm; /* 0: nothing here yet. */
};

struct sealer {
    struct subkey own;
    struct subkey foreign[FOREIGN_N];
    struct gcm *gcm;       /* NULL: this CPU has no AES. */
    void *storage;         /* What was allocated: this is its first aligned part. */
    uint32_t foreign_next; /* The slot that the next one takes: first in, first out. */
    uint8_t salt[SALT_BYTES];
    uint64_t counter;
    uint8_t algorithm;
    uint8_t random[RANDOM_BYTES];
    size_t random_left; /* Unused bytes, at the end. */
};

enum err seal_init(void)
{
    return sodium_init() < 0 ? ERR_UNSUPPORTED : OK;
}

enum err sealer_new(struct sealer **ret_sealer)
{
    const size_t align = alignof(struct sealer);
    struct gcm *gcm = NULL;
    if (gcm_available())
        TRY(gcm_new(&gcm));
    char *storage = mem_calloc(1, sizeof(struct sealer) + align);
    if (!storage) {
        gcm_free(gcm);
        return ERR_NOMEM;
    }
    struct sealer *s = (void *)(storage + (align - (uintptr_t)storage % align));
    s->storage = storage;
    s->gcm = gcm;
    randombytes_buf(s->salt, sizeof s->salt);
    s->algorithm = gcm ? SEAL_AES256GCM : SEAL_XCHACHA20;
    *ret_sealer = s;
    return OK;
}

void sealer_free(struct sealer *s)
{
    if (!s)
        return;
    void *storage = s->storage;
    gcm_free(s->gcm);
    sodium_memzero(s, sizeof *s);
    mem_free(storage);
}

void sealer_use_portable(struct sealer *s)
{
    s->algorithm = SEAL_XCHACHA20;
}

static bool subkey_is(const struct subkey *k, const struct key_view *key, const uint8_t *salt,
                      uint8_t algorithm)
{
    return k->algorithm == algorithm && memcmp(k->salt, salt, SALT_BYTES) == 0 &&
           memcmp(k->secret, key->secret, KEY_BYTES) == 0;
}

/* subkey = BLAKE2b-256(key = ring key, "shunt decision token" | algorithm | salt). The algorithm is
 * hashed too, so that no key ever serves two ciphers. */
static void subkey_derive(const struct sealer *s, struct subkey *k, const struct key_view *key,
                          const uint8_t *salt, uint8_t algorithm)
{
    static const uint8_t purpose[] = "shunt decision token";
    crypto_generichash_state state;
    /* These fail only for lengths out of range, and ours are constants. */
    crypto_generichash_init(&state, key->secret, KEY_BYTES, SUBKEY_BYTES);
    crypto_generichash_update(&state, purpose, sizeof purpose);
    crypto_generichash_update(&state, &algorithm, 1);
    crypto_generichash_update(&state, salt, SALT_BYTES);
    crypto_generichash_final(&state, k->plain, SUBKEY_BYTES);
    sodium_memzero(&state, sizeof state);
    if (algorithm == SEAL_AES256GCM) {
        gcm_expand(s->gcm, k->plain, &k->aes);
        sodium_memzero(k->plain, sizeof k->plain);
    }
    memcpy(k->secret, key->secret, KEY_BYTES);
    memcpy(k->salt, salt, SALT_BYTES);
    k->algorithm = algorithm;
}

static void put_header(const struct sealer *s, uint32_t key_id, uint8_t *to)
{
    to[0] = SEAL_VERSION;
    to[1] = s->algorithm;
    memcpy(to + 2, &key_id, sizeof key_id);
    memcpy(to + 6, s->salt, SALT_BYTES);
    memcpy(to + 6 + SALT_BYTES, &s->counter, sizeof s->counter);
}

/* The counter fills the low end of a nonce; the rest is zero. The salt went into the key. */
static void make_nonce(const uint8_t *header, uint8_t *ret_nonce, size_t len)
{
    memset(ret_nonce, 0, len);
    memcpy(ret_nonce, header + 6 + SALT_BYTES, 8);
}

enum err seal_decision(struct sealer *s, const struct key_view *keys, uint32_t keys_n,
                       const struct decision *decision, uint8_t *ret_token, size_t *ret_len)
{
    if (keys_n == 0)
        return ERR_INTERNAL; /* A data directory has a key from its first start. */
    const struct key_view *key = &keys[keys_n - 1];
    if (!subkey_is(&s->own, key, s->salt, s->algorithm))
        subkey_derive(s, &s->own, key, s->salt, s->algorithm);
    uint8_t bytes[DECISION_BYTES_MAX];
    struct buf plain = {.data = bytes, .cap = sizeof bytes}; /* Large enough: it never grows. */
    decision_encode(decision, &plain);
    assert(plain.data == bytes);

    put_header(s, key->id, ret_token);
    s->counter++; /* Before use, so that no path can use a value twice. */
    uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
    if (s->algorithm == SEAL_AES256GCM) {
        make_nonce(ret_token, nonce, GCM_NONCE_BYTES);
        gcm_seal(s->gcm, &s->own.aes, nonce, (struct slice){ret_token, HEADER_BYTES},
                 (struct slice){plain.data, plain.len}, ret_token + HEADER_BYTES);
    } else {
        make_nonce(ret_token, nonce, sizeof nonce);
        crypto_aead_xchacha20poly1305_ietf_encrypt(ret_token + HEADER_BYTES, NULL, plain.data,
                                                   plain.len, ret_token, HEADER_BYTES, NULL, nonce,
                                                   s->own.plain);
    }
    *ret_len = HEADER_BYTES + plain.len + TAG_BYTES;
    return OK;
}

static const struct key_view *find_key(const struct key_view *keys, uint32_t keys_n, uint32_t id)
{
    for (uint32_t i = keys_n; i-- > 0;) /* Most tokens are of the newest. */
        if (keys[i].id == id)
            return &keys[i];
    return NULL;
}

static const struct subkey *find_subkey(const struct sealer *s, const struct key_view *key,
                                        const uint8_t *salt, uint8_t algorithm)
{
    if (subkey_is(&s->own, key, salt, algorithm))
        return &s->own;
    for (uint32_t i = 0; i < FOREIGN_N; i++)
        if (subkey_is(&s->foreign[i], key, salt, algorithm))
            return &s->foreign[i];
    return NULL;
}

/* ret_plain has DECISION_BYTES_MAX; filled is what token has beyond header and tag. False: forged
 * or damaged. */
static bool open_bytes(const struct sealer *s, const struct subkey *k, struct slice token,
                       uint8_t *ret_plain)
{
    const uint8_t *header = token.data;
    const struct slice sealed = {header + HEADER_BYTES, token.len - HEADER_BYTES};
    uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
    if (k->algorithm == SEAL_AES256GCM) {
        make_nonce(header, nonce, GCM_NONCE_BYTES);
        return gcm_open(s->gcm, &k->aes, nonce, (struct slice){header, HEADER_BYTES}, sealed,
                        ret_plain);
    }
    make_nonce(header, nonce, sizeof nonce);
    return crypto_aead_xchacha20poly1305_ietf_decrypt(ret_plain, NULL, NULL, sealed.data,
                                                      sealed.len, header, HEADER_BYTES, nonce,
                                                      k->plain) == 0;
}

/* Only a key that has opened something is kept: random tokens cannot push the useful ones out. */
static bool open_with(struct sealer *s, const struct key_view *key, struct slice token,
                      uint8_t *ret_plain)
{
    const uint8_t *header = token.data;
    const uint8_t *salt = header + 6;
    uint8_t algorithm = header[1];
    const struct subkey *known = find_subkey(s, key, salt, algorithm);
    if (known)
        return open_bytes(s, known, token, ret_plain);
    struct subkey fresh;
    subkey_derive(s, &fresh, key, salt, algorithm);
    bool opened = open_bytes(s, &fresh, token, ret_plain);
    if (opened) {
        s->foreign[s->foreign_next] = fresh;
        s->foreign_next = (s->foreign_next + 1) % FOREIGN_N;
    }
    sodium_memzero(&fresh, sizeof fresh);
    return opened;
}

enum err seal_open(struct sealer *s, const struct key_view *keys, uint32_t keys_n,
                   struct slice token, struct decision *ret_decision)
{
    const uint8_t *header = token.data;
    if (token.len < HEADER_BYTES + TAG_BYTES ||
        token.len > HEADER_BYTES + TAG_BYTES + DECISION_BYTES_MAX || header[0] != SEAL_VERSION)
        return ERR_DECISION_NOT_FOUND;
    if (header[1] != SEAL_XCHACHA20 && (header[1] != SEAL_AES256GCM || !s->gcm))
        return ERR_DECISION_NOT_FOUND;
    uint32_t key_id;
    memcpy(&key_id, header + 2, sizeof key_id);
    const struct key_view *key = find_key(keys, keys_n, key_id);
    if (!key)
        return ERR_DECISION_NOT_FOUND;
    uint8_t plain[DECISION_BYTES_MAX];
    if (!open_with(s, key, token, plain))
        return ERR_DECISION_NOT_FOUND;
    struct reader r;
    reader_init(&r, (struct slice){plain, token.len - HEADER_BYTES - TAG_BYTES});
    if (decision_decode(&r, ret_decision) != OK || reader_left(&r) != 0)
        return ERR_DECISION_NOT_FOUND;
    return OK;
}

void seal_make_key(uint8_t ret_key[KEY_BYTES])
{
    randombytes_buf(ret_key, KEY_BYTES);
}

/* ChaCha20 under a key of the kernel's that nobody keeps: it is quicker than as many bytes of the
 * kernel's own, and one request waits for all of them. */
static void refill_random(struct sealer *s)
{
    uint8_t seed[randombytes_SEEDBYTES];
    randombytes_buf(seed, sizeof seed);
    randombytes_buf_deterministic(s->random, sizeof s->random, seed);
    sodium_memzero(seed, sizeof seed);
    s->random_left = sizeof s->random;
}

void sealer_random(struct sealer *s, uint8_t *ret_bytes, size_t len)
{
    if (len > sizeof s->random) {
        randombytes_buf(ret_bytes, len);
        return;
    }
    if (len > s->random_left)
        refill_random(s);
    uint8_t *at = s->random + sizeof s->random - s->random_left;
    memcpy(ret_bytes, at, len);
    memset(at, 0, len); /* Handed out once; nothing here can repeat it. */
    s->random_left -= len;
}
