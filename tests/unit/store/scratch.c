#include "tests/unit/store/scratch.h"

#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void scratch_path(const char *dir, const char *name, char ret[SCRATCH_CAP])
{
    int n = snprintf(ret, SCRATCH_CAP, "%s/%s", dir, name);
    assert_true(n > 0 && n < SCRATCH_CAP);
}

void scratch_make(char ret_dir[SCRATCH_CAP])
{
    const char *base = getenv("TMPDIR");
    scratch_path(base ? base : "/tmp", "shunt-test-XXXXXX", ret_dir);
    assert_non_null(mkdtemp(ret_dir));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void scratch_remove(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

size_t scratch_record(uint64_t seq, uint8_t ret[SCRATCH_RECORD_MAX])
{
    /* Mostly small ones; one of 16 needs an overflow page, one of 16 is empty. */
    uint64_t kind = rng_below(1, seq, 16);
    size_t len = kind == 0   ? 0
                 : kind == 1 ? (size_t)rng_below(2, seq, SCRATCH_RECORD_MAX)
                             : (size_t)rng_below(3, seq, 400);
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)rng_mix(seq, i);
    return len;
}

enum err scratch_expect(void *ctx, uint64_t number, struct slice bytes)
{
    uint64_t *n = ctx;
    uint8_t want[SCRATCH_RECORD_MAX];
    size_t len = scratch_record(number, want);
    if (bytes.len != len || (len && memcmp(bytes.data, want, len) != 0))
        return ERR_INTERNAL;
    ++*n;
    return OK;
}

enum err scratch_append(struct store *s, size_t n, struct err_detail *detail)
{
    uint64_t from = store_journal_last(s) + 1, last = 0;
    struct slice *records = calloc(n, sizeof *records);
    uint8_t *bytes = malloc(n * SCRATCH_RECORD_MAX);
    assert_non_null(records);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) {
        uint8_t *at = bytes + i * SCRATCH_RECORD_MAX;
        records[i] = (struct slice){at, scratch_record(from + i, at)};
    }
    enum err e = store_append(s, records, n, &last, detail);
    free(records);
    free(bytes);
    if (e == OK)
        assert_true(last == from + n - 1);
    return e;
}

struct store *scratch_open(const char *dir)
{
    struct store *s = NULL;
    struct err_detail detail = {""};
    if (store_open(dir, NULL, &s, &detail) != OK)
        fail_msg("%s", detail.text);
    return s;
}
