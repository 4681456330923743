/* offline.h - shuntd's commands that serve nobody: verify and restore.
 * Why: proof and recovery must work when the server does not start.
 * Threads: from main, before anything else runs.
 * Both print one JSON line to stdout, or a sentence to stderr, and return the exit status:
 * 0 fine, 1 could not be done, 4 verify found a difference. */
#pragma once

#include "server/config.h"
#include "server/engine/engine.h"

/* Reads every byte, folds the journal from its base again, compares with the recovered statistics.
 */
int offline_verify(const struct config *config, const struct engine_options *options);
int offline_restore(const struct config *config);
