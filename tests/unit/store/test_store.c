#include "state/store/store.h"

#include "state/base/mem.h"
#include "state/store/place.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/store/scratch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    char dir[SCRATCH_CAP], data[SCRATCH_CAP], copy[SCRATCH_CAP], again[SCRATCH_CAP];
    struct store *s;
    struct err_detail detail;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    scratch_make(f->dir);
    scratch_path(f->dir, "data", f->data);
    scratch_path(f->dir, "copy", f->copy);
    scratch_path(f->dir, "again", f->again);
    f->s = scratch_open(f->data);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    scratch_remove(f->dir);
    free(f);
    return 0;
}

static void assert_ok(struct fixture *f, enum err e)
{
    if (e != OK)
        fail_msg("%s: %s", err_code(e), f->detail.text);
}

static uint64_t count_journal(struct fixture *f)
{
    uint64_t n = 0;
    assert_ok(f, store_journal_iterate(f->s, 0, UINT64_MAX, scratch_expect, &n, &f->detail));
    return n;
}

static void reopen(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    f->s = scratch_open(f->data);
}

static void a_new_directory_is_private_and_empty(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(stat(f->data, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    char file[SCRATCH_CAP];
    scratch_path(f->data, "state", file);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(store_journal_first(f->s), 0);
    assert_int_equal(store_journal_last(f->s), 0);
    assert_int_equal(count_journal(f), 0);
}

static void what_is_open_to_everybody_is_refused_until_it_is_closed(void **state)
{
    struct fixture *f = *state;
    struct store_options o = {.no_probe = true};
    struct err_detail detail;
    char file[SCRATCH_CAP];
    scratch_path(f->data, "state", file);
    store_close(f->s);
    f->s = NULL;
    assert_int_equal(chmod(f->data, 0702), 0);
    assert_int_equal(store_open(f->data, &o, &f->s, &detail), ERR_UNSUPPORTED);
    assert_non_null(strstr(detail.text, f->data));
    assert_int_equal(chmod(f->data, 0755), 0); /* Names may be seen. */
    assert_int_equal(chmod(file, 0604), 0);
    assert_int_equal(store_open(f->data, &o, &f->s, &detail), ERR_UNSUPPORTED);
    assert_non_null(strstr(detail.text, file));
    assert_int_equal(chmod(file, 0640), 0);
    assert_int_equal(store_open(f->data, &o, &f->s, &detail), OK);
}

static void a_directory_whose_parent_is_absent_is_refused_by_name(void **state)
{
    struct fixture *f = *state;
    char far[SCRATCH_CAP];
    struct store *s = NULL;
    scratch_path(f->dir, "no/such", far);
    assert_int_equal(store_open(far, NULL, &s, &f->detail), ERR_NOT_FOUND);
    assert_non_null(strstr(f->detail.text, far));
    assert_null(s);
}

static void appended_records_are_there_after_reopening(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++)
        assert_ok(f, scratch_append(f->s, 50, &f->detail));
    assert_int_equal(count_journal(f), 1000);
    reopen(f);
    assert_int_equal(store_journal_first(f->s), 1);
    assert_int_equal(store_journal_last(f->s), 1000);
    assert_int_equal(count_journal(f), 1000);
    uint64_t n = 0;
    assert_ok(f, store_journal_iterate(f->s, 990, 995, scratch_expect, &n, &f->detail));
    assert_int_equal(n, 6);
    n = 0;
    assert_ok(f, store_journal_iterate(f->s, 1001, UINT64_MAX, scratch_expect, &n, &f->detail));
    assert_int_equal(n, 0);
}

static enum err stop_at_five(void *ctx, uint64_t number, struct slice bytes)
{
    (void)bytes;
    uint64_t *last = ctx;
    *last = number;
    return number == 5 ? ERR_CANCELLED : OK;
}

static void a_visitor_stops_the_walk(void **state)
{
    struct fixture *f = *state;
    uint64_t last = 0;
    assert_ok(f, scratch_append(f->s, 10, &f->detail));
    assert_int_equal(store_journal_iterate(f->s, 1, UINT64_MAX, stop_at_five, &last, &f->detail),
                     ERR_CANCELLED);
    assert_int_equal(last, 5);
}

static void what_is_too_large_is_refused_and_adds_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t last = 0;
    uint8_t *big = calloc(1, STORE_RECORD_MAX + 1);
    assert_non_null(big);
    struct slice records[2] = {{"x", 1}, {big, STORE_RECORD_MAX + 1}};
    assert_int_equal(store_append(f->s, records, 2, &last, &f->detail), ERR_TOO_LARGE);
    assert_int_equal(store_journal_last(f->s), 0);
    records[1].len = STORE_RECORD_MAX;
    assert_ok(f, store_append(f->s, records, 2, &last, &f->detail));
    assert_int_equal(last, 2);
    assert_ok(f, store_append(f->s, NULL, 0, &last, &f->detail));
    assert_int_equal(last, 2);
    free(big);
}

