#include "server/adapters/solve.h"
#include "state/base/mem.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_MAX = 40, CONTEXTS = 23 };

struct instance {
    float q[N_MAX * CONTEXTS];
    double cost[N_MAX];
    uint64_t bytes[N_MAX];
    uint8_t flags[N_MAX], in[N_MAX];
    struct solve_input s;
    struct solve_result r;
};

/* n adapters with a speciality each; every third is resident. */
static void make(struct instance *p, uint64_t seed, uint32_t n, uint32_t slots)
{
    memset(p, 0, sizeof *p);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t c = 0; c < CONTEXTS; c++)
            p->q[i * CONTEXTS + c] =
                (float)(.4 * rng_uniform(seed, i * CONTEXTS + c) + (c % 7 == i % 7 ? .5 : 0));
        p->cost[i] = .05 + .3 * rng_uniform(seed, 5000 + i);
        p->bytes[i] = 50 + rng_below(seed, 6000 + i, 600);
        p->flags[i] = i % 3 == 0 ? SOLVE_RESIDENT : 0;
    }
    p->s = (struct solve_input){.n = n,
                                .contexts = CONTEXTS,
                                .q = p->q,
                                .cost = p->cost,
                                .bytes = p->bytes,
                                .flags = p->flags,
                                .slots = slots,
                                .load_share = .005,
                                .evictions = UINT32_MAX,
                                .exact_sets = 50000};
}

/* V of a set, straight from its definition. */
static double value_of(const struct instance *p, const uint8_t *in)
{
    const struct solve_input *s = &p->s;
    double sum = 0;
    for (uint32_t c = 0; c < s->contexts; c++) {
        double best = -1e300;
        for (uint32_t i = 0; i < s->n; i++) {
            bool there = in[i] || s->flags[i] & SOLVE_ALWAYS;
            double v = (double)s->q[i * s->contexts + c] - (there ? 0 : s->cost[i]);
            best = v > best ? v : best;
        }
        sum += best;
    }
    sum /= s->contexts;
    for (uint32_t i = 0; i < s->n; i++)
        if (in[i] && !(s->flags[i] & SOLVE_RESIDENT))
            sum -= s->load_share * s->cost[i];
    return sum;
}

static bool allowed(const struct instance *p, const uint8_t *in)
{
    const struct solve_input *s = &p->s;
    uint32_t n = 0, evictions = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        n += in[i];
        bytes += in[i] ? s->bytes[i] : 0;
        evictions += s->flags[i] & SOLVE_RESIDENT && !in[i];
        if (s->flags[i] & SOLVE_MUST && !in[i])
            return false;
        if (in[i] && s->flags[i] & SOLVE_ALWAYS)
            return false;
    }
    return (!s->slots || n <= s->slots) && (!s->budget || bytes <= s->budget) &&
           evictions <= s->evictions;
}

/* The best V of all allowed sets. */
static double best_of_all(const struct instance *p)
{
    double best = -1e300;
    for (uint32_t set = 0; set < 1U << p->s.n; set++) {
        uint8_t in[N_MAX];
        for (uint32_t i = 0; i < p->s.n; i++)
            in[i] = set >> i & 1;
        if (allowed(p, in) && value_of(p, in) > best)
            best = value_of(p, in);
    }
    return best;
}

static void run(struct instance *p)
{
    assert_int_equal(solve_cache(&p->s, p->in, &p->r), OK);
    assert_true(allowed(p, p->in));
    assert_true(value_of(p, p->in) > p->r.value - 1e-5); /* Sums in float. */
}

static void enumeration_finds_the_best_set_there_is(void **state)
{
    (void)state;
    static struct instance p;
    for (uint64_t seed = 0; seed < 60; seed++) {
        make(&p, seed, 10, 4);
        if (seed % 3 == 1)
            p.s.budget = 1400;
        if (seed % 3 == 2)
            p.s.slots = 0, p.s.budget = 1200;
        run(&p);
        assert_true(fabs(value_of(&p, p.in) - best_of_all(&p)) < 1e-5);
    }
}

static void enumeration_keeps_pins_and_the_cap_on_evictions(void **state)
{
    (void)state;
    static struct instance p;
    for (uint64_t seed = 0; seed < 60; seed++) {
        make(&p, seed, 10, 4);
        p.s.evictions = (uint32_t)(seed % 4);
        p.flags[7] |= seed % 2 ? SOLVE_MUST : 0;
        assert_int_equal(solve_cache(&p.s, p.in, &p.r), OK);
        if (seed % 2)
            p.s.evictions += 1; /* The cap is beyond what the pin forces. */
        assert_true(allowed(&p, p.in));
        assert_true(seed % 2 == 0 || p.in[7]);
        assert_true(value_of(&p, p.in) > best_of_all(&p) - 1e-5);
    }
}

