/* The statistics of an arm: what decodes has exactly one byte form, fits a router of its layout and
 * leaves that router in a state that can be checked. The checksum is made good, or nothing behind
 * it would ever be reached. */
#include "state/base/hash.h"
#include "state/math/packed.h"
#include "state/model/transfer.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void begin_an_arm(const struct transfer *t)
{
    uint32_t d = spec_d(&t->from.spec);
    struct arm *a = arm_new(&t->from, &t->arm->config);
    struct pooled *p = pooled_new(&t->from);
    double *scratch = calloc(stats_scratch_n(d), sizeof *scratch);
    if (a && p && scratch) {
        stats_inherit(a, t->arm, &t->from, 10, scratch);
        stats_pool(p, a, &t->from, scratch);
        for (int g = 0; g < METRIC_GROUPS; g++)
            for (uint32_t i = 0; i < d; i++)
                FUZZ_CHECK(a->groups[g].P[packed_n(i) + i] > 0);
        for (size_t i = 0; i < p->block_n; i++)
            FUZZ_CHECK(isfinite(p->block[i]));
    }
    arm_free(a);
    pooled_free(p);
    free(scratch);
}

/* Its own router has its labels in its slots: nothing moves. */
static void check_settled(struct transfer *t)
{
    uint32_t d = spec_d(&t->from.spec);
    struct router_config *router = malloc(sizeof *router);
    double *scratch = calloc(packed_n(d), sizeof *scratch);
    struct buf before, after;
    struct err_detail detail;
    FUZZ_CHECK(transfer_check(t, &t->from, &detail) == OK);
    buf_init(&before);
    buf_init(&after);
    if (router && scratch) {
        *router = t->from;
        transfer_encode(t->arm, &t->from, t->arm->clock, &before);
        transfer_settle(t, router, scratch);
        transfer_encode(t->arm, &t->from, t->arm->clock, &after);
        FUZZ_CHECK(before.len == after.len);
        FUZZ_CHECK(buf_error(&after) != OK || memcmp(before.data, after.data, after.len) == 0);
    }
    buf_done(&before);
    buf_done(&after);
    free(router);
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct transfer *t = NULL;
    struct err_detail detail;
    uint64_t sum = hash_bytes(data, size);
    uint8_t *bytes = malloc(size + sizeof sum);
    struct buf again;
    if (!bytes)
        return 0;
    if (size)
        memcpy(bytes, data, size);
    memcpy(bytes + size, &sum, sizeof sum);
    enum err e = transfer_decode((struct slice){bytes, size + sizeof sum}, &t, &detail);
    if (e == OK) {
        buf_init(&again);
        transfer_encode(t->arm, &t->from, t->arm->clock, &again);
        FUZZ_CHECK(buf_error(&again) != OK || again.len == size + sizeof sum);
        FUZZ_CHECK(buf_error(&again) != OK || memcmp(again.data, bytes, again.len) == 0);
        buf_done(&again);
        check_settled(t);
        /* Ridges are a router's, checked where it is made; numbers beyond those do not arrive. */
        bool ridges = true;
        for (int g = 0; g < METRIC_GROUPS; g++)
            for (int k = 0; k < 2; k++)
                ridges = ridges && t->from.settings.ridge[g][k] >= 1e-3 &&
                         t->from.settings.ridge[g][k] <= 1e6;
        if (ridges)
            begin_an_arm(t);
        transfer_free(t);
    }
    free(bytes);
    return 0;
}
