#include "client/ctl/replay_data.h"

#include "client/ctl/args.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define CHUNK_BYTES (64UL * 1024)

/* Reads lines of a bounded length; gzgets would hide a NUL inside a line. */
struct lines {
    gzFile file;
    char *buffer; /* REPLAY_LINE_MAX + CHUNK_BYTES */
    size_t start, end;
    bool at_end;
};

enum line_result { LINE_OK, LINE_END, LINE_TOO_LONG, LINE_BROKEN };

__attribute__((format(printf, 2, 3))) static bool say(struct replay_error *error, const char *fmt,
                                                      ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return false;
}

void replay_data_init(struct replay_data *data, bool keep_text)
{
    *data = (struct replay_data){.keep_text = keep_text};
}

static void ids_free(char **ids, size_t n)
{
    for (size_t i = 0; ids && i < n; i++)
        free(ids[i]);
    free(ids);
}

void replay_data_done(struct replay_data *data)
{
    for (size_t i = 0; i < data->items_n; i++)
        free(data->items[i].text);
    free(data->items);
    free(data->cells);
    ids_free(data->arm_ids, data->arms.n);
    ids_free(data->task_ids, data->tasks.n);
    names_done(&data->arms);
    names_done(&data->tasks);
    *data = (struct replay_data){0};
}

/* Makes room for one more of `size` bytes each. */
static bool room(void **array, size_t n, size_t more, size_t *cap, size_t size)
{
    if (n + more <= *cap)
        return true;
    size_t grown = *cap ? *cap * 2 : 1024;
    void *moved = realloc(*array, grown * size);
    if (!moved)
        return false;
    *array = moved;
    *cap = grown;
    return true;
}

static bool row_limits(const struct replay_data *data, struct replay_error *error)
{
    if (data->items_n == REPLAY_ROWS_MAX)
        return say(error, "more than %u rows", REPLAY_ROWS_MAX);
    if (data->text_bytes > REPLAY_TEXT_MAX)
        return say(error, "more than 2 GiB of text; use --no-text or fewer rows");
    if (data->arms.n > REPLAY_ARMS_MAX)
        return say(error, "more than %u arms", REPLAY_ARMS_MAX);
    return true;
}

static bool row_add(struct replay_data *data, struct replay_row *row, uint32_t line,
                    struct replay_error *error)
{
    struct replay_item item = {.task = REPLAY_NO_TASK,
                               .file = data->files_n - 1,
                               .line = line,
                               .cells_n = (uint32_t)row->outcomes_n,
                               .first = data->cells_n};
    if (!row_limits(data, error))
        return false;
    /* A row has at most 256 cells and the array doubles from 1,024, so one doubling is enough. */
    if (!room((void **)&data->items, data->items_n, 1, &data->items_cap, sizeof *data->items) ||
        !room((void **)&data->cells, data->cells_n, row->outcomes_n, &data->cells_cap,
              sizeof *data->cells) ||
        (row->task && !names_intern(&data->tasks, row->task, &item.task)))
        return say(error, "out of memory");
    for (size_t i = 0; i < row->outcomes_n; i++) {
        struct replay_cell *cell = &data->cells[data->cells_n + i];
        if (!names_intern(&data->arms, row->outcomes[i].arm, &cell->arm))
            return say(error, "out of memory");
        for (int m = 0; m < REPLAY_METRIC_N; m++) {
            cell->value[m] = row->outcomes[i].value[m];
            if (!isnan(cell->value[m]))
                data->has[m] = true;
        }
    }
    data->cells_n += row->outcomes_n;
    item.text = row->text;
    row->text = NULL;
    data->text_bytes += item.text ? strlen(item.text) : 0;
    data->items[data->items_n++] = item;
    return true;
}

