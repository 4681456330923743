/* probe.h - do something in a forked child that may crash, and live to tell.
 * Why: a damaged page makes LMDB read anywhere. The child dies of it; we report it.
 * Threads: call it before the first thread starts: the child inherits locks as they are. */
#pragma once

#include "state/base/err.h"

typedef enum err probe_work(void *ctx, struct err_detail *detail);

/* Returns what work returned, with its sentence; ERR_CORRUPT naming `file` when the child crashed;
 * ERR_CANCELLED when somebody killed it. */
MUST_USE enum err probe_run(const char *file, probe_work *work, void *ctx,
                            struct err_detail *detail);
