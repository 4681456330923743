#include "server/ops/log.h"
#include "tests/unit/cmocka_all.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *format(char *line, size_t cap, const struct log_field *fields)
{
    const size_t n = log_format(line, cap, 1700000000000007, LOG_INFO, "e", fields);
    assert_true(n < cap);
    line[n] = '\0';
    return line;
}

static void a_line_is_one_json_object_with_its_fields(void **unused)
{
    (void)unused;
    char line[512];
    const struct log_field f[] = {
        LOG_STR("s", "x"),        LOG_INT("i", INT64_MIN),   LOG_UINT("u", UINT64_MAX),
        LOG_NUM("d", .5),         LOG_NUM("n", (double)NAN), LOG_BOOL("b", true),
        LOG_BYTES("y", "abc", 2), LOG_STR("z", NULL),        LOG_END};
    assert_string_equal(
        format(line, sizeof line, f),
        "{\"ts\":\"2023-11-14T22:13:20.000007Z\",\"level\":\"info\",\"event\":\"e\","
        "\"s\":\"x\",\"i\":-9223372036854775808,\"u\":18446744073709551615,"
        "\"d\":0.5,\"n\":null,\"b\":true,\"y\":\"ab\",\"z\":null}\n");
}

static void hostile_text_cannot_leave_its_string(void **unused)
{
    (void)unused;
    char line[512];
    const struct log_field f[] = {LOG_BYTES("s", "a\"b\\c\nd\r\t\0\x01\x7f", 12),
                                  LOG_STR("t", "\xc3\xa4\xff\xc0\x80\xed\xa0\x80"),
                                  LOG_STR("u", "\xf0\x9f\x98\x80\xf0\x9f"), LOG_END};
    assert_non_null(strstr(format(line, sizeof line, f),
                           "\"s\":\"a\\\"b\\\\c\\nd\\r\\t\\u0000\\u0001\\u007f\","
                           "\"t\":\"\xc3\xa4\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\","
                           "\"u\":\"\xf0\x9f\x98\x80\\ufffd\\ufffd\"}\n"));
}

/* Whatever the length, quotes and braces are closed: the last character before "}" tells. */
static void a_line_that_is_too_long_is_cut_and_says_so(void **unused)
{
    (void)unused;
    char text[400], line[300];
    int cut = 0;
    for (size_t n = 0; n < sizeof text - 1; n++) {
        memset(text, n % 2 ? 'a' : '\n', n);
        text[n] = '\0';
        const struct log_field f[] = {LOG_STR("text", text), LOG_INT("after", 123456789), LOG_END};
        const size_t len = log_format(line, sizeof line, 0, LOG_WARN, "e", f);
        assert_true(len <= sizeof line);
        line[len - 1] = '\0';
        const char *start = strstr(line, "\"text\":\"");
        assert_non_null(start);
        const char *quote = strchr(start + 8, '"');
        assert_non_null(quote);
        if (!strstr(line, "\"truncated\":true}")) {
            assert_string_equal(quote + 1, ",\"after\":123456789}");
            continue;
        }
        cut++;
        assert_true(!strcmp(quote + 1, ",\"truncated\":true}"));
        assert_true(quote[-1] == 'a' || quote[-1] == 'n'); /* Never half of "\n". */
    }
    assert_true(cut > 100);
}

static char *read_all(int fd)
{
    const off_t n = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)n, 0), n);
    return text;
}

static size_t lines_with(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *s = text; (s = strstr(s, what)); s++)
        n++;
    return n;
}

static void levels_below_the_chosen_one_are_not_written(void **unused)
{
    (void)unused;
    const int fd = memfd_create("log", MFD_CLOEXEC);
    struct log *log;
    assert_int_equal(log_open(&(struct log_options){fd, LOG_WARN, 0}, &log), OK);
    log_event(log, LOG_INFO, "quiet", LOG_END);
    log_event(log, LOG_ERROR, "loud", LOG_INT("n", 1), LOG_END);
    log_event(NULL, LOG_ERROR, "nowhere", LOG_END);
    assert_true(log_flush(log, 10000));
    char *text = read_all(fd);
    assert_int_equal(lines_with(text, "quiet"), 0);
    assert_int_equal(lines_with(text, "\"event\":\"loud\",\"n\":1}\n"), 1);
    free(text);
    log_close(log);
    (void)close(fd);
}

