/* handle_session.c - StartSession, EndSession and ListSessions. */
#include "server/rpc/codec_session.h"
#include "server/rpc/handlers.h"

#include <string.h>

enum { LIST_DEFAULT = 100, LIST_MAX = 1000 };

enum err handle_start_session(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    struct session_in in;
    struct session_info info;
    Shunt__V1__SessionInfo *response = NULL;
    codec_session_in((const Shunt__V1__StartSessionRequest *)request, &in);
    TRY(engine_session_start(h->worker, &in, &info, detail));
    TRY(codec_session_out(&info, &h->arena, &response, detail));
    *ret_response = &response->base;
    return OK;
}

enum err handle_end_session(struct handler *h, const ProtobufCMessage *request,
                            ProtobufCMessage **ret_response, struct err_detail *detail)
{
    struct session_end_in in;
    struct session_end_out out;
    Shunt__V1__EndSessionResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    shunt__v1__end_session_response__init(r);
    TRY(codec_session_end_in((const Shunt__V1__EndSessionRequest *)request, h->route_lists.weights,
                             &in, detail));
    TRY(engine_session_end(h->worker, &in, &out, detail));
    TRY(codec_session_out(&out.info, &h->arena, &r->session, detail));
    r->has_credited = r->has_reported = r->has_lost = true;
    r->credited = out.credited;
    r->reported = out.reported;
    r->lost = out.lost;
    *ret_response = &r->base;
    return OK;
}

enum err handle_list_sessions(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ListSessionsRequest *m = (const Shunt__V1__ListSessionsRequest *)request;
    uint32_t max = m->has_max ? m->max : LIST_DEFAULT, n = 0, all = 0;
    if (max < 1 || max > LIST_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "max: %u is not in [1, %d]", max, LIST_MAX);
    struct slice router = {m->router, m->router ? strlen(m->router) : 0};
    struct session_info *infos = arena_array(&h->arena, max, sizeof *infos);
    Shunt__V1__ListSessionsResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!infos || !r)
        return arena_error(&h->arena, detail);
    TRY(engine_session_list(h->worker, router, infos, max, &n, &all, detail));
    shunt__v1__list_sessions_response__init(r);
    r->sessions = arena_array(&h->arena, n, sizeof *r->sessions);
    if (!r->sessions)
        return arena_error(&h->arena, detail);
    for (uint32_t i = 0; i < n; i++)
        TRY(codec_session_out(&infos[i], &h->arena, &r->sessions[i], detail));
    r->n_sessions = n;
    r->has_all = true;
    r->all = all;
    *ret_response = &r->base;
    return OK;
}
