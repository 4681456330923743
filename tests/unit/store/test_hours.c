#include "state/store/hours.h"

#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/store/scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOON INT64_C(491000) /* 2026-01-05T08 UTC */

struct fixture {
    char dir[SCRATCH_CAP], log[SCRATCH_CAP];
    struct hours *h;
    struct err_detail detail;
};

static void assert_ok(struct fixture *f, enum err e)
{
    if (e != OK)
        fail_msg("%s: %s", err_code(e), f->detail.text);
}

static void open_log(struct fixture *f)
{
    f->h = NULL;
    assert_ok(f, hours_open(f->log, NULL, &f->h, &f->detail));
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_make(f->dir);
    scratch_path(f->dir, "log", f->log);
    open_log(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    hours_close(f->h);
    scratch_remove(f->dir);
    free(f);
    return 0;
}

static void key_of(uint64_t n, uint8_t ret[HOURS_KEY_BYTES])
{
    memset(ret, 0, HOURS_KEY_BYTES);
    for (size_t i = 0; i < 8; i++)
        ret[i] = (uint8_t)(n >> (56 - 8 * i));
}

static uint64_t number_of(const uint8_t key[HOURS_KEY_BYTES])
{
    uint64_t n = 0;
    for (size_t i = 0; i < 8; i++)
        n = n << 8 | key[i];
    return n;
}

/* Records first..first+n-1, whose bytes follow from their numbers. */
static enum err put_some(struct hours *h, int64_t hour, uint64_t first, size_t n,
                         struct err_detail *detail)
{
    struct hours_record *r = calloc(n, sizeof *r);
    uint8_t *bytes = malloc(n * SCRATCH_RECORD_MAX);
    assert_non_null(r);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) {
        uint8_t *at = bytes + i * SCRATCH_RECORD_MAX;
        key_of(first + i, r[i].key);
        r[i].bytes = (struct slice){at, scratch_record(first + i, at)};
    }
    enum err e = hours_put(h, hour, r, n, detail);
    free(r);
    free(bytes);
    return e;
}

struct seen {
    uint64_t n;
    int64_t hour;
    uint64_t number;
};

static enum err see(void *ctx, int64_t hour, const uint8_t key[HOURS_KEY_BYTES], struct slice bytes)
{
    struct seen *s = ctx;
    s->hour = hour;
    s->number = number_of(key);
    return scratch_expect(&s->n, s->number, bytes);
}

static enum err get(struct fixture *f, uint64_t number, int64_t hint, struct seen *ret)
{
    uint8_t key[HOURS_KEY_BYTES];
    key_of(number, key);
    *ret = (struct seen){0};
    return hours_get(f->h, key, hint, see, ret, &f->detail);
}

static void the_hour_of_a_time_rounds_down_before_1970_too(void **unused)
{
    (void)unused;
    assert_int_equal(hours_of(0), 0);
    assert_int_equal(hours_of(HOURS_US - 1), 0);
    assert_int_equal(hours_of(HOURS_US), 1);
    assert_int_equal(hours_of(-1), -1);
}

static void a_record_is_found_with_a_hint_and_without(void **state)
{
    struct fixture *f = *state;
    struct seen s;
    for (int i = 0; i < 12; i++) /* More hours than may be open at once. */
        assert_ok(f, put_some(f->h, NOON + i, (uint64_t)i * 100, 100, &f->detail));
    assert_ok(f, get(f, 350, NOON + 3, &s));
    assert_true(s.n == 1 && s.hour == NOON + 3 && s.number == 350);
    assert_ok(f, get(f, 350, NOON + 4, &s)); /* A neighbour. */
    assert_int_equal(s.hour, NOON + 3);
    assert_ok(f, get(f, 1, -1, &s));
    assert_int_equal(s.hour, NOON);
    assert_ok(f, get(f, 1, NOON + 11, &s));
    assert_int_equal(s.hour, NOON);
    assert_int_equal(get(f, 1200, -1, &s), ERR_NOT_FOUND);
    assert_int_equal(get(f, 1200, NOON + 100, &s), ERR_NOT_FOUND);
}

