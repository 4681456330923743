/* Jobs over the wire: evaluate, export, cancel, and a server killed in the middle of one. */
#include "tests/flow/play.h"
#include "tests/flow/server.h"
#include "tests/unit/cmocka_all.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct flow {
    struct server server;
    struct call_channel *router, *admin;
};

static void start(struct flow *f)
{
    assert_true(server_start(&f->server));
    f->router = call_open(f->server.router);
    f->admin = call_open(f->server.admin);
    assert_non_null(f->router);
    assert_non_null(f->admin);
}

static void hang_up(struct flow *f)
{
    call_close(f->router);
    call_close(f->admin);
}

static void play(struct flow *f, int n)
{
    for (int i = 0; i < n; i++) {
        struct decision_kept d;
        struct report_seen seen;
        struct call_error error;
        play_route(f->router, "r", &d);
        assert_int_equal(
            play_report(f->router, &d, "reward", d.arm[0] == 'a' ? .9 : .1, &seen, &error), 0);
    }
}

static void open_flow(struct flow *f, int n)
{
    server_init(&f->server);
    start(f);
    play_router(f->admin, "r");
    play(f, n);
}

static void close_flow(struct flow *f)
{
    hang_up(f);
    server_free(&f->server);
}

static int ask(struct flow *f, const char *method, const ProtobufCMessage *request,
               const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret,
               struct call_error *error)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/shunt.v1.Admin/%s", method);
    *ret = NULL;
    return call_unary(f->admin, path, request, type, 20, ret, error);
}

static void must_ask(struct flow *f, const char *method, const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
    struct call_error error;
    if (ask(f, method, request, type, ret, &error))
        fail_msg("%s: %s %s", method, error.code, error.message);
}

static Shunt__V1__JobInfo *get(struct flow *f, uint64_t id)
{
    Shunt__V1__GetJobRequest request = SHUNT__V1__GET_JOB_REQUEST__INIT;
    ProtobufCMessage *m;
    request.id = id;
    must_ask(f, "GetJob", &request.base, &shunt__v1__job_info__descriptor, &m);
    return (Shunt__V1__JobInfo *)m;
}

static uint64_t begin(struct flow *f, const Shunt__V1__StartJobRequest *request)
{
    ProtobufCMessage *m;
    must_ask(f, "StartJob", &request->base, &shunt__v1__job_info__descriptor, &m);
    uint64_t id = ((Shunt__V1__JobInfo *)m)->id;
    protobuf_c_message_free_unpacked(m, NULL);
    return id;
}

/* The job when it has ended; the caller frees it. */
static Shunt__V1__JobInfo *wait_for(struct flow *f, uint64_t id)
{
    for (;;) {
        Shunt__V1__JobInfo *job = get(f, id);
        if (job->state != SHUNT__V1__JOB_STATE__JOB_STATE_QUEUED &&
            job->state != SHUNT__V1__JOB_STATE__JOB_STATE_RUNNING)
            return job;
        protobuf_c_message_free_unpacked(&job->base, NULL);
        usleep(2000);
    }
}

static void drop(Shunt__V1__JobInfo *job)
{
    protobuf_c_message_free_unpacked(&job->base, NULL);
}

static void a_job_is_started_asked_after_and_answers(void **state)
{
    (void)state;
    struct flow f;
    char r[] = "r", policy[] = "greedy";
    open_flow(&f, 80);
    Shunt__V1__StartJobRequest request = SHUNT__V1__START_JOB_REQUEST__INIT;
    Shunt__V1__EvaluateJob evaluate = SHUNT__V1__EVALUATE_JOB__INIT;
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    request.evaluate = &evaluate;
    evaluate.router = r;
    evaluate.settings = &settings;
    settings.policy = policy;
    Shunt__V1__JobInfo *job = wait_for(&f, begin(&f, &request));
    assert_int_equal(job->state, SHUNT__V1__JOB_STATE__JOB_STATE_DONE);
    assert_string_equal(job->kind, "evaluate");
    assert_string_equal(job->router, "r");
    assert_int_equal(job->log->decisions, 80);
    assert_int_equal(job->log->outcomes, 80);
    assert_int_equal(job->evaluation->rows, 80);
    assert_string_equal(job->evaluation->policy, "greedy");
    assert_string_equal(job->evaluation->estimates[0]->name, "utility");
    assert_string_equal(job->evaluation->estimates[1]->name, "reward");
    assert_int_equal(job->evaluation->n_arms, 2);
    drop(job);

    request = (Shunt__V1__StartJobRequest)SHUNT__V1__START_JOB_REQUEST__INIT;
    Shunt__V1__WhatIfJob what_if = SHUNT__V1__WHAT_IF_JOB__INIT;
    request.what_if = &what_if;
    what_if.router = r;
    job = wait_for(&f, begin(&f, &request));
    assert_int_equal(job->what_if->outcomes, 80);
    assert_true(job->what_if->prediction_gap == 0);
    drop(job);

    Shunt__V1__ListJobsRequest list = SHUNT__V1__LIST_JOBS_REQUEST__INIT;
    ProtobufCMessage *m;
    must_ask(&f, "ListJobs", &list.base, &shunt__v1__list_jobs_response__descriptor, &m);
    const Shunt__V1__ListJobsResponse *jobs = (const Shunt__V1__ListJobsResponse *)m;
    assert_int_equal(jobs->n_jobs, 2);
    assert_null(jobs->jobs[0]->evaluation); /* Without results. */
    protobuf_c_message_free_unpacked(m, NULL);
    close_flow(&f);
}

