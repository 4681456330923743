#include "server/route/score_kernel.h"
#include "server/route/score_pass.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 13, VECTORS = SCORE_CONTEXTS };

/* What a product can go wrong on. */
enum shape { PLAIN, CANCELLING, SCALES, TINY, SPIKE, SHAPES };

static float number(enum shape shape, uint64_t seed, uint32_t k)
{
    float u = (float)(2 * rng_uniform(seed, k) - 1);
    switch (shape) {
    case PLAIN:
        return u;
    case CANCELLING: /* Sums of large terms that nearly vanish. */
        return (k % 2 ? -1.0F : 1.0F) * (1e6F + u);
    case SCALES:
        return u * powf(10, (float)(k % 13) - 6);
    case TINY: /* Products are below the smallest normal float. */
        return u * 1e-21F;
    case SPIKE: /* Everything after one large number is rounded to its steps. */
        return k == 0 ? 3e7F : u;
    case SHAPES:
        break;
    }
    return 0;
}

struct rows {
    float *row[ROWS], *v; /* v (VECTORS, SCORE_TILE). */
    const float *borrowed[ROWS];
};

static float *floats(size_t n)
{
    float *p = aligned_alloc(64, n * sizeof *p);
    assert_non_null(p);
    return p;
}

static void fill(struct rows *r, enum shape shape, uint64_t seed)
{
    for (uint32_t i = 0; i < ROWS; i++)
        for (uint32_t k = 0; k < SCORE_TILE; k++)
            r->row[i][k] = number(shape, rng_mix(seed, i), k);
    for (uint32_t k = 0; k < VECTORS * SCORE_TILE; k++)
        r->v[k] = number(shape == CANCELLING ? PLAIN : shape, rng_mix(seed, 99), k);
}

static void open_rows(struct rows *r)
{
    for (uint32_t i = 0; i < ROWS; i++)
        r->borrowed[i] = r->row[i] = floats(SCORE_TILE);
    r->v = floats((size_t)VECTORS * SCORE_TILE);
}

static void close_rows(struct rows *r)
{
    for (uint32_t i = 0; i < ROWS; i++)
        free(r->row[i]);
    free(r->v);
}

static const uint32_t lengths[] = {16, 32, 48, 64, 512, 528, 784, 1040, 2080, SCORE_TILE};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static void every_kernel_gives_the_same_bits_near_far_and_for_many(void **state)
{
    (void)state;
    struct rows r;
    open_rows(&r);
    const struct score_kernel *kernel, *plain = &score_kernel_plain;
    for (int shape = 0; shape < SHAPES; shape++)
        for (uint32_t l = 0; l < LENGTHS; l++) {
            uint32_t n = lengths[l];
            float want[ROWS], got[ROWS], many[ROWS * VECTORS];
            fill(&r, (enum shape)shape, l);
            plain->multiply(r.borrowed, ROWS, r.v, n, want);
            for (uint32_t i = 0; (kernel = score_kernel_at(i)) != NULL; i++) {
                kernel->multiply(r.borrowed, ROWS, r.v, n, got);
                assert_memory_equal(got, want, sizeof want);
                kernel->multiply_far(r.borrowed, ROWS, r.v, n, got);
                assert_memory_equal(got, want, sizeof want);
                for (uint32_t c = 1; c <= VECTORS; c++) {
                    kernel->multiply_many(r.borrowed, ROWS, r.v, SCORE_TILE, c, n, many);
                    for (uint32_t k = 0; k < ROWS; k++)
                        assert_memory_equal(&many[k * c], &want[k], sizeof *want);
                    plain->multiply(r.borrowed, ROWS, r.v + (size_t)(c - 1) * SCORE_TILE, n, got);
                    for (uint32_t k = 0; k < ROWS; k++)
                        assert_memory_equal(&many[k * c + c - 1], &got[k], sizeof *want);
                }
            }
        }
    close_rows(&r);
}

static void a_row_has_the_same_product_whoever_stands_beside_it(void **state)
{
    (void)state;
    struct rows r;
    open_rows(&r);
    fill(&r, SCALES, 5);
    const struct score_kernel *kernel;
    for (uint32_t i = 0; (kernel = score_kernel_at(i)) != NULL; i++) {
        float want[ROWS], got[ROWS];
        kernel->multiply(r.borrowed, ROWS, r.v, 784, want);
        for (uint32_t from = 0; from < ROWS; from++)
            for (uint32_t n = 1; from + n <= ROWS; n++) {
                kernel->multiply_far(r.borrowed + from, n, r.v, 784, got);
                assert_memory_equal(got, want + from, n * sizeof *got);
            }
    }
    close_rows(&r);
}