static void a_small_map_grows_unseen(void **state)
{
    struct fixture *f = *state;
    struct store_options small = {.map_bytes = 1u << 20};
    struct store_sizes z;
    store_close(f->s);
    f->s = NULL;
    assert_ok(f, store_open(f->data, &small, &f->s, &f->detail));
    assert_ok(f, store_sizes(f->s, &z, &f->detail));
    assert_int_equal(z.map_bytes, 1u << 20);
    for (int i = 0; i < 40; i++)
        assert_ok(f, scratch_append(f->s, 500, &f->detail));
    assert_int_equal(count_journal(f), 20000);
    assert_ok(f, store_sizes(f->s, &z, &f->detail));
    assert_true(z.map_bytes > 1u << 20);
    assert_int_equal(z.records, 20000);
    assert_true(z.journal_bytes > 4u << 20 && z.journal_bytes <= z.file_bytes);
}

struct race {
    struct store *s;
    _Atomic bool stop;
    _Atomic int wrong;
    _Atomic long rounds;
};

static void *read_all(void *arg)
{
    struct race *r = arg;
    struct err_detail detail;
    while (!atomic_load(&r->stop)) {
        uint64_t n = 0;
        enum err e = store_journal_iterate(r->s, 0, UINT64_MAX, scratch_expect, &n, &detail);
        if (e != OK && e != ERR_NOT_FOUND)
            atomic_fetch_add(&r->wrong, 1);
        atomic_fetch_add(&r->rounds, 1);
    }
    return NULL;
}

static void the_map_grows_under_live_readers(void **state)
{
    struct fixture *f = *state;
    struct store_options small = {.map_bytes = 1u << 20};
    store_close(f->s);
    f->s = NULL;
    assert_ok(f, store_open(f->data, &small, &f->s, &f->detail));
    struct race r = {.s = f->s};
    pthread_t reader[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&reader[i], NULL, read_all, &r), 0);
    for (int i = 0; i < 30 || atomic_load(&r.rounds) < 10; i++)
        assert_ok(f, scratch_append(f->s, 300, &f->detail));
    atomic_store(&r.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(reader[i], NULL);
    assert_int_equal(atomic_load(&r.wrong), 0);
}

static void put_generation(struct fixture *f, uint64_t position, uint32_t chunks, uint64_t *ret_id)
{
    uint8_t bytes[SCRATCH_RECORD_MAX];
    assert_ok(f, store_generation_begin(f->s, position, 1234567, ret_id, &f->detail));
    for (uint32_t i = 0; i < chunks; i++) {
        struct slice chunk = {bytes, scratch_record(i, bytes)};
        assert_ok(f, store_generation_put(f->s, *ret_id, i, &chunk, 1, &f->detail));
    }
    assert_ok(f, store_generation_commit(f->s, *ret_id, chunks, 77, &f->detail));
}

static void a_generation_is_current_after_commit_and_not_before(void **state)
{
    struct fixture *f = *state;
    struct store_generation g[STORE_GENERATIONS_MAX];
    size_t n = 9;
    uint64_t id = 0, second = 0, chunks = 0;
    assert_ok(f, scratch_append(f->s, 10, &f->detail));
    put_generation(f, 5, 300, &id);
    assert_ok(f, store_generation_begin(f->s, 10, 9, &second, &f->detail));
    struct slice chunk = {"abc", 3};
    assert_ok(f, store_generation_put(f->s, second, 0, &chunk, 1, &f->detail));
    assert_ok(f, store_generation_list(f->s, g, &n, &f->detail));
    assert_int_equal(n, 1);
    assert_int_equal(g[0].id, id);
    assert_int_equal(g[0].position, 5);
    assert_int_equal(g[0].hash, 77);
    assert_int_equal(g[0].created_at_us, 1234567);
    assert_int_equal(g[0].chunks_n, 300);
    assert_false(g[0].base);
    reopen(f); /* The second was never finished: nothing of it is left. */
    assert_ok(f, store_generation_list(f->s, g, &n, &f->detail));
    assert_int_equal(n, 1);
    assert_ok(f, store_generation_read(f->s, id, scratch_expect, &chunks, &f->detail));
    assert_int_equal(chunks, 300);
    struct store_counts counts;
    assert_ok(f, store_check(f->s, NULL, NULL, &counts, &f->detail));
    assert_int_equal(counts.chunks, 300);
    assert_int_equal(store_generation_read(f->s, second, scratch_expect, &chunks, &f->detail),
                     ERR_NOT_FOUND);
}

