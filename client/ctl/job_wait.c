#include "client/ctl/job_wait.h"

#include "client/ctl/progress.h"
#include "client/ctl/replay_play.h"

#include <inttypes.h>
#include <unistd.h>

#define POLL_FIRST_US 10000
#define POLL_MOST_US 250000
#define CALL_TIMEOUT_S 30.0

static bool has_ended(const Shunt__V1__JobInfo *job)
{
    return job->state != SHUNT__V1__JOB_STATE__JOB_STATE_QUEUED &&
           job->state != SHUNT__V1__JOB_STATE__JOB_STATE_RUNNING;
}

static enum ctl_exit get(struct ctl *ctl, uint64_t id, Shunt__V1__JobInfo **ret_job)
{
    Shunt__V1__GetJobRequest request = SHUNT__V1__GET_JOB_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    request.id = id;
    enum ctl_exit code = ctl_call(ctl, CTL_ADMIN, "GetJob", &request.base,
                                  &shunt__v1__job_info__descriptor, &response);
    *ret_job = (Shunt__V1__JobInfo *)response;
    return code;
}

static enum ctl_exit cancel(struct ctl *ctl, uint64_t id, bool forget)
{
    Shunt__V1__CancelJobRequest request = SHUNT__V1__CANCEL_JOB_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    struct call_error error;
    request.id = id;
    request.has_forget = 1;
    request.forget = forget;
    enum ctl_exit code = ctl_try(ctl, CTL_ADMIN, "CancelJob", CALL_TIMEOUT_S, &request.base,
                                 &shunt__v1__cancel_job_response__descriptor, &response, &error);
    protobuf_c_message_free_unpacked(response, NULL);
    return code;
}

void job_forget(struct ctl *ctl, uint64_t id)
{
    (void)cancel(ctl, id, true);
}

static enum ctl_exit interrupted(struct ctl *ctl, uint64_t id)
{
    if (cancel(ctl, id, true) == CTL_OK)
        return ctl_fail(CTL_REFUSED, "interrupted: job %" PRIu64 " is cancelled", id);
    return ctl_fail(CTL_REFUSED,
                    "interrupted, but job %" PRIu64 " could not be cancelled: it goes on; "
                    "`shuntctl job cancel %" PRIu64 "` ends it",
                    id, id);
}

/* Replaces *job by what it is now, until it has ended. */
static enum ctl_exit wait_for(struct ctl *ctl, Shunt__V1__JobInfo **job)
{
    uint64_t id = (*job)->id;
    useconds_t pause_us = POLL_FIRST_US;
    struct progress progress;
    enum ctl_exit code = CTL_OK;
    progress_begin(&progress, (*job)->kind, 0);
    while (code == CTL_OK && !has_ended(*job)) {
        if (play_interrupted()) {
            code = interrupted(ctl, id);
            break;
        }
        usleep(pause_us);
        pause_us = 2 * pause_us < POLL_MOST_US ? 2 * pause_us : POLL_MOST_US;
        protobuf_c_message_free_unpacked(&(*job)->base, NULL);
        code = get(ctl, id, job);
        if (code == CTL_OK) {
            progress.total = (*job)->total;
            progress_set(&progress, (*job)->done);
        }
    }
    progress_end(&progress);
    return code;
}

static enum ctl_exit say_end(const Shunt__V1__JobInfo *job)
{
    if (job->state == SHUNT__V1__JOB_STATE__JOB_STATE_DONE)
        return CTL_OK;
    if (job->state == SHUNT__V1__JOB_STATE__JOB_STATE_CANCELLED)
        return ctl_fail(CTL_REFUSED, "job %" PRIu64 " was cancelled", job->id);
    return ctl_fail(CTL_REFUSED, "%s: %s", job->error_code ? job->error_code : "FAILED",
                    job->error ? job->error : "the job failed");
}

enum ctl_exit job_run(struct ctl *ctl, const Shunt__V1__StartJobRequest *request,
                      Shunt__V1__JobInfo **ret_job)
{
    ProtobufCMessage *response = NULL;
    play_block_signals();
    enum ctl_exit code = ctl_call(ctl, CTL_ADMIN, "StartJob", &request->base,
                                  &shunt__v1__job_info__descriptor, &response);
    if (code != CTL_OK)
        return code;
    Shunt__V1__JobInfo *job = (Shunt__V1__JobInfo *)response;
    code = wait_for(ctl, &job);
    if (code == CTL_OK)
        code = say_end(job);
    if (code == CTL_OK)
        *ret_job = job;
    else if (job)
        protobuf_c_message_free_unpacked(&job->base, NULL);
    return code;
}

enum ctl_exit job_output(struct ctl *ctl, uint64_t id, FILE *out)
{
    Shunt__V1__ReadJobOutputRequest request = SHUNT__V1__READ_JOB_OUTPUT_REQUEST__INIT;
    request.id = id;
    request.has_offset = 1;
    for (bool end = false; !end;) {
        ProtobufCMessage *response = NULL;
        if (play_interrupted())
            return interrupted(ctl, id);
        enum ctl_exit code = ctl_call(ctl, CTL_ADMIN, "ReadJobOutput", &request.base,
                                      &shunt__v1__read_job_output_response__descriptor, &response);
        if (code != CTL_OK)
            return code;
        const Shunt__V1__ReadJobOutputResponse *chunk =
            (const Shunt__V1__ReadJobOutputResponse *)response;
        size_t len = chunk->has_data ? chunk->data.len : 0;
        bool written = len == 0 || fwrite(chunk->data.data, 1, len, out) == len;
        end = chunk->end || len == 0;
        request.offset += len;
        protobuf_c_message_free_unpacked(response, NULL);
        if (!written)
            return ctl_fail(CTL_REFUSED, "the lines cannot be written");
    }
    return CTL_OK;
}
