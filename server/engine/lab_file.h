/* lab_file.h - a file of logged decisions as rows for server/lab.
 * Why: what another system logged, and what `shuntctl decisions export` wrote, is evaluated by the
 * same code as our own log. The README of this room has both forms of a line.
 * What: JSON lines, plain or gzip. Arms are numbered in order of name, so that the order of lines
 * does not matter to that; a line that names no candidates had every arm of the file. Contexts are
 * made as for a request with this text and task, but no classifier guesses a missing task.
 * Owns: the open file and a line of it. Threads: one.
 * Limits: LAB_FILE_LINE_MAX bytes a line, LAB_FILE_ROWS_MAX lines, the model's of arms. */
#pragma once

#include "server/lab/logged.h"
#include "state/base/slice.h"
#include "state/model/snapshot.h"

enum { LAB_FILE_LINE_MAX = 2 << 20, LAB_FILE_ROWS_MAX = 10000000 };

struct job;
struct lab_file;
struct projections;

/* Reads it once to learn arms and labels. config: the router that would have decided; labels that
 * it lacks take its free slots, and if `measure`, a served metric's norm_high becomes the largest
 * mean of an arm, so that weights mean something without a declaration. It is borrowed.
 * ERR_NOT_FOUND, ERR_INVALID: the path. ERR_PARSE and others name the line. ERR_CANCELLED. */
MUST_USE enum err lab_file_open(const char *path, struct router_config *config, bool measure,
                                struct job *job, struct lab_file **ret_file,
                                struct err_detail *detail);
/* An arm of the file that the router has too is declared as there: descriptors and priors. The view
 * is borrowed. */
void lab_file_declare(struct lab_file *f, const struct router_view *view);
/* Embeddings of lines take the router's projection from these, borrowed. */
void lab_file_project(struct lab_file *f, const struct projections *projections);
void lab_file_free(struct lab_file *f); /* NULL is fine. */
/* Opens what a job is to read. Regular files only, and never waiting: a pipe that nobody writes
 * would hold the thread, which could then neither be cancelled nor end with the server.
 * ERR_NOT_FOUND, ERR_INVALID: not ERR_IO, which speaks of the data directory. */
MUST_USE enum err lab_file_fd(const char *path, int *ret_fd, struct err_detail *detail);
const struct lab_arm *lab_file_arms(const struct lab_file *f, uint32_t *ret_n);
struct logged_source lab_file_source(struct lab_file *f);
/* Bit m: some line holds metric m. */
uint16_t lab_file_metrics(const struct lab_file *f);