static enum line_result line_next(struct lines *lines, char **ret, size_t *ret_len)
{
    for (;;) {
        char *start = lines->buffer + lines->start;
        size_t have = lines->end - lines->start;
        char *newline = memchr(start, '\n', have);
        if (newline || (lines->at_end && have)) {
            *ret = start;
            *ret_len = newline ? (size_t)(newline - start) : have;
            lines->start += *ret_len + (newline ? 1 : 0);
            return *ret_len > REPLAY_LINE_MAX ? LINE_TOO_LONG : LINE_OK;
        }
        if (lines->at_end)
            return LINE_END;
        if (have > REPLAY_LINE_MAX)
            return LINE_TOO_LONG;
        memmove(lines->buffer, start, have);
        lines->start = 0;
        lines->end = have;
        int got = gzread(lines->file, lines->buffer + have, CHUNK_BYTES);
        int status = Z_OK;
        gzerror(lines->file, &status);
        if (got < 0 || (status != Z_OK && status != Z_STREAM_END))
            return LINE_BROKEN;
        lines->end += (size_t)got;
        lines->at_end = got == 0;
    }
}

static bool is_blank(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    return true;
}

static bool line_add(struct replay_data *data, const char *line, size_t len, uint32_t number,
                     struct replay_error *error)
{
    struct replay_row row = {0};
    if (number == 1 && len >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3; /* A byte order mark, as some editors write it. */
        len -= 3;
    }
    if (is_blank(line, len))
        return true;
    bool ok = replay_row_parse(line, len, data->keep_text, &row, error) &&
              row_add(data, &row, number, error);
    replay_row_done(&row);
    return ok;
}

/* What zlib says, without the path it puts in front. */
static const char *lines_why(struct lines *lines)
{
    int status = Z_OK;
    const char *why = gzerror(lines->file, &status);
    if (status == Z_ERRNO)
        return strerror(errno);
    const char *colon = strstr(why, ": ");
    return colon ? colon + 2 : why;
}

static bool lines_load(struct replay_data *data, struct lines *lines, const char *path,
                       struct replay_error *error)
{
    struct replay_error inner = {0};
    for (uint32_t number = 1;; number++) {
        char *line = NULL;
        size_t len = 0;
        switch (line_next(lines, &line, &len)) {
        case LINE_END:
            return true;
        case LINE_TOO_LONG:
            return say(error, "%s:%u: a line of more than 2 MiB", path, number);
        case LINE_BROKEN:
            return say(error, "%s:%u: cannot be read: %s", path, number, lines_why(lines));
        case LINE_OK:
            if (!line_add(data, line, len, number, &inner))
                return say(error, "%s:%u: %.400s", path, number, inner.text);
        }
    }
}

bool replay_data_load(struct replay_data *data, const char *path, struct replay_error *error)
{
    bool is_stdin = strcmp(path, "-") == 0, ok = false;
    struct lines lines = {0};
    if (data->files_n == REPLAY_FILES_MAX)
        return say(error, "more than %u files", REPLAY_FILES_MAX);
    int fd = is_stdin ? dup(STDIN_FILENO) : -1;
    errno = 0;
    lines.file = !is_stdin ? gzopen(path, "rb") : fd >= 0 ? gzdopen(fd, "rb") : NULL;
    if (!lines.file) {
        if (fd >= 0)
            close(fd);
        return say(error, "%s: %s", path, errno ? strerror(errno) : "out of memory");
    }
    data->files[data->files_n++] = is_stdin ? "stdin" : path;
    lines.buffer = calloc(1, REPLAY_LINE_MAX + CHUNK_BYTES + 1);
    if (lines.buffer)
        ok = lines_load(data, &lines, data->files[data->files_n - 1], error);
    else
        say(error, "out of memory");
    free(lines.buffer);
    /* A gzip file that was cut off shows only here. */
    if (gzclose(lines.file) == Z_BUF_ERROR && ok)
        ok = say(error, "%s: the gzip file is cut off", path);
    return ok;
}

