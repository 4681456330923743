#include "client/ctl/replay_maths.h"

#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* Three arms, two labels; row 4 lacks arm c and has no label. By hand, quality alone:
 *        t1   t1   t2   -
 *   a    1    0    0    .5     mean .375
 *   b    0    1    .5   .5     mean .5     <- best single
 *   c    .5   .5   1    -      mean 2/3 over its three rows; see the test */
static const char EXAMPLE[] =
    "{\"task\":\"t1\",\"outcomes\":{\"c\":{\"quality\":0.5,\"cost_usd\":4},\"a\":{\"quality\":1,"
    "\"cost_usd\":1},\"b\":{\"quality\":0,\"cost_usd\":2}}}\n"
    "\n"
    "{\"task\":\"t1\",\"outcomes\":{\"a\":{\"quality\":0,\"cost_usd\":1},\"b\":{\"quality\":1,"
    "\"cost_usd\":2},\"c\":{\"quality\":0.5,\"cost_usd\":4}}}\r\n"
    "{\"task\":\"t2\",\"outcomes\":{\"a\":{\"quality\":0,\"cost_usd\":1},\"b\":{\"quality\":0.5,"
    "\"cost_usd\":2},\"c\":{\"quality\":1,\"cost_usd\":4}}}\n"
    "{\"outcomes\":{\"b\":{\"quality\":0.5,\"cost_usd\":2},\"a\":{\"quality\":0.5,\"cost_usd\":1}}"
    "}";

static const struct maths_metric QUALITY[REPLAY_METRIC_N] = {
    [REPLAY_QUALITY] = {.there = true, .low = 0, .high = 1, .weight = 1}};

/* A few dozen additions of numbers near 1: rounding stays far below this. */
static void assert_close(double a, double b)
{
    if (!(fabs(a - b) < 1e-12))
        fail_msg("%.17g is not %.17g", a, b);
}

static void file_write(char path[32], const char *text, size_t len, bool gzip)
{
    snprintf(path, 32, "/tmp/shunt_test_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    if (gzip) {
        gzFile out = gzdopen(fd, "wb");
        assert_int_equal(gzwrite(out, text, (unsigned)len), (int)len);
        assert_int_equal(gzclose(out), Z_OK);
    } else {
        assert_int_equal(write(fd, text, len), (ssize_t)len);
        close(fd);
    }
}

static void example_load(struct replay_data *data, bool gzip)
{
    char path[32];
    struct replay_error error = {.text = ""};
    file_write(path, EXAMPLE, strlen(EXAMPLE), gzip);
    replay_data_init(data, true);
    if (!replay_data_load(data, path, &error) || !replay_data_finish(data, &error))
        fail_msg("%s", error.text);
    data->files[0] = "example";
    unlink(path);
}

static void arms_and_labels_are_numbered_in_sorted_order(void **unused)
{
    (void)unused;
    for (int gzip = 0; gzip < 2; gzip++) {
        struct replay_data data;
        example_load(&data, gzip);
        assert_int_equal(data.items_n, 4);
        assert_int_equal(data.arms.n, 3);
        assert_string_equal(data.arms.names[0], "a");
        assert_string_equal(data.arms.names[2], "c");
        assert_int_equal(data.items[1].line, 3); /* The blank line counts. */
        assert_int_equal(data.items[2].task, 1);
        assert_int_equal(data.items[3].task, REPLAY_NO_TASK);
        assert_true(replay_data_cell(&data, &data.items[0], 2)->value[REPLAY_COST_USD] == 4);
        assert_null(replay_data_cell(&data, &data.items[3], 2));
        assert_true(data.has[REPLAY_COST_USD] && !data.has[REPLAY_ENERGY_J]);
        replay_data_done(&data);
    }
}

