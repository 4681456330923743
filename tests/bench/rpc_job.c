#include "client/call.h"
#include "shunt/v1/admin.pb-c.h"
#include "tests/bench/rpc_world.h"

/* The answer is the caller's. */
static ProtobufCMessage *admin(struct bench *b, const char *path, const ProtobufCMessage *request,
                               const ProtobufCMessageDescriptor *type)
{
    struct call_channel *channel = call_open(b->shuntd.admin);
    struct call_error error;
    ProtobufCMessage *response = NULL;
    if (call_unary(channel, path, request, type, 60, &response, &error))
        rpc_die(error.message);
    call_close(channel);
    return response;
}

/* Both targets over every decision so far. */
static uint64_t start_job(struct bench *b)
{
    char name[] = "logged";
    Shunt__V1__StartJobRequest request = SHUNT__V1__START_JOB_REQUEST__INIT;
    Shunt__V1__EvaluateJob evaluate = SHUNT__V1__EVALUATE_JOB__INIT;
    request.evaluate = &evaluate;
    evaluate.router = name;
    ProtobufCMessage *m =
        admin(b, "/shunt.v1.Admin/StartJob", &request.base, &shunt__v1__job_info__descriptor);
    uint64_t id = ((const Shunt__V1__JobInfo *)m)->id;
    protobuf_c_message_free_unpacked(m, NULL);
    return id;
}

static Shunt__V1__JobState job_state(struct bench *b, uint64_t id)
{
    Shunt__V1__GetJobRequest get = SHUNT__V1__GET_JOB_REQUEST__INIT;
    get.id = id;
    ProtobufCMessage *m =
        admin(b, "/shunt.v1.Admin/GetJob", &get.base, &shunt__v1__job_info__descriptor);
    Shunt__V1__JobState state = ((const Shunt__V1__JobInfo *)m)->state;
    if (state == SHUNT__V1__JOB_STATE__JOB_STATE_FAILED)
        rpc_die(((const Shunt__V1__JobInfo *)m)->error);
    protobuf_c_message_free_unpacked(m, NULL);
    return state;
}

static void forget_job(struct bench *b, uint64_t id)
{
    Shunt__V1__CancelJobRequest cancel = SHUNT__V1__CANCEL_JOB_REQUEST__INIT;
    cancel.id = id;
    cancel.has_forget = cancel.forget = 1;
    protobuf_c_message_free_unpacked(admin(b, "/shunt.v1.Admin/CancelJob", &cancel.base,
                                           &shunt__v1__cancel_job_response__descriptor),
                                     NULL);
}

void rpc_jobs_start(struct bench *b, uint64_t ids[JOBS])
{
    for (int i = 0; i < JOBS; i++)
        ids[i] = start_job(b);
}

void rpc_jobs_end(struct bench *b, const uint64_t ids[JOBS])
{
    if (job_state(b, ids[JOBS - 1]) == SHUNT__V1__JOB_STATE__JOB_STATE_DONE)
        rpc_die("the jobs ended before the phase did: measure shorter phases");
    for (int i = JOBS - 1; i >= 0; i--)
        forget_job(b, ids[i]);
}
