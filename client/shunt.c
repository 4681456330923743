/* The public calls in structs: check the arguments, borrow them as a message, ask handle.c. */
#include "client/handle.h"
#include "client/route.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char *shunt_version(void)
{
    return SHUNT_VERSION;
}

bool shunt_has(const char *feature)
{
    static const char *const features[] = {
        "json",        "queue",  "block",       "flush",        "unix",   "text-window",
        "default-arm", "agent",  "served-arm",  "key",          "source", "sessions",
        "batch",       "stream", "constraints", "report-batch", "tls"};
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (feature && strcmp(feature, features[i]) == 0)
            return true;
    return false;
}

const char *shunt_result_name(enum shunt_result result)
{
    switch (result) {
    case SHUNT_OK:
        return "OK";
    case SHUNT_INVALID:
        return "INVALID";
    case SHUNT_NO_MEMORY:
        return "NO_MEMORY";
    case SHUNT_REFUSED:
        return "REFUSED";
    case SHUNT_UNAVAILABLE:
        return "UNAVAILABLE";
    case SHUNT_QUEUE_FULL:
        return "QUEUE_FULL";
    case SHUNT_NOT_REPORTABLE:
        return "NOT_REPORTABLE";
    case SHUNT_SMALL_BUFFER:
        return "SMALL_BUFFER";
    case SHUNT_TIMEOUT:
        return "TIMEOUT";
    case SHUNT_EMPTY:
        return "EMPTY";
    }
    return "UNKNOWN";
}

/* ---- open and close ---- */