static void a_released_generation_is_gone_at_once_and_its_chunks_in_steps(void **state)
{
    struct fixture *f = *state;
    struct store_generation g[STORE_GENERATIONS_MAX];
    size_t n = 9;
    uint64_t id = 0, current = 0, building = 0, chunks = 0;
    bool done = false;
    assert_ok(f, scratch_append(f->s, 10, &f->detail));
    put_generation(f, 5, 150, &id);
    put_generation(f, 10, 3, &current);
    assert_int_equal(store_generation_release(f->s, current, &f->detail), ERR_INVALID);
    assert_ok(f, store_generation_release(f->s, id, &f->detail));
    assert_int_equal(store_generation_release(f->s, id, &f->detail), ERR_NOT_FOUND);
    assert_ok(f, store_generation_list(f->s, g, &n, &f->detail));
    assert_int_equal(n, 1);
    uint64_t steps = 0;
    for (; !done; steps++)
        assert_ok(f, store_generation_sweep(f->s, &done, &f->detail));
    assert_int_equal(steps, 4); /* 64, 64 and 22 chunks; then there is nothing. */
    assert_ok(f, store_generation_begin(f->s, 10, 1, &building, &f->detail));
    struct slice chunk = {"abc", 3};
    assert_ok(f, store_generation_put(f->s, building, 0, &chunk, 1, &f->detail));
    assert_ok(f, store_generation_sweep(f->s, &done, &f->detail)); /* Not what is being built. */
    assert_true(done);
    assert_ok(f, store_generation_commit(f->s, building, 1, 0, &f->detail));
    assert_ok(f, store_generation_read(f->s, current, scratch_expect, &chunks, &f->detail));
    assert_int_equal(chunks, 3);
}

static void a_generation_with_a_hole_is_not_committed(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 0;
    struct slice chunk = {"abc", 3};
    assert_ok(f, store_generation_begin(f->s, 0, 1, &id, &f->detail));
    assert_ok(f, store_generation_put(f->s, id, 0, &chunk, 1, &f->detail));
    assert_ok(f, store_generation_put(f->s, id, 2, &chunk, 1, &f->detail));
    assert_int_equal(store_generation_put(f->s, id, 2, &chunk, 1, &f->detail), ERR_EXISTS);
    assert_int_equal(store_generation_commit(f->s, id, 2, 0, &f->detail), ERR_INVALID);
    assert_int_equal(store_generation_commit(f->s, id, 3, 0, &f->detail), ERR_INVALID);
    assert_ok(f, store_generation_put(f->s, id, 1, &chunk, 1, &f->detail));
    assert_ok(f, store_generation_commit(f->s, id, 3, 0, &f->detail));
    assert_int_equal(store_generation_put(f->s, id, 3, &chunk, 1, &f->detail), ERR_NOT_FOUND);
}

static void a_generation_beyond_the_journal_or_a_second_one_is_refused(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 0, other = 0;
    assert_int_equal(store_generation_begin(f->s, 1, 1, &id, &f->detail), ERR_INVALID);
    assert_ok(f, store_generation_begin(f->s, 0, 1, &id, &f->detail));
    assert_int_equal(store_generation_begin(f->s, 0, 1, &other, &f->detail), ERR_EXISTS);
    assert_ok(f, store_generation_abort(f->s, id, &f->detail));
    assert_ok(f, store_generation_begin(f->s, 0, 1, &other, &f->detail));
    assert_ok(f, store_generation_abort(f->s, other, &f->detail));
}