/* Below the smallest normal float a rounding is no longer relative. */
static double bound_of(double size, uint32_t n)
{
    return SCORE_KERNEL_ULPS * 0x1p-24 * size + n * 0x1p-149;
}

static void a_product_is_within_the_stated_bound_of_a_double_reference(void **state)
{
    (void)state;
    struct rows r;
    open_rows(&r);
    for (int shape = 0; shape < SHAPES; shape++)
        for (uint64_t seed = 0; seed < 10; seed++)
            for (uint32_t l = 0; l < LENGTHS; l++) {
                uint32_t n = lengths[l];
                float got[ROWS];
                fill(&r, (enum shape)shape, seed);
                score_kernel_at(0)->multiply(r.borrowed, ROWS, r.v, n, got);
                for (uint32_t i = 0; i < ROWS; i++) {
                    double exact = 0, size = 0;
                    for (uint32_t k = 0; k < n; k++) {
                        double p = (double)r.row[i][k] * (double)r.v[k];
                        exact += p;
                        size += fabs(p);
                    }
                    assert_true(fabs((double)got[i] - exact) <= bound_of(size, n));
                }
            }
    close_rows(&r);
}

/* x' P x by whatever way the pass takes, against double; P positive or not. */
static void check_spread(uint32_t d, enum shape shape, uint64_t seed, uint32_t numbers)
{
    size_t packed = (size_t)d * (d + 1) / 2, room = (packed + 63) / 16 * 16;
    float *P = floats(room), x[MAX_D] = {0};
    const float *px = x;
    memset(P, 0, room * sizeof *P);
    for (uint32_t i = 0; i < numbers; i++)
        x[(size_t)i * d / numbers] = number(shape == CANCELLING ? PLAIN : shape, seed, i);
    double exact = 0, size = 0, spread;
    for (uint32_t i = 0, k = 0; i < d; i++)
        for (uint32_t j = 0; j <= i; j++, k++) {
            P[k] = number(shape == SPIKE ? SCALES : shape, seed + 1, k);
            double p = (double)P[k] * (double)x[i] * (double)x[j] * (i == j ? 1 : 2);
            exact += p;
            size += fabs(p);
        }
    struct score_square square;
    struct score_pass pass;
    struct arm_view view = {.d = d, .P = {P, P}};
    const struct arm_view *views = &view;
    score_pass_init(&pass, &px, 1, d, 1, &square);
    score_pass_spread(&pass, &views, 1, METRIC_RATED, &spread);
    assert_true(fabs(spread - exact) <= bound_of(size, (uint32_t)packed));
    /* A second time, from what the pass has kept. */
    double again;
    score_pass_spread(&pass, &views, 1, METRIC_SERVED, &again);
    assert_true(again == spread);
    free(P);
}

static void a_spread_is_within_the_stated_bound_for_every_dimension(void **state)
{
    (void)state;
    static const uint32_t dimensions[] = {1,  2,  3,  7,  8,   15,  16,  17,   31,
                                          39, 64, 90, 91, 127, 128, 385, MAX_D};
    for (size_t i = 0; i < sizeof dimensions / sizeof *dimensions; i++)
        for (int shape = 0; shape < SPIKE; shape++)
            for (uint64_t seed = 0; seed < 3; seed++) {
                uint32_t d = dimensions[i];
                check_spread(d, (enum shape)shape, seed, d);
                check_spread(d, (enum shape)shape, seed, d < 3 ? 1 : 3);
                check_spread(d, (enum shape)shape, seed, d < 20 ? 1 : 18);
            }
}

static void few_numbers_are_looked_up_and_many_multiplied(void **state)
{
    (void)state;
    float x[MAX_D] = {1, 0, 0, 2};
    assert_true(score_pass_is_sparse(x, 45));
    for (uint32_t i = 0; i < 45; i++)
        x[i] = 1;
    assert_false(score_pass_is_sparse(x, 45));
    assert_false(score_pass_is_sparse(x, 2)); /* Nothing to save. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_gives_the_same_bits_near_far_and_for_many),
        cmocka_unit_test(a_row_has_the_same_product_whoever_stands_beside_it),
        cmocka_unit_test(a_product_is_within_the_stated_bound_of_a_double_reference),
        cmocka_unit_test(a_spread_is_within_the_stated_bound_for_every_dimension),
        cmocka_unit_test(few_numbers_are_looked_up_and_many_multiplied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
