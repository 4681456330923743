#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/model/residency.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 3, WEIGHTS = 2, ROW = D + WEIGHTS };

static struct residency_arm arm_of(uint32_t uid, uint64_t seed)
{
    return (struct residency_arm){.uid = uid,
                                  .desired = seed % 2,
                                  .load_ms = 100 * rng_uniform(seed, 0),
                                  .loads = rng_below(seed, 1, 100),
                                  .pulls = rng_below(seed, 2, 100),
                                  .misses = rng_below(seed, 3, 100),
                                  .waiting = rng_below(seed, 4, 100),
                                  .used_at = rng_below(seed, 5, 100),
                                  .rate = rng_uniform(seed, 6)};
}

/* The k-th of a series of updates: some arms of 40, some samples. */
struct made {
    struct residency_update u;
    struct residency_arm arms[40];
    float samples[EPOCH_SAMPLE_MAX * ROW];
};

static void make_update(struct made *m, uint64_t k)
{
    memset(m, 0, sizeof *m);
    for (uint32_t uid = 1; uid <= 40; uid++)
        if (rng_below(k, uid, 3) == 0)
            m->arms[m->u.arms_n++] = arm_of(uid, rng_mix(k, uid));
    m->u.epoch = k + 1;
    m->u.requests = 200 * k;
    m->u.length = 200;
    m->u.begun_us = (int64_t)k * 1000 - 5;
    m->u.value = rng_uniform(k, 100);
    m->u.uncached = m->u.value / 2;
    m->u.d = D;
    m->u.weights_n = WEIGHTS;
    m->u.samples_n = (uint32_t)rng_below(k, 101, EPOCH_SAMPLE_MAX + 1);
    for (uint32_t i = 0; i < m->u.samples_n * ROW; i++)
        m->samples[i] = (float)rng_uniform(k, 200 + i);
    m->u.arms = m->arms;
    m->u.samples = m->samples;
}

static void fold_made(struct residency *r, uint64_t k)
{
    static struct made m;
    make_update(&m, k);
    assert_int_equal(residency_reserve(r, m.u.arms_n), OK);
    residency_fold(r, &m.u);
}

static struct buf bytes_of(const struct residency *r)
{
    struct buf b;
    buf_init(&b);
    residency_put(r, &b);
    assert_int_equal(buf_error(&b), OK);
    return b;
}

static void assert_round_trip(const struct residency *r)
{
    struct buf first = bytes_of(r);
    struct reader in;
    struct residency back;
    reader_init(&in, (struct slice){first.data, first.len});
    assert_int_equal(residency_get(&in, &back), OK);
    assert_int_equal(reader_left(&in), 0);
    struct buf second = bytes_of(&back);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    residency_done(&back);
    buf_done(&first);
    buf_done(&second);
}

static void a_state_is_the_same_after_its_byte_form(void **state)
{
    (void)state;
    struct residency r;
    assert_int_equal(residency_init(&r, D, WEIGHTS), OK);
    assert_round_trip(&r);
    for (uint64_t k = 0; k < 20; k++) {
        fold_made(&r, k);
        assert_round_trip(&r);
    }
    assert_int_equal(r.window_n, WINDOW_MAX);
    residency_done(&r);
}

/* A checkpoint in the middle changes nothing that follows. */
static void folding_on_from_a_byte_form_gives_the_same_bytes(void **state)
{
    (void)state;
    struct residency straight, broken;
    assert_int_equal(residency_init(&straight, D, WEIGHTS), OK);
    assert_int_equal(residency_init(&broken, D, WEIGHTS), OK);
    for (uint64_t k = 0; k < 20; k++) {
        fold_made(&straight, k);
        fold_made(&broken, k);
        struct buf b = bytes_of(&broken);
        struct reader in;
        reader_init(&in, (struct slice){b.data, b.len});
        residency_done(&broken);
        assert_int_equal(residency_get(&in, &broken), OK);
        buf_done(&b);
    }
    struct buf a = bytes_of(&straight), b = bytes_of(&broken);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    buf_done(&a);
    buf_done(&b);
    residency_done(&straight);
    residency_done(&broken);
}

