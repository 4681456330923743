/* shunt_stream_*: requests without an answer in a table of slots; a slot and how often it was used
 * are the tag on the wire, so an answer that comes after its deadline finds nothing. */
#include "client/route.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IN_FLIGHT = 64, IN_FLIGHT_MAX = 1024 };
static const double reopen_s = .05; /* Between two tries to open the stream again. */

enum slot_state { SLOT_FREE, SLOT_TO_SEND, SLOT_SENT };

struct slot {
    enum slot_state state;
    uint32_t uses;
    bool again;        /* It may be asked twice. */
    uint64_t tag;      /* The caller's. */
    double deadline_s; /* On the monotonic clock. */
    uint8_t *bytes;    /* A packed RouteStreamRequest. */
    size_t len;
    char default_arm[SHUNT_NAME_CAP]; /* Empty: that of the options. */
    uint32_t next;                    /* Of the list it is in. */
};
#define NONE UINT32_MAX

struct shunt_stream {
    struct shunt_client *client;
    struct call_stream *call; /* NULL: none is open. */
    double reopen_at_s;
    struct call_error over; /* How the last stream ended; status 0: an answer came since. */
    double earliest_s;      /* No deadline is before this. */
    uint32_t slots_n, used_n;
    uint32_t free;                  /* List of free slots. */
    uint32_t send_first, send_last; /* Queue of those to be sent. */
    struct slot slots[];
};

struct shunt_stream *shunt_stream_open(struct shunt_client *client, size_t in_flight,
                                       struct shunt_error *ret_error)
{
    handle_clear(ret_error);
    if (!client || in_flight > IN_FLIGHT_MAX) {
        (void)handle_say(ret_error, SHUNT_INVALID, "in_flight is at most %d", IN_FLIGHT_MAX);
        return NULL;
    }
    uint32_t n = in_flight ? (uint32_t)in_flight : IN_FLIGHT;
    struct shunt_stream *s = calloc(1, sizeof *s + n * sizeof s->slots[0]);
    if (!s) {
        (void)handle_say(ret_error, SHUNT_NO_MEMORY, "out of memory");
        return NULL;
    }
    s->client = client;
    s->slots_n = n;
    s->send_first = s->send_last = NONE;
    for (uint32_t i = 0; i < n; i++)
        s->slots[i].next = i + 1 < n ? i + 1 : NONE;
    return s;
}

void shunt_stream_close(struct shunt_stream *stream)
{
    if (!stream)
        return;
    call_stream_close(stream->call);
    for (uint32_t i = 0; i < stream->slots_n; i++)
        free(stream->slots[i].bytes);
    free(stream);
}

/* ---- slots ---- */

static void to_send(struct shunt_stream *s, uint32_t i)
{
    s->slots[i].state = SLOT_TO_SEND;
    s->slots[i].next = NONE;
    if (s->send_last == NONE)
        s->send_first = i;
    else
        s->slots[s->send_last].next = i;
    s->send_last = i;
}

static void give_back(struct shunt_stream *s, uint32_t i)
{
    struct slot *slot = &s->slots[i];
    free(slot->bytes);
    slot->bytes = NULL;
    slot->state = SLOT_FREE;
    slot->uses++;
    slot->next = s->free;
    s->free = i;
    s->used_n--;
}

/* Out of the queue of those to be sent, which is short. */
static void unqueue(struct shunt_stream *s, uint32_t i)
{
    uint32_t before = NONE, k = s->send_first;
    while (k != i) {
        before = k;
        k = s->slots[k].next;
    }
    if (before == NONE)
        s->send_first = s->slots[i].next;
    else
        s->slots[before].next = s->slots[i].next;
    if (s->send_last == i)
        s->send_last = before;
}

static uint64_t wire_tag(const struct shunt_stream *s, uint32_t i)
{
    return (uint64_t)s->slots[i].uses * s->slots_n + i;
}

/* ---- sending ---- */

static enum shunt_result fill_slot(struct shunt_stream *s, uint32_t i,
                                   const struct shunt_request *request, uint64_t tag,
                                   struct shunt_error *error)
{
    struct slot *slot = &s->slots[i];
    struct route_message x;
    Shunt__V1__RouteStreamRequest m = SHUNT__V1__ROUTE_STREAM_REQUEST__INIT;
    enum shunt_result result = route_message_init(&x, s->client, request, error);
    if (result != SHUNT_OK)
        return result;
    m.has_tag = 1;
    m.tag = wire_tag(s, i);
    m.request = &x.m;
    slot->len = shunt__v1__route_stream_request__get_packed_size(&m);
    slot->bytes = malloc(slot->len);
    if (slot->bytes) {
        (void)shunt__v1__route_stream_request__pack(&m, slot->bytes);
        slot->tag = tag;
        slot->again = !x.m.session_id || x.m.decision_id;
        slot->deadline_s = handle_now_s() + x.read.timeout_s;
        const char *arm = x.read.default_arm ? x.read.default_arm : "";
        memcpy(slot->default_arm, arm, strlen(arm) + 1); /* It fits, or it would be refused. */
    }
    route_message_done(&x);
    return slot->bytes ? SHUNT_OK : handle_say(error, SHUNT_NO_MEMORY, "out of memory");
}

