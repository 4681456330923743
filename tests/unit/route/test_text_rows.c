/* Rows of public routing sets, by id: the figures are here, the texts only in SHUNT_DATA. */
#include "server/route/text_block.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/route/text16_rows.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { ROWS = sizeof text_row / sizeof *text_row, LINE_CAP = 4 << 20 };

static uint64_t hash_of(const uint16_t *ids, size_t n)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++)
        for (unsigned shift = 0; shift < 16; shift += 8)
            h = (h ^ (ids[i] >> shift & 255U)) * 0x100000001b3;
    return h;
}

static void check_row(const struct text_row *row, struct slice text)
{
    static uint16_t ids[TEXT_TOKENS_MAX];
    size_t n = text_tokens(text, ids, TEXT_TOKENS_MAX);
    if (hash_of(ids, n) != row->pieces)
        fail_msg("%s %s: other pieces than the reference", row->file, row->id);
    float block[TEXT_D];
    text_block(text, block);
    for (int d = 0; d < TEXT_D; d++)
        if (!(fabs((double)block[d] - row->block[d]) < 1e-6))
            fail_msg("%s %s: [%d] is %.9g, not %.9g", row->file, row->id, d, (double)block[d],
                     row->block[d]);
}

/* Rows of one file come in the file's order. */
static size_t check_file(const char *dir, size_t first, char *line)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.jsonl.gz", dir, text_row[first].file);
    gzFile f = gzopen(path, "rb");
    if (!f)
        fail_msg("cannot read %s", path);
    size_t at = first;
    while (at < ROWS && strcmp(text_row[at].file, text_row[first].file) == 0 &&
           gzgets(f, line, LINE_CAP)) {
        json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(row);
        const char *id = json_string_value(json_object_get(row, "id"));
        json_t *text = json_object_get(row, "text");
        if (id && strcmp(id, text_row[at].id) == 0) {
            check_row(&text_row[at],
                      (struct slice){json_string_value(text), json_string_length(text)});
            at++;
        }
        json_decref(row);
    }
    gzclose(f);
    if (at == first)
        fail_msg("%s has no row %s", path, text_row[first].id);
    return at;
}

static void rows_of_public_sets_give_the_references_pieces_and_vectors(void **unused)
{
    (void)unused;
    const char *dir = getenv("SHUNT_DATA");
    assert_non_null(dir);
    char *line = malloc(LINE_CAP);
    assert_non_null(line);
    size_t at = 0;
    while (at < ROWS)
        at = check_file(dir, at, line);
    free(line);
    assert_int_equal(at, ROWS);
    assert_true(ROWS >= 500);
}

int main(void)
{
    if (!getenv("SHUNT_DATA")) {
        printf("skipped: SHUNT_DATA is not set\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_public_sets_give_the_references_pieces_and_vectors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
