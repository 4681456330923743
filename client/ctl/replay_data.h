/* replay_data.h - replay files in memory: rows, the arms and the task labels found in them.
 * Why: a replay plays the same rows many times in other orders.
 * What: JSON lines as replay_row.h has them, plain or gzip, "-" for standard input. Arms and labels
 * are numbered in sorted order, so that the order of the rows does not matter to anything.
 * Owns: everything it points to. Threads: load from one; afterwards it never changes.
 * Invariant: items [0, warm_n) come from --warm files and are never counted; the cells of an item
 * are sorted by arm and name an arm once.
 * Limits: 1,000,000 rows, 2 MiB a line, 2 GiB of text, 10,000 arms. */
#pragma once

#include "client/ctl/names.h"
#include "client/ctl/replay_row.h"

#define REPLAY_ROWS_MAX 1000000U
#define REPLAY_TEXT_MAX (2ULL * 1024 * 1024 * 1024)
#define REPLAY_ARMS_MAX 10000U
#define REPLAY_FILES_MAX 64U
#define REPLAY_NO_TASK UINT32_MAX

struct replay_cell {
    uint32_t arm;
    double value[REPLAY_METRIC_N]; /* NAN: absent. */
};

struct replay_item {
    char *text;    /* NULL: absent or not kept. */
    uint32_t task; /* REPLAY_NO_TASK: absent. */
    uint32_t file, line;
    uint32_t cells_n;
    size_t first; /* Its cells are cells[first .. first + cells_n). */
};

struct replay_data {
    struct replay_item *items;
    size_t items_n, items_cap, warm_n;
    struct replay_cell *cells;
    size_t cells_n, cells_cap;
    struct names arms, tasks;
    char **
        arm_ids; /* (arms.n,) What the server is told: the arm's name if it is a name there, else */
    char **task_ids;                     /* one made of it, unique. task_ids likewise. */
    const char *files[REPLAY_FILES_MAX]; /* Borrowed. */
    uint32_t files_n;
    uint64_t text_bytes;
    bool has[REPLAY_METRIC_N]; /* Some outcome has this metric. */
    bool keep_text;
};

void replay_data_init(struct replay_data *data, bool keep_text);
void replay_data_done(struct replay_data *data);
/* Appends a file. False with "FILE:LINE: ..." in error. */
bool replay_data_load(struct replay_data *data, const char *path, struct replay_error *error);
/* Call once after loading the --warm files: what is there so far is not counted. */
void replay_data_mark_warm(struct replay_data *data);
/* Call once after the last file: sorts and numbers, and refuses data without a counted row. */
bool replay_data_finish(struct replay_data *data, struct replay_error *error);
/* The outcome of an arm on an item; NULL: the row lacks the arm. */
const struct replay_cell *replay_data_cell(const struct replay_data *data,
                                           const struct replay_item *item, uint32_t arm);
/* The arm of this id, or UINT32_MAX. */
uint32_t replay_data_arm_of(const struct replay_data *data, const char *id);
