#include "server/lab/workload.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct slice text_of(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static void every_task_has_its_specialist_and_numbers_stay_in_the_stated_ranges(void **state)
{
    (void)state;
    struct workload_spec spec;
    workload_defaults(&spec);
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct workload w;
        assert_int_equal(workload_make(&spec, seed, &w), OK);
        for (uint32_t i = 0; i < w.n; i++) {
            uint32_t specialities = 0;
            assert_true(w.bytes[i] >= 49999999 && w.bytes[i] <= 656000000);
            assert_true(w.load_ms[i] >= 291 && w.load_ms[i] <= 1264);
            for (uint32_t m = 0; m < w.d; m++) {
                double theta = w.theta[i * w.d + m];
                specialities += theta >= .6;
                assert_true(theta >= .6 ? theta <= .95 : theta >= .25 && theta <= .5);
            }
            assert_int_equal(specialities, 1);
            assert_true(i >= w.d || w.theta[i * w.d + i] >= .6);
        }
        workload_done(&w);
    }
}

static uint32_t task_of(const struct workload *w, const float *x)
{
    uint32_t best = 0;
    for (uint32_t m = 1; m < w->d; m++)
        best = x[1 + m] > x[1 + best] ? m : best;
    return best;
}

static void popularity_follows_zipf_and_moves_on_at_a_rotation(void **state)
{
    (void)state;
    struct workload_spec spec;
    struct workload w;
    workload_defaults(&spec);
    spec.rotations = 3;
    assert_int_equal(workload_make(&spec, 1, &w), OK);
    uint32_t count[4][5] = {{0}};
    for (uint64_t t = 0; t < w.horizon; t++) {
        float x[6];
        uint32_t phase = workload_phase(&w, t);
        assert_int_equal(phase, t / 5000);
        workload_context(&w, t, phase, x);
        count[phase][task_of(&w, x)]++;
        double norm = 0;
        for (int k = 1; k < 6; k++)
            norm += (double)x[k] * (double)x[k];
        assert_true(fabs(norm - 1) < 1e-5 && x[0] == 1);
    }
    double sum = 1 + 1. / 2 + 1. / 3 + 1. / 4 + 1. / 5;
    for (uint32_t phase = 0; phase < 4; phase++)
        for (uint32_t k = 0; k < 5; k++) {
            double expected = 5000 / (k + 1.) / sum;
            /* Five standard deviations of a binomial; noise moves no task's largest entry. */
            assert_true(fabs(count[phase][(k + phase) % 5] - expected) < 5 * sqrt(expected));
        }
    workload_done(&w);
}

static void the_mean_is_what_rewards_are_on_average(void **state)
{
    (void)state;
    struct workload_spec spec;
    struct workload w;
    workload_defaults(&spec);
    assert_int_equal(workload_make(&spec, 3, &w), OK);
    for (uint32_t i = 0; i < w.n; i += 4) {
        double given = 0, said = 0;
        for (uint64_t t = 0; t < 20000; t++) {
            float x[6];
            workload_context(&w, t, 0, x);
            given += workload_reward(&w, i, t, x);
            said += workload_mean(&w, i, t, x);
        }
        assert_true(fabs(given - said) / 20000 < 5 * .1 / sqrt(20000)); /* Five sigma. */
    }
    /* Where clipping bites: an adapter worth 1.0 gives less than that. */
    for (uint32_t m = 0; m < w.d; m++)
        w.theta[m] = 1;
    float x[6] = {1, 1, 0, 0, 0, 0};
    assert_true(fabs(workload_mean(&w, 0, 0, x) - (1 - .1 / sqrt(2 * 3.14159265358979))) < 1e-9);
    workload_done(&w);
}

static void the_same_seed_gives_the_same_requests_and_another_seed_others(void **state)
{
    (void)state;
    struct workload_spec spec;
    struct workload a, b, c;
    workload_defaults(&spec);
    assert_int_equal(workload_make(&spec, 3, &a), OK);
    assert_int_equal(workload_make(&spec, 3, &b), OK);
    assert_int_equal(workload_make(&spec, 4, &c), OK);
    float x[6], y[6], z[6];
    workload_context(&a, 17, 0, x);
    workload_context(&b, 17, 0, y);
    workload_context(&c, 17, 0, z);
    assert_memory_equal(x, y, sizeof x);
    assert_memory_not_equal(x, z, sizeof x);
    assert_true(workload_load_ms(&a, 2, 5) == workload_load_ms(&b, 2, 5));
    assert_true(workload_load_ms(&a, 2, 5) != workload_load_ms(&a, 2, 6));
    workload_done(&a);
    workload_done(&b);
    workload_done(&c);
}