void replay_data_mark_warm(struct replay_data *data)
{
    data->warm_n = data->items_n;
}

static int cell_compare(const void *a, const void *b)
{
    uint32_t x = ((const struct replay_cell *)a)->arm, y = ((const struct replay_cell *)b)->arm;
    return (x > y) - (x < y);
}

static bool id_taken(char *const *ids, const struct names *names, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(ids[i], id) == 0)
            return true;
    /* A later name that is valid as it stands keeps itself. */
    for (size_t i = n + 1; i < names->n; i++)
        if (strcmp(names->names[i], id) == 0)
            return true;
    return false;
}

/* "gpt-4(strong)" -> "gpt-4_strong_"; cut to 64; "-2", "-3" ... appended while it is taken. */
static char *id_make(char *const *ids, const struct names *names, size_t i)
{
    char base[ARGS_NAME_CAP], id[ARGS_NAME_CAP + 12];
    size_t len = 0;
    for (const char *s = names->names[i]; *s && len + 1 < sizeof base; s++) {
        base[len] = *s;
        base[len + 1] = '\0';
        if (!args_name_valid(base + len))
            base[len] = '_';
        len++;
    }
    base[len] = '\0';
    snprintf(id, sizeof id, "%s", base);
    for (unsigned n = 2; id_taken(ids, names, i, id); n++)
        snprintf(id, sizeof id, "%.54s-%u", base, n);
    return strdup(id);
}

/* The server also refuses "." and ".." as a part of a name; a file with such an arm is told so by
 * it. */
static char **ids_make(const struct names *names)
{
    char **ids = calloc(names->n + 1, sizeof *ids);
    for (size_t i = 0; ids && i < names->n; i++) {
        bool valid = args_name_valid(names->names[i]);
        ids[i] = valid ? strdup(names->names[i]) : id_make(ids, names, i);
        if (!ids[i]) {
            ids_free(ids, i);
            return NULL;
        }
    }
    return ids;
}

static bool renumber(struct replay_data *data)
{
    uint32_t *arms = calloc(data->arms.n + 1, sizeof *arms);
    uint32_t *tasks = calloc(data->tasks.n + 1, sizeof *tasks);
    bool ok = arms && tasks && names_sort(&data->arms, arms) && names_sort(&data->tasks, tasks);
    for (size_t i = 0; ok && i < data->cells_n; i++)
        data->cells[i].arm = arms[data->cells[i].arm];
    for (size_t i = 0; ok && i < data->items_n; i++) {
        struct replay_item *item = &data->items[i];
        if (item->task != REPLAY_NO_TASK)
            item->task = tasks[item->task];
        qsort(data->cells + item->first, item->cells_n, sizeof *data->cells, cell_compare);
    }
    free(arms);
    free(tasks);
    return ok;
}

bool replay_data_finish(struct replay_data *data, struct replay_error *error)
{
    if (data->items_n == data->warm_n)
        return say(error, "%s: holds no row", data->files_n ? data->files[data->files_n - 1] : "-");
    if (!renumber(data))
        return say(error, "out of memory");
    data->arm_ids = ids_make(&data->arms);
    data->task_ids = ids_make(&data->tasks);
    return data->arm_ids && data->task_ids ? true : say(error, "out of memory");
}

const struct replay_cell *replay_data_cell(const struct replay_data *data,
                                           const struct replay_item *item, uint32_t arm)
{
    const struct replay_cell *cells = data->cells + item->first;
    uint32_t low = 0, high = item->cells_n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (cells[middle].arm < arm)
            low = middle + 1;
        else
            high = middle;
    }
    return low < item->cells_n && cells[low].arm == arm ? &cells[low] : NULL;
}

uint32_t replay_data_arm_of(const struct replay_data *data, const char *id)
{
    for (uint32_t i = 0; i < data->arms.n; i++)
        if (strcmp(data->arm_ids[i], id) == 0)
            return i;
    return UINT32_MAX;
}
