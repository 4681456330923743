#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

static void draws_are_uniform_and_repeatable(void **unused)
{
    (void)unused;
    /* 16 cells, 160,000 draws: chi-square with 15 degrees of freedom; 44.3 is its 1e-4 tail. */
    double cells[16] = {0};
    for (uint64_t i = 0; i < 160000; i++)
        cells[rng_below(42, i, 16)] += 1;
    double chi = 0;
    for (int i = 0; i < 16; i++)
        chi += (cells[i] - 10000) * (cells[i] - 10000) / 10000;
    assert_true(chi < 44.3);
    assert_true(rng_mix(1, 2) == rng_mix(1, 2));
    assert_true(rng_mix(1, 2) != rng_mix(2, 1));
    double u = rng_uniform(7, 7);
    assert_true(u >= 0 && u < 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(draws_are_uniform_and_repeatable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
