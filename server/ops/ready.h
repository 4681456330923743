/* ready.h - whether this server should get traffic, and if not, why.
 * Why: readiness is the absence of reasons, so that two causes (recovering, draining) do not
 * overwrite each other. The metrics server's /readyz and grpc.health.v1 both ask here.
 * Owns: nothing outside the struct; reasons are string literals.
 * Threads: any.
 * Invariant: ready exactly when no reason is held. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define READY_REASONS_MAX 8
#define READY_TEXT_CAP 256

struct ready {
    pthread_mutex_t mutex;
    const char *reasons[READY_REASONS_MAX];
    size_t n;
};

/* Begins not ready, for the reason "starting". */
void ready_init(struct ready *r);
void ready_done(struct ready *r);
/* Adds a reason (a literal); holding it twice is holding it once. */
void ready_hold(struct ready *r, const char *reason);
/* Takes it away; a reason that is not held is no mistake. */
void ready_release(struct ready *r, const char *reason);
/* True when ready; else the reasons, joined by ", ", are in ret_text (may be NULL). */
bool ready_check(struct ready *r, char ret_text[READY_TEXT_CAP]);