static void a_trace_says_what_it_says(void **state)
{
    (void)state;
    struct workload w;
    struct err_detail d;
    assert_int_equal(workload_parse(text_of("# two adapters and the base\n"
                                            "adapter,a1,100000000,400\r\n"
                                            "adapter,a2,5e7,300.5\n"
                                            "adapter,base,0,0\n\n"
                                            "request,0.5,-1,0.25,1,0\n"
                                            "request,1,2,0.5,0.5,0.75"),
                                    &w, &d),
                     OK);
    assert_int_equal(w.n, 3);
    assert_int_equal(w.d, 2);
    assert_int_equal(w.horizon, 2);
    assert_string_equal(w.name[1], "a2");
    assert_true(w.bytes[1] == 50000000 && w.load_ms[1] == 300.5 && w.bytes[2] == 0);
    float x[3];
    workload_context(&w, 0, 0, x);
    assert_true(x[0] == 1 && x[1] == .5F && x[2] == -1);
    assert_true(workload_reward(&w, 2, 1, x) == .75 && workload_mean(&w, 0, 0, x) == .25);
    workload_done(&w);
}

static void a_bad_trace_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "no request"},
        {"adapter,a,1,1\n", "no request"},
        {"request,1,2\n", "line 1"},
        {"adapter,a,1,1\nrequest,0.5\n", "line 2"},
        {"adapter,a,1,1\nrequest,1,0.5\nrequest,1,0.5,2\n", "line 3"},
        {"adapter,a,1,1\nrequest,1,1.5\n", "`1.5`"},
        {"adapter,a,1,1\nrequest,x,1\n", "line 2"},
        {"adapter,a,1,1\nrequest,nan,1\n", "line 2"},
        {"adapter,a,1,1\nrequest,,1\n", "line 2"},
        {"adapter,a,-1,1\nrequest,1,1\n", "line 1"},
        {"adapter,a\nrequest,1,1\n", "size"},
        {"adapter,a b,1,1\nrequest,1,1\n", "name"},
        {"adapter,a,1,1\nadapter,a,1,1\nrequest,1,1,1\n", "already"},
        {"adapter,a,1,1\nrequest,1,1\nadapter,b,1,1\n", "before"},
        {"hello\n", "line 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct workload w;
        struct err_detail d = {{0}};
        assert_int_equal(workload_parse(text_of(bad[i].text), &w, &d), ERR_PARSE);
        if (!strstr(d.text, bad[i].says))
            fail_msg("case %zu: %s", i, d.text);
    }
}

static void a_workload_out_of_range_is_refused(void **state)
{
    (void)state;
    struct workload_spec s;
    struct err_detail d;
    workload_defaults(&s);
    assert_int_equal(workload_check(&s, &d), OK);
    s.tasks = 16;
    assert_int_equal(workload_check(&s, &d), ERR_OUT_OF_RANGE);
    workload_defaults(&s);
    s.adapters = WORKLOAD_ADAPTERS_MAX + 1;
    assert_int_equal(workload_check(&s, &d), ERR_OUT_OF_RANGE);
    workload_defaults(&s);
    s.horizon = 0;
    assert_int_equal(workload_check(&s, &d), ERR_OUT_OF_RANGE);
    workload_defaults(&s);
    s.rotations = s.horizon;
    assert_int_equal(workload_check(&s, &d), ERR_OUT_OF_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_has_its_specialist_and_numbers_stay_in_the_stated_ranges),
        cmocka_unit_test(popularity_follows_zipf_and_moves_on_at_a_rotation),
        cmocka_unit_test(the_mean_is_what_rewards_are_on_average),
        cmocka_unit_test(the_same_seed_gives_the_same_requests_and_another_seed_others),
        cmocka_unit_test(a_trace_says_what_it_says),
        cmocka_unit_test(a_bad_trace_is_refused_with_its_line),
        cmocka_unit_test(a_workload_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
