/* input.h - files that an operator names: settings' files, certificates, examples, traces.
 * Why: a named pipe would be waited for, for ever, by a process that takes no signal yet; so only
 * regular files are read, and every reader says the same of others.
 * Owns: nothing; a descriptor is the caller's. Threads: no state.
 * The sentences do not hold the path: the caller knows which setting named it. */
#pragma once

#include "state/base/slice.h"

/* For reading. ERR_NOT_FOUND: it is not there. ERR_INVALID: it may not be opened, or is no regular
 * file. */
MUST_USE enum err input_open(const char *path, int *ret_fd, struct err_detail *detail);
/* Appends all of it. ERR_TOO_LARGE: it has more than max bytes (ret may hold some of them). */
MUST_USE enum err input_read(const char *path, size_t max, struct buf *ret,
                             struct err_detail *detail);