/* The journal holds records; what folds them must be what folds an update. */
static void a_record_folds_to_what_its_update_folds_to(void **state)
{
    (void)state;
    static struct made m;
    struct residency plain, read;
    assert_int_equal(residency_init(&plain, D, WEIGHTS), OK);
    assert_int_equal(residency_init(&read, D, WEIGHTS), OK);
    for (uint64_t k = 0; k < 20; k++) {
        struct buf b;
        uint32_t fresh, all;
        fold_made(&plain, k);
        make_update(&m, k);
        buf_init(&b);
        residency_put_update(&m.u, &b);
        struct slice record = {b.data, b.len};
        assert_int_equal(residency_check_record(record, NULL, &all), OK);
        assert_int_equal(all, m.u.arms_n);
        assert_int_equal(residency_check_record(record, &read, &fresh), OK);
        assert_true(fresh <= all);
        uint32_t before = read.arms_n;
        assert_int_equal(residency_reserve(&read, fresh), OK);
        residency_fold_record(&read, record);
        assert_int_equal(read.arms_n, before + fresh);
        struct buf x = bytes_of(&plain), y = bytes_of(&read);
        assert_int_equal(x.len, y.len);
        assert_memory_equal(x.data, y.data, x.len);
        buf_done(&x);
        buf_done(&y);
        buf_done(&b);
    }
    residency_done(&plain);
    residency_done(&read);
}

static void assert_refused(const struct buf *b, size_t len)
{
    uint32_t fresh;
    assert_int_equal(residency_check_record((struct slice){b->data, len}, NULL, &fresh),
                     ERR_CORRUPT);
}

static void a_record_that_is_cut_or_longer_is_refused(void **state)
{
    (void)state;
    static const struct residency_load loads[2] = {{3, 291.5, 4}, {9, 0, 1}};
    static struct made m;
    make_update(&m, 3);
    for (int kind = 0; kind < 2; kind++) {
        struct buf b;
        buf_init(&b);
        if (kind)
            residency_put_loads(loads, 2, &b);
        else
            residency_put_update(&m.u, &b);
        for (size_t n = 0; n < b.len; n++)
            assert_refused(&b, n);
        buf_put_u8(&b, 0);
        assert_refused(&b, b.len);
        b.data[1] = 3; /* No kind of record. */
        assert_refused(&b, b.len - 1);
        buf_done(&b);
    }
}

static void fold_loads(struct residency *r, const struct residency_load *loads, uint32_t n)
{
    struct buf b;
    uint32_t fresh;
    buf_init(&b);
    residency_put_loads(loads, n, &b);
    struct slice record = {b.data, b.len};
    assert_int_equal(residency_check_record(record, r, &fresh), OK);
    assert_int_equal(residency_reserve(r, fresh), OK);
    residency_fold_record(r, record);
    buf_done(&b);
}

/* Exactly once: an estimate comes whole, so it stands at the last word whatever was told before. */
static void loads_change_the_estimates_of_their_arms_and_nothing_else(void **state)
{
    (void)state;
    static const struct residency_load first[2] = {{3, 100, 1}, {50, 7.5, 2}}, then = {3, 120, 2};
    struct residency r, twin;
    assert_int_equal(residency_init(&r, D, WEIGHTS), OK);
    assert_int_equal(residency_init(&twin, D, WEIGHTS), OK);
    assert_false(residency_any(&r));
    fold_loads(&r, first, 2); /* Before any plan, and of arms that nobody has seen. */
    assert_true(residency_any(&r));
    assert_int_equal(r.epoch, 0);
    assert_round_trip(&r);
    fold_made(&r, 4);
    fold_made(&twin, 4);
    fold_loads(&r, first, 2);
    fold_loads(&r, &then, 1);
    fold_loads(&r, &then, 1);
    assert_int_equal(residency_reserve(&twin, 2), OK);
    residency_add(&twin, 3)->load_ms = 120;
    residency_add(&twin, 3)->loads = 2;
    residency_add(&twin, 50)->load_ms = 7.5;
    residency_add(&twin, 50)->loads = 2;
    struct buf a = bytes_of(&r), b = bytes_of(&twin);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    assert_round_trip(&r);
    buf_done(&a);
    buf_done(&b);
    residency_done(&r);
    residency_done(&twin);
}

static void loads_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const struct residency_load bad[][2] = {
        {{3, 1, 1}, {3, 1, 1}},                /* Twice. */
        {{4, 1, 1}, {3, 1, 1}},                /* Not in order. */
        {{0, 1, 1}, {3, 1, 1}},                /* Nobody's. */
        {{2, -1, 1}, {3, 1, 1}},               /* Less than no time. */
        {{2, 1, 1}, {3, (double)INFINITY, 1}}, /* For ever. */
        {{2, 1, 1}, {3, 1, 0}},                /* Never measured. */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf b;
        buf_init(&b);
        residency_put_loads(bad[i], 2, &b);
        assert_refused(&b, b.len);
        buf_done(&b);
    }
    struct buf none;
    buf_init(&none);
    residency_put_loads(bad[0], 0, &none);
    assert_refused(&none, none.len);
    buf_done(&none);
}

