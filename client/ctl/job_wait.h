/* job_wait.h - starts a job on the server, waits for it, fetches what it wrote.
 * Why: evaluate, what-if, lambda and export all wait alike: with a line of progress, and with
 * Ctrl-C cancelling the job on the server instead of leaving it there. Owns: nothing that outlives
 * a call. Threads: one. */
#pragma once

#include "client/ctl/ctl.h"
#include "shunt/v1/admin.pb-c.h"

#include <stdio.h>

/* Starts, waits until it has ended, and hands out the last JobInfo, state DONE (the caller frees it
 * by protobuf_c_message_free_unpacked). Else the reason is on stderr: the server refused, the job
 * failed, or somebody cancelled it. SIGINT, SIGTERM and SIGHUP are blocked from here on. */
enum ctl_exit job_run(struct ctl *ctl, const Shunt__V1__StartJobRequest *request,
                      Shunt__V1__JobInfo **ret_job);
/* Copies the lines that a job wrote. */
enum ctl_exit job_output(struct ctl *ctl, uint64_t id, FILE *out);
/* Drops a job that has ended, with its output; what fails is of no interest. */
void job_forget(struct ctl *ctl, uint64_t id);