static void open_call(struct shunt_stream *s)
{
    if (s->call || handle_now_s() < s->reopen_at_s)
        return;
    s->call = call_stream_open(s->client->channel, "/shunt.v1.Router/RouteStream");
    s->reopen_at_s = handle_now_s() + reopen_s;
}

/* Writes what can be; the last one only if `idle`. */
static void push(struct shunt_stream *s, bool idle)
{
    while (s->call && s->send_first != NONE) {
        uint32_t i = s->send_first;
        struct slot *slot = &s->slots[i];
        bool more = slot->next != NONE;
        if ((!more && !idle) || !call_stream_write(s->call, slot->bytes, slot->len, more))
            return;
        unqueue(s, i);
        slot->state = SLOT_SENT;
    }
}

enum shunt_result shunt_stream_send(struct shunt_stream *stream,
                                    const struct shunt_request *request, uint64_t tag,
                                    struct shunt_error *ret_error)
{
    handle_clear(ret_error);
    if (!stream || !request)
        return handle_say(ret_error, SHUNT_INVALID, "a stream and a request");
    if (stream->free == NONE)
        return handle_say(ret_error, SHUNT_QUEUE_FULL,
                          "%u requests have no answer yet: take one first", stream->slots_n);
    uint32_t i = stream->free;
    struct slot *slot = &stream->slots[i];
    enum shunt_result result = fill_slot(stream, i, request, tag, ret_error);
    if (result != SHUNT_OK)
        return result;
    stream->free = slot->next;
    if (stream->used_n++ == 0 || slot->deadline_s < stream->earliest_s)
        stream->earliest_s = slot->deadline_s;
    to_send(stream, i);
    open_call(stream);
    push(stream, false);
    return SHUNT_OK;
}

/* ---- answers ---- */

/* Ends the slot with what `call` says. */
static enum shunt_result answer(struct shunt_stream *s, uint32_t i, struct call_error *call,
                                Shunt__V1__RouteResponse *take, uint64_t *ret_tag,
                                struct shunt_decision *ret, struct shunt_error *error)
{
    struct slot *slot = &s->slots[i];
    struct handle_routed routed;
    const char *arm = slot->default_arm[0] ? slot->default_arm : NULL;
    /* Which arms a fallback may be is known from the request alone. */
    Shunt__V1__RouteStreamRequest *m = NULL;
    if (call->status != 0)
        m = shunt__v1__route_stream_request__unpack(NULL, slot->len, slot->bytes);
    Shunt__V1__RouteRequest nothing = SHUNT__V1__ROUTE_REQUEST__INIT;
    enum shunt_result result = handle_settle(s->client, m && m->request ? m->request : &nothing,
                                             arm, call, take, &routed, error);
    *ret_tag = slot->tag;
    if (result == SHUNT_OK)
        route_decision(&routed, ret);
    if (m)
        shunt__v1__route_stream_request__free_unpacked(m, NULL);
    if (slot->state == SLOT_TO_SEND)
        unqueue(s, i);
    give_back(s, i);
    return result;
}

/* A slot whose time is over, or NONE; then earliest_s is exact. */
static uint32_t late_slot(struct shunt_stream *s)
{
    double now = handle_now_s();
    if (now < s->earliest_s)
        return NONE;
    s->earliest_s = now + HANDLE_TIMEOUT_MAX_S;
    for (uint32_t i = 0; i < s->slots_n; i++) {
        const struct slot *slot = &s->slots[i];
        if (slot->state == SLOT_FREE)
            continue;
        if (slot->deadline_s <= now) {
            s->earliest_s = now;
            return i;
        }
        if (slot->deadline_s < s->earliest_s)
            s->earliest_s = slot->deadline_s;
    }
    return NONE;
}

/* Why a slot has no answer. A refusal is of those that restart() gave up, and not of what was sent
 * after it. */
