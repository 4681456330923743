#include "server/loop/audit.h"
#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void fill_record(struct audit_record *r, struct audit_arm *arms, uint32_t arms_n)
{
    memset(r, 0, sizeof *r);
    memset(r->decision.id, 7, ID_BYTES);
    r->decision.arm_uid = 4;
    r->decision.issued_us = 1700000000000000;
    r->decision.propensity = .25F;
    r->decision.d = 5;
    r->decision.x[4] = -1;
    r->position = 99;
    r->seed = UINT64_MAX;
    r->kept = .25F;
    memcpy(r->policy, "thompson", 9);
    r->fallback = true;
    r->weights_n = 2;
    r->weights[1] = .5;
    r->lower_mask = 2;
    r->baseline_uid = 17;
    r->decision.mode = MODE_APPRENTICE;
    r->decision.epoch = 3;
    r->decision.policy_arm_uid = 9;
    if (arms_n != 1) {
        r->budget = (struct audit_budget){.paced = true,
                                          .metric = 2,
                                          .tenant = "acme",
                                          .per_request = 1e-3,
                                          .lambda = 12,
                                          .affordable = .06,
                                          .breaker = true,
                                          .refused_n = 2,
                                          .refused = {{5, .5F}, {6, .25F}}};
        r->decision.paced = 1;
        r->decision.charge = .5F;
    }
    r->terms_n = arms_n < 2 ? arms_n : 2;
    for (uint32_t i = 0; i < r->terms_n; i++)
        r->terms[i] = (struct audit_terms){.arm = i + arms_n - r->terms_n,
                                           .silence = -.5F,
                                           .charge = -1,
                                           .pacing = arms_n != 1 ? -.25F : 0,
                                           .predicted = {0, .75F}};
    r->arms = arms;
    r->arms_n = arms_n;
    for (uint32_t i = 0; i < arms_n; i++)
        arms[i] = (struct audit_arm){i, 1.F / (float)(i + 1), -.5F, 2, UINT32_MAX - i};
}

/* From a block of exactly `len` bytes, for the address sanitizer. */
static enum err decode_exact(const uint8_t *data, size_t len, struct audit_record *ret)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    enum err e = audit_decode((struct slice){copy, len}, ret);
    free(copy);
    return e;
}

static void a_record_comes_back_as_it_went(void **unused)
{
    (void)unused;
    struct audit_arm arms[3];
    const uint32_t sizes[] = {0, 1, 3};
    for (size_t i = 0; i < 3; i++) {
        static struct audit_record r, again;
        struct buf b;
        buf_init(&b);
        fill_record(&r, arms, sizes[i]);
        audit_encode(&r, &b);
        assert_int_equal(buf_error(&b), OK);
        memset(&again, 0, sizeof again);
        assert_int_equal(decode_exact(b.data, b.len, &again), OK);
        if (sizes[i])
            assert_memory_equal(arms, again.arms, sizes[i] * sizeof *arms);
        else
            assert_null(again.arms);
        mem_free(again.arms);
        again.arms = arms;
        assert_memory_equal(&r, &again, sizeof r);
        buf_done(&b);
    }
}

static void a_record_cut_anywhere_or_too_long_is_corrupt(void **unused)
{
    (void)unused;
    struct audit_arm arms[3];
    static struct audit_record r, out;
    struct buf b;
    buf_init(&b);
    fill_record(&r, arms, 3);
    audit_encode(&r, &b);
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(decode_exact(b.data, len, &out), ERR_CORRUPT);
    buf_put_u8(&b, 0);
    assert_int_equal(decode_exact(b.data, b.len, &out), ERR_CORRUPT);
    buf_done(&b);
}

static enum err decode_again(const struct audit_record *r)
{
    static struct audit_record out;
    struct buf b;
    buf_init(&b);
    audit_encode(r, &b);
    enum err e = decode_exact(b.data, b.len, &out);
    if (e == OK)
        mem_free(out.arms);
    buf_done(&b);
    return e;
}

static void a_record_with_impossible_values_is_corrupt(void **unused)
{
    (void)unused;
    struct audit_arm arms[2];
    static struct audit_record r;
#define CORRUPT_WITH(change)                                                                       \
    do {                                                                                           \
        fill_record(&r, arms, 2);                                                                  \
        assert_int_equal(decode_again(&r), OK);                                                    \
        change;                                                                                    \
        assert_int_equal(decode_again(&r), ERR_CORRUPT);                                           \
    } while (0)
    CORRUPT_WITH(r.kept = 1.5F);
    CORRUPT_WITH(r.kept = -.1F);
    CORRUPT_WITH(r.kept = NAN);
    CORRUPT_WITH(arms[1].propensity = 1.5F);
    CORRUPT_WITH(arms[1].propensity = -.1F);
    CORRUPT_WITH(arms[0].propensity = NAN);
    CORRUPT_WITH(arms[0].mean = INFINITY);
    CORRUPT_WITH(arms[1].width = NAN);
    CORRUPT_WITH(r.weights[0] = (double)NAN);
    CORRUPT_WITH(r.decision.x[0] = NAN);
    CORRUPT_WITH(r.lower_mask = 4);
    CORRUPT_WITH(r.terms[0].pacing = NAN);
    CORRUPT_WITH(r.budget.metric = MAX_METRICS);
    CORRUPT_WITH(r.budget.lambda = -1);
    CORRUPT_WITH(r.budget.per_request = (double)INFINITY);
    CORRUPT_WITH(r.budget.affordable = (double)NAN);
    CORRUPT_WITH(r.budget.refused_n = MAX_ARMS + 1);
    CORRUPT_WITH(r.budget.refused[1].cost = NAN);
    CORRUPT_WITH(r.terms[1].arm = 2);
    CORRUPT_WITH(r.terms[1].arm = 0);
    CORRUPT_WITH(r.terms[0].silence = NAN);
    CORRUPT_WITH(r.terms[1].predicted[1] = INFINITY);
}

static void decoding_without_memory_says_so(void **unused)
{
    (void)unused;
    struct audit_arm arms[2];
    static struct audit_record r, out;
    struct buf b;
    buf_init(&b);
    fill_record(&r, arms, 2);
    audit_encode(&r, &b);
    mem_fail_nth(1);
    enum err e = audit_decode((struct slice){b.data, b.len}, &out);
    bool counted = mem_count() > 0; /* Built with SHUNT_FAULTS. */
    mem_fail_nth(0);
    assert_int_equal(e, counted ? ERR_NOMEM : OK);
    mem_free(out.arms);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_comes_back_as_it_went),
        cmocka_unit_test(a_record_cut_anywhere_or_too_long_is_corrupt),
        cmocka_unit_test(a_record_with_impossible_values_is_corrupt),
        cmocka_unit_test(decoding_without_memory_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
