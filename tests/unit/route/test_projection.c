#include "server/route/features.h"
#include "server/route/projection.h"
#include "state/base/hash.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 4 };

/* Row k is value(k, 0..N-1). */
static void fill(float *rows)
{
    for (int k = 0; k < EMBEDDING_D; k++)
        for (int j = 0; j < N; j++)
            rows[k * N + j] = (float)k - 10 * (float)j;
}

static struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){data, len};
}

static void rows_of_the_file_become_products_with_the_embeddings_direction(void **unused)
{
    (void)unused;
    struct projections all = {.n = 0};
    float rows[EMBEDDING_D * N], e[N] = {3, 0, -4, 0}, ret[EMBEDDING_D], larger[N],
                                 again[EMBEDDING_D];
    fill(rows);
    assert_int_equal(projections_add(&all, "minilm", slice_of(rows, sizeof rows), NULL), OK);
    const struct projection *p = projections_find(&all, "minilm");
    assert_non_null(p);
    assert_int_equal(p->embedding_n, N);
    assert_true(p->hash == hash_bytes(rows, sizeof rows));
    projection_apply(p, e, ret);
    for (int k = 0; k < EMBEDDING_D; k++) {
        float want = .6F * rows[k * N] - .8F * rows[k * N + 2];
        assert_true(fabsf(ret[k] - want) < 1e-4F); /* Of some 30, in float. */
    }
    for (int j = 0; j < N; j++)
        larger[j] = e[j] * 1e20F;
    projection_apply(p, larger, again);
    for (int k = 0; k < EMBEDDING_D; k++)
        assert_true(fabsf(again[k] - ret[k]) < 1e-4F);
    const float nowhere[N] = {0};
    projection_apply(p, nowhere, ret);
    for (int k = 0; k < EMBEDDING_D; k++)
        assert_true(ret[k] == 0);
    assert_null(projections_find(&all, "other"));
    assert_null(projections_find(NULL, "minilm"));
    projections_done(&all);
}

static void a_file_that_is_no_projection_is_refused(void **unused)
{
    (void)unused;
    struct projections all = {.n = 0};
    struct err_detail detail;
    static float rows[EMBEDDING_D * (MAX_EMBEDDING + 1)];
    fill(rows);
    const size_t len = sizeof(float) * EMBEDDING_D * N;
    assert_int_equal(projections_add(&all, "a b", slice_of(rows, len), &detail), ERR_BAD_NAME);
    assert_int_equal(projections_add(&all, "a", slice_of(rows, 0), &detail), ERR_WRONG_DIMENSION);
    assert_int_equal(projections_add(&all, "a", slice_of(rows, len - 1), &detail),
                     ERR_WRONG_DIMENSION);
    assert_non_null(strstr(detail.text, "511 bytes"));
    assert_int_equal(projections_add(&all, "a", slice_of(rows, sizeof rows), &detail),
                     ERR_WRONG_DIMENSION);
    rows[2 * N + 1] = (float)NAN;
    assert_int_equal(projections_add(&all, "a", slice_of(rows, len), &detail), ERR_NOT_FINITE);
    assert_non_null(strstr(detail.text, "row 2, column 1"));
    rows[2 * N + 1] = -1001;
    assert_int_equal(projections_add(&all, "a", slice_of(rows, len), &detail), ERR_OUT_OF_RANGE);
    rows[2 * N + 1] = -1000;
    assert_int_equal(all.n, 0);
    for (int i = 0; i < PROJECTIONS_MAX; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "p%d", i);
        assert_int_equal(projections_add(&all, name, slice_of(rows, len), &detail), OK);
    }
    assert_int_equal(projections_add(&all, "more", slice_of(rows, len), &detail), ERR_LIMIT);
    projections_done(&all);
}

static void a_context_takes_only_the_matrix_that_its_spec_was_bound_to(void **unused)
{
    (void)unused;
    struct projections all = {.n = 0};
    struct err_detail detail;
    float rows[EMBEDDING_D * N], e[N] = {1, 2, 3, 4}, x[1 + EMBEDDING_D], want[EMBEDDING_D];
    fill(rows);
    assert_int_equal(projections_add(&all, "old", slice_of(rows, sizeof rows), NULL), OK);
    rows[0] += 1;
    assert_int_equal(projections_add(&all, "new", slice_of(rows, sizeof rows), NULL), OK);
    const struct projection *old = projections_find(&all, "old");
    struct feature_spec spec = {.version = 1, .embedding_n = N, .projection_hash = old->hash};
    memcpy(spec.projection, "old", 4);
    struct feature_input in = {.task_slot = -1, .embedding = e, .embedding_n = N};
    in.projection = old;
    assert_int_equal(features_fill(&spec, &in, x, &detail), OK);
    projection_apply(old, e, want);
    assert_memory_equal(x + 1, want, sizeof want);

    in.projection = projections_find(&all, "new");
    assert_int_equal(features_fill(&spec, &in, x, &detail), ERR_SPEC_MISMATCH);
    char hash[17];
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)old->hash);
    assert_non_null(strstr(detail.text, hash));
    (void)snprintf(hash, sizeof hash, "%016llx", (unsigned long long)in.projection->hash);
    assert_non_null(strstr(detail.text, hash));
    in.projection = NULL;
    assert_int_equal(features_fill(&spec, &in, x, &detail), ERR_SPEC_MISMATCH);
    assert_non_null(strstr(detail.text, "`old`"));
    in.embedding_n = 0; /* Without an embedding there is nothing to project. */
    assert_int_equal(features_fill(&spec, &in, x, &detail), OK);
    projections_done(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_the_file_become_products_with_the_embeddings_direction),
        cmocka_unit_test(a_file_that_is_no_projection_is_refused),
        cmocka_unit_test(a_context_takes_only_the_matrix_that_its_spec_was_bound_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
