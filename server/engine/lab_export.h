/* lab_export.h - decisions as lines of JSON, in a file that a caller fetches in pieces.
 * Why: an audit, or another tool, wants everything a decision was made of, and what came of it.
 * A line has the names of ExplainResponse and the outcome; the README of this room shows one. It
 * reads back as a row (lab_line.h) with the same numbers to the last bit.
 * Owns: the file DIR/ID.jsonl (0600) while it is open; whoever started the job removes it.
 * Threads: one. Limits: all files of DIR together LAB_EXPORT_MAX bytes, and LAB_EXPORT_LEAVE bytes
 * of the disk stay free: the journal needs them more. */
#pragma once

#include "server/engine/lab_log.h"
#include "server/engine/lab_rows.h"

#define LAB_EXPORT_MAX (UINT64_C(4) << 30)
#define LAB_EXPORT_LEAVE (UINT64_C(256) << 20)

struct lab_export;

/* The line of one decision, newline included; appended. Check buf_error. */
void lab_export_line(const struct lab_logged *row, const struct router_view *view,
                     const struct lab_rows *names, struct buf *out);

/* Makes DIR/ID.jsonl anew. ERR_LIMIT: DIR is full of other exports. */
MUST_USE enum err lab_export_open(const char *dir, uint64_t id, struct lab_export **ret_export,
                                  struct err_detail *detail);
/* ERR_DISK_FULL, ERR_TOO_LARGE (shorten the window), ERR_IO. */
MUST_USE enum err lab_export_put(struct lab_export *x, struct slice line,
                                 struct err_detail *detail);
/* Writes what is left. */
MUST_USE enum err lab_export_finish(struct lab_export *x, uint64_t *ret_bytes,
                                    struct err_detail *detail);
void lab_export_close(struct lab_export *x); /* NULL is fine. */

/* "DIR/ID.jsonl". False: it does not fit. */
bool lab_export_path(const char *dir, uint64_t id, char *ret, size_t cap);
/* Makes DIR (0700), or removes what an earlier process left in it. */
MUST_USE enum err lab_export_prepare(const char *dir, struct err_detail *detail);
/* At most cap bytes of a file from offset on; *ret_n 0: none (yet). ERR_NOT_FOUND: no file. */
MUST_USE enum err lab_export_read(const char *dir, uint64_t id, uint64_t offset, uint8_t *ret,
                                  size_t cap, size_t *ret_n, struct err_detail *detail);