static void a_search_without_a_hint_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct seen s;
    struct hours_options three = {.search_n = 3};
    for (int i = 0; i < 6; i++)
        assert_ok(f, put_some(f->h, NOON + i, (uint64_t)i, 1, &f->detail));
    hours_close(f->h);
    f->h = NULL;
    assert_ok(f, hours_open(f->log, &three, &f->h, &f->detail));
    assert_ok(f, get(f, 3, -1, &s));
    assert_int_equal(get(f, 2, -1, &s), ERR_NOT_FOUND);
    assert_ok(f, get(f, 2, NOON + 2, &s));
}

static void records_survive_closing_and_a_killed_writer(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    assert_ok(f, put_some(f->h, NOON, 1, 500, &f->detail));
    hours_close(f->h);
    f->h = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct hours *h = NULL;
        struct err_detail detail;
        if (hours_open(f->log, NULL, &h, &detail) != OK ||
            put_some(h, NOON, 501, 500, &detail) != OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    open_log(f);
    assert_ok(f, hours_iterate(f->h, 0, INT64_MAX, see, &s, &f->detail));
    assert_int_equal(s.n, 1000);
}

static void iteration_takes_the_hours_asked_for_in_order(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    for (int i = 0; i < 5; i++)
        assert_ok(f, put_some(f->h, NOON + i, (uint64_t)i * 10, 10, &f->detail));
    assert_ok(f, hours_iterate(f->h, NOON + 1, NOON + 3, see, &s, &f->detail));
    assert_int_equal(s.n, 30);
    assert_int_equal(s.number, 39);
    assert_int_equal(s.hour, NOON + 3);
}

static void an_hour_grows_beyond_its_first_map(void **state)
{
    struct fixture *f = *state;
    struct hours_options small = {.map_bytes = 1u << 20};
    struct seen s = {0};
    hours_close(f->h);
    f->h = NULL;
    assert_ok(f, hours_open(f->log, &small, &f->h, &f->detail));
    for (uint64_t i = 0; i < 20; i++)
        assert_ok(f, put_some(f->h, NOON, i * 1000, 1000, &f->detail));
    assert_ok(f, hours_iterate(f->h, NOON, NOON, see, &s, &f->detail));
    assert_int_equal(s.n, 20000);
}

static void expiry_removes_old_hours_then_the_oldest_and_spares_the_newest(void **state)
{
    struct fixture *f = *state;
    struct hours_counts c;
    struct seen s;
    uint64_t dropped = 0;
    for (int i = 0; i < 6; i++)
        assert_ok(f, put_some(f->h, NOON + i, (uint64_t)i * 100, 100, &f->detail));
    int64_t now = (NOON + 5) * HOURS_US + 1;
    assert_ok(f, hours_expire(f->h, now, 3 * HOURS_US, UINT64_MAX, &dropped, &f->detail));
    assert_int_equal(dropped, 2); /* They ended at +1 and +2; three hours ago was +2 and a bit. */
    assert_int_equal(get(f, 1, NOON, &s), ERR_NOT_FOUND);
    assert_ok(f, get(f, 201, NOON + 2, &s));
    hours_counts(f->h, &c);
    assert_int_equal(c.hours, 4);
    assert_ok(f, hours_expire(f->h, now, INT64_C(1) << 60, c.bytes - 1, &dropped, &f->detail));
    assert_int_equal(dropped, 1);
    assert_ok(f, hours_expire(f->h, now, INT64_C(1) << 60, 0, &dropped, &f->detail));
    assert_int_equal(dropped, 2);
    assert_ok(f, get(f, 501, NOON + 5, &s));
    hours_counts(f->h, &c);
    assert_int_equal(c.hours, 1);
    assert_int_equal(c.dropped_hours, 5);
}

static void file_in(struct fixture *f, const char *name, char ret[SCRATCH_CAP])
{
    scratch_path(f->log, name, ret);
}

static void flip_all(const char *file, const char *needle, size_t len)
{
    int fd = open(file, O_RDWR);
    assert_true(fd >= 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *bytes = malloc((size_t)st.st_size);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
    int found = 0;
    for (size_t i = 0; i + len <= (size_t)st.st_size; i++)
        if (memcmp(bytes + i, needle, len) == 0) {
            bytes[i] ^= 1;
            assert_int_equal(pwrite(fd, bytes + i, 1, (off_t)i), 1);
            found++;
        }
    assert_true(found > 0);
    free(bytes);
    close(fd);
}

static void a_flipped_value_is_skipped_and_counted(void **state)
{
    struct fixture *f = *state;
    struct hours_counts c;
    struct seen s;
    struct hours_record r = {.bytes = {"needle-in-a-value", 17}};
    char file[SCRATCH_CAP];
    key_of(7777, r.key);
    assert_ok(f, hours_put(f->h, NOON, &r, 1, &f->detail));
    assert_ok(f, put_some(f->h, NOON, 1, 50, &f->detail));
    hours_close(f->h);
    file_in(f, "20260105T08.log", file);
    flip_all(file, "needle-in-a-value", 17);
    open_log(f);
    assert_int_equal(get(f, 7777, NOON, &s), ERR_NOT_FOUND);
    s = (struct seen){0};
    assert_ok(f, hours_iterate(f->h, NOON, NOON, see, &s, &f->detail));
    assert_int_equal(s.n, 50);
    hours_counts(f->h, &c);
    assert_int_equal(c.damaged_records, 2);
    assert_int_equal(c.damaged_hours, 0);
}

static void a_truncated_hour_is_dropped_and_begun_anew(void **state)
{
    struct fixture *f = *state;
    struct hours_counts c;
    struct seen s;
    char file[SCRATCH_CAP];
    assert_ok(f, put_some(f->h, NOON, 1, 500, &f->detail));
    assert_ok(f, put_some(f->h, NOON + 1, 1000, 10, &f->detail));
    hours_close(f->h);
    file_in(f, "20260105T08.log", file);
    assert_int_equal(truncate(file, 20000), 0);
    open_log(f);
    assert_int_equal(get(f, 1, NOON, &s), ERR_NOT_FOUND);
    assert_ok(f, get(f, 1001, -1, &s));
    hours_counts(f->h, &c);
    assert_int_equal(c.damaged_hours, 1);
    assert_int_equal(c.hours, 1);
    assert_int_not_equal(access(file, F_OK), 0);
    assert_ok(f, put_some(f->h, NOON, 1, 10, &f->detail));
    assert_ok(f, get(f, 1, NOON, &s));
}

static void garbage_under_an_hours_name_does_not_stop_its_writer(void **state)
{
    struct fixture *f = *state;
    struct hours_counts c;
    struct seen s;
    char file[SCRATCH_CAP];
    hours_close(f->h);
    file_in(f, "20260105T08.log", file);
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(write(fd, "garbage ", 8), 8);
    close(fd);
    open_log(f);
    assert_ok(f, put_some(f->h, NOON, 1, 10, &f->detail));
    assert_ok(f, get(f, 5, NOON, &s));
    hours_counts(f->h, &c);
    assert_int_equal(c.damaged_hours, 1);
}

/* What a power failure leaves: an hour whose mark is of another boot, with pages never written. */
static void unwritten_pages_after_a_power_failure_cost_the_hour_only(void **state)
{
    struct fixture *f = *state;
    struct hours_counts c;
    struct seen s = {0};
    struct stat st;
    char file[SCRATCH_CAP], mark[SCRATCH_CAP];
    assert_ok(f, put_some(f->h, NOON, 1, 2000, &f->detail));
    assert_ok(f, put_some(f->h, NOON + 1, 5000, 10, &f->detail));
    hours_close(f->h);
    file_in(f, "20260105T08.log", file);
    file_in(f, "20260105T08.unsynced", mark);
    assert_int_equal(stat(file, &st), 0);
    int fd = open(file, O_WRONLY);
    uint8_t page[4096];
    memset(page, 0xff, sizeof page); /* Zeros would be as good; this kills LMDB faster. */
    for (off_t at = 8192; at + 4096 < st.st_size; at += 4096)
        assert_int_equal(pwrite(fd, page, sizeof page, at), (ssize_t)sizeof page);
    close(fd);
    fd = open(mark, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "another boot", 12), 12);
    close(fd);
    open_log(f);
    hours_counts(f->h, &c);
    assert_int_equal(c.damaged_hours, 1);
    assert_int_not_equal(access(mark, F_OK), 0);
    assert_ok(f, hours_iterate(f->h, 0, INT64_MAX, see, &s, &f->detail));
    assert_int_equal(s.n, 10);
}

static void a_sound_hour_of_another_boot_is_kept(void **state)
{
    struct fixture *f = *state;
    struct seen s = {0};
    char mark[SCRATCH_CAP];
    assert_ok(f, put_some(f->h, NOON, 1, 2000, &f->detail));
    file_in(f, "20260105T08.unsynced", mark);
    assert_int_equal(access(mark, F_OK), 0); /* While it is written. */
    hours_close(f->h);
    assert_int_not_equal(access(mark, F_OK), 0);
    int fd = open(mark, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "another boot", 12), 12);
    close(fd);
    open_log(f);
    assert_ok(f, hours_iterate(f->h, 0, INT64_MAX, see, &s, &f->detail));
    assert_int_equal(s.n, 2000);
}

