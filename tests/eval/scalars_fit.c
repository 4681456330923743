/* scalars_fit - prints the mean and standard deviation of each text scalar over SHUNT_DATA's files.
 * Why: the constants in server/route/features.c are figures, and a figure has a command.
 * Every file weighs the same, whatever its length: its first 1,000 rows, so that no one benchmark
 * decides what an average prompt is. Prints C, ready to paste. */
#include "server/route/features.h"
#include "server/route/flesch.h"

#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MEASURED = SCALARS_N + 1, ROWS_MAX = 1000, LINE_CAP = 4 << 20, FILES_MAX = 64 };

struct sums {
    double n, sum[MEASURED], squares[MEASURED]; /* In the order of ctx.v1: ease stands second. */
};

static int add_row(struct sums *s, const char *line)
{
    json_error_t error;
    json_t *row = json_loads(line, JSON_ALLOW_NUL, &error);
    json_t *text = row ? json_object_get(row, "text") : NULL;
    if (!json_is_string(text)) {
        json_decref(row);
        return -1;
    }
    double v[MEASURED];
    struct slice bytes = {json_string_value(text), json_string_length(text)};
    features_scalars(bytes, v + 1);
    v[0] = v[1];
    v[1] = flesch_ease(bytes);
    s->n++;
    for (int i = 0; i < MEASURED; i++) {
        s->sum[i] += v[i];
        s->squares[i] += v[i] * v[i];
    }
    json_decref(row);
    return 0;
}

static int add_file(struct sums *s, const char *path, char *line)
{
    gzFile f = gzopen(path, "rb");
    int rc = f ? 0 : -1;
    for (int rows = 0; rc == 0 && rows < ROWS_MAX && gzgets(f, line, LINE_CAP); rows++)
        rc = add_row(s, line);
    if (f)
        gzclose(f);
    if (rc != 0 || s->n == 0)
        fprintf(stderr, "scalars_fit: %s: no rows with a text\n", path);
    return s->n > 0 ? rc : -1;
}

/* Mean of the files' means; variance about it, again averaged over files. */
static void print_scale(const struct sums *files, size_t n)
{
    for (int i = 0; i < MEASURED; i++) {
        double mean = 0, squares = 0;
        for (size_t k = 0; k < n; k++) {
            mean += files[k].sum[i] / files[k].n / (double)n;
            squares += files[k].squares[i] / files[k].n / (double)n;
        }
        printf("    {%.4g, %.4g},\n", mean, sqrt(squares - mean * mean));
    }
}

int main(void)
{
    const char *dir = getenv("SHUNT_DATA");
    if (!dir) {
        fprintf(stderr, "scalars_fit: set SHUNT_DATA to a folder of *.jsonl.gz files\n");
        return 2;
    }
    char pattern[4096];
    snprintf(pattern, sizeof pattern, "%s/*.jsonl.gz", dir);
    glob_t found = {0};
    static struct sums files[FILES_MAX];
    char *line = malloc(LINE_CAP);
    int rc = line && glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc <= FILES_MAX ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++)
        rc = add_file(&files[i], found.gl_pathv[i], line);
    if (rc == 0)
        print_scale(files, found.gl_pathc);
    else
        fprintf(stderr, "scalars_fit: cannot read %s\n", pattern);
    globfree(&found);
    free(line);
    return rc == 0 ? 0 : 1;
}
