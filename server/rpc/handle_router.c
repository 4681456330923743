#include "server/rpc/codec_plain.h"
#include "server/rpc/handlers.h"

enum err handle_route_request(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    struct route_in in;
    Shunt__V1__RouteResponse *response = NULL;
    TRY(codec_route_in((const Shunt__V1__RouteRequest *)request, h->body, &h->route_lists, &in,
                       detail));
    in.now_us = h->now_us;
    TRY(engine_route(h->worker, &in, &h->route_out, detail));
    *ret_response = NULL;
    if (!codec_plain_is(&h->route_out)) {
        TRY(codec_route_out(&h->route_out, in.explain, &h->arena, &response, detail));
        *ret_response = &response->base;
    }
    h->waits = h->route_out.waits;
    return OK;
}

enum err handle_report_reward(struct handler *h, const ProtobufCMessage *request,
                              struct report_call *call, struct err_detail *detail)
{
    struct report_in in;
    TRY(codec_report_in((const Shunt__V1__ReportRewardRequest *)request, h->route_lists.weights,
                        &in, detail));
    return engine_report(h->worker, &in, call, detail);
}