/* All that a job wrote; the caller frees. */
static char *read_output(struct flow *f, uint64_t id, size_t *ret_len)
{
    Shunt__V1__ReadJobOutputRequest request = SHUNT__V1__READ_JOB_OUTPUT_REQUEST__INIT;
    char *all = NULL;
    FILE *out = open_memstream(&all, ret_len);
    request.id = id;
    request.has_offset = 1;
    for (bool end = false; !end;) {
        ProtobufCMessage *m;
        must_ask(f, "ReadJobOutput", &request.base,
                 &shunt__v1__read_job_output_response__descriptor, &m);
        const Shunt__V1__ReadJobOutputResponse *chunk = (const Shunt__V1__ReadJobOutputResponse *)m;
        if (chunk->data.len > 0) /* Nothing yet, or no more. */
            assert_int_equal(fwrite(chunk->data.data, 1, chunk->data.len, out), chunk->data.len);
        request.offset += chunk->data.len;
        end = chunk->end;
        protobuf_c_message_free_unpacked(m, NULL);
    }
    (void)fclose(out);
    return all;
}

static int files_of_jobs(const struct server *s)
{
    char path[256];
    int n = 0;
    (void)snprintf(path, sizeof path, "%s/lab", s->data);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static uint64_t begin_export(struct flow *f)
{
    char r[] = "r";
    Shunt__V1__StartJobRequest request = SHUNT__V1__START_JOB_REQUEST__INIT;
    Shunt__V1__ExportJob export = SHUNT__V1__EXPORT_JOB__INIT;
    request.export = &export;
    export.router = r;
    return begin(f, &request);
}

static void an_export_is_read_in_chunks_and_goes_when_forgotten(void **state)
{
    (void)state;
    struct flow f;
    size_t len = 0, lines = 0;
    open_flow(&f, 30);
    uint64_t id = begin_export(&f);
    char *all = read_output(&f, id, &len); /* From before it has ended on. */
    Shunt__V1__JobInfo *job = wait_for(&f, id);
    assert_int_equal(job->export->rows, 30);
    assert_int_equal(job->export->bytes, len);
    for (size_t i = 0; i < len; i++)
        lines += all[i] == '\n';
    assert_int_equal(lines, 30);
    assert_non_null(strstr(all, "\"outcome\":{\"status\":\"STATUS_OK\""));
    drop(job);
    free(all);
    assert_int_equal(files_of_jobs(&f.server), 1);

    Shunt__V1__CancelJobRequest cancel = SHUNT__V1__CANCEL_JOB_REQUEST__INIT;
    ProtobufCMessage *m;
    struct call_error error;
    cancel.id = id;
    cancel.has_forget = cancel.forget = 1;
    must_ask(&f, "CancelJob", &cancel.base, &shunt__v1__cancel_job_response__descriptor, &m);
    protobuf_c_message_free_unpacked(m, NULL);
    assert_int_equal(files_of_jobs(&f.server), 0);
    assert_int_equal(
        ask(&f, "CancelJob", &cancel.base, &shunt__v1__cancel_job_response__descriptor, &m, &error),
        5);
    assert_string_equal(error.code, "JOB_NOT_FOUND");
    close_flow(&f);
}

static void refused(struct flow *f, const Shunt__V1__StartJobRequest *request, int status,
                    const char *code)
{
    ProtobufCMessage *m;
    struct call_error error;
    assert_int_equal(
        ask(f, "StartJob", &request->base, &shunt__v1__job_info__descriptor, &m, &error), status);
    assert_string_equal(error.code, code);
}

static void a_wrong_request_is_refused_before_it_is_queued(void **state)
{
    (void)state;
    struct flow f;
    char none[] = "none", bad[] = "best", relative[] = "rows.jsonl", r[] = "r";
    open_flow(&f, 1);
    Shunt__V1__StartJobRequest request = SHUNT__V1__START_JOB_REQUEST__INIT;
    Shunt__V1__EvaluateJob evaluate = SHUNT__V1__EVALUATE_JOB__INIT;
    Shunt__V1__ExportJob export = SHUNT__V1__EXPORT_JOB__INIT;
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    refused(&f, &request, 3, "INVALID_VALUE");
    request.evaluate = &evaluate;
    request.export = &export;
    refused(&f, &request, 3, "INVALID_VALUE"); /* Two kinds at once. */
    request.export = NULL;
    evaluate.router = none;
    refused(&f, &request, 5, "ROUTER_NOT_FOUND");
    evaluate.router = r;
    evaluate.data = relative;
    refused(&f, &request, 3, "INVALID_VALUE");
    evaluate.data = NULL;
    evaluate.settings = &settings;
    settings.policy = bad;
    refused(&f, &request, 3, "INVALID_VALUE");
    settings.policy = NULL;
    evaluate.has_since_us = evaluate.has_until_us = 1;
    evaluate.since_us = evaluate.until_us = 5;
    refused(&f, &request, 3, "OUT_OF_RANGE");
    close_flow(&f);
}

/* More than can wait at once: some are refused, all that were taken end. */
static void too_many_jobs_are_refused_and_cancelled_ones_end(void **state)
{
    (void)state;
    struct flow f;
    char r[] = "r";
    open_flow(&f, 400);
    Shunt__V1__StartJobRequest request = SHUNT__V1__START_JOB_REQUEST__INIT;
    Shunt__V1__WhatIfJob what_if = SHUNT__V1__WHAT_IF_JOB__INIT;
    request.what_if = &what_if;
    what_if.router = r;
    uint64_t ids[64];
    int taken = 0, full = 0;
    while (taken < 64 && !full) {
        ProtobufCMessage *m;
        struct call_error error;
        if (ask(&f, "StartJob", &request.base, &shunt__v1__job_info__descriptor, &m, &error) == 0)
            ids[taken++] = ((Shunt__V1__JobInfo *)m)->id;
        else
            full = strcmp(error.code, "JOBS_FULL") == 0 && error.status == 8;
        protobuf_c_message_free_unpacked(m, NULL);
    }
    assert_true(full);
    assert_true(taken >= 8);
    for (int i = taken - 1; i >= 0; i--) {
        Shunt__V1__CancelJobRequest cancel = SHUNT__V1__CANCEL_JOB_REQUEST__INIT;
        ProtobufCMessage *m;
        cancel.id = ids[i];
        must_ask(&f, "CancelJob", &cancel.base, &shunt__v1__cancel_job_response__descriptor, &m);
        protobuf_c_message_free_unpacked(m, NULL);
    }
    Shunt__V1__JobInfo *job = wait_for(&f, ids[taken - 1]);
    assert_int_equal(job->state, SHUNT__V1__JOB_STATE__JOB_STATE_CANCELLED);
    drop(job);
    drop(wait_for(&f, ids[taken - 2]));
    close_flow(&f);
}

static void a_killed_server_loses_its_jobs_and_nothing_else(void **state)
{
    (void)state;
    struct flow f;
    open_flow(&f, 200);
    drop(wait_for(&f, begin_export(&f)));
    for (int i = 0; i < 4; i++)
        (void)begin_export(&f);
    assert_int_equal(server_stop(&f.server, SIGKILL), 128 + SIGKILL);
    hang_up(&f);
    start(&f);
    assert_int_equal(files_of_jobs(&f.server), 0);
    Shunt__V1__ListJobsRequest list = SHUNT__V1__LIST_JOBS_REQUEST__INIT;
    ProtobufCMessage *m;
    must_ask(&f, "ListJobs", &list.base, &shunt__v1__list_jobs_response__descriptor, &m);
    assert_int_equal(((const Shunt__V1__ListJobsResponse *)m)->n_jobs, 0);
    protobuf_c_message_free_unpacked(m, NULL);
    Shunt__V1__VerifyRequest verify = SHUNT__V1__VERIFY_REQUEST__INIT;
    must_ask(&f, "Verify", &verify.base, &shunt__v1__verify_response__descriptor, &m);
    assert_true(((const Shunt__V1__VerifyResponse *)m)->ok);
    assert_true(((const Shunt__V1__VerifyResponse *)m)->events >= 200);
    protobuf_c_message_free_unpacked(m, NULL);
    Shunt__V1__JobInfo *job = wait_for(&f, begin_export(&f));
    assert_in_range(job->export->rows, 190, 200); /* The log's last 20 ms may be lost. */
    drop(job);
    close_flow(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_is_started_asked_after_and_answers),
        cmocka_unit_test(an_export_is_read_in_chunks_and_goes_when_forgotten),
        cmocka_unit_test(a_wrong_request_is_refused_before_it_is_queued),
        cmocka_unit_test(too_many_jobs_are_refused_and_cancelled_ones_end),
        cmocka_unit_test(a_killed_server_loses_its_jobs_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