static void a_target_is_the_same_after_its_byte_form_and_checked(void **state)
{
    (void)state;
    static struct residency_target t = {.engine = RESIDENCY_ENGINE_SGLANG,
                                        .tick_ms = 50,
                                        .replicas_n = 2},
                                   back;
    struct err_detail d;
    struct buf b;
    struct reader in;
    strcpy(t.replicas[0], "http://10.0.0.1:8000");
    strcpy(t.replicas[1], "https://gpu");
    assert_int_equal(residency_check_target(&t, &d), OK);
    buf_init(&b);
    residency_put_target(&t, &b);
    reader_init(&in, (struct slice){b.data, b.len});
    assert_int_equal(residency_get_target(&in, &back), OK);
    assert_memory_equal(&t, &back, sizeof t);
    for (size_t n = 0; n < b.len; n++) {
        reader_init(&in, (struct slice){b.data, n});
        assert_int_equal(residency_get_target(&in, &back), ERR_CORRUPT);
    }
    buf_done(&b);
    static const char *const bad[] = {"",           "gpu:8000", "http://",        "http:///x",
                                      "http://a b", "ftp://a",  "http://u:p@gpu", "http://gpu/v1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        strcpy(t.replicas[1], bad[i]);
        assert_int_equal(residency_check_target(&t, &d), ERR_INVALID);
    }
    strcpy(t.replicas[1], t.replicas[0]);
    assert_int_equal(residency_check_target(&t, &d), ERR_INVALID);
    t.replicas_n = 0;
    assert_int_equal(residency_check_target(&t, &d), ERR_INVALID);
    t.engine = RESIDENCY_ENGINE_NONE;
    assert_int_equal(residency_check_target(&t, &d), OK);
}

/* Every prefix, and every byte changed in turn: refused, or another state with one form. */
static void damage_is_refused_or_is_another_state(void **state)
{
    (void)state;
    struct residency r;
    assert_int_equal(residency_init(&r, D, WEIGHTS), OK);
    fold_made(&r, 3);
    struct buf b = bytes_of(&r);
    for (size_t n = 0; n < b.len; n++) {
        struct residency back;
        struct reader in;
        reader_init(&in, (struct slice){b.data, n});
        assert_int_equal(residency_get(&in, &back), ERR_CORRUPT);
    }
    for (size_t i = 0; i < b.len; i++) {
        struct residency back;
        struct reader in;
        b.data[i] ^= 0x81;
        reader_init(&in, (struct slice){b.data, b.len});
        if (residency_get(&in, &back) == OK) {
            size_t left = reader_left(&in);
            struct buf again = bytes_of(&back);
            assert_int_equal(again.len, b.len - left);
            assert_memory_equal(again.data, b.data, again.len);
            buf_done(&again);
            residency_done(&back);
        }
        b.data[i] ^= 0x81;
    }
    buf_done(&b);
    residency_done(&r);
}

static void the_window_keeps_the_latest_contexts(void **state)
{
    (void)state;
    struct residency r;
    assert_int_equal(residency_init(&r, 1, 0), OK);
    for (uint32_t i = 0; i < 3 * WINDOW_MAX + 7; i++) {
        float x = (float)i;
        residency_sample(&r, &x);
    }
    assert_int_equal(r.window_n, WINDOW_MAX);
    bool seen[WINDOW_MAX] = {false};
    for (uint32_t i = 0; i < WINDOW_MAX; i++) {
        uint32_t age = 3 * WINDOW_MAX + 6 - (uint32_t)r.window[i];
        assert_true(age < WINDOW_MAX);
        seen[age] = true;
    }
    for (uint32_t i = 0; i < WINDOW_MAX; i++)
        assert_true(seen[i]);
    residency_done(&r);
}

static void a_context_of_another_shape_changes_only_arms(void **state)
{
    (void)state;
    static struct made m;
    struct residency r;
    assert_int_equal(residency_init(&r, D + 1, WEIGHTS), OK);
    make_update(&m, 5);
    assert_int_equal(residency_reserve(&r, m.u.arms_n), OK);
    residency_fold(&r, &m.u);
    assert_int_equal(r.arms_n, m.u.arms_n);
    assert_int_equal(r.window_n, 0);
    residency_done(&r);
}