static void baselines_are_those_computed_by_hand(void **unused)
{
    (void)unused;
    struct replay_data data;
    struct maths_baselines b;
    example_load(&data, false);
    assert_true(maths_baselines(&data, QUALITY, &b));
    assert_close(b.arms[0].utility, 0.375);
    assert_close(b.arms[1].utility, 0.5);
    assert_close(b.arms[2].utility, 2.0 / 3);
    assert_int_equal(b.arms[2].rows, 3);
    assert_int_equal(b.best_arm, 2);
    assert_close(b.best_single, 2.0 / 3);
    assert_close(b.random, (0.5 + 0.5 + 0.5 + 0.5) / 4);
    assert_close(b.oracle, (1 + 1 + 1 + 0.5) / 4);
    /* t1: every arm has .5 over two rows; t2: c has 1; no label: .5. */
    assert_close(b.best_per_task, (2 * 0.5 + 1 + 0.5) / 4);
    maths_baselines_done(&b);
    replay_data_done(&data);
}

static void lower_is_better_counts_as_one_minus_and_saturates(void **unused)
{
    (void)unused;
    struct maths_metric m[REPLAY_METRIC_N] = {
        [REPLAY_QUALITY] = {.there = true, .low = 0, .high = 1, .weight = 0.5},
        [REPLAY_COST_USD] = {.there = true, .lower = true, .low = 0, .high = 4, .weight = 0.5}};
    double value[REPLAY_METRIC_N] = {0.8, 1, 0, 0};
    assert_close(maths_utility(m, value), 0.5 * 0.8 + 0.5 * 0.75);
    value[REPLAY_COST_USD] = 400;
    assert_close(maths_utility(m, value), 0.4);
    struct maths_metric log_scale = {.there = true, .log = true, .low = 1, .high = 100};
    assert_close(maths_unit(&log_scale, 10), 0.5);
    assert_close(maths_unit(&log_scale, 0), 0);
    assert_close(maths_unit(&log_scale, 1000), 1);
}

static void weights_that_the_data_cannot_honour_are_refused(void **unused)
{
    (void)unused;
    struct replay_data data;
    struct replay_error error;
    example_load(&data, false);
    assert_true(maths_check(&data, QUALITY, &error));
    struct maths_metric m[REPLAY_METRIC_N] = {
        [REPLAY_ENERGY_J] = {.there = true, .lower = true, .high = 1, .weight = 1}};
    assert_false(maths_check(&data, m, &error));
    assert_memory_equal(error.text, "example:1: outcomes.a.energy_j is missing", 41);
    m[REPLAY_ENERGY_J].weight = 0;
    assert_false(maths_check(&data, m, &error));
    double highs[REPLAY_METRIC_N];
    assert_true(maths_largest_means(&data, highs));
    assert_close(highs[REPLAY_QUALITY], 2.0 / 3);
    assert_close(highs[REPLAY_COST_USD], 4);
    assert_close(highs[REPLAY_ENERGY_J], 0);
    replay_data_done(&data);
}

static void a_shuffle_is_a_permutation_that_the_seed_alone_decides(void **unused)
{
    (void)unused;
    enum { N = 1000 };
    static uint32_t a[N], b[N], c[N];
    bool seen[N] = {false};
    maths_shuffle(maths_seed(1, 0, MATHS_STREAM_ROWS), 5, a, N);
    maths_shuffle(maths_seed(1, 0, MATHS_STREAM_ROWS), 5, b, N);
    maths_shuffle(maths_seed(1, 1, MATHS_STREAM_ROWS), 5, c, N);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    for (int i = 0; i < N; i++) {
        assert_in_range(a[i], 5, N + 4);
        assert_false(seen[a[i] - 5]);
        seen[a[i] - 5] = true;
    }
    assert_true(maths_seed(1, 0, MATHS_STREAM_ROWS) != maths_seed(1, 0, MATHS_STREAM_WARM));
    assert_true(maths_seed(1, 2, MATHS_STREAM_ROWS) != maths_seed(2, 1, MATHS_STREAM_ROWS));
}

/* 60,000 shuffles of three: each of the six orders 10,000 times, standard deviation about 91; the
 * bound is over five of them. */