struct race {
    struct fixture *f;
    _Atomic bool stop;
    _Atomic long wrong, rounds;
};

static void *read_for_ever(void *arg)
{
    struct race *r = arg;
    struct err_detail detail;
    uint8_t key[HOURS_KEY_BYTES];
    for (uint64_t i = 0; !atomic_load(&r->stop); i++) {
        struct seen s = {0};
        key_of(i % 400, key);
        enum err e = hours_get(r->f->h, key, i % 3 ? -1 : NOON, see, &s, &detail);
        if (e == OK && i % 50 == 0)
            e = hours_iterate(r->f->h, 0, INT64_MAX, see, &s, &detail);
        if (e != OK && e != ERR_NOT_FOUND)
            atomic_fetch_add(&r->wrong, 1);
        atomic_fetch_add(&r->rounds, 1);
    }
    return NULL;
}

static void readers_writer_and_expiry_do_not_disturb_one_another(void **state)
{
    struct fixture *f = *state;
    struct race r = {.f = f};
    pthread_t readers[2];
    uint64_t dropped = 0, all = 0;
    struct hours_counts c;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_for_ever, &r), 0);
    for (int i = 0; i < 60 || atomic_load(&r.rounds) < 200; i++) {
        assert_ok(f, put_some(f->h, NOON + i, (uint64_t)(i % 40) * 10, 10, &f->detail));
        int64_t now = (NOON + i) * HOURS_US;
        assert_ok(f, hours_expire(f->h, now, 10 * HOURS_US, UINT64_MAX, &dropped, &f->detail));
        all += dropped;
    }
    atomic_store(&r.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&r.wrong), 0);
    hours_counts(f->h, &c);
    assert_int_equal(c.dropped_hours, all);
    assert_int_equal(c.damaged_hours, 0);
}

