/* lab_rows.h - decisions of the log (lab_log.h) as rows for server/lab, with the table of arms that
 * they speak of.
 * The table: every arm version that was eligible in the window, under its name; one that was
 * removed since is "removed/UID".
 * A decision that nobody reported is a row without metrics.
 * Owns: the table; borrows the log. Threads: one. */
#pragma once

#include "server/engine/lab_log.h"
#include "server/lab/logged.h"
#include "state/model/snapshot.h"

struct lab_rows;

/* view: the router as it is now; borrowed. */
MUST_USE enum err lab_rows_open(struct lab_log *log, const struct router_view *view,
                                struct lab_rows **ret_rows, struct err_detail *detail);
void lab_rows_free(struct lab_rows *r); /* NULL is fine. */
const struct lab_arm *lab_rows_arms(const struct lab_rows *r, uint32_t *ret_n);
struct logged_source lab_rows_source(struct lab_rows *r);
/* Decisions left out since the last rewind: their arm is not among those that were eligible. */
uint64_t lab_rows_damaged(const struct lab_rows *r);
/* Whether the log kept the decision only because it explores, beyond the share it keeps anyway. */
bool lab_rows_beyond_sample(const struct audit_record *record);
/* The arm's name in the table, or NULL. */
const char *lab_rows_name(const struct lab_rows *r, uint32_t arm_uid);
