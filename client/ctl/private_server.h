/* private_server.h - a shuntd of our own, in a directory that goes when we go.
 * Why: a replay should need nothing but the data, and leave nothing behind.
 * What: starts `shuntd --data-dir DIR --listen unix:DIR/r.sock --admin-listen unix:DIR/a.sock` in a
 * fresh directory under TMPDIR (default /tmp). The child dies with us, even if we are killed.
 * Owns: the process and the directory. Threads: one; start before anything makes threads (fork).
 * Invariant: private_server_stop removes the directory whatever state the server is in. */
#pragma once

#include "client/ctl/ctl.h"

#include <sys/types.h>

#define PRIVATE_DIR_CAP 64 /* A unix socket's path has 107 bytes. */

struct private_server {
    pid_t pid;                 /* 0: none. */
    char dir[PRIVATE_DIR_CAP]; /* "": none. */
};

/* Points ctl at the new server. SIGINT, SIGTERM and SIGHUP must be blocked; one that is pending
 * ends the wait. CTL_OK, or the reason is on stderr; call _stop either way. */
enum ctl_exit private_server_start(struct private_server *server, struct ctl *ctl);
void private_server_stop(struct private_server *server);
