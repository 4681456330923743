#include "grpc/health/v1/health.pb-c.h"
#include "server/ops/ready.h"
#include "server/rpc/codec_info.h"
#include "server/rpc/handlers.h"

#include <string.h>

enum err handle_explain(struct handler *h, const ProtobufCMessage *request,
                        ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ExplainRequest *m = (const Shunt__V1__ExplainRequest *)request;
    struct explain_out out;
    Shunt__V1__ExplainResponse *response = NULL;
    TRY(engine_explain(h->worker, slice_text(m->decision_id), &out, detail));
    enum err e = codec_explained(&out, &h->arena, &response, detail);
    explain_out_done(&out);
    if (e == OK)
        *ret_response = &response->base;
    return e;
}

enum err handle_stats(struct handler *h, const ProtobufCMessage *request,
                      ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__StatsRequest *m = (const Shunt__V1__StatsRequest *)request;
    Shunt__V1__StatsResponse *response = NULL;
    const struct snapshot *s = engine_snapshot_acquire(h->worker);
    const struct router_view *only = NULL;
    enum err e = OK;
    if (m->router) {
        only = snapshot_router(s, m->router, strlen(m->router));
        if (!only)
            e = err_say(detail, ERR_ROUTER_NOT_FOUND, "there is no router %.64s", m->router);
    }
    if (e == OK)
        e = codec_stats(h->engine, s, only, &h->arena, &response, detail);
    engine_snapshot_release(h->worker);
    if (e == OK)
        *ret_response = &response->base;
    return e;
}

enum err handle_get_config(struct handler *h, const ProtobufCMessage *request,
                           ProtobufCMessage **ret_response, struct err_detail *detail)
{
    (void)request;
    size_t n = h->settings_n;
    Shunt__V1__GetConfigResponse *r = arena_alloc(&h->arena, sizeof *r);
    Shunt__V1__ConfigEntry *entries = arena_array(&h->arena, n, sizeof *entries);
    Shunt__V1__ConfigEntry **list = arena_array(&h->arena, n, sizeof *list);
    if (!r || !entries || !list)
        return arena_error(&h->arena, detail);
    shunt__v1__get_config_response__init(r);
    for (size_t i = 0; i < n; i++) {
        const struct rpc_setting *from = &h->settings[i];
        shunt__v1__config_entry__init(&entries[i]);
        entries[i].key = arena_text(&h->arena, from->key, strlen(from->key));
        entries[i].value = arena_text(&h->arena, from->value, strlen(from->value));
        entries[i].source = arena_text(&h->arena, from->source, strlen(from->source));
        entries[i].about = arena_text(&h->arena, from->about, strlen(from->about));
        if (!entries[i].key || !entries[i].value || !entries[i].source || !entries[i].about)
            return arena_error(&h->arena, detail);
        list[i] = &entries[i];
    }
    r->entries = list;
    r->n_entries = n;
    *ret_response = &r->base;
    return OK;
}

enum err handle_checkpoint(struct handler *h, const ProtobufCMessage *request,
                           ProtobufCMessage **ret_response, struct err_detail *detail)
{
    (void)request;
    Shunt__V1__CheckpointResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    shunt__v1__checkpoint_response__init(r);
    TRY(engine_checkpoint(h->worker, &r->position, detail));
    r->has_position = true;
    *ret_response = &r->base;
    return OK;
}

enum err handle_verify(struct handler *h, const ProtobufCMessage *request,
                       ProtobufCMessage **ret_response, struct err_detail *detail)
{
    (void)request;
    struct verify_result result = {0};
    Shunt__V1__VerifyResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    TRY(engine_verify(h->worker, h->cancelled, &result, detail));
    shunt__v1__verify_response__init(r);
    r->has_ok = r->has_base_position = r->has_position = r->has_events = true;
    r->has_state_bytes = true;
    r->ok = result.ok;
    r->base_position = result.base_position;
    r->position = result.position;
    r->events = result.events;
    r->state_bytes = result.state_bytes;
    if (result.detail[0]) {
        r->detail = arena_text(&h->arena, result.detail, strlen(result.detail));
        if (!r->detail)
            return arena_error(&h->arena, detail);
    }
    *ret_response = &r->base;
    return OK;
}

enum err handle_backup(struct handler *h, const ProtobufCMessage *request,
                       ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__BackupRequest *m = (const Shunt__V1__BackupRequest *)request;
    if (m->path[0] != '/')
        return err_say(detail, ERR_INVALID, "path: must be absolute, on the server's host");
    Shunt__V1__BackupResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    shunt__v1__backup_response__init(r);
    TRY(engine_backup(h->worker, m->path, &r->position, &r->bytes, detail));
    r->has_position = r->has_bytes = true;
    *ret_response = &r->base;
    return OK;
}

enum err handle_forget_source(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ForgetSourceRequest *m = (const Shunt__V1__ForgetSourceRequest *)request;
    const struct forget_in in = {
        .source = slice_text(m->source),
        .router = slice_text(m->router),
        .dry_run = m->has_dry_run && m->dry_run,
        .partial = m->has_partial && m->partial,
    };
    struct ledger_forgotten out;
    Shunt__V1__ForgetSourceResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    TRY(engine_forget(h->worker, &in, h->cancelled, &out, detail));
    shunt__v1__forget_source_response__init(r);
    r->has_taken_out = r->has_before_base = r->has_base_position = true;
    r->taken_out = out.taken;
    r->before_base = out.before_base;
    r->base_position = out.base_position;
    r->has_position = out.position != 0;
    r->position = out.position;
    *ret_response = &r->base;
    return OK;
}

enum err handle_rotate_keys(struct handler *h, const ProtobufCMessage *request,
                            ProtobufCMessage **ret_response, struct err_detail *detail)
{
    (void)request;
    Shunt__V1__RotateKeysResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    shunt__v1__rotate_keys_response__init(r);
    TRY(engine_keys_rotate(h->worker, &r->key_id, &r->keys, detail));
    r->has_key_id = r->has_keys = true;
    *ret_response = &r->base;
    return OK;
}

enum err handle_health_check(struct handler *h, const ProtobufCMessage *request,
                             ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Grpc__Health__V1__HealthCheckRequest *m =
        (const Grpc__Health__V1__HealthCheckRequest *)request;
    if (m->service && m->service[0] && strcmp(m->service, h->service) != 0)
        return err_say(detail, ERR_NOT_FOUND, "this server has no such service");
    Grpc__Health__V1__HealthCheckResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    grpc__health__v1__health_check_response__init(r);
    r->status = ready_check(h->ready, NULL)
                    ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                    : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    *ret_response = &r->base;
    return OK;
}
