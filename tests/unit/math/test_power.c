#include "state/math/power.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>

static void a_power_is_what_repeated_multiplication_gives(void **state)
{
    (void)state;
    static const double bases[] = {.5, .9, .99, .999, 1};
    for (int b = 0; b < 5; b++) {
        double product = 1;
        for (uint64_t k = 0; k < 500; k++) {
            double p = power_of(bases[b], k);
            /* Each multiplication rounds by at most half a unit. */
            assert_true(fabs(p - product) <= 500 * 2.3e-16 * product);
            product *= bases[b];
        }
    }
}

static void powers_of_two_and_the_ends_are_exact(void **state)
{
    (void)state;
    assert_true(power_of(.5, 10) == 1.0 / 1024);
    assert_true(power_of(.7, 0) == 1 && power_of(.7, 1) == .7);
    assert_true(power_of(0, 0) == 1 && power_of(0, 3) == 0);
    assert_true(power_of(1, UINT64_MAX) == 1);
    assert_true(power_of(.9, UINT64_MAX) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_is_what_repeated_multiplication_gives),
        cmocka_unit_test(powers_of_two_and_the_ends_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