static void a_flood_of_one_event_is_summed_up(void **unused)
{
    (void)unused;
    const int fd = memfd_create("log", MFD_CLOEXEC);
    struct log *log;
    assert_int_equal(log_open(&(struct log_options){fd, LOG_INFO, 5}, &log), OK);
    for (int i = 0; i < 100; i++)
        log_event(log, LOG_INFO, "flood", LOG_INT("i", i), LOG_END);
    log_event(log, LOG_INFO, "other", LOG_END);
    log_close(log);
    char *text = read_all(fd);
    /* The hundred may span seconds on a busy machine, so count: none is lost silently. */
    size_t told = lines_with(text, "\"event\":\"flood\"");
    assert_true(told >= 5);
    assert_int_equal(lines_with(text, "\"event\":\"other\""), 1);
    for (const char *s = text; (s = strstr(s, "\"event\":\"suppressed\",\"n\":")); s++) {
        assert_non_null(strstr(s, "\"of\":\"flood\"}"));
        told += strtoul(s + 25, NULL, 10);
    }
    assert_int_equal(told, 100);
    free(text);
    (void)close(fd);
}

static void a_blocked_reader_loses_lines_and_never_blocks_a_caller(void **unused)
{
    (void)unused;
    int pipe_fds[2];
    struct log *log;
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    assert_int_equal(log_open(&(struct log_options){pipe_fds[1], LOG_INFO, UINT32_MAX}, &log), OK);
    char big[1500];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    /* 3,000 lines of 1.5 kB: more than the pipe (64 KiB) and the ring together hold. If the log
     * waited for its reader, this loop would not end. */
    for (int i = 0; i < 3000; i++)
        log_event(log, LOG_INFO, "big", LOG_STR("s", big), LOG_END);
    assert_true(log_dropped(log) >= 3000 - LOG_RING_SLOTS - 64);
    assert_false(log_flush(log, 1));
    log_close(log); /* Gives up; does not hang. */
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
}

static void a_closed_reader_does_not_end_the_process(void **unused)
{
    (void)unused;
    int pipe_fds[2];
    struct log *log;
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    (void)close(pipe_fds[0]);
    assert_int_equal(log_open(&(struct log_options){pipe_fds[1], LOG_INFO, 0}, &log), OK);
    log_event(log, LOG_INFO, "e", LOG_END);
    assert_true(log_flush(log, 10000));
    log_close(log);
    (void)close(pipe_fds[1]);
}

struct shared {
    struct log *log;
    int id;
};

static void *chatter(void *arg)
{
    const struct shared *s = arg;
    for (int i = 0; i < 200; i++)
        log_event(s->log, LOG_INFO, "chat", LOG_INT("id", s->id), LOG_INT("i", i), LOG_END);
    return NULL;
}

static void lines_of_many_threads_stay_whole_and_in_order(void **unused)
{
    (void)unused;
    const int fd = memfd_create("log", MFD_CLOEXEC);
    struct shared s[4];
    pthread_t threads[4];
    struct log *log;
    assert_int_equal(log_open(&(struct log_options){fd, LOG_INFO, UINT32_MAX}, &log), OK);
    for (int i = 0; i < 4; i++) {
        s[i] = (struct shared){log, i};
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, &s[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    log_close(log);
    char *text = read_all(fd);
    int next[4] = {0};
    size_t lines = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
        int id = -1, i = -1;
        *end = '\0';
        const char *fields = strstr(line, "\"event\":\"chat\"");
        assert_non_null(fields);
        assert_int_equal(sscanf(fields, "\"event\":\"chat\",\"id\":%d,\"i\":%d}", &id, &i), 2);
        assert_int_equal(i, next[id]++);
    }
    assert_int_equal(lines, 800); /* 800 fit into the ring: none may be missing. */
    free(text);
    (void)close(fd);
}

static void level_names_go_there_and_back(void **unused)
{
    (void)unused;
    for (int i = 0; i < LOG_LEVELS; i++) {
        enum log_level level;
        assert_int_equal(log_level_parse(log_level_name((enum log_level)i), &level), OK);
        assert_int_equal(level, i);
    }
    enum log_level level = LOG_INFO;
    assert_int_equal(log_level_parse("INFO", &level), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_json_object_with_its_fields),
        cmocka_unit_test(hostile_text_cannot_leave_its_string),
        cmocka_unit_test(a_line_that_is_too_long_is_cut_and_says_so),
        cmocka_unit_test(levels_below_the_chosen_one_are_not_written),
        cmocka_unit_test(a_flood_of_one_event_is_summed_up),
        cmocka_unit_test(a_blocked_reader_loses_lines_and_never_blocks_a_caller),
        cmocka_unit_test(a_closed_reader_does_not_end_the_process),
        cmocka_unit_test(lines_of_many_threads_stay_whole_and_in_order),
        cmocka_unit_test(level_names_go_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