static void every_order_is_about_equally_likely(void **unused)
{
    (void)unused;
    int count[27] = {0};
    for (uint64_t seed = 0; seed < 60000; seed++) {
        uint32_t p[3];
        maths_shuffle(maths_seed(seed, 0, MATHS_STREAM_ROWS), 0, p, 3);
        count[p[0] * 9 + p[1] * 3 + p[2]]++;
    }
    int orders = 0;
    for (int i = 0; i < 27; i++) {
        if (!count[i])
            continue;
        assert_in_range(count[i], 9500, 10500);
        orders++;
    }
    assert_int_equal(orders, 6);
}

/* SplitMix64 from state 0 is known: the first output is e220a8397b1dcdaf. */
static void the_generator_is_splitmix64(void **unused)
{
    (void)unused;
    assert_true(maths_mix(0, 0) == 0xE220A8397B1DCDAFULL);
    assert_true(maths_mix(0, 1) == 0x6E789E6AA1B965F4ULL);
}

static void orders_become_means_spread_and_shares(void **unused)
{
    (void)unused;
    struct replay_data data;
    uint64_t chosen[2][3] = {{0}};
    struct maths_order orders[2] = {{.chosen = chosen[0]}, {.chosen = chosen[1]}};
    struct maths_result r;
    example_load(&data, false);
    for (uint32_t o = 0; o < 2; o++) /* The first takes a always, the second b. */
        for (size_t i = 0; i < 4; i++)
            maths_order_add(&orders[o], &data, QUALITY, &data.items[i],
                            replay_data_cell(&data, &data.items[i], o), 4);
    assert_true(maths_result(orders, 2, 3, &r));
    assert_close(r.utility.mean, 0.4375);
    assert_close(r.utility.min, 0.375);
    assert_close(r.utility.sd, 0.125 / sqrt(2));
    assert_close(r.regret.mean, 0.875 - 0.4375);
    assert_close(r.third.mean, (0.25 + 0.5) / 2); /* The last two of four rows. */
    assert_close(r.metric[REPLAY_COST_USD].mean, 1.5);
    assert_false(r.metric_there[REPLAY_ENERGY_J]);
    assert_close(r.share[0], 0.5);
    assert_close(r.share[2], 0);
    maths_result_done(&r);
    assert_true(maths_result(orders, 1, 3, &r));
    assert_true(r.utility.sd == 0 && r.utility.mean == 0.375);
    maths_result_done(&r);
    replay_data_done(&data);
}

static void warm_rows_are_not_counted(void **unused)
{
    (void)unused;
    char path[32];
    struct replay_error error;
    struct replay_data data;
    struct maths_baselines b;
    file_write(path, EXAMPLE, strlen(EXAMPLE), false);
    replay_data_init(&data, true);
    assert_true(replay_data_load(&data, path, &error));
    replay_data_mark_warm(&data);
    assert_false(replay_data_finish(&data, &error)); /* Nothing left to count. */
    assert_true(replay_data_load(&data, path, &error));
    assert_true(replay_data_finish(&data, &error));
    assert_true(maths_baselines(&data, QUALITY, &b));
    assert_int_equal(b.rows, 4);
    assert_int_equal(b.arms[2].rows, 3);
    maths_baselines_done(&b);
    replay_data_done(&data);
    unlink(path);
}

static void load_text(const char *text, size_t len, bool gzip, size_t cut, const char *reason)
{
    char path[32];
    struct replay_error error = {.text = ""};
    struct replay_data data;
    file_write(path, text, len, gzip);
    if (cut)
        assert_int_equal(truncate(path, (off_t)cut), 0);
    replay_data_init(&data, true);
    assert_false(replay_data_load(&data, path, &error) && replay_data_finish(&data, &error));
    if (!strstr(error.text, reason))
        fail_msg("'%s' does not say '%s'", error.text, reason);
    replay_data_done(&data);
    unlink(path);
}

