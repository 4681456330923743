/* Damage on the disk and limits of the system: found, named, survived. */
#include "state/store/env.h"
#include "state/store/store.h"
#include "state/store/tables.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/store/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define SKIPPED 77

struct fixture {
    char dir[SCRATCH_CAP], data[SCRATCH_CAP], file[SCRATCH_CAP];
    struct err_detail detail;
    uint8_t *saved; /* The state file as it was written. */
    size_t saved_len;
};

static const char needle[] = "needle-in-a-record-one";
static const char other_needle[] = "needle-in-a-record-two";
static const char chunk_needle[] = "needle-in-a-chunk";

static void assert_ok(struct fixture *f, enum err e)
{
    if (e != OK)
        fail_msg("%s: %s", err_code(e), f->detail.text);
}

static void load(struct fixture *f)
{
    struct stat st;
    int fd = open(f->file, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    f->saved_len = (size_t)st.st_size;
    f->saved = malloc(f->saved_len);
    assert_non_null(f->saved);
    assert_int_equal(pread(fd, f->saved, f->saved_len, 0), st.st_size);
    close(fd);
}

static void save(struct fixture *f, const uint8_t *bytes, size_t len)
{
    int fd = open(f->file, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

/* A closed store with 1000 records, a generation at 400 and known bytes in some of them. */
static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_make(f->dir);
    scratch_path(f->dir, "data", f->data);
    scratch_path(f->data, "state", f->file);
    struct store *s = scratch_open(f->data);
    struct slice marks[2] = {{needle, sizeof needle}, {other_needle, sizeof other_needle}};
    struct slice chunk = {chunk_needle, sizeof chunk_needle};
    uint64_t id = 0, last = 0;
    assert_ok(f, scratch_append(s, 500, &f->detail));
    assert_ok(f, store_append(s, marks, 2, &last, &f->detail));
    assert_ok(f, scratch_append(s, 498, &f->detail));
    assert_ok(f, store_generation_begin(s, 400, 1, &id, &f->detail));
    assert_ok(f, store_generation_put(s, id, 0, &chunk, 1, &f->detail));
    assert_ok(f, store_generation_commit(s, id, 1, 0, &f->detail));
    assert_ok(f, store_put_setting(s, "keys", (struct slice){"k", 1}, &f->detail));
    store_close(s);
    load(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    scratch_remove(f->dir);
    free(f->saved);
    free(f);
    return 0;
}

static size_t find(const struct fixture *f, const char *what, size_t len, size_t from)
{
    for (size_t i = from; i + len <= f->saved_len; i++)
        if (memcmp(f->saved + i, what, len) == 0)
            return i;
    return SIZE_MAX;
}

/* Flips one bit of every copy: LMDB leaves old ones in free pages. */
static void flip(struct fixture *f, const char *what, size_t len)
{
    size_t at = find(f, what, len, 0);
    assert_true(at != SIZE_MAX);
    for (; at != SIZE_MAX; at = find(f, what, len, at + 1))
        f->saved[at + 3] ^= 0x10;
    save(f, f->saved, f->saved_len);
}

static struct store *open_unprobed(struct fixture *f)
{
    struct store *s = NULL;
    struct store_options o = {.no_probe = true};
    assert_ok(f, store_open(f->data, &o, &s, &f->detail));
    return s;
}

static enum err ignore(void *ctx, uint64_t number, struct slice bytes)
{
    (void)ctx;
    (void)number;
    (void)bytes;
    return OK;
}

static void assert_refused(struct fixture *f, enum err expected)
{
    struct store *s = NULL;
    f->detail.text[0] = '\0';
    enum err e = store_open(f->data, NULL, &s, &f->detail);
    assert_int_equal(e, expected);
    assert_null(s);
    assert_non_null(strstr(f->detail.text, f->file));
}

static void a_flipped_bit_in_a_record_is_found_and_named(void **state)
{
    struct fixture *f = *state;
    struct store_counts counts;
    flip(f, needle, sizeof needle);
    assert_refused(f, ERR_CORRUPT);
    assert_non_null(strstr(f->detail.text, "shuntd restore"));
    struct store *s = open_unprobed(f);
    assert_int_equal(store_journal_iterate(s, 0, UINT64_MAX, ignore, NULL, &f->detail),
                     ERR_CORRUPT);
    assert_non_null(strstr(f->detail.text, "table journal, key 0x00000000000001f5"));
    f->detail.text[0] = '\0';
    assert_int_equal(store_check(s, NULL, NULL, &counts, &f->detail), ERR_CORRUPT);
    assert_non_null(strstr(f->detail.text, "table journal, key 0x00000000000001f5"));
    store_close(s);
}

/* As a damaged page does that looks whole: what it held is not there. */
static enum err lose(struct txn *t, void *ctx)
{
    const struct slice *key = ctx;
    uint64_t n = 0;
    TRY(txn_del_range(t, 0, *key, *key, 1, &n));
    return n == 1 ? OK : ERR_NOT_FOUND;
}

static void lose_row(struct fixture *f, const char *table, const void *key, size_t len)
{
    struct env_options o = {.map_bytes = 1u << 24, .tables = &table, .tables_n = 1};
    struct slice k = {key, len};
    struct env *e = NULL;
    assert_ok(f, env_open(f->file, &o, &e, &f->detail));
    assert_ok(f, env_write(e, lose, &k, &f->detail));
    env_close(e);
}

static void a_row_that_is_missing_is_named_with_its_file(void **state)
{
    struct fixture *f = *state;
    static const uint8_t record[8] = {0, 0, 0, 0, 0, 0, 2, 188};
    static const uint8_t chunk[12] = {0, 0, 0, 0, 0, 0, 0, 1};
    lose_row(f, "journal", record, sizeof record);
    lose_row(f, "chunk", chunk, sizeof chunk);
    struct store *s = open_unprobed(f);
    assert_int_equal(store_journal_iterate(s, 0, UINT64_MAX, ignore, NULL, &f->detail),
                     ERR_CORRUPT);
    assert_non_null(strstr(f->detail.text, f->file));
    assert_non_null(strstr(f->detail.text, "table journal, record 700 is missing"));
    assert_int_equal(store_generation_read(s, 1, ignore, NULL, &f->detail), ERR_CORRUPT);
    assert_non_null(strstr(f->detail.text, f->file));
    assert_non_null(strstr(f->detail.text, "generation 1 lacks chunk 0 of 1"));
    store_close(s);
}

static void a_flipped_bit_in_a_chunk_is_found_and_named(void **state)
{
    struct fixture *f = *state;
    flip(f, chunk_needle, sizeof chunk_needle);
    assert_refused(f, ERR_CORRUPT);
    struct store *s = open_unprobed(f);
    assert_int_equal(store_generation_read(s, 1, ignore, NULL, &f->detail), ERR_CORRUPT);
    assert_non_null(strstr(f->detail.text, "table chunk"));
    store_close(s);
}

/* Swaps the two needles together with their checksums, in every copy of their page. */
static void a_value_under_another_key_is_found(void **state)
{
    struct fixture *f = *state;
    const size_t len = 8 + sizeof needle;
    uint8_t one[8 + sizeof needle], two[8 + sizeof needle];
    size_t a = find(f, needle, sizeof needle, 0), b = find(f, other_needle, sizeof other_needle, 0);
    assert_true(a != SIZE_MAX && b != SIZE_MAX);
    memcpy(one, f->saved + a - 8, len);
    memcpy(two, f->saved + b - 8, len);
    for (; a != SIZE_MAX; a = find(f, needle, sizeof needle, a + 1))
        memcpy(f->saved + a - 8, "--------replaced-by-first-pass-", len);
    for (b = 0; (b = find(f, other_needle, sizeof other_needle, b)) != SIZE_MAX; b++)
        memcpy(f->saved + b - 8, one, len);
    for (a = 0; (a = find(f, "--------replaced", 16, a)) != SIZE_MAX; a++)
        memcpy(f->saved + a, two, len);
    save(f, f->saved, f->saved_len);
    assert_refused(f, ERR_CORRUPT);
    assert_non_null(strstr(f->detail.text, "table journal"));
}

static void a_garbled_meta_page_is_refused(void **state)
{
    struct fixture *f = *state;
    memset(f->saved + 16, 0xa5, 2 * PAGE - 16);
    save(f, f->saved, f->saved_len);
    assert_refused(f, ERR_CORRUPT);
    assert_non_null(strstr(f->detail.text, "shuntd restore"));
}

static void a_truncated_or_emptied_file_is_refused(void **state)
{
    struct fixture *f = *state;
    const size_t lengths[] = {0, 100, PAGE + 10, 3 * PAGE, f->saved_len / 2};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        save(f, f->saved, lengths[i]);
        assert_refused(f, ERR_CORRUPT);
        struct store *s = NULL;
        struct store_options o = {.no_probe = true};
        assert_int_equal(store_open(f->data, &o, &s, &f->detail), ERR_CORRUPT);
    }
}

static void a_file_cut_anywhere_is_refused_or_loses_nothing(void **state)
{
    struct fixture *f = *state;
    int refused = 0;
    for (size_t cut = 1; cut <= 12; cut++) {
        struct store *s = NULL;
        struct store_counts counts;
        save(f, f->saved, f->saved_len - cut * PAGE);
        enum err e = store_open(f->data, NULL, &s, &f->detail);
        if (e != OK) {
            assert_int_equal(e, ERR_CORRUPT);
            refused++;
            continue;
        }
        assert_ok(f, store_check(s, NULL, NULL, &counts, &f->detail));
        assert_int_equal(counts.records, 1000);
        assert_ok(f, scratch_append(s, 100, &f->detail));
        assert_ok(f, store_check(s, NULL, NULL, &counts, &f->detail));
        store_close(s);
    }
    assert_true(refused > 0);
}

/* Each page in turn, by two patterns: the parent must live, and what verify passes must be whole.
 */
static void no_garbled_page_kills_the_opener(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = malloc(f->saved_len);
    assert_non_null(bytes);
    int refused = 0;
    for (size_t page = 2; page < f->saved_len / PAGE; page++) {
        memcpy(bytes, f->saved, f->saved_len);
        if (page % 2)
            memset(bytes + page * PAGE, 0xff, PAGE);
        else
            memset(bytes + page * PAGE + 16, 0x41, 700); /* Slots point anywhere. */
        save(f, bytes, f->saved_len);
        enum err e = store_verify(f->data, &f->detail);
        assert_true(e == OK || e == ERR_CORRUPT);
        refused += e == ERR_CORRUPT;
        if (e == OK) {
            struct store *s = NULL;
            uint64_t n = 0;
            assert_ok(f, store_open(f->data, NULL, &s, &f->detail));
            assert_ok(f, store_journal_iterate(s, 1, 500, scratch_expect, &n, &f->detail));
            assert_int_equal(n, 500);
            store_close(s);
        }
    }
    assert_true(refused > 20);
    free(bytes);
}

struct format {
    char magic[8];
    uint32_t byte_order, schema;
};

static enum err rewrite_format(struct txn *t, void *ctx)
{
    return txn_put(t, TABLE_META, (struct slice){"format", 6},
                   (struct slice){ctx, sizeof(struct format)}, TXN_REPLACE);
}

static void write_format(struct fixture *f, struct format format)
{
    static const char *const names[] = {"meta"};
    struct env_options o = {.map_bytes = 1u << 24, .tables = names, .tables_n = 1};
    struct env *e = NULL;
    assert_ok(f, env_open(f->file, &o, &e, &f->detail));
    assert_ok(f, env_write(e, rewrite_format, &format, &f->detail));
    env_close(e);
}

static void another_schema_is_refused_with_both_numbers(void **state)
{
    struct fixture *f = *state;
    char both[64];
    write_format(f, (struct format){"shuntdb", 0x01020304, STORE_SCHEMA + 1});
    assert_refused(f, ERR_SCHEMA);
    snprintf(both, sizeof both, "schema %d, this program reads schema %d", STORE_SCHEMA + 1,
             STORE_SCHEMA);
    assert_non_null(strstr(f->detail.text, both));
    write_format(f, (struct format){"shuntdb", 0x04030201, STORE_SCHEMA});
    assert_refused(f, ERR_SCHEMA);
    write_format(f, (struct format){"other", 0x01020304, STORE_SCHEMA});
    assert_refused(f, ERR_CORRUPT);
}

static void a_damaged_backup_is_not_restored(void **state)
{
    struct fixture *f = *state;
    char to[SCRATCH_CAP], there[SCRATCH_CAP];
    scratch_path(f->dir, "to", to);
    scratch_path(to, "state", there);
    assert_int_equal(store_restore(f->dir, to, &f->detail), ERR_NOT_FOUND);
    flip(f, needle, sizeof needle);
    assert_int_equal(store_restore(f->data, to, &f->detail), ERR_CORRUPT);
    assert_int_not_equal(access(there, F_OK), 0);
}

/* ---- limits of the system: each in a child, whose exit code is the line that failed ---- */

#define HOLDS(promise)                                                                             \
    do {                                                                                           \
        if (!(promise)) {                                                                          \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #promise, d.text);     \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void run_in_child(struct fixture *f, void (*body)(struct fixture *f))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body(f);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static enum err append_until_error(struct store *s, struct err_detail *d)
{
    enum err e = OK;
    for (int i = 0; i < 10000 && e == OK; i++)
        e = scratch_append(s, 50, d);
    return e;
}

static void fill_to_the_file_limit(struct fixture *f)
{
    struct err_detail d = {""};
    struct store *s = NULL;
    struct store_sizes z;
    struct rlimit old;
    signal(SIGXFSZ, SIG_IGN);
    HOLDS(store_open(f->data, NULL, &s, &d) == OK);
    HOLDS(store_sizes(s, &z, &d) == OK);
    HOLDS(getrlimit(RLIMIT_FSIZE, &old) == 0);
    struct rlimit tight = {z.file_bytes + 50 * PAGE + 100, old.rlim_max};
    HOLDS(setrlimit(RLIMIT_FSIZE, &tight) == 0);
    HOLDS(append_until_error(s, &d) == ERR_DISK_FULL);
    HOLDS(!store_failed(s));
    uint64_t before = store_journal_last(s);
    HOLDS(setrlimit(RLIMIT_FSIZE, &old) == 0);
    HOLDS(scratch_append(s, 50, &d) == OK);
    HOLDS(store_journal_last(s) == before + 50);
    struct store_counts counts;
    HOLDS(store_check(s, NULL, NULL, &counts, &d) == OK);
    HOLDS(counts.records == before + 50);
    store_close(s);
}

static void a_file_size_limit_is_a_full_disk_and_passes(void **state)
{
    run_in_child(*state, fill_to_the_file_limit);
}

static bool mount_tmpfs(const char *dir, const char *options)
{
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return false;
    return mount("shunt-test", dir, "tmpfs", 0, options) == 0;
}

static void fill_the_disk(struct fixture *f)
{
    struct err_detail d = {""};
    struct store *s = NULL;
    char data[SCRATCH_CAP], ballast[SCRATCH_CAP];
    uint8_t zeros[16 * PAGE] = {0};
    if (!mount_tmpfs(f->data, "size=4m"))
        _exit(SKIPPED);
    scratch_path(f->data, "data", data);
    scratch_path(f->data, "ballast", ballast);
    int fd = open(ballast, O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 16; i++)
        HOLDS(write(fd, zeros, sizeof zeros) == (ssize_t)sizeof zeros);
    close(fd);
    HOLDS(store_open(data, NULL, &s, &d) == OK);
    HOLDS(append_until_error(s, &d) == ERR_DISK_FULL);
    HOLDS(scratch_append(s, 200, &d) == ERR_DISK_FULL);
    HOLDS(!store_failed(s));
    uint64_t before = store_journal_last(s), n = 0;
    HOLDS(store_journal_iterate(s, 0, UINT64_MAX, scratch_expect, &n, &d) == OK);
    HOLDS(n == before); /* Reading goes on. */
    store_close(s);
    s = NULL;
    HOLDS(store_open(data, NULL, &s, &d) == OK); /* So does starting. */
    HOLDS(store_journal_last(s) == before);
    HOLDS(unlink(ballast) == 0);
    HOLDS(scratch_append(s, 200, &d) == OK);
    HOLDS(store_journal_last(s) == before + 200);
    store_close(s);
}

static void a_full_disk_refuses_appends_until_there_is_room(void **state)
{
    run_in_child(*state, fill_the_disk);
}

static void run_out_of_inodes(struct fixture *f)
{
    struct err_detail d = {""};
    struct store *s = NULL;
    char data[SCRATCH_CAP];
    if (!mount_tmpfs(f->data, "size=64m,nr_inodes=3"))
        _exit(SKIPPED);
    scratch_path(f->data, "data", data);
    HOLDS(store_open(data, NULL, &s, &d) == ERR_DISK_FULL);
    HOLDS(strstr(d.text, data) != NULL);
}

static void no_inodes_is_a_clear_error_at_start(void **state)
{
    run_in_child(*state, run_out_of_inodes);
}

/* The sanitizers reserve terabytes of address space themselves. gcc and clang say it differently.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#ifndef SANITIZED
static void open_in_little_space(struct fixture *f)
{
    struct err_detail d = {""};
    struct store *s = NULL;
    struct store_sizes z;
    struct rlimit little = {UINT64_C(1) << 30, UINT64_C(1) << 30};
    HOLDS(setrlimit(RLIMIT_AS, &little) == 0);
    HOLDS(store_open(f->data, NULL, &s, &d) == OK);
    HOLDS(store_sizes(s, &z, &d) == OK);
    HOLDS(z.map_bytes < UINT64_C(1) << 30 && z.map_bytes >= UINT64_C(1) << 24);
    HOLDS(scratch_append(s, 100, &d) == OK);
    store_close(s);
    /* And a map that cannot grow says so, changes nothing, and still reads. */
    struct store_options tight = {.map_bytes = 4u << 20};
    HOLDS(store_open(f->data, &tight, &s, &d) == OK);
    little.rlim_cur = 64u << 20;
    HOLDS(setrlimit(RLIMIT_AS, &little) == 0);
    enum err e = append_until_error(s, &d);
    HOLDS(e == ERR_MAP_FULL || e == ERR_NOMEM);
    HOLDS(!store_failed(s));
    uint64_t last = store_journal_last(s);
    HOLDS(store_journal_iterate(s, 1, last, ignore, NULL, &d) == OK);
    store_close(s);
}

static void little_address_space_gets_a_smaller_map(void **state)
{
    run_in_child(*state, open_in_little_space);
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_flipped_bit_in_a_record_is_found_and_named),
        TEST(a_row_that_is_missing_is_named_with_its_file),
        TEST(a_flipped_bit_in_a_chunk_is_found_and_named),
        TEST(a_value_under_another_key_is_found),
        TEST(a_garbled_meta_page_is_refused),
        TEST(a_truncated_or_emptied_file_is_refused),
        TEST(a_file_cut_anywhere_is_refused_or_loses_nothing),
        TEST(no_garbled_page_kills_the_opener),
        TEST(another_schema_is_refused_with_both_numbers),
        TEST(a_damaged_backup_is_not_restored),
        TEST(a_file_size_limit_is_a_full_disk_and_passes),
        TEST(a_full_disk_refuses_appends_until_there_is_room),
        TEST(no_inodes_is_a_clear_error_at_start),
#ifndef SANITIZED
        TEST(little_address_space_gets_a_smaller_map),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