static void what_is_no_hour_or_too_large_is_refused(void **state)
{
    struct fixture *f = *state;
    struct hours_record r = {.bytes = {"x", HOURS_RECORD_MAX + 1}};
    assert_int_equal(hours_put(f->h, NOON, &r, 1, &f->detail), ERR_TOO_LARGE);
    r.bytes.len = 1;
    assert_int_equal(hours_put(f->h, -1, &r, 1, &f->detail), ERR_OUT_OF_RANGE);
    assert_int_equal(hours_put(f->h, INT64_MAX, &r, 1, &f->detail), ERR_OUT_OF_RANGE);
}

#ifdef SHUNT_FAULTS
static enum err whole_life(const char *dir)
{
    struct hours *h = NULL;
    struct err_detail detail;
    struct seen s = {0};
    struct hours_record r = {.bytes = {"x", 1}};
    uint8_t bytes[SCRATCH_RECORD_MAX];
    uint64_t dropped = 0;
    key_of(1, r.key);
    r.bytes = (struct slice){bytes, scratch_record(1, bytes)};
    enum err e = hours_open(dir, NULL, &h, &detail);
    if (e == OK)
        e = hours_put(h, NOON, &r, 1, &detail);
    if (e == OK)
        e = hours_put(h, NOON + 1, &r, 1, &detail);
    if (e == OK)
        e = hours_get(h, r.key, -1, see, &s, &detail);
    if (e == OK)
        e = hours_iterate(h, 0, INT64_MAX, see, &s, &detail);
    if (e == OK)
        e = hours_expire(h, (NOON + 2) * HOURS_US, 0, 0, &dropped, &detail);
    hours_close(h);
    return e;
}

