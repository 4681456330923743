#include "server/rpc/codec_lab.h"
#include "server/rpc/handlers.h"
#include "state/base/mem.h"

#include <string.h>

/* A held job as it is now, with its result when it is done. */
static enum err describe(struct handler *h, struct job *job, Shunt__V1__JobInfo **ret_message,
                         struct err_detail *detail)
{
    struct job_info info;
    job_info(engine_jobs(h->engine), job, &info);
    TRY(codec_job_info(&info, engine_lab_router(job), &h->arena, ret_message, detail));
    if (info.state != JOB_DONE)
        return OK;
    return codec_lab_result(engine_lab_result(job), engine_lab_kind(job), &h->arena, *ret_message,
                            detail);
}

static enum err answer_job(struct handler *h, uint64_t id, ProtobufCMessage **ret_response,
                           struct err_detail *detail)
{
    Shunt__V1__JobInfo *message = NULL;
    struct job *job = jobs_hold(engine_jobs(h->engine), id);
    if (!job)
        return err_say(detail, ERR_JOB_NOT_FOUND, "there is no job %llu", (unsigned long long)id);
    enum err e = describe(h, job, &message, detail);
    jobs_release(engine_jobs(h->engine), job);
    if (e == OK)
        *ret_response = &message->base;
    return e;
}

/* The router's own configuration, or defaults when a file stands for it. */
static enum err find_config(struct handler *h, struct slice router,
                            struct router_config *ret_config, struct err_detail *detail)
{
    if (router.len == 0) {
        settings_defaults(ret_config, "default");
        return OK;
    }
    const struct snapshot *s = engine_snapshot_acquire(h->worker);
    const struct router_view *r = snapshot_router(s, router.data, router.len);
    if (r)
        *ret_config = *r->config;
    engine_snapshot_release(h->worker);
    return r ? OK
             : err_say(detail, ERR_ROUTER_NOT_FOUND, "there is no router `%.64s`",
                       (const char *)router.data);
}

static enum err start(struct handler *h, const Shunt__V1__StartJobRequest *m,
                      struct lab_request *request, uint64_t *ret_id, struct err_detail *detail)
{
    struct router_config config;
    struct slice router;
    TRY(codec_lab_router(m, &router, detail));
    TRY(find_config(h, router, &config, detail));
    TRY(codec_lab_in(m, &config, request, detail));
    return engine_lab_start(h->worker, request, ret_id, detail);
}

enum err handle_start_job(struct handler *h, const ProtobufCMessage *request,
                          ProtobufCMessage **ret_response, struct err_detail *detail)
{
    uint64_t id = 0;
    struct lab_request *q = mem_calloc(1, sizeof *q); /* Large for a stack. */
    if (!q)
        return err_say(detail, ERR_NOMEM, "no memory for the job");
    enum err e = start(h, (const Shunt__V1__StartJobRequest *)request, q, &id, detail);
    mem_free(q);
    return e == OK ? answer_job(h, id, ret_response, detail) : e;
}

enum err handle_get_job(struct handler *h, const ProtobufCMessage *request,
                        ProtobufCMessage **ret_response, struct err_detail *detail)
{
    return answer_job(h, ((const Shunt__V1__GetJobRequest *)request)->id, ret_response, detail);
}

enum err handle_list_jobs(struct handler *h, const ProtobufCMessage *request,
                          ProtobufCMessage **ret_response, struct err_detail *detail)
{
    (void)request;
    enum { CAP = LAB_WAITING_MAX + LAB_ENDED_MAX + 1 };
    struct jobs *jobs = engine_jobs(h->engine);
    Shunt__V1__ListJobsResponse *r = arena_alloc(&h->arena, sizeof *r);
    struct job_info *infos = arena_array(&h->arena, CAP, sizeof *infos);
    Shunt__V1__JobInfo **list = arena_array(&h->arena, CAP, sizeof *list);
    if (!r || !infos || !list)
        return arena_error(&h->arena, detail);
    shunt__v1__list_jobs_response__init(r);
    size_t n = jobs_list(jobs, infos, CAP);
    r->jobs = list;
    for (size_t i = 0; i < n; i++) {
        struct job *job = jobs_hold(jobs, infos[i].id);
        if (!job) /* Forgotten meanwhile. */
            continue;
        enum err e =
            codec_job_info(&infos[i], engine_lab_router(job), &h->arena, &list[r->n_jobs], detail);
        jobs_release(jobs, job);
        TRY(e);
        r->n_jobs++;
    }
    *ret_response = &r->base;
    return OK;
}

enum err handle_cancel_job(struct handler *h, const ProtobufCMessage *request,
                           ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__CancelJobRequest *m = (const Shunt__V1__CancelJobRequest *)request;
    Shunt__V1__CancelJobResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    shunt__v1__cancel_job_response__init(r);
    TRY(jobs_cancel(engine_jobs(h->engine), m->id, m->forget, detail));
    *ret_response = &r->base;
    return OK;
}

enum err handle_read_job_output(struct handler *h, const ProtobufCMessage *request,
                                ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ReadJobOutputRequest *m = (const Shunt__V1__ReadJobOutputRequest *)request;
    Shunt__V1__ReadJobOutputResponse *r = arena_alloc(&h->arena, sizeof *r);
    uint8_t *bytes = arena_alloc(&h->arena, LAB_OUTPUT_CHUNK);
    bool end = false;
    if (!r || !bytes)
        return arena_error(&h->arena, detail);
    shunt__v1__read_job_output_response__init(r);
    TRY(engine_lab_output(h->engine, m->id, m->offset, bytes, &r->data.len, &end, detail));
    r->data.data = bytes;
    r->has_data = r->has_end = true;
    r->end = end;
    *ret_response = &r->base;
    return OK;
}