static void greedy_with_swaps_is_close_to_the_best(void **state)
{
    (void)state;
    static struct instance p;
    double worst = 1;
    for (uint64_t seed = 0; seed < 100; seed++) {
        make(&p, seed, 12, 4);
        if (seed % 2)
            p.s.slots = 0, p.s.budget = 1300;
        p.s.exact_sets = 0;
        run(&p);
        static const uint8_t none[N_MAX];
        double base = value_of(&p, none), best = best_of_all(&p);
        double share = (value_of(&p, p.in) - base) / (best - base);
        worst = share < worst ? share : worst;
    }
    assert_true(worst > 1 - exp(-1)); /* What greedy alone guarantees with slots. */
    assert_true(worst > .9);
}

static void a_cap_on_evictions_holds_for_greedy_too(void **state)
{
    (void)state;
    static struct instance p;
    for (uint64_t seed = 0; seed < 40; seed++) {
        make(&p, seed, 36, 12); /* All twelve slots are taken. */
        p.s.exact_sets = 0;
        p.s.evictions = (uint32_t)(seed % 5);
        run(&p);
        uint32_t evictions = 0;
        for (uint32_t i = 0; i < 36; i++)
            evictions += p.flags[i] & SOLVE_RESIDENT && !p.in[i];
        assert_true(evictions <= p.s.evictions);
        if (p.s.evictions == 4)
            assert_true(evictions > 0); /* Else there was nothing to cap. */
    }
}

static void near_duplicates_do_not_both_get_a_slot(void **state)
{
    (void)state;
    static struct instance p;
    for (int exact = 0; exact < 2; exact++) {
        make(&p, 1, 4, 2);
        p.s.exact_sets = exact ? 50000 : 0;
        for (uint32_t c = 0; c < CONTEXTS; c++) {
            bool popular = c % 4 != 0;
            p.q[0 * CONTEXTS + c] = popular ? .9F : .2F;
            p.q[1 * CONTEXTS + c] = popular ? .89F : .2F;
            p.q[2 * CONTEXTS + c] = popular ? .2F : .8F;
            p.q[3 * CONTEXTS + c] = .2F;
        }
        for (uint32_t i = 0; i < 4; i++) {
            p.cost[i] = .3;
            p.flags[i] = 0;
        }
        run(&p);
        assert_true(p.in[0] && p.in[2] && !p.in[1]);
    }
}

static void a_set_stays_unless_a_new_one_gains_the_hysteresis(void **state)
{
    (void)state;
    static struct instance p;
    make(&p, 3, 9, 3);
    run(&p);
    double gain = p.r.value - p.r.kept;
    assert_true(gain > .01);
    p.s.hysteresis = gain * 1.01;
    run(&p);
    assert_int_equal(p.r.how, SOLVE_KEPT);
    for (uint32_t i = 0; i < 9; i++)
        assert_int_equal(p.in[i], (p.flags[i] & SOLVE_RESIDENT) != 0);
    p.s.hysteresis = gain * .99;
    run(&p);
    assert_int_not_equal(p.r.how, SOLVE_KEPT);
}

static void pins_that_do_not_fit_are_counted(void **state)
{
    (void)state;
    static struct instance p;
    make(&p, 3, 9, 2);
    for (uint32_t i = 2; i < 6; i++)
        p.flags[i] |= SOLVE_MUST;
    assert_int_equal(solve_cache(&p.s, p.in, &p.r), OK);
    assert_int_equal(p.r.dropped, 2);
    for (uint32_t i = 0; i < 9; i++)
        assert_int_equal(p.in[i], i == 2 || i == 3);
}

static void a_budget_that_shrank_evicts_what_no_longer_fits(void **state)
{
    (void)state;
    static struct instance p;
    for (int exact = 0; exact < 2; exact++) {
        make(&p, 4, 12, 0); /* 0, 3, 6 and 9 are resident. */
        p.s.exact_sets = exact ? 50000 : 0;
        p.s.budget = 700;
        p.s.evictions = 0;
        assert_int_equal(solve_cache(&p.s, p.in, &p.r), OK);
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < 12; i++)
            bytes += p.in[i] ? p.bytes[i] : 0;
        assert_true(bytes <= 700 && bytes > 0);
    }
}