static void every_failed_allocation_is_an_error_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    char dir[SCRATCH_CAP];
    enum err e = ERR_NOMEM;
    long n = 1;
    scratch_path(f->dir, "other", dir);
    for (; n < 100; n++) {
        mem_fail_nth(n);
        e = whole_life(dir);
        mem_fail_nth(0);
        if (e == OK)
            break;
        assert_int_equal(e, ERR_NOMEM);
        scratch_remove(dir);
    }
    assert_int_equal(e, OK);
    assert_true(n > 4);
}
#endif

struct slow_reader {
    struct fixture *f;
    pthread_t expirer;
    size_t seen;
};

static void *expire_all(void *arg)
{
    struct fixture *f = arg;
    struct err_detail detail;
    uint64_t dropped = 0;
    assert_int_equal(hours_expire(f->h, (NOON + 100) * HOURS_US, 0, 0, &dropped, &detail), OK);
    assert_int_equal(dropped, 1);
    return NULL;
}

static enum err read_slowly(void *ctx, int64_t hour, const uint8_t *key, struct slice bytes)
{
    (void)hour;
    (void)key;
    (void)bytes;
    struct slow_reader *r = ctx;
    if (r->seen++ == 0)
        assert_int_equal(pthread_create(&r->expirer, NULL, expire_all, r->f), 0);
    usleep(1000);
    return OK;
}

static void a_slow_reader_lets_go_of_an_hour_that_expires(void **state)
{
    struct fixture *f = *state;
    enum { N = 30000 };
    static struct hours_record records[N];
    for (uint64_t i = 0; i < N; i++) {
        key_of(i, records[i].key);
        records[i].bytes = (struct slice){"x", 1};
    }
    assert_ok(f, hours_put(f->h, NOON, records, N, &f->detail));
    assert_ok(f, hours_put(f->h, NOON + 1, records, 1, &f->detail)); /* The newest stays. */
    struct slow_reader r = {.f = f};
    assert_ok(f, hours_iterate(f->h, NOON, NOON, read_slowly, &r, &f->detail));
    assert_int_equal(pthread_join(r.expirer, NULL), 0);
    assert_true(r.seen < N);
    struct hours_counts c;
    hours_counts(f->h, &c);
    assert_int_equal(c.hours, 1);
    assert_int_equal(c.damaged_hours, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hour_of_a_time_rounds_down_before_1970_too),
        TEST(a_record_is_found_with_a_hint_and_without),
        TEST(a_search_without_a_hint_is_bounded),
        TEST(records_survive_closing_and_a_killed_writer),
        TEST(iteration_takes_the_hours_asked_for_in_order),
        TEST(an_hour_grows_beyond_its_first_map),
        TEST(a_slow_reader_lets_go_of_an_hour_that_expires),
        TEST(expiry_removes_old_hours_then_the_oldest_and_spares_the_newest),
        TEST(a_flipped_value_is_skipped_and_counted),
        TEST(a_truncated_hour_is_dropped_and_begun_anew),
        TEST(garbage_under_an_hours_name_does_not_stop_its_writer),
        TEST(unwritten_pages_after_a_power_failure_cost_the_hour_only),
        TEST(a_sound_hour_of_another_boot_is_kept),
        TEST(readers_writer_and_expiry_do_not_disturb_one_another),
        TEST(what_is_no_hour_or_too_large_is_refused),
#ifdef SHUNT_FAULTS
        TEST(every_failed_allocation_is_an_error_and_nothing_else),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