static void arms_stand_in_order_whatever_order_they_come_in(void **state)
{
    (void)state;
    struct residency r;
    assert_int_equal(residency_init(&r, 1, 0), OK);
    static const uint32_t uids[] = {5, 1, 9, 3, 7, 1, 5};
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(residency_reserve(&r, 1), OK);
        residency_add(&r, uids[i])->pulls++;
    }
    assert_int_equal(r.arms_n, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(r.arms[i].uid, 2 * i + 1);
    assert_int_equal(residency_find(&r, 5)->pulls, 2);
    residency_drop(&r, 5);
    assert_null(residency_find(&r, 5));
    residency_drop(&r, 6);
    assert_int_equal(r.arms_n, 4);
    assert_int_equal(residency_reserve(&r, MAX_ARMS), ERR_LIMIT);
    residency_done(&r);
}

static void settings_out_of_range_are_named(void **state)
{
    (void)state;
    struct residency_settings s;
    struct err_detail d;
    residency_defaults(&s);
    assert_int_equal(residency_check(&s, &d), OK);
    s.kappa = 1.5;
    assert_int_equal(residency_check(&s, &d), ERR_OUT_OF_RANGE);
    assert_non_null(strstr(d.text, "kappa"));
    residency_defaults(&s);
    s.optimism = (double)NAN;
    assert_int_equal(residency_check(&s, &d), ERR_NOT_FINITE);
    residency_defaults(&s);
    s.slots = 0;
    assert_int_equal(residency_check(&s, &d), ERR_INVALID);
    s.bytes = 1;
    assert_int_equal(residency_check(&s, &d), OK);
}

static void settings_and_adapters_are_the_same_after_their_byte_forms(void **state)
{
    (void)state;
    struct residency_settings s, s2;
    struct adapter_config a = {.rank = 16, .bytes = 1 << 20, .pinned = true}, a2;
    residency_defaults(&s);
    s.bytes = 77;
    s.seed = 88;
    strcpy(a.base, "qwen2.5-7b");
    strcpy(a.path, "/models/a1");
    struct buf b;
    struct reader in;
    buf_init(&b);
    residency_put_settings(&s, &b);
    adapter_put(&a, &b);
    reader_init(&in, (struct slice){b.data, b.len});
    assert_int_equal(residency_get_settings(&in, &s2), OK);
    assert_int_equal(adapter_get(&in, &a2), OK);
    assert_int_equal(reader_left(&in), 0);
    struct buf again;
    buf_init(&again);
    residency_put_settings(&s2, &again);
    adapter_put(&a2, &again);
    assert_int_equal(b.len, again.len);
    assert_memory_equal(b.data, again.data, b.len);
    assert_string_equal(s2.policy, "polar");
    assert_true(s2.kappa == s.kappa && s2.epoch_loads == s.epoch_loads && s2.seed == 88);
    assert_true(a2.pinned && a2.rank == 16);
    buf_done(&b);
    buf_done(&again);
}

static void an_adapter_needs_a_base_and_a_clean_path(void **state)
{
    (void)state;
    struct err_detail d;
    struct adapter_config a = {.bytes = 0};
    assert_int_equal(adapter_check(&a, &d), OK); /* No adapter at all. */
    a.bytes = 100;
    assert_int_equal(adapter_check(&a, &d), ERR_BAD_NAME);
    strcpy(a.base, "base");
    assert_int_equal(adapter_check(&a, &d), OK);
    strcpy(a.path, "a\nb");
    assert_int_equal(adapter_check(&a, &d), ERR_INVALID);
    memset(a.path, 'a', sizeof a.path);
    assert_int_equal(adapter_check(&a, &d), ERR_TOO_LARGE);
    a.path[0] = 0;
    a.rank = ADAPTER_RANK_MAX + 1;
    assert_int_equal(adapter_check(&a, &d), ERR_OUT_OF_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_is_the_same_after_its_byte_form),
        cmocka_unit_test(folding_on_from_a_byte_form_gives_the_same_bytes),
        cmocka_unit_test(a_record_folds_to_what_its_update_folds_to),
        cmocka_unit_test(a_record_that_is_cut_or_longer_is_refused),
        cmocka_unit_test(loads_change_the_estimates_of_their_arms_and_nothing_else),
        cmocka_unit_test(loads_that_make_no_sense_are_refused),
        cmocka_unit_test(a_target_is_the_same_after_its_byte_form_and_checked),
        cmocka_unit_test(damage_is_refused_or_is_another_state),
        cmocka_unit_test(the_window_keeps_the_latest_contexts),
        cmocka_unit_test(a_context_of_another_shape_changes_only_arms),
        cmocka_unit_test(arms_stand_in_order_whatever_order_they_come_in),
        cmocka_unit_test(settings_out_of_range_are_named),
        cmocka_unit_test(settings_and_adapters_are_the_same_after_their_byte_forms),
        cmocka_unit_test(an_adapter_needs_a_base_and_a_clean_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
