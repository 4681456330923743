#include "tests/eval/rows.h"

#include "state/base/rng.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { LINE_CAP = 4 << 20 };

/* -1: no name, or too many. */
static int name_index(struct names *names, const char *s)
{
    for (uint32_t i = 0; s && i < names->n; i++)
        if (strcmp(names->name[i], s) == 0)
            return (int)i;
    if (!s || names->n == ROWS_NAMES_MAX || strlen(s) >= ROWS_NAME_CAP)
        return -1;
    memcpy(names->name[names->n], s, strlen(s) + 1);
    return (int)names->n++;
}

static int read_outcomes(struct rows *rows, struct row *row, json_t *outcomes)
{
    const char *arm;
    json_t *o;
    for (int a = 0; a < ROWS_ARMS_MAX; a++)
        row->quality[a] = (double)NAN;
    json_object_foreach(outcomes, arm, o)
    {
        int a = name_index(&rows->arms, arm);
        if (a < 0 || a >= ROWS_ARMS_MAX || !json_is_number(json_object_get(o, "quality")))
            return -1;
        row->quality[a] = json_number_value(json_object_get(o, "quality"));
        json_t *usd = json_object_get(o, "cost_usd");
        row->cost[a] = json_number_value(usd ? usd : json_object_get(o, "energy_j"));
    }
    return 0;
}

static int read_row(struct rows *rows, const char *line)
{
    json_error_t error;
    json_t *o = json_loads(line, JSON_ALLOW_NUL, &error);
    json_t *text = json_object_get(o, "text");
    struct row *grown = realloc(rows->row, (rows->n + 1) * sizeof *grown);
    if (grown)
        rows->row = grown;
    struct row *row = grown ? &rows->row[rows->n] : NULL;
    int rc = -1;
    if (row && json_is_string(text)) {
        memset(row, 0, sizeof *row);
        row->text_len = json_string_length(text);
        row->text = malloc(row->text_len + 1);
        row->task = name_index(&rows->tasks, json_string_value(json_object_get(o, "task")));
        row->family = name_index(&rows->families, json_string_value(json_object_get(o, "family")));
        rows->n++;
        if (row->text) {
            memcpy(row->text, json_string_value(text), row->text_len + 1);
            rc = read_outcomes(rows, row, json_object_get(o, "outcomes"));
        }
    }
    json_decref(o);
    return rc;
}

struct rows *rows_read(const char *path)
{
    gzFile f = gzopen(path, "rb");
    struct rows *rows = calloc(1, sizeof *rows);
    char *line = malloc(LINE_CAP);
    int rc = f && rows && line ? 0 : -1;
    while (rc == 0 && gzgets(f, line, LINE_CAP))
        rc = read_row(rows, line);
    if (f)
        gzclose(f);
    free(line);
    if (rc == 0 && rows->n > 0)
        return rows;
    fprintf(stderr, "%s: line %u cannot be read\n", path, rows ? rows->n + 1 : 1);
    rows_free(rows);
    return NULL;
}

void rows_free(struct rows *rows)
{
    if (!rows)
        return;
    for (uint32_t i = 0; i < rows->n; i++)
        free(rows->row[i].text);
    free(rows->row);
    free(rows);
}

char *rows_path(const char *name)
{
    const char *dir = getenv("SHUNT_DATA");
    char *path = NULL;
    if (!dir || asprintf(&path, "%s/%s.jsonl.gz", dir, name) < 0)
        return NULL;
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

void rows_shuffle(uint64_t seed, uint32_t n, uint32_t *ret_order)
{
    for (uint32_t i = 0; i < n; i++)
        ret_order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)rng_below(seed, i, i), at = ret_order[i - 1];
        ret_order[i - 1] = ret_order[j];
        ret_order[j] = at;
    }
}