static void size_default(size_t *value, size_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

/* Fills the defaults in; NULL or what is wrong. */
static const char *options_complete(struct shunt_options *o)
{
    if (!o->address)
        o->address = "127.0.0.1:7077";
    if (!o->router)
        o->router = "default";
    size_default(&o->text_window_bytes, 16384);
    size_default(&o->queue_max, 10000);
    size_default(&o->queue_max_bytes, 16 << 20);
    if (!route_name_fits(o->router) || !route_name_fits(o->default_arm))
        return "router and default_arm are names of 1 to 64 characters";
    if (!handle_timeout(&o->route_timeout_s, 0.25) || !handle_timeout(&o->report_timeout_s, 2) ||
        !handle_timeout(&o->retry_first_s, 0.1) || !handle_timeout(&o->retry_max_s, 30))
        return "times are in (0, 3600] seconds; 0 means the default";
    if (o->text_window_bytes < 256 || o->text_window_bytes > 1 << 20)
        return "text_window_bytes is in [256, 1048576]";
    if (o->queue_max > 10000000)
        return "queue_max is at most 10000000";
    if (o->queue_policy != SHUNT_DROP && o->queue_policy != SHUNT_BLOCK)
        return "queue_policy is SHUNT_DROP or SHUNT_BLOCK";
    return NULL;
}

/* Appended members begin where the struct ended, as in route.c. */
static_assert(offsetof(struct shunt_options, tls_ca) % _Alignof(struct shunt_options) == 0,
              "TLS begins past every older struct");

/* The texts of the options, which become the library's own. */
enum { TEXTS = 7 };

static void texts_of(struct shunt_options *o, const char **ret[TEXTS])
{
    ret[0] = &o->address;
    ret[1] = &o->router;
    ret[2] = &o->default_arm;
    ret[3] = &o->tls_ca;
    ret[4] = &o->tls_cert;
    ret[5] = &o->tls_key;
    ret[6] = &o->tls_server_name;
}

/* On failure what was not copied is NULL. */
static bool texts_copy(struct shunt_options *o)
{
    const char **texts[TEXTS];
    bool copied = true;
    texts_of(o, texts);
    for (size_t i = 0; i < TEXTS; i++)
        if (*texts[i]) {
            *texts[i] = strdup(*texts[i]);
            copied = copied && *texts[i];
        }
    return copied;
}

static void texts_free(struct shunt_options *o)
{
    const char **texts[TEXTS];
    texts_of(o, texts);
    for (size_t i = 0; i < TEXTS; i++)
        free(handle_text(*texts[i]));
}

static bool channel_open(struct shunt_client *client, struct shunt_error *error)
{
    const struct shunt_options *o = &client->options;
    const struct call_tls tls = {o->tls_ca, o->tls_cert, o->tls_key, o->tls_server_name};
    bool asked = o->tls || o->tls_ca || o->tls_cert || o->tls_key || o->tls_server_name;
    struct call_error why;
    client->channel = call_open_tls(o->address, asked ? &tls : NULL, &why);
    if (!client->channel)
        (void)handle_say(error, SHUNT_INVALID, "%s", why.message);
    return client->channel != NULL;
}

static struct shunt_client *client_new(const struct shunt_options *o, struct shunt_error *error)
{
    struct shunt_client *client = calloc(1, sizeof *client);
    (void)handle_say(error, SHUNT_NO_MEMORY, "no memory or no thread");
    if (!client)
        return NULL;
    client->options = *o;
    const struct outbox_config box = {.outcomes_max = o->queue_max,
                                      .bytes_max = o->queue_max_bytes,
                                      .first_s = o->retry_first_s,
                                      .max_s = o->retry_max_s,
                                      .send_max = HANDLE_REPORTS_MAX,
                                      .send_bytes_max = HANDLE_REPORTS_BYTES_MAX,
                                      .send = handle_deliver,
                                      .context = client};
    if (texts_copy(&client->options) && channel_open(client, error))
        client->outbox = outbox_new(&box);
    if (!client->outbox) {
        shunt_close(client);
        return NULL;
    }
    handle_clear(error);
    return client;
}

struct shunt_client *shunt_open(const struct shunt_options *options, struct shunt_error *ret_error)
{
    struct shunt_options o = SHUNT_OPTIONS_INIT;
    handle_clear(ret_error);
    const char *wrong = NULL;
    if (options && !handle_read(&o, sizeof o, options))
        wrong = "start the options with SHUNT_OPTIONS_INIT";
    if (!wrong)
        wrong = options_complete(&o);
    if (wrong) {
        (void)handle_say(ret_error, SHUNT_INVALID, "%s", wrong);
        return NULL;
    }
    return client_new(&o, ret_error);
}

void shunt_close(struct shunt_client *client)
{
    if (!client)
        return;
    outbox_free(client->outbox);
    call_close(client->channel);
    texts_free(&client->options);
    free(client);
}

/* ---- route ---- */

enum shunt_result shunt_route(struct shunt_client *client, const struct shunt_request *request,
                              struct shunt_decision *ret, struct shunt_error *ret_error)
{
    struct route_message x;
    struct handle_routed routed;
    handle_clear(ret_error);
    if (!client || !request || !ret || ret->size < sizeof ret->size)
        return handle_say(ret_error, SHUNT_INVALID,
                          "start the request and the decision with their _INIT");
    enum shunt_result result = route_message_init(&x, client, request, ret_error);
    if (result != SHUNT_OK)
        return result;
    result = handle_route(client, &x.m, x.read.default_arm, x.read.timeout_s, &routed, ret_error);
    route_message_done(&x);
    if (result == SHUNT_OK)
        route_decision(&routed, ret);
    return result;
}

/* ---- the queue ---- */

void shunt_stats(struct shunt_client *client, struct shunt_stats *ret)
{
    struct outbox_stats box;
    outbox_read_stats(client->outbox, &box);
    const struct shunt_stats stats = {
        .routed = atomic_load(&client->routed),
        .fallbacks = atomic_load(&client->fallbacks),
        .queued = box.queued,
        .queued_bytes = box.queued_bytes,
        .delivered = box.delivered,
        .refused = box.refused,
        .dropped = box.dropped,
        .retries = box.retries,
    };
    handle_write(ret, &stats, sizeof stats);
}

enum shunt_result shunt_flush(struct shunt_client *client, double timeout_s)
{
    return outbox_flush(client->outbox, timeout_s) ? SHUNT_OK : SHUNT_TIMEOUT;
}
