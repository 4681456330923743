#include "server/seal/seal.h"

#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

static void fill_decision(struct decision *d, uint16_t len)
{
    memset(d, 0, sizeof *d);
    memset(d->id, 0x5c, ID_BYTES);
    d->router_uid = 1;
    d->arm_uid = 2;
    d->spec_hash = 3;
    d->issued_us = 1700000000000000;
    d->propensity = .5F;
    d->reason = 1;
    d->evaluable = 1;
    d->d = len;
    for (uint16_t i = 0; i < len; i++)
        d->x[i] = (float)i;
}

static void make_ring(struct key_view *keys, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        keys[i].id = i + 1;
        seal_make_key(keys[i].secret);
    }
}

static struct sealer *make_sealer(bool portable)
{
    struct sealer *s = NULL;
    assert_int_equal(sealer_new(&s), OK);
    if (portable)
        sealer_use_portable(s);
    return s;
}

/* Opens from a block of exactly the token's size, for the address sanitizer. */
static enum err open_exact(struct sealer *s, const struct key_view *keys, uint32_t keys_n,
                           const uint8_t *token, size_t len, struct decision *ret)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, token, len);
    enum err e = seal_open(s, keys, keys_n, (struct slice){copy, len}, ret);
    free(copy);
    return e;
}

static void a_sealed_decision_opens_to_itself(bool portable, uint16_t d)
{
    struct key_view ring[1];
    make_ring(ring, 1);
    struct sealer *s = make_sealer(portable), *other = make_sealer(false);
    struct decision in, out;
    fill_decision(&in, d);
    uint8_t token[TOKEN_BYTES_MAX];
    size_t len = 0;
    assert_int_equal(seal_decision(s, ring, 1, &in, token, &len), OK);
    assert_in_range(len, 1, TOKEN_BYTES_MAX);
    memset(&out, 0, sizeof out);
    assert_int_equal(open_exact(s, ring, 1, token, len, &out), OK);
    assert_memory_equal(&in, &out, sizeof in);
    /* Another thread's or replica's sealer, twice: derived, then from its cache. */
    for (int i = 0; i < 2; i++) {
        memset(&out, 0, sizeof out);
        assert_int_equal(open_exact(other, ring, 1, token, len, &out), OK);
        assert_memory_equal(&in, &out, sizeof in);
    }
    sealer_free(s);
    sealer_free(other);
}

static void a_token_opens_to_its_decision_under_both_algorithms(void **unused)
{
    (void)unused;
    for (int portable = 0; portable < 2; portable++) {
        a_sealed_decision_opens_to_itself(portable, 0);
        a_sealed_decision_opens_to_itself(portable, 26);
        a_sealed_decision_opens_to_itself(portable, MAX_D);
    }
}

