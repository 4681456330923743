/* Appends batches and says what happened, so that a script can make its system calls fail.
 *   store_writer write DIR BATCHES   "ack LAST" per batch; on an error "error CODE", then one more
 *                                    try, "again CODE", and "failed 1" when the store gave up.
 *   store_writer check DIR LAST      exit 0 when records 1..LAST are there, and all is sound. */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/store/scratch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 40

static int die(const char *what, enum err e, const struct err_detail *detail)
{
    printf("%s %s\n", what, err_code(e));
    fprintf(stderr, "%s\n", detail->text);
    return 3;
}

static int write_batches(const char *dir, long batches)
{
    struct store *s = NULL;
    struct err_detail d = {""};
    struct store_options o = {.no_probe = true}; /* The calls to count are the writer's own. */
    enum err e = store_open(dir, &o, &s, &d);
    if (e != OK)
        return die("open", e, &d);
    printf("opened\n");
    fflush(stdout);
    for (long i = 0; i < batches && e == OK; i++) {
        e = scratch_append(s, BATCH, &d);
        if (e == OK)
            printf("ack %llu\n", (unsigned long long)store_journal_last(s));
        fflush(stdout);
    }
    int code = 0;
    if (e != OK) {
        code = die("error", e, &d);
        die("again", scratch_append(s, BATCH, &d), &d);
        printf("failed %d\n", store_failed(s));
    }
    store_close(s);
    return code;
}

static int check(const char *dir, uint64_t last)
{
    struct store *s = NULL;
    struct err_detail d = {""};
    struct store_counts counts;
    uint64_t n = 0;
    enum err e = store_open(dir, NULL, &s, &d);
    if (e != OK)
        return die("open", e, &d);
    bool all = store_journal_last(s) >= last;
    e = store_journal_iterate(s, 1, UINT64_MAX, scratch_expect, &n, &d);
    if (e == OK)
        e = store_check(s, NULL, NULL, &counts, &d);
    all = all && n == store_journal_last(s);
    store_close(s);
    if (e != OK)
        return die("check", e, &d);
    printf("%llu of at least %llu records\n", (unsigned long long)n, (unsigned long long)last);
    return all ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: store_writer write|check DIR NUMBER\n");
        return 2;
    }
    signal(SIGXFSZ, SIG_IGN);
    long number = strtol(argv[3], NULL, 10);
    return strcmp(argv[1], "write") == 0 ? write_batches(argv[2], number)
                                         : check(argv[2], (uint64_t)number);
}