static void dropping_spares_the_current_one_and_the_bases(void **state)
{
    struct fixture *f = *state;
    struct store_generation g[STORE_GENERATIONS_MAX];
    size_t n = 0;
    uint64_t base = 0, middle = 0, current = 0;
    put_generation(f, 0, 3, &base);
    put_generation(f, 0, 200, &middle);
    put_generation(f, 0, 3, &current);
    assert_ok(f, store_generation_mark_base(f->s, base, true, &f->detail));
    assert_int_equal(store_generation_drop(f->s, base, &f->detail), ERR_INVALID);
    assert_int_equal(store_generation_drop(f->s, current, &f->detail), ERR_INVALID);
    assert_ok(f, store_generation_drop(f->s, middle, &f->detail));
    assert_int_equal(store_generation_drop(f->s, middle, &f->detail), ERR_NOT_FOUND);
    reopen(f);
    assert_ok(f, store_generation_list(f->s, g, &n, &f->detail));
    assert_int_equal(n, 2);
    assert_true(g[0].base && g[0].id == base && g[1].id == current && !g[1].base);
    struct store_counts counts;
    assert_ok(f, store_check(f->s, NULL, NULL, &counts, &f->detail));
    assert_int_equal(counts.chunks, 6);
}

static void generations_are_limited(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 0;
    for (unsigned i = 0; i < STORE_GENERATIONS_MAX; i++)
        put_generation(f, 0, 1, &id);
    assert_int_equal(store_generation_begin(f->s, 0, 1, &id, &f->detail), ERR_LIMIT);
}

static void trimming_keeps_what_recovery_and_bases_need(void **state)
{
    struct fixture *f = *state;
    uint64_t done = 9, base = 0, current = 0, n = 0;
    for (int i = 0; i < 10; i++)
        assert_ok(f, scratch_append(f->s, 1000, &f->detail));
    assert_ok(f, store_journal_trim(f->s, UINT64_MAX, UINT64_MAX, &done, &f->detail));
    assert_int_equal(done, 0); /* No checkpoint: the journal is all there is. */
    put_generation(f, 6000, 1, &base);
    assert_ok(f, store_generation_mark_base(f->s, base, true, &f->detail));
    put_generation(f, 10000, 1, &current);
    assert_ok(f, store_journal_trim(f->s, UINT64_MAX, 100, &done, &f->detail));
    assert_int_equal(done, 100);
    assert_int_equal(store_journal_first(f->s), 101);
    assert_ok(f, store_journal_trim(f->s, UINT64_MAX, UINT64_MAX, &done, &f->detail));
    assert_int_equal(done, 5900);
    assert_int_equal(store_journal_iterate(f->s, 1, 10, scratch_expect, &n, &f->detail),
                     ERR_NOT_FOUND);
    assert_ok(f, store_generation_mark_base(f->s, base, false, &f->detail));
    assert_ok(f, store_journal_trim(f->s, UINT64_MAX, UINT64_MAX, &done, &f->detail));
    assert_int_equal(done, 3999);
    reopen(f);
    assert_int_equal(store_journal_first(f->s), 10000); /* The newest keeps the numbering. */
    assert_ok(f, scratch_append(f->s, 1, &f->detail));
    assert_int_equal(store_journal_last(f->s), 10001);
    assert_int_equal(count_journal(f), 2);
}

static void trimmed_room_is_used_again(void **state)
{
    struct fixture *f = *state;
    struct store_sizes before, after;
    uint64_t id = 0, done = 0, total = 0;
    for (int round = 0; round < 40; round++) {
        total += 500;
        assert_ok(f, scratch_append(f->s, 500, &f->detail));
        put_generation(f, total, 1, &id);
        if (round > 0)
            assert_ok(f, store_generation_drop(f->s, id - 1, &f->detail));
        assert_ok(f, store_journal_trim(f->s, total, UINT64_MAX, &done, &f->detail));
        if (round == 10)
            assert_ok(f, store_sizes(f->s, &before, &f->detail));
    }
    assert_ok(f, store_sizes(f->s, &after, &f->detail));
    assert_true(after.used_bytes <= before.used_bytes + before.used_bytes / 4);
    struct store_counts counts;
    assert_ok(f, store_check(f->s, NULL, NULL, &counts, &f->detail));
}

