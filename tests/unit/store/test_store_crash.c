/* kill -9 in a loop: what was acknowledged is there, whole and in order, every time. */
#include "state/base/rng.h"
#include "state/store/store.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/store/scratch.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 25

/* A checkpoint now and then, the older ones dropped, the journal trimmed: all that a server does
 * while it is killed. */
static enum err checkpoint(struct store *s, uint64_t position, struct err_detail *d)
{
    uint8_t bytes[SCRATCH_RECORD_MAX];
    struct store_generation g[STORE_GENERATIONS_MAX];
    uint64_t id = 0, done = 0;
    size_t n = 0;
    TRY(store_generation_begin(s, position, 1, &id, d));
    for (uint32_t i = 0; i < 20; i++) {
        struct slice chunk = {bytes, scratch_record(i, bytes)};
        TRY(store_generation_put(s, id, i, &chunk, 1, d));
    }
    TRY(store_generation_commit(s, id, 20, 0, d));
    TRY(store_generation_list(s, g, &n, d));
    for (size_t i = 0; i + 2 < n; i++)
        TRY(store_generation_drop(s, g[i].id, d));
    return store_journal_trim(s, position > 2000 ? position - 2000 : 0, 1000, &done, d);
}

static void write_until_killed(const char *dir, int acks, uint64_t seed)
{
    struct store *s = NULL;
    struct err_detail d;
    if (store_open(dir, NULL, &s, &d) != OK)
        _exit(1);
    for (uint64_t i = 0;; i++) {
        size_t n = 1 + (size_t)rng_below(seed, i, 200);
        if (scratch_append(s, n, &d) != OK)
            _exit(2);
        uint64_t last = store_journal_last(s);
        if (write(acks, &last, sizeof last) != (ssize_t)sizeof last)
            _exit(3);
        if (i % 4 == 3 && checkpoint(s, last, &d) != OK)
            _exit(4);
    }
}

/* The last acknowledgement that was sent; 0 when there was none. */
static uint64_t last_ack(int acks)
{
    uint64_t seq, last = 0;
    while (read(acks, &seq, sizeof seq) == (ssize_t)sizeof seq)
        last = seq;
    return last;
}

static void check_after(const char *dir, uint64_t acked)
{
    struct err_detail d = {""};
    struct store_counts counts;
    struct store_generation g[STORE_GENERATIONS_MAX];
    size_t generations = 0;
    uint64_t n = 0, chunks = 0;
    struct store *s = scratch_open(dir);
    uint64_t first = store_journal_first(s), last = store_journal_last(s);
    assert_true(last >= acked);
    if (store_journal_iterate(s, 0, UINT64_MAX, scratch_expect, &n, &d) != OK)
        fail_msg("%s", d.text);
    assert_int_equal(n, last ? last - first + 1 : 0);
    if (store_check(s, NULL, NULL, &counts, &d) != OK)
        fail_msg("%s", d.text);
    assert_int_equal(store_generation_list(s, g, &generations, &d), OK);
    for (size_t i = 0; i < generations; i++)
        assert_int_equal(store_generation_read(s, g[i].id, scratch_expect, &chunks, &d), OK);
    assert_int_equal(chunks, 20 * generations);
    assert_int_equal(counts.chunks, chunks);
    /* Recovery must be possible: everything after the current generation is kept. */
    assert_true(generations == 0 ? first <= 1 : first <= g[generations - 1].position + 1);
    store_close(s);
}

static void no_acknowledged_record_is_lost_to_kill_9(void **unused)
{
    (void)unused;
    char dir[SCRATCH_CAP], data[SCRATCH_CAP];
    uint64_t acked = 0, before;
    scratch_make(dir);
    scratch_path(dir, "data", data);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            write_until_killed(data, ends[1], round);
        }
        close(ends[1]);
        /* Kill some time after the first acknowledgement, at a moment nobody has chosen. */
        struct pollfd ready = {.fd = ends[0], .events = POLLIN};
        assert_int_equal(poll(&ready, 1, 60000), 1);
        usleep((useconds_t)(rng_below(99, round, 80000)));
        assert_int_equal(kill(child, SIGKILL), 0);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        before = acked;
        acked = last_ack(ends[0]);
        close(ends[0]);
        assert_true(acked > before); /* Each round has proved something. */
        check_after(data, acked);
    }
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_acknowledged_record_is_lost_to_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
