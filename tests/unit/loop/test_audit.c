#include "server/loop/audit.h"
#include "state/base/mem.h"
#include "state/store/hours.h"
#include "tests/unit/cmocka_all.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_LEN = 256, RING = 64 << 10 };

struct place {
    char base[PATH_LEN], dir[PATH_LEN + 16];
};

static void make_place(struct place *p)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(p->base, sizeof p->base, "%s/shunt-audit-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->base));
    snprintf(p->dir, sizeof p->dir, "%s/decisions", p->base);
}

/* Calls `f` with the path of each file of the log. */
static void each_file(const struct place *p, void (*f)(const char *path, const char *name))
{
    DIR *d = opendir(p->dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char path[3 * PATH_LEN];
        snprintf(path, sizeof path, "%s/%s", p->dir, e->d_name);
        if (e->d_name[0] != '.')
            f(path, e->d_name);
    }
    closedir(d);
}

static void remove_one(const char *path, const char *name)
{
    (void)name;
    unlink(path);
}

static void remove_place(const struct place *p)
{
    each_file(p, remove_one);
    rmdir(p->dir);
    rmdir(p->base);
}

static struct audit *open_log(const struct place *p, int64_t keep_us, uint64_t max_bytes)
{
    struct audit *a = NULL;
    struct err_detail detail = {""};
    struct audit_options o = {
        .dir = p->dir, .ring_bytes = RING, .keep_us = keep_us, .max_bytes = max_bytes};
    enum err e = audit_open(&o, &a, &detail);
    if (e != OK)
        print_message("%s\n", detail.text);
    assert_int_equal(e, OK);
    return a;
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void make_id(uint32_t n, int64_t issued_us, uint8_t ret_id[ID_BYTES])
{
    uint8_t random[10] = {0};
    memcpy(random + 4, &n, sizeof n);
    id_make_v7(issued_us, random, ret_id);
}

/* Puts a record of decision `n`; `arms_n` makes it longer (20 bytes each). */
static bool put(struct audit *a, const uint8_t *id, int64_t issued_us, uint32_t n, uint32_t arms_n)
{
    struct audit_arm *arms = mem_calloc(arms_n + 1, sizeof *arms);
    struct audit_record r = {.arms = arms, .arms_n = arms_n, .seed = n};
    memcpy(r.decision.id, id, ID_BYTES);
    r.decision.arm_uid = n;
    r.decision.issued_us = issued_us;
    r.decision.propensity = 1;
    struct buf b;
    buf_init(&b);
    audit_encode(&r, &b);
    bool taken = audit_put(a, id, issued_us, (struct slice){b.data, b.len});
    buf_done(&b);
    mem_free(arms);
    return taken;
}

static enum err find(struct audit *a, const uint8_t *id, uint32_t *ret_n)
{
    struct audit_record r;
    enum err e = audit_find(a, id, &r);
    if (e == OK) {
        *ret_n = r.decision.arm_uid;
        mem_free(r.arms);
    }
    return e;
}

static void a_record_is_found_at_once_and_after_a_restart(void **unused)
{
    (void)unused;
    struct place p;
    make_place(&p);
    struct audit *a = open_log(&p, 0, 0);
    uint8_t v7[ID_BYTES], v4[ID_BYTES], absent[ID_BYTES];
    int64_t now = now_us();
    uint32_t n = 0;
    make_id(1, now, v7);
    memset(v4, 0x44, sizeof v4);
    make_id(2, now, absent);
    assert_true(put(a, v7, now, 11, 3));
    assert_int_equal(find(a, v7, &n), OK);
    assert_int_equal(n, 11);
    assert_true(put(a, v4, now - 30 * HOURS_US, 12, 0)); /* The id says nothing of the hour. */
    assert_int_equal(find(a, v4, &n), OK);
    assert_int_equal(n, 12);
    assert_int_equal(find(a, absent, &n), ERR_NOT_FOUND);
    assert_true(put(a, v7, now, 13, 0)); /* The same id again: the later record counts. */
    assert_int_equal(find(a, v7, &n), OK);
    assert_int_equal(n, 13);
    audit_close(a);
    a = open_log(&p, 0, 0);
    assert_int_equal(find(a, v7, &n), OK);
    assert_int_equal(n, 13);
    assert_int_equal(find(a, v4, &n), OK);
    assert_int_equal(n, 12);
    assert_int_equal(find(a, absent, &n), ERR_NOT_FOUND);
    assert_int_equal(audit_dropped(a), 0);
    audit_close(a);
    remove_place(&p);
}

static void what_the_ring_cannot_hold_is_dropped_and_counted_and_the_rest_is_kept(void **unused)
{
    (void)unused;
    enum { TRIES = 200000 };
    struct place p;
    make_place(&p);
    struct audit *a = open_log(&p, 0, 0);
    int64_t now = now_us();
    uint8_t id[ID_BYTES];
    bool *taken = mem_calloc(TRIES, 1);
    assert_non_null(taken);
    make_id(TRIES, now, id);
    assert_false(put(a, id, now, 0, 2000)); /* 40 KB: never fits half of 64 KiB. */
    assert_int_equal(audit_dropped(a), 1);
    uint32_t tried = 0;
    uint64_t refused = 1;
    /* 1 KB a piece: some 30 of them, faster than the thread wakes, fill a half. */
    for (; tried < TRIES && refused < 100; tried++) {
        make_id(tried, now, id);
        taken[tried] = put(a, id, now, tried, 50);
        refused += !taken[tried];
    }
    assert_int_equal(refused, 100);
    assert_int_equal(audit_dropped(a), refused);
    audit_close(a);
    a = open_log(&p, 0, 0);
    for (uint32_t i = 0; i < tried; i++) {
        uint32_t n = UINT32_MAX;
        make_id(i, now, id);
        assert_int_equal(find(a, id, &n), taken[i] ? OK : ERR_NOT_FOUND);
        assert_true(!taken[i] || n == i);
    }
    audit_close(a);
    mem_free(taken);
    remove_place(&p);
}

static void hours_past_their_age_go(void **unused)
{
    (void)unused;
    struct place p;
    make_place(&p);
    struct audit *a = open_log(&p, 0, 0);
    int64_t now = now_us();
    uint8_t old[ID_BYTES], fresh[ID_BYTES];
    uint32_t n;
    make_id(1, now - 100 * HOURS_US, old);
    make_id(2, now, fresh);
    assert_true(put(a, old, now - 100 * HOURS_US, 1, 0));
    assert_true(put(a, fresh, now, 2, 0));
    audit_close(a);
    a = open_log(&p, 200 * HOURS_US, 0);
    audit_close(a); /* The thread looked once, and kept both. */
    a = open_log(&p, 2 * HOURS_US, 0);
    assert_int_equal(find(a, fresh, &n), OK);
    audit_close(a);
    a = open_log(&p, 0, 0);
    assert_int_equal(find(a, fresh, &n), OK);
    assert_int_equal(find(a, old, &n), ERR_NOT_FOUND);
    audit_close(a);
    remove_place(&p);
}

/* Puts `n` records of about 1 KB, in steps that the ring holds; returns how many were taken. */
static uint32_t put_many(const struct place *p, uint64_t max_bytes, int64_t issued_us, uint32_t n,
                         uint64_t *ret_dropped)
{
    uint32_t taken = 0;
    *ret_dropped = 0;
    for (uint32_t i = 0; i < n;) {
        struct audit *a = open_log(p, 0, max_bytes);
        for (uint32_t k = 0; k < 60 && i < n; k++, i++) {
            uint8_t id[ID_BYTES];
            make_id(i, issued_us, id);
            taken += put(a, id, issued_us, i, 50);
            struct audit_counts c;
            audit_counts(a, &c);
            while (k % 20 == 19 && c.written + c.dropped < k + 1) /* The thread catches up. */
                audit_counts(a, &c);
        }
        *ret_dropped += audit_dropped(a);
        audit_close(a);
    }
    return taken;
}

static void the_oldest_hours_go_when_the_log_is_too_large(void **unused)
{
    (void)unused;
    struct place p;
    make_place(&p);
    int64_t now = now_us();
    uint64_t dropped;
    uint8_t id[ID_BYTES];
    uint32_t n;
    put_many(&p, 0, now - 2 * HOURS_US, 300, &dropped);
    assert_int_equal(dropped, 0);
    put_many(&p, 300 << 10, now, 60, &dropped); /* 300 KB before, and 60 KB now. */
    struct audit *a = open_log(&p, 0, 0);
    make_id(0, now - 2 * HOURS_US, id);
    assert_int_equal(find(a, id, &n), ERR_NOT_FOUND);
    make_id(0, now, id);
    assert_int_equal(find(a, id, &n), OK);
    audit_close(a);
    remove_place(&p);
}

static void an_hour_that_fills_the_log_alone_takes_no_more(void **unused)
{
    (void)unused;
    struct place p;
    make_place(&p);
    int64_t now = now_us();
    uint64_t dropped;
    struct audit *a = open_log(&p, 0, 200 << 10);
    for (uint32_t i = 0; i < 1000; i++) { /* 1 MB in all. */
        uint8_t id[ID_BYTES];
        make_id(i, now, id);
        (void)put(a, id, now, i, 50);
        struct audit_counts c;
        do
            audit_counts(a, &c);
        while (c.written + c.dropped + 20 < i);
    }
    dropped = audit_dropped(a);
    struct audit_counts c;
    audit_counts(a, &c);
    assert_true(dropped > 500);
    assert_true(c.written < 500 && c.written > 20);
    assert_non_null(strstr(c.last_error.text, "max_bytes"));
    uint8_t id[ID_BYTES];
    make_id(5000, now + HOURS_US, id); /* The next hour begins afresh. */
    assert_true(put(a, id, now + HOURS_US, 77, 0));
    audit_close(a);
    uint32_t n = 0;
    a = open_log(&p, 0, 0);
    assert_int_equal(find(a, id, &n), OK);
    assert_int_equal(n, 77);
    audit_close(a);
    remove_place(&p);
}

static void overwrite_hour(const char *path, const char *name)
{
    if (!strstr(name, ".log") || strstr(name, "-lock"))
        return;
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    char junk[4096];
    memset(junk, 0xa5, sizeof junk);
    for (off_t at = 0; at < st.st_size; at += (off_t)sizeof junk)
        assert_int_equal(write(fd, junk, sizeof junk), sizeof junk);
    close(fd);
}

static void halve_hour(const char *path, const char *name)
{
    struct stat st;
    if (strstr(name, ".log") && !strstr(name, "-lock") && stat(path, &st) == 0)
        assert_int_equal(truncate(path, st.st_size / 2 / 4096 * 4096), 0);
}

static void a_damaged_hour_is_forgotten_and_written_anew(void **unused)
{
    (void)unused;
    void (*const damage[])(const char *, const char *) = {overwrite_hour, halve_hour};
    for (size_t i = 0; i < 2; i++) {
        struct place p;
        make_place(&p);
        int64_t now = now_us();
        uint64_t dropped;
        uint32_t n = 0;
        put_many(&p, 0, now, 60, &dropped);
        each_file(&p, damage[i]);
        struct audit *a = open_log(&p, 0, 0);
        uint8_t id[ID_BYTES];
        make_id(0, now, id);
        assert_int_equal(find(a, id, &n), ERR_NOT_FOUND);
        assert_true(put(a, id, now, 5, 0));
        audit_close(a);
        a = open_log(&p, 0, 0);
        assert_int_equal(find(a, id, &n), OK);
        assert_int_equal(n, 5);
        audit_close(a);
        remove_place(&p);
    }
}

static enum err count_visit(void *ctx, int64_t hour, const uint8_t *key, struct slice bytes)
{
    (void)hour;
    (void)key;
    struct audit_record r;
    enum err e = audit_decode(bytes, &r);
    if (e == OK)
        mem_free(r.arms);
    ++*(uint64_t *)ctx;
    return e;
}

enum { PUTTERS = 4, EACH = 4000 };

struct race {
    struct audit *a;
    int64_t now;
    _Atomic uint32_t next;
    _Atomic uint64_t taken, refused, missed;
};

static void *put_and_find(void *arg)
{
    struct race *race = arg;
    uint32_t who = atomic_fetch_add(&race->next, 1);
    for (uint32_t i = 0; i < EACH; i++) {
        uint8_t id[ID_BYTES];
        uint32_t me = who * EACH + i, n = UINT32_MAX;
        make_id(me, race->now, id);
        if (!put(race->a, id, race->now, me, 0)) {
            atomic_fetch_add(&race->refused, 1);
            continue;
        }
        atomic_fetch_add(&race->taken, 1);
        if (find(race->a, id, &n) != OK || n != me)
            atomic_fetch_add(&race->missed, 1);
    }
    return NULL;
}

static void a_taken_record_is_never_out_of_sight_on_its_way_to_disk(void **unused)
{
    (void)unused;
    struct place p;
    make_place(&p);
    static struct race race;
    race.a = open_log(&p, 0, 0);
    race.now = now_us();
    pthread_t threads[PUTTERS];
    for (int i = 0; i < PUTTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_and_find, &race), 0);
    for (int i = 0; i < PUTTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(race.missed, 0);
    assert_int_equal(race.taken + race.refused, PUTTERS * EACH);
    assert_int_equal(audit_dropped(race.a), race.refused);
    audit_close(race.a);
    struct hours *h = NULL;
    uint64_t found = 0;
    assert_int_equal(hours_open(p.dir, NULL, &h, NULL), OK);
    assert_int_equal(hours_iterate(h, 0, INT32_MAX, count_visit, &found, NULL), OK);
    hours_close(h);
    assert_int_equal(found, race.taken); /* Close wrote what waited. */
    remove_place(&p);
}

static void a_log_that_cannot_be_opened_says_why_and_leaks_nothing(void **unused)
{
    (void)unused;
    struct audit *a = NULL;
    struct err_detail detail = {""};
    struct audit_options o = {.dir = "/nonexistent/place/decisions", .ring_bytes = RING};
    assert_int_not_equal(audit_open(&o, &a, &detail), OK);
    assert_non_null(strstr(detail.text, "/nonexistent"));
    o.ring_bytes = 1000;
    assert_int_equal(audit_open(&o, &a, &detail), ERR_OUT_OF_RANGE);
    struct place p;
    make_place(&p);
    o = (struct audit_options){.dir = p.dir, .ring_bytes = RING};
    enum err e = ERR_NOMEM;
    for (long n = 1; e != OK && n < 200; n++) {
        mem_fail_nth(n);
        e = audit_open(&o, &a, &detail);
        mem_fail_nth(0);
    }
    assert_int_equal(e, OK);
    audit_close(a);
    audit_close(NULL);
    remove_place(&p);
}

struct seen {
    uint32_t n, sum;
    int64_t first_us, last_us;
};

static enum err see(void *ctx, const struct audit_record *record)
{
    struct seen *s = ctx;
    const struct decision *d = &record->decision;
    s->first_us = s->n == 0 || d->issued_us < s->first_us ? d->issued_us : s->first_us;
    s->last_us = d->issued_us > s->last_us ? d->issued_us : s->last_us;
    s->n++;
    s->sum += d->arm_uid;
    return s->n < 7 ? OK : ERR_CANCELLED;
}

static void what_was_decided_in_a_time_is_visited_though_it_was_put_just_now(void **unused)
{
    (void)unused;
    struct place p;
    struct err_detail detail;
    uint64_t damaged = 99;
    make_place(&p);
    struct audit *a = open_log(&p, 0, 0);
    int64_t now = now_us();
    for (uint32_t i = 0; i < 6; i++) { /* One an hour, the newest now. */
        uint8_t id[ID_BYTES];
        int64_t at = now - (int64_t)(5 - i) * HOURS_US;
        make_id(i, at, id);
        assert_true(put(a, id, at, 1u << i, 2));
    }
    struct seen s = {0};
    assert_int_equal(audit_iterate(a, 0, now + 1, see, &s, &damaged, &detail), OK);
    assert_int_equal(s.n, 6);
    assert_int_equal(s.sum, 63);
    assert_int_equal(damaged, 0);
    s = (struct seen){0};
    assert_int_equal(audit_iterate(a, now - 3 * HOURS_US, now, see, &s, &damaged, &detail), OK);
    assert_int_equal(s.sum, 4 + 8 + 16); /* From the first on, before the last. */
    s = (struct seen){.n = 6};
    assert_int_equal(audit_iterate(a, 0, now, see, &s, &damaged, &detail), ERR_CANCELLED);
    assert_int_equal(s.n, 7);
    assert_int_equal(audit_iterate(a, now, now, see, &s, &damaged, &detail), ERR_OUT_OF_RANGE);
    audit_close(a);
    remove_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_decided_in_a_time_is_visited_though_it_was_put_just_now),
        cmocka_unit_test(a_record_is_found_at_once_and_after_a_restart),
        cmocka_unit_test(what_the_ring_cannot_hold_is_dropped_and_counted_and_the_rest_is_kept),
        cmocka_unit_test(hours_past_their_age_go),
        cmocka_unit_test(the_oldest_hours_go_when_the_log_is_too_large),
        cmocka_unit_test(an_hour_that_fills_the_log_alone_takes_no_more),
        cmocka_unit_test(a_damaged_hour_is_forgotten_and_written_anew),
        cmocka_unit_test(a_taken_record_is_never_out_of_sight_on_its_way_to_disk),
        cmocka_unit_test(a_log_that_cannot_be_opened_says_why_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