static void broken_files_are_refused_by_file_and_line(void **unused)
{
    (void)unused;
    static const char good[] = "{\"outcomes\":{\"a\":{\"quality\":1}}}\n";
    char text[256];
    load_text("", 0, false, 0, "holds no row");
    load_text("\n \n", 3, false, 0, "holds no row");
    int len = snprintf(text, sizeof text, "%s\n{\"outcomes\":{\"a\":{\"quality\":2}}}\n", good);
    load_text(text, (size_t)len, false, 0, ":3: outcomes.a.quality is 2");
    load_text(text, (size_t)len, true, 0, ":3: outcomes.a.quality is 2");
    len = snprintf(text, sizeof text, "%s%s", good, good);
    text[40] = '\0'; /* A NUL inside a line. */
    load_text(text, (size_t)len, false, 0, ":2: not a JSON object");
    load_text(EXAMPLE, strlen(EXAMPLE), true, 60, "read: unexpected end of file");
    size_t big = REPLAY_LINE_MAX + 2;
    char *line = malloc(big);
    memset(line, ' ', big);
    load_text(line, big, false, 0, ":1: a line of more than 2 MiB");
    free(line);
}

static void names_that_the_server_would_refuse_get_one_it_takes(void **unused)
{
    (void)unused;
    static const char text[] =
        "{\"task\":\"a b\",\"outcomes\":{\"m(x)\":{\"quality\":1},\"m x "
        "\":{\"quality\":1},\"m_x_\":"
        "{\"quality\":0},\"ok-1.5\":{\"quality\":1},"
        "\"0123456789012345678901234567890123456789012345678901234567890123456789\":"
        "{\"quality\":1}}}\n";
    char path[32];
    struct replay_error error;
    struct replay_data data;
    file_write(path, text, strlen(text), false);
    replay_data_init(&data, false);
    assert_true(replay_data_load(&data, path, &error));
    assert_true(replay_data_finish(&data, &error));
    assert_string_equal(data.task_ids[0], "a_b");
    assert_int_equal(strlen(data.arm_ids[0]), 64);
    assert_string_equal(data.arms.names[1], "m x ");
    assert_string_equal(data.arm_ids[1], "m_x_-2"); /* m_x_ is another arm's own name. */
    assert_string_equal(data.arm_ids[2], "m_x_-3");
    assert_string_equal(data.arm_ids[3], "m_x_");
    assert_string_equal(data.arm_ids[4], "ok-1.5");
    assert_int_equal(replay_data_arm_of(&data, "m_x_-3"), 2);
    assert_int_equal(replay_data_arm_of(&data, "m(x)"), UINT32_MAX);
    replay_data_done(&data);
    unlink(path);
}

static void many_names_keep_their_numbers(void **unused)
{
    (void)unused;
    struct names t;
    uint32_t moved[1000], number;
    names_init(&t);
    for (uint32_t i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", 999 - i);
        assert_true(names_intern(&t, name, &number));
        assert_int_equal(number, i);
        assert_true(names_intern(&t, name, &number));
        assert_int_equal(number, i);
    }
    assert_true(names_sort(&t, moved));
    assert_string_equal(t.names[0], "n0");
    assert_string_equal(t.names[1], "n1");
    assert_string_equal(t.names[2], "n10");
    assert_int_equal(moved[999], 0); /* "n0" came last. */
    assert_true(names_intern(&t, "n10", &number));
    assert_int_equal(number, 2);
    names_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arms_and_labels_are_numbered_in_sorted_order),
        cmocka_unit_test(baselines_are_those_computed_by_hand),
        cmocka_unit_test(lower_is_better_counts_as_one_minus_and_saturates),
        cmocka_unit_test(weights_that_the_data_cannot_honour_are_refused),
        cmocka_unit_test(a_shuffle_is_a_permutation_that_the_seed_alone_decides),
        cmocka_unit_test(every_order_is_about_equally_likely),
        cmocka_unit_test(the_generator_is_splitmix64),
        cmocka_unit_test(orders_become_means_spread_and_shares),
        cmocka_unit_test(warm_rows_are_not_counted),
        cmocka_unit_test(broken_files_are_refused_by_file_and_line),
        cmocka_unit_test(names_that_the_server_would_refuse_get_one_it_takes),
        cmocka_unit_test(many_names_keep_their_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
