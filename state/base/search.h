/* search.h - where a uid stands in an array that is kept in order of uids.
 * Why: tables of arms and routers are all kept so, and each of them had this loop.
 * What is returned is the first place whose uid is not below the one that is looked for, n when all
 * are: it stands there, or would.
 * Threads: pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* n records, `stride` bytes apart; the uid is `at` bytes into each. */
static inline uint32_t search_records(const void *records, uint32_t n, size_t stride, size_t at,
                                      uint32_t uid)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, there;
        memcpy(&there, (const char *)records + middle * stride + at, sizeof there);
        if (there < uid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The same of n pointers to records, none of them NULL. */
static inline uint32_t search_pointers(const void *pointers, uint32_t n, size_t at, uint32_t uid)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, there;
        const char *record;
        memcpy(&record, (const char *)pointers + middle * sizeof record, sizeof record);
        memcpy(&there, record + at, sizeof there);
        if (there < uid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