static void settings_are_kept_replaced_and_limited(void **state)
{
    struct fixture *f = *state;
    struct buf b;
    buf_init(&b);
    assert_int_equal(store_get_setting(f->s, "keys", &b, &f->detail), ERR_NOT_FOUND);
    assert_ok(f, store_put_setting(f->s, "keys", (struct slice){"one", 3}, &f->detail));
    assert_ok(f, store_put_setting(f->s, "keys", (struct slice){"second", 6}, &f->detail));
    reopen(f);
    assert_ok(f, store_get_setting(f->s, "keys", &b, &f->detail));
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.data, "second", 6);
    buf_done(&b);
    assert_int_equal(store_put_setting(f->s, "", (struct slice){"x", 1}, &f->detail), ERR_BAD_NAME);
    char name[32];
    enum err e = OK;
    unsigned n = 1;
    for (; e == OK && n < 3000; n++) {
        snprintf(name, sizeof name, "n%u", n);
        e = store_put_setting(f->s, name, (struct slice){"x", 1}, &f->detail);
    }
    assert_int_equal(e, ERR_LIMIT);
    assert_int_equal(n - 1, STORE_SETTINGS_MAX);
}

static enum err count_progress(void *ctx, const struct store_counts *so_far)
{
    uint64_t *n = ctx;
    ++*n;
    return so_far->records >= 4000 ? ERR_CANCELLED : OK;
}

static void a_check_counts_and_can_be_stopped(void **state)
{
    struct fixture *f = *state;
    struct store_counts counts;
    uint64_t calls = 0;
    for (int i = 0; i < 5; i++)
        assert_ok(f, scratch_append(f->s, 1000, &f->detail));
    assert_ok(f, store_check(f->s, NULL, NULL, &counts, &f->detail));
    assert_int_equal(counts.records, 5000);
    assert_true(counts.bytes > 500000);
    assert_int_equal(store_check(f->s, count_progress, &calls, &counts, &f->detail), ERR_CANCELLED);
    assert_int_equal(calls, 4);
}

static void a_backup_restores_to_the_same_records(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0, id = 0, n = 0;
    for (int i = 0; i < 5; i++)
        assert_ok(f, scratch_append(f->s, 500, &f->detail));
    put_generation(f, 2000, 40, &id);
    assert_ok(f, store_backup(f->s, f->copy, &bytes, &f->detail));
    assert_true(bytes > 100000);
    assert_int_equal(store_backup(f->s, f->copy, &bytes, &f->detail), ERR_EXISTS);
    assert_ok(f, scratch_append(f->s, 1, &f->detail)); /* Not in the backup. */
    assert_int_equal(store_restore(f->copy, f->data, &f->detail), ERR_LOCKED);
    assert_ok(f, store_restore(f->copy, f->again, &f->detail));
    assert_int_equal(store_restore(f->copy, f->again, &f->detail), ERR_EXISTS);
    store_close(f->s);
    f->s = scratch_open(f->again);
    assert_int_equal(count_journal(f), 2500);
    assert_ok(f, store_generation_read(f->s, id, scratch_expect, &n, &f->detail));
    assert_int_equal(n, 40);
    assert_ok(f, scratch_append(f->s, 10, &f->detail));
}

static void *append_some(void *arg)
{
    struct race *r = arg;
    struct err_detail detail;
    while (!atomic_load(&r->stop)) {
        if (scratch_append(r->s, 20, &detail) != OK)
            atomic_fetch_add(&r->wrong, 1);
        atomic_fetch_add(&r->rounds, 1);
    }
    return NULL;
}

static void a_backup_while_appends_run_is_whole(void **state)
{
    struct fixture *f = *state;
    struct race r = {.s = f->s};
    pthread_t writer;
    uint64_t bytes = 0;
    assert_ok(f, scratch_append(f->s, 5000, &f->detail));
    assert_int_equal(pthread_create(&writer, NULL, append_some, &r), 0);
    while (atomic_load(&r.rounds) < 5)
        usleep(1000);
    enum err e = store_backup(f->s, f->copy, &bytes, &f->detail);
    atomic_store(&r.stop, true);
    pthread_join(writer, NULL);
    assert_ok(f, e);
    assert_int_equal(atomic_load(&r.wrong), 0);
    assert_ok(f, store_verify(f->copy, &f->detail));
    assert_ok(f, store_restore(f->copy, f->again, &f->detail));
    store_close(f->s);
    f->s = scratch_open(f->again);
    assert_true(count_journal(f) >= 5000);
}

static void a_second_process_is_refused_and_told_the_pid(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct store *s = NULL;
        struct err_detail detail = {""};
        char pid[32];
        snprintf(pid, sizeof pid, "process %ld", (long)getppid());
        enum err e = store_open(f->data, NULL, &s, &detail);
        _exit(e == ERR_LOCKED && strstr(detail.text, pid) ? 0 : 1);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_ok(f, scratch_append(f->s, 1, &f->detail));
}