static void a_token_with_any_bit_flipped_is_unknown(void **unused)
{
    (void)unused;
    for (int portable = 0; portable < 2; portable++) {
        struct key_view ring[2];
        make_ring(ring, 2);
        struct sealer *s = make_sealer(portable);
        struct decision in, out;
        fill_decision(&in, 11);
        uint8_t token[TOKEN_BYTES_MAX];
        size_t len = 0;
        assert_int_equal(seal_decision(s, ring, 2, &in, token, &len), OK);
        for (size_t bit = 0; bit < 8 * len; bit++) {
            token[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_int_equal(open_exact(s, ring, 2, token, len, &out), ERR_DECISION_NOT_FOUND);
            token[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        assert_int_equal(open_exact(s, ring, 2, token, len, &out), OK);
        sealer_free(s);
    }
}

static void a_token_cut_or_lengthened_is_unknown(void **unused)
{
    (void)unused;
    struct key_view ring[1];
    make_ring(ring, 1);
    struct sealer *s = make_sealer(false);
    struct decision in, out;
    fill_decision(&in, 26);
    uint8_t token[TOKEN_BYTES_MAX + 8] = {0};
    size_t len = 0;
    assert_int_equal(seal_decision(s, ring, 1, &in, token, &len), OK);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(open_exact(s, ring, 1, token, cut, &out), ERR_DECISION_NOT_FOUND);
    assert_int_equal(open_exact(s, ring, 1, token, len + 1, &out), ERR_DECISION_NOT_FOUND);
    assert_int_equal(open_exact(s, ring, 1, token, sizeof token, &out), ERR_DECISION_NOT_FOUND);
    sealer_free(s);
}

static void a_key_outside_the_ring_opens_nothing(void **unused)
{
    (void)unused;
    struct key_view ours[1], theirs[1];
    make_ring(ours, 1);
    make_ring(theirs, 1); /* The same id, another secret. */
    struct sealer *s = make_sealer(false);
    struct decision in, out;
    fill_decision(&in, 26);
    uint8_t token[TOKEN_BYTES_MAX];
    size_t len = 0;
    assert_int_equal(seal_decision(s, ours, 1, &in, token, &len), OK);
    assert_int_equal(open_exact(s, theirs, 1, token, len, &out), ERR_DECISION_NOT_FOUND);
    theirs[0].id = 9;
    assert_int_equal(open_exact(s, theirs, 1, token, len, &out), ERR_DECISION_NOT_FOUND);
    assert_int_equal(open_exact(s, ours, 0, token, len, &out), ERR_DECISION_NOT_FOUND);
    assert_int_equal(seal_decision(s, ours, 0, &in, token, &len), ERR_INTERNAL);
    sealer_free(s);
}

static void an_older_key_still_opens_after_rotation(void **unused)
{
    (void)unused;
    struct key_view ring[3];
    make_ring(ring, 3);
    struct sealer *s = make_sealer(false);
    struct decision in, out;
    fill_decision(&in, 26);
    uint8_t old[TOKEN_BYTES_MAX], new[TOKEN_BYTES_MAX];
    size_t old_len = 0, new_len = 0;
    assert_int_equal(seal_decision(s, ring, 1, &in, old, &old_len), OK);
    assert_int_equal(seal_decision(s, ring, 3, &in, new, &new_len), OK);
    assert_int_equal(open_exact(s, ring, 3, old, old_len, &out), OK);
    assert_int_equal(open_exact(s, ring, 3, new, new_len, &out), OK);
    /* The new one is under the new key: the old ring does not know it. */
    assert_int_equal(open_exact(s, ring, 1, new, new_len, &out), ERR_DECISION_NOT_FOUND);
    /* Once the old key has left the ring, its tokens are forgotten. */
    assert_int_equal(open_exact(s, ring + 1, 2, old, old_len, &out), ERR_DECISION_NOT_FOUND);
    sealer_free(s);
}

static int compare_heads(const void *a, const void *b)
{
    return memcmp(a, b, 24);
}

static void no_salt_and_counter_come_twice(void **unused)
{
    (void)unused;
    enum { SEALERS = 4, EACH = 500 };
    struct key_view ring[1];
    make_ring(ring, 1);
    struct decision in;
    fill_decision(&in, 1);
    static uint8_t heads[SEALERS * EACH][24]; /* Salt 16, counter 8; at byte 6 of a token. */
    size_t n = 0;
    for (int i = 0; i < SEALERS; i++) {
        struct sealer *s = make_sealer(i & 1);
        for (int k = 0; k < EACH; k++) {
            uint8_t token[TOKEN_BYTES_MAX];
            size_t len = 0;
            assert_int_equal(seal_decision(s, ring, 1, &in, token, &len), OK);
            memcpy(heads[n++], token + 6, 24);
        }
        sealer_free(s);
    }
    qsort(heads, n, sizeof *heads, compare_heads);
    for (size_t i = 1; i < n; i++)
        assert_true(memcmp(heads[i - 1], heads[i], 24) != 0);
}

static void more_issuers_than_the_cache_holds_are_all_read(void **unused)
{
    (void)unused;
    enum { ISSUERS = 40 };
    struct key_view ring[1];
    make_ring(ring, 1);
    struct decision in, out;
    fill_decision(&in, 3);
    static uint8_t tokens[ISSUERS][TOKEN_BYTES_MAX];
    size_t lens[ISSUERS];
    for (int i = 0; i < ISSUERS; i++) {
        struct sealer *issuer = make_sealer(false);
        in.arm_uid = (uint32_t)i;
        assert_int_equal(seal_decision(issuer, ring, 1, &in, tokens[i], &lens[i]), OK);
        sealer_free(issuer);
    }
    struct sealer *s = make_sealer(false);
    for (int k = 0; k < 3 * ISSUERS; k++) {
        int i = k * 7 % ISSUERS;
        assert_int_equal(open_exact(s, ring, 1, tokens[i], lens[i], &out), OK);
        assert_int_equal(out.arm_uid, i);
    }
    sealer_free(s);
}

static void random_bytes_for_ids_do_not_repeat(void **unused)
{
    (void)unused;
    enum { N = 1000 };
    struct sealer *s = make_sealer(false);
    static uint8_t drawn[N][24];
    for (int i = 0; i < N; i++)
        sealer_random(s, drawn[i], 10); /* Across several refills of the buffer. */
    qsort(drawn, N, sizeof *drawn, compare_heads);
    for (int i = 1; i < N; i++)
        assert_true(memcmp(drawn[i - 1], drawn[i], 10) != 0);
    uint8_t large[5000] = {0}, zero[64] = {0};
    sealer_random(s, large, sizeof large);
    assert_true(memcmp(large + sizeof large - sizeof zero, zero, sizeof zero) != 0);
    sealer_free(s);
}

int main(void)
{
    if (seal_init() != OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_opens_to_its_decision_under_both_algorithms),
        cmocka_unit_test(a_token_with_any_bit_flipped_is_unknown),
        cmocka_unit_test(a_token_cut_or_lengthened_is_unknown),
        cmocka_unit_test(a_key_outside_the_ring_opens_nothing),
        cmocka_unit_test(an_older_key_still_opens_after_rotation),
        cmocka_unit_test(no_salt_and_counter_come_twice),
        cmocka_unit_test(more_issuers_than_the_cache_holds_are_all_read),
        cmocka_unit_test(random_bytes_for_ids_do_not_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