static void one_large_adapter_may_beat_many_small_ones(void **state)
{
    (void)state;
    static struct instance p;
    make(&p, 1, 3, 0);
    p.s.exact_sets = 0;
    p.s.budget = 100;
    for (uint32_t c = 0; c < CONTEXTS; c++) {
        p.q[c] = .9F; /* Takes all the room, and is worth it. */
        p.q[CONTEXTS + c] = p.q[2 * CONTEXTS + c] = .3F;
    }
    for (uint32_t i = 0; i < 3; i++) {
        p.flags[i] = 0;
        p.cost[i] = 1;
    }
    p.bytes[0] = 100;
    p.bytes[1] = p.bytes[2] = 10; /* Each byte of theirs gains more. */
    run(&p);
    assert_true(p.in[0] && !p.in[1] && !p.in[2]);
}

static void without_contexts_pins_count_and_the_rest_stays(void **state)
{
    (void)state;
    static struct instance p;
    make(&p, 1, 9, 4);
    p.s.contexts = 0;
    p.s.q = NULL;
    p.flags[1] = SOLVE_MUST;
    assert_int_equal(solve_cache(&p.s, p.in, &p.r), OK);
    for (uint32_t i = 0; i < 9; i++)
        assert_int_equal(p.in[i], i == 1 || i % 3 == 0);
    p.s.n = 0;
    assert_int_equal(solve_cache(&p.s, p.in, &p.r), OK);
}

static void a_base_model_takes_no_slot_and_is_never_chosen(void **state)
{
    (void)state;
    static struct instance p;
    make(&p, 1, 9, 8);
    p.flags[0] = SOLVE_ALWAYS;
    p.cost[0] = 0;
    p.bytes[0] = 0;
    run(&p);
    assert_false(p.in[0]);
    uint32_t n = 0;
    for (uint32_t i = 0; i < 9; i++)
        n += p.in[i];
    assert_true(n > 0);
}

static void a_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    static struct instance p;
    make(&p, 1, 9, 3);
    enum err e = ERR_NOMEM;
    for (long n = 1; e == ERR_NOMEM && n < 100; n++) {
        mem_fail_nth(n);
        e = solve_cache(&p.s, p.in, &p.r);
        bool armed = mem_count() < n;
        mem_fail_nth(0);
        if (armed)
            break;
    }
    assert_int_equal(e, OK);
}

/* Against the definition: V without one of the set, V with one more. */
static void gains_are_differences_of_the_value(void **state)
{
    (void)state;
    static struct instance p;
    double gain[N_MAX];
    for (uint64_t seed = 0; seed < 50; seed++) {
        make(&p, seed, 12, 4);
        p.s.load_share = 0;
        p.flags[5] = SOLVE_ALWAYS;
        assert_int_equal(solve_cache(&p.s, p.in, &p.r), OK);
        solve_gains(&p.s, p.in, gain);
        double v = value_of(&p, p.in);
        for (uint32_t i = 0; i < p.s.n; i++) {
            if (i == 5) {
                assert_true(gain[i] == 0);
                continue;
            }
            p.in[i] ^= 1;
            double other = value_of(&p, p.in);
            p.in[i] ^= 1;
            assert_true(fabs(fabs(v - other) - gain[i]) < 1e-12 && gain[i] >= 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gains_are_differences_of_the_value),
        cmocka_unit_test(enumeration_finds_the_best_set_there_is),
        cmocka_unit_test(enumeration_keeps_pins_and_the_cap_on_evictions),
        cmocka_unit_test(greedy_with_swaps_is_close_to_the_best),
        cmocka_unit_test(a_cap_on_evictions_holds_for_greedy_too),
        cmocka_unit_test(near_duplicates_do_not_both_get_a_slot),
        cmocka_unit_test(a_set_stays_unless_a_new_one_gains_the_hysteresis),
        cmocka_unit_test(pins_that_do_not_fit_are_counted),
        cmocka_unit_test(a_budget_that_shrank_evicts_what_no_longer_fits),
        cmocka_unit_test(one_large_adapter_may_beat_many_small_ones),
        cmocka_unit_test(without_contexts_pins_count_and_the_rest_stays),
        cmocka_unit_test(a_base_model_takes_no_slot_and_is_never_chosen),
        cmocka_unit_test(a_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
