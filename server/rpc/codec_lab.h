/* codec_lab.h - jobs as messages: what is asked, how far it is, what was found.
 * Owns: nothing. Decoded values are copies; encoded messages live in the arena.
 * Threads: pure, but that a job must be held while it is encoded. */
#pragma once

#include "server/engine/engine_lab.h"
#include "server/rpc/arena.h"
#include "shunt/v1/admin.pb-c.h"

/* Name of the router that a request asks, empty: a bare one (a file and no router).
 * ERR_INVALID: not exactly one kind. */
MUST_USE enum err codec_lab_router(const Shunt__V1__StartJobRequest *m, struct slice *ret_router,
                                   struct err_detail *detail);
/* `config` is the router's own, or of defaults for a bare one; what the request changes of it goes
 * into ret_request->config. */
MUST_USE enum err codec_lab_in(const Shunt__V1__StartJobRequest *m,
                               const struct router_config *config, struct lab_request *ret_request,
                               struct err_detail *detail);

/* Without a result. */
MUST_USE enum err codec_job_info(const struct job_info *info, const char *router,
                                 struct arena *arena, Shunt__V1__JobInfo **ret_message,
                                 struct err_detail *detail);
/* Adds what a job that is done has found. */
MUST_USE enum err codec_lab_result(const struct lab_result *result, enum lab_kind kind,
                                   struct arena *arena, Shunt__V1__JobInfo *message,
                                   struct err_detail *detail);
