#include "server/adapters/engine_lru.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <string.h>

enum { ADAPTERS = 7, SLOTS = 3, USES = 400 };

/* An engine's LRU, as the mirror must foresee it: ids, most recently used last. */
struct truth {
    size_t n;
    size_t held[SLOTS];
};

static void truth_use(struct truth *t, size_t id)
{
    size_t at = 0;
    while (at < t->n && t->held[at] != id)
        at++;
    if (at == t->n && t->n < SLOTS)
        t->n++;
    else if (at == t->n)
        at = 0;
    memmove(t->held + at, t->held + at + 1, (t->n - at - 1) * sizeof *t->held);
    t->held[t->n - 1] = id;
}

static bool truth_holds(const struct truth *t, size_t id)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->held[i] == id)
            return true;
    return false;
}

static size_t rank(const struct lru_use *uses, size_t id)
{
    int64_t last[ADAPTERS];
    for (size_t i = 0; i < ADAPTERS; i++)
        last[i] = uses[i].last_us;
    lru_sort(last, ADAPTERS);
    return lru_rank(last, ADAPTERS, &uses[id]);
}

static void the_mirror_of_known_uses_is_exact(void **state)
{
    struct lru_use uses[ADAPTERS] = {{0}};
    struct truth t = {0};
    (void)state;
    for (int64_t k = 1; k <= USES; k++) {
        size_t id = rng_below(3, (uint64_t)k, ADAPTERS);
        lru_used(&uses[id], k, k);
        truth_use(&t, id);
        for (size_t i = 0; i < ADAPTERS; i++) {
            assert_int_equal(rank(uses, i) < SLOTS, truth_holds(&t, i));
            /* The next to go, once all slots are taken, and nobody else. */
            if (t.n == SLOTS)
                assert_int_equal(rank(uses, i) + 1 == SLOTS, t.held[0] == i);
        }
    }
}

/* Uses whose instant is known only to within an interval, and uses that may not have happened. */
static void the_mirror_of_vague_uses_never_claims_what_is_not_there(void **state)
{
    struct lru_use uses[ADAPTERS] = {{0}};
    struct truth t = {0};
    size_t claimed = 0;
    (void)state;
    for (int64_t k = 1; k <= USES; k++) {
        size_t id = rng_below(4, (uint64_t)(3 * k), ADAPTERS);
        int64_t now = 100 * k, early = now - 1 - (int64_t)rng_below(5, (uint64_t)k, 300);
        uint64_t kind = rng_below(4, (uint64_t)(3 * k + 1), 4);
        if (kind > 0) /* It happened, now; the mirror knows that it did since `early`. */
            truth_use(&t, id);
        if (kind > 1)
            lru_used(&uses[id], early > 0 ? early : 1, now);
        else
            lru_maybe(&uses[id], now);
        for (size_t i = 0; i < ADAPTERS; i++)
            if (rank(uses, i) < SLOTS) {
                assert_true(truth_holds(&t, i));
                claimed++;
            }
    }
    assert_true(claimed > USES / 2); /* It is careful, not silent. */
}

static void what_is_in_doubt_needs_a_use_after_the_doubt(void **state)
{
    struct lru_use uses[ADAPTERS] = {{0}};
    (void)state;
    lru_used(&uses[0], 10, 11);
    assert_int_equal(rank(uses, 0), 0);
    lru_doubt(&uses[0], 20);
    assert_int_equal(rank(uses, 0), SIZE_MAX);
    lru_used(&uses[0], 15, 25); /* It may have been before. */
    assert_int_equal(rank(uses, 0), SIZE_MAX);
    lru_used(&uses[0], 20, 26);
    assert_int_equal(rank(uses, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mirror_of_known_uses_is_exact),
        cmocka_unit_test(the_mirror_of_vague_uses_never_claims_what_is_not_there),
        cmocka_unit_test(what_is_in_doubt_needs_a_use_after_the_doubt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
