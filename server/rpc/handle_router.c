#include "server/rpc/codec_plain.h"
#include "server/rpc/handlers.h"
#include "server/rpc/message.h"

static enum err read_message(struct handler *h, struct slice bytes, struct route_in *ret_in,
                             struct err_detail *detail)
{
    ProtobufCMessage *m = NULL;
    TRY(message_unpack(&shunt__v1__route_request__descriptor, bytes, &h->arena, &m, detail));
    return codec_route_in((const Shunt__V1__RouteRequest *)m, bytes, &h->route_lists, ret_in,
                          detail);
}

enum err handle_route_request(struct handler *h, struct slice bytes,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    struct route_in in;
    if (!codec_plain_in(bytes, &h->arena, &in))
        TRY(read_message(h, bytes, &in, detail));
    return handle_route_read(h, &in, ret_response, detail);
}

enum err handle_route_read(struct handler *h, struct route_in *in, ProtobufCMessage **ret_response,
                           struct err_detail *detail)
{
    Shunt__V1__RouteResponse *response = NULL;
    in->now_us = h->now_us;
    TRY(engine_route(h->worker, in, &h->route_out, detail));
    *ret_response = NULL;
    if (!codec_plain_is(&h->route_out)) {
        TRY(codec_route_out(&h->route_out, in->explain, &h->arena, &response, detail));
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