static void say_late(const struct shunt_stream *s, const struct slot *slot, struct call_error *ret)
{
    bool given_up = !(slot->deadline_s > 0);
    *ret =
        (struct call_error){.status = CALL_DEADLINE_EXCEEDED, .message = "no answer came in time"};
    if (s->over.status != 0 && (given_up || handle_is_outage(s->over.status)))
        *ret = s->over;
}

/* The stream is over: what may be asked again is, and of the others the time is over. Of all, when
 * the server refused it: another stream would be refused too. */
static void restart(struct shunt_stream *s)
{
    bool refused = !handle_is_outage(s->over.status);
    call_stream_close(s->call);
    s->call = NULL;
    for (uint32_t i = 0; i < s->slots_n; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->state == SLOT_FREE || (slot->state == SLOT_TO_SEND && !refused))
            continue;
        if (refused || !slot->again)
            slot->deadline_s = s->earliest_s = 0;
        else
            to_send(s, i);
    }
}

/* The slot that a result is of, or NONE: it came too late, or of nothing. */
static uint32_t slot_of(const struct shunt_stream *s, const Shunt__V1__RouteResult *r)
{
    uint32_t i = (uint32_t)(r->tag % s->slots_n);
    return s->slots[i].state == SLOT_SENT && wire_tag(s, i) == r->tag ? i : NONE;
}

static double wait_of(const struct shunt_stream *s, double until_s)
{
    double now = handle_now_s();
    double until = s->earliest_s < until_s ? s->earliest_s : until_s;
    if (!s->call && s->reopen_at_s < until)
        until = s->reopen_at_s;
    return until > now ? until - now : 0;
}

static void nap(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    (void)nanosleep(&t, NULL);
}

/* One event of the call, or the time. True: *ret_slot is answered by *ret_message. */
static bool step(struct shunt_stream *s, double until_s, ProtobufCMessage **ret_message,
                 uint32_t *ret_slot)
{
    double wait_s = wait_of(s, until_s);
    open_call(s);
    push(s, false);
    if (!s->call) {
        nap(wait_s);
        return false;
    }
    /* The last one to be sent leaves once nothing else is there to be taken. */
    bool holds = s->send_first != NONE && !call_stream_writing(s->call);
    *ret_message = NULL;
    switch (call_stream_next(s->call, &shunt__v1__route_result__descriptor, holds ? 0 : wait_s,
                             ret_message, &s->over)) {
    case CALL_MESSAGE:
        s->over.status = 0;
        *ret_slot = *ret_message ? slot_of(s, (Shunt__V1__RouteResult *)*ret_message) : NONE;
        if (*ret_slot != NONE)
            return true;
        if (*ret_message)
            protobuf_c_message_free_unpacked(*ret_message, NULL);
        return false;
    case CALL_OVER:
        restart(s);
        return false;
    case CALL_WRITTEN:
        return false;
    case CALL_IDLE:
        push(s, holds);
        return false;
    }
    return false;
}

static enum shunt_result take_message(struct shunt_stream *s, uint32_t i, ProtobufCMessage *message,
                                      uint64_t *ret_tag, struct shunt_decision *ret,
                                      struct shunt_error *error)
{
    struct call_error call;
    Shunt__V1__RouteResponse *response =
        handle_open_result((Shunt__V1__RouteResult *)message, &call);
    protobuf_c_message_free_unpacked(message, NULL);
    return answer(s, i, &call, response, ret_tag, ret, error);
}

enum shunt_result shunt_stream_next(struct shunt_stream *stream, double timeout_s,
                                    uint64_t *ret_tag, struct shunt_decision *ret,
                                    struct shunt_error *ret_error)
{
    handle_clear(ret_error);
    if (!stream || !ret_tag || !ret || ret->size < sizeof ret->size || !(timeout_s >= 0))
        return handle_say(ret_error, SHUNT_INVALID,
                          "a stream, a time, a tag and a decision that starts with its _INIT");
    double until_s = handle_now_s() + timeout_s;
    for (;;) {
        struct call_error late;
        ProtobufCMessage *message = NULL;
        uint32_t i = late_slot(stream);
        if (stream->used_n == 0)
            return handle_say(ret_error, SHUNT_EMPTY, "everything is answered");
        if (i != NONE)
            say_late(stream, &stream->slots[i], &late);
        if (i != NONE)
            return answer(stream, i, &late, NULL, ret_tag, ret, ret_error);
        if (step(stream, until_s, &message, &i))
            return take_message(stream, i, message, ret_tag, ret, ret_error);
        if (handle_now_s() >= until_s && late_slot(stream) == NONE)
            return handle_say(ret_error, SHUNT_TIMEOUT, "no answer yet");
    }
}