static void network_file_systems_are_known_by_their_magic(void **unused)
{
    (void)unused;
    assert_true(place_magic_is_network(0x6969));      /* NFS */
    assert_true(place_magic_is_network(0xFF534D42));  /* CIFS */
    assert_true(place_magic_is_network(0x65735546));  /* FUSE */
    assert_false(place_magic_is_network(0xEF53));     /* ext4 */
    assert_false(place_magic_is_network(0x58465342)); /* XFS */
    assert_false(place_magic_is_network(0x01021994)); /* tmpfs */
    assert_false(place_magic_is_network(0x9123683E)); /* btrfs */
}

#ifdef SHUNT_FAULTS
/* Everything once; the first error. */
static enum err whole_life(const char *data, const char *copy)
{
    struct store *s = NULL;
    struct err_detail detail;
    struct store_counts counts;
    struct slice records[2] = {{"one", 3}, {"two", 3}};
    struct buf b;
    uint64_t last = 0, id = 0, bytes = 0, n = 0;
    buf_init(&b);
    enum err e = store_open(data, NULL, &s, &detail);
    if (e == OK)
        e = store_append(s, records, 2, &last, &detail);
    if (e == OK)
        e = store_generation_begin(s, last, 1, &id, &detail);
    if (e == OK)
        e = store_generation_put(s, id, 0, records, 2, &detail);
    if (e == OK)
        e = store_generation_commit(s, id, 2, 0, &detail);
    if (e == OK)
        e = store_generation_mark_base(s, id, true, &detail);
    if (e == OK)
        e = store_put_setting(s, "name", records[0], &detail);
    if (e == OK)
        e = store_get_setting(s, "name", &b, &detail);
    if (e == OK)
        e = store_journal_trim(s, last, 1, &n, &detail);
    if (e == OK)
        e = store_check(s, NULL, NULL, &counts, &detail);
    if (e == OK)
        e = store_backup(s, copy, &bytes, &detail);
    store_close(s);
    buf_done(&b);
    return e;
}

static void every_failed_allocation_is_an_error_and_leaves_a_sound_store(void **state)
{
    struct fixture *f = *state;
    enum err e = ERR_NOMEM;
    long n = 1;
    store_close(f->s);
    f->s = NULL;
    for (; e != OK && n < 200; n++) {
        mem_fail_nth(n);
        e = whole_life(f->data, f->copy);
        mem_fail_nth(0);
        assert_true(e == OK || e == ERR_NOMEM);
        if (e == OK)
            break;
        f->s = scratch_open(f->data);
        struct store_counts counts;
        assert_ok(f, store_check(f->s, NULL, NULL, &counts, &f->detail));
        store_close(f->s);
        f->s = NULL;
        scratch_remove(f->copy);
        scratch_remove(f->data);
    }
    assert_int_equal(e, OK);
    assert_true(n > 10); /* There were allocations to fail. */
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_directory_is_private_and_empty),
        TEST(what_is_open_to_everybody_is_refused_until_it_is_closed),
        TEST(a_directory_whose_parent_is_absent_is_refused_by_name),
        TEST(appended_records_are_there_after_reopening),
        TEST(a_visitor_stops_the_walk),
        TEST(what_is_too_large_is_refused_and_adds_nothing),
        TEST(a_small_map_grows_unseen),
        TEST(the_map_grows_under_live_readers),
        TEST(a_generation_is_current_after_commit_and_not_before),
        TEST(a_released_generation_is_gone_at_once_and_its_chunks_in_steps),
        TEST(a_generation_with_a_hole_is_not_committed),
        TEST(a_generation_beyond_the_journal_or_a_second_one_is_refused),
        TEST(dropping_spares_the_current_one_and_the_bases),
        TEST(generations_are_limited),
        TEST(trimming_keeps_what_recovery_and_bases_need),
        TEST(trimmed_room_is_used_again),
        TEST(settings_are_kept_replaced_and_limited),
        TEST(a_check_counts_and_can_be_stopped),
        TEST(a_backup_restores_to_the_same_records),
        TEST(a_backup_while_appends_run_is_whole),
        TEST(a_second_process_is_refused_and_told_the_pid),
        cmocka_unit_test(network_file_systems_are_known_by_their_magic),
#ifdef SHUNT_FAULTS
        TEST(every_failed_allocation_is_an_error_and_leaves_a_sound_store),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
