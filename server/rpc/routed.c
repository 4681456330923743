#include "server/rpc/routed.h"

#include "server/rpc/codec_plain.h"
#include "server/rpc/handlers.h"
#include "server/rpc/wire.h"

enum { RESPONSE_FIELD = 1, TAG_FIELD = 5 }; /* Of RouteResult. */

static char *unconst(const char *s)
{
    union { /* The generated structs want char *; nothing writes through it. */
        const char *in;
        char *out;
    } u = {.in = s};
    return u.out;
}

void routed_refuse(struct routed *r, enum err e, const struct err_detail *detail)
{
    r->err = e;
    r->waits = false;
    r->plain = NULL;
    r->result.response = NULL;
    r->result.has_status = true;
    r->result.status = (int32_t)status_of(e);
    r->result.code = unconst(err_code(e));
    status_message(e, detail, r->message, sizeof r->message);
    r->result.message = r->message;
}

static enum err decide(struct handler *h, struct slice bytes, size_t max_bytes, struct route_in *in,
                       ProtobufCMessage **ret_response, struct err_detail *detail)
{
    if (bytes.len > max_bytes)
        return err_say(detail, ERR_TOO_LARGE, "the request has %zu bytes; at most %zu", bytes.len,
                       max_bytes);
    return in ? handle_route_read(h, in, ret_response, detail)
              : handle_route_request(h, bytes, ret_response, detail);
}

void routed_run(struct handler *h, struct slice bytes, size_t max_bytes, struct route_in *in,
                struct routed *ret_routed)
{
    struct err_detail detail;
    ProtobufCMessage *response = NULL;
    detail.text[0] = '\0';
    shunt__v1__route_result__init(&ret_routed->result);
    enum err e = decide(h, bytes, max_bytes, in, &response, &detail);
    ret_routed->err = e;
    ret_routed->waits = h->waits && e == OK;
    h->waits = false;
    ret_routed->plain = e == OK && !response ? &h->route_out : NULL;
    if (e == OK)
        ret_routed->result.response = (Shunt__V1__RouteResponse *)response;
    else
        routed_refuse(ret_routed, e, &detail);
}

size_t routed_max(const struct routed *r)
{
    if (!r->plain)
        return shunt__v1__route_result__get_packed_size(&r->result);
    return codec_plain_max(r->plain) + (size_t)2 * (1 + WIRE_VARINT_MAX);
}

size_t routed_pack(const struct routed *r, uint8_t *to)
{
    if (!r->plain)
        return shunt__v1__route_result__pack(&r->result, to);
    uint8_t *begin = wire_put_varint(to, RESPONSE_FIELD << 3 | WIRE_BYTES);
    uint8_t *end = begin + WIRE_ROOM;
    end = wire_fill_length(begin, end + codec_plain_pack(r->plain, end));
    if (r->result.has_tag)
        end = wire_put_varint(wire_put_varint(end, TAG_FIELD << 3 | WIRE_VARINT), r->result.tag);
    return (size_t)(end - to);
}
