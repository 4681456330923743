/* place.h - directories and files as the store needs them: made, locked, synced, copied.
 * Why: what the outside world answers is turned into one error and one sentence with the path.
 * Owns: nothing but the lock's descriptor, which place_lock gives away.
 * Threads: any. */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACE_PATH_CAP 4096

/* errno as an error and "cannot <what> <path>: <reason>". */
enum err place_errno(struct err_detail *detail, int number, const char *what, const char *path);

/* A path kept: ERR_TOO_LARGE when it is PLACE_PATH_CAP bytes or more. */
MUST_USE enum err place_keep(const char *path, char ret[PLACE_PATH_CAP], struct err_detail *detail);
MUST_USE enum err place_join(const char *dir, const char *name, char ret[PLACE_PATH_CAP],
                             struct err_detail *detail);
/* Makes the directory 0700 when absent; its parent must exist. ERR_UNSUPPORTED: one that is there
 * and that everybody may write to. */
MUST_USE enum err place_make(const char *dir, struct err_detail *detail);
/* statfs f_type of a file system that lies about locks, maps or syncs. */
bool place_magic_is_network(uint64_t magic);
MUST_USE enum err place_refuse_network(const char *dir, struct err_detail *detail);
/* Takes FILE alone (or shared, which leaves its content) and writes our pid. The descriptor holds
 * the lock until it is closed. ERR_LOCKED names the other pid. */
MUST_USE enum err place_lock(const char *file, bool shared, int *ret_fd, struct err_detail *detail);
/* fsync of a directory, or of a file. */
MUST_USE enum err place_sync(const char *path, struct err_detail *detail);
MUST_USE enum err place_sync_parent(const char *path, struct err_detail *detail);
/* New file, 0600, synced; removed again on error. ERR_EXISTS. */
MUST_USE enum err place_copy(const char *from, const char *to, uint64_t *ret_bytes,
                             struct err_detail *detail);
/* Writes a scratch file beside `file`, as long as that is plus a bit: true when the room, the quota
 * or the file size limit does not allow it. Tells a full disk from a broken one. */
bool place_is_full(const char *file);
uint64_t place_free_bytes(const char *dir); /* 0 when unknown. */
