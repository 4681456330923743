/* Whatever library gcm.h is built on, its bytes are those of libsodium. Built once for the room's
 * own choice and once for gcm_sodium.c. */
#include "server/seal/gcm.h"

#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 600, BESIDE_MAX = 40 };

struct box {
    struct gcm *gcm;
    struct gcm_key key;
    uint8_t secret[GCM_SECRET_BYTES], nonce[GCM_NONCE_BYTES], beside[BESIDE_MAX], text[TEXT_MAX];
};

static void fill(uint8_t *to, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)rng_mix(seed, i);
}

static void open_box(struct box *b, uint64_t seed)
{
    if (!gcm_available())
        skip();
    assert_int_equal(gcm_new(&b->gcm), OK);
    fill(b->secret, sizeof b->secret, seed);
    fill(b->nonce, sizeof b->nonce, seed + 1);
    fill(b->beside, sizeof b->beside, seed + 2);
    fill(b->text, sizeof b->text, seed + 3);
    gcm_expand(b->gcm, b->secret, &b->key);
}

/* In a block of exactly its size, for the address sanitizer. */
static uint8_t *seal(const struct box *b, size_t beside_n, size_t n)
{
    uint8_t *sealed = malloc(n + GCM_TAG_BYTES);
    assert_non_null(sealed);
    gcm_seal(b->gcm, &b->key, b->nonce, (struct slice){b->beside, beside_n},
             (struct slice){b->text, n}, sealed);
    return sealed;
}

static bool opens(const struct box *b, size_t beside_n, const uint8_t *sealed, size_t n,
                  uint8_t *ret_text)
{
    return gcm_open(b->gcm, &b->key, b->nonce, (struct slice){b->beside, beside_n},
                    (struct slice){sealed, n}, ret_text);
}

static void every_length_is_sealed_as_libsodium_does(void **unused)
{
    (void)unused;
    struct box b;
    uint8_t theirs[TEXT_MAX + GCM_TAG_BYTES], text[TEXT_MAX];
    open_box(&b, 11);
    for (size_t n = 0; n <= TEXT_MAX; n++) {
        size_t beside_n = n % (BESIDE_MAX + 1);
        uint8_t *ours = seal(&b, beside_n, n);
        unsigned long long len = 0;
        assert_int_equal(crypto_aead_aes256gcm_encrypt(theirs, &len, b.text, n, b.beside, beside_n,
                                                       NULL, b.nonce, b.secret),
                         0);
        assert_int_equal(len, n + GCM_TAG_BYTES);
        assert_memory_equal(ours, theirs, n + GCM_TAG_BYTES);
        assert_true(opens(&b, beside_n, ours, n + GCM_TAG_BYTES, text));
        assert_memory_equal(text, b.text, n);
        free(ours);
    }
    gcm_free(b.gcm);
}

/* [SP 800-38D]'s authors, "The Galois/Counter Mode of Operation", test case 16: AES-256, 60 bytes,
 * 20 beside them. */
static void the_known_answer_is_given(void **unused)
{
    (void)unused;
    static const char *const hex[] = {
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"};
    uint8_t expected[60 + GCM_TAG_BYTES];
    struct box b;
    open_box(&b, 1);
    uint8_t *const to[] = {b.secret, b.nonce, b.beside, b.text, expected};
    for (size_t i = 0; i < sizeof hex / sizeof *hex; i++)
        assert_int_equal(
            sodium_hex2bin(to[i], strlen(hex[i]) / 2, hex[i], strlen(hex[i]), NULL, NULL, NULL), 0);
    gcm_expand(b.gcm, b.secret, &b.key);
    uint8_t *ours = seal(&b, 20, 60);
    assert_memory_equal(ours, expected, sizeof expected);
    free(ours);
    gcm_free(b.gcm);
}

static void a_changed_bit_opens_nothing_and_leaves_no_text(void **unused)
{
    (void)unused;
    enum { N = 178, BESIDE = 30 };
    static const uint8_t nothing[N];
    struct box b;
    uint8_t text[N];
    open_box(&b, 5);
    uint8_t *sealed = seal(&b, BESIDE, N);
    for (size_t bit = 0; bit < 8 * (size_t)(N + GCM_TAG_BYTES); bit++) {
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
        memset(text, 1, sizeof text);
        assert_false(opens(&b, BESIDE, sealed, N + GCM_TAG_BYTES, text));
        assert_memory_equal(text, nothing, N);
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * (size_t)BESIDE; bit++) {
        b.beside[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(opens(&b, BESIDE, sealed, N + GCM_TAG_BYTES, text));
        b.beside[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_true(opens(&b, BESIDE, sealed, N + GCM_TAG_BYTES, text));
    free(sealed);
    gcm_free(b.gcm);
}

static void less_than_a_tag_is_refused(void **unused)
{
    (void)unused;
    struct box b;
    uint8_t text[1], sealed[GCM_TAG_BYTES] = {0};
    open_box(&b, 9);
    for (size_t n = 0; n < GCM_TAG_BYTES; n++)
        assert_false(opens(&b, 0, sealed, n, text));
    gcm_free(b.gcm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_is_sealed_as_libsodium_does),
        cmocka_unit_test(the_known_answer_is_given),
        cmocka_unit_test(a_changed_bit_opens_nothing_and_leaves_no_text),
        cmocka_unit_test(less_than_a_tag_is_refused),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
