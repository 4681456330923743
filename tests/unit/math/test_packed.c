#include "state/base/rng.h"
#include "state/math/check.h"
#include "state/math/packed.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 39 };

static double at(const double *M, uint32_t i, uint32_t j)
{
    return i >= j ? M[packed_n(i) + j] : M[packed_n(j) + i];
}

static void fill(double *x, uint32_t d, uint64_t seed)
{
    for (uint32_t i = 0; i < d; i++)
        x[i] = rng_uniform(seed, i) - 0.5;
}

static void multiply_agrees_with_the_definition(void **unused)
{
    (void)unused;
    for (uint32_t d = 1; d <= D; d++) {
        double M[D * (D + 1) / 2], x[D], y[D];
        fill(M, (uint32_t)packed_n(d), d);
        fill(x, d, 100 + d);
        packed_multiply(M, d, x, y);
        for (uint32_t i = 0; i < d; i++) {
            double s = 0;
            for (uint32_t j = 0; j < d; j++)
                s += at(M, i, j) * x[j];
            /* 39 terms below 1/4: rounding stays under 39 eps. */
            assert_true(fabs(s - y[i]) < 1e-14);
        }
    }
}

/* Fold's results must be the same for ever: the sums of four chains, then of the rest. */
static void products_have_the_bits_of_plain_loops(void **unused)
{
    (void)unused;
    double a[D + 1], b[D + 1];
    fill(a, D + 1, 1);
    fill(b, D + 1, 2);
    for (uint32_t d = 0; d <= D; d++)
        for (uint32_t off = 0; off < 2; off++) { /* Rows of a triangle stand anywhere. */
            const double *x = a + off, *y = b + (1 - off);
            double s[4] = {0, 0, 0, 0}, sum[D + 1], plain[D + 1];
            for (uint32_t i = 0; i < d; i++)
                s[i < d / 4 * 4 ? i % 4 : 0] += x[i] * y[i];
            assert_true(vec_dot(x, y, d) == (s[0] + s[1]) + (s[2] + s[3]));
            memcpy(sum, y, d * sizeof *y);
            vec_add_scaled(sum, .3, x, d);
            for (uint32_t i = 0; i < d; i++)
                plain[i] = y[i] + .3 * x[i];
            assert_memory_equal(sum, plain, d * sizeof *sum);
        }
}

static void inverse_times_matrix_is_identity(void **unused)
{
    (void)unused;
    double A[D * (D + 1) / 2], P[D * (D + 1) / 2], scratch[D * (D + 1) / 2], x[D], px[D], row[D];
    packed_set_ridge(A, D, 1, 20);
    for (uint64_t n = 0; n < 500; n++) {
        fill(x, D, n);
        x[0] = 1;
        packed_rank1(A, D, 1, x);
    }
    assert_int_equal(packed_invert(A, D, P, scratch), OK);
    packed_multiply(P, D, x, px);
    assert_true(packed_residual(A, px, x, D, row) < 1e-12);
    /* In place gives the same bytes. */
    double Q[D * (D + 1) / 2];
    memcpy(Q, A, sizeof Q);
    assert_int_equal(packed_invert(Q, D, Q, scratch), OK);
    assert_memory_equal(P, Q, sizeof P);
}

static void openblas_agrees_that_an_inverse_is_one_and_finds_one_that_is_not(void **unused)
{
    (void)unused;
    double A[D * (D + 1) / 2], P[D * (D + 1) / 2], scratch[D * (D + 1) / 2], x[D], error;
    packed_set_ridge(A, D, 1, 20);
    for (uint64_t n = 0; n < 300; n++) {
        fill(x, D, n);
        packed_rank1(A, D, 1, x);
    }
    assert_int_equal(blas_init(), OK);
    assert_int_equal(packed_invert(A, D, P, scratch), OK);
    assert_int_equal(blas_inverse_error(A, P, D, &error), OK);
    assert_true(error < 1e-12);
    P[7] += 1e-6;
    assert_int_equal(blas_inverse_error(A, P, D, &error), OK);
    assert_true(error > 1e-6);
}

static void a_matrix_that_is_not_positive_definite_is_refused(void **unused)
{
    (void)unused;
    double A[3] = {1, 2, 1}, P[3], scratch[3];
    assert_int_equal(packed_invert(A, 2, P, scratch), ERR_INVALID);
    A[0] = (double)NAN;
    assert_int_equal(packed_invert(A, 2, P, scratch), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multiply_agrees_with_the_definition),
        cmocka_unit_test(products_have_the_bits_of_plain_loops),
        cmocka_unit_test(inverse_times_matrix_is_identity),
        cmocka_unit_test(openblas_agrees_that_an_inverse_is_one_and_finds_one_that_is_not),
        cmocka_unit_test(a_matrix_that_is_not_positive_definite_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
