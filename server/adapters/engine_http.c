#include "server/adapters/engine_http.h"

#include "server/adapters/engine.h"
#include "server/ops/clock.h"
#include "state/base/mem.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { PATH_CAP = 64, POLL_MS = 1000 };

/* One question on its way. */
struct lane {
    CURL *easy;
    struct buf body;
    size_t most; /* Bytes of this call's answer. */
    size_t headers_bytes;
    bool too_much, running, ended;
    CURLcode code; /* Once it has ended. */
};

struct engine_http {
    struct lane first, again; /* again: see engine_ask. */
    CURLM *multi;
    struct curl_slist *headers;
    char url[ENGINE_URL_CAP];
    int64_t used_ms; /* When the connection was last used, monotonic; 0: never. */
    atomic_bool aborted;
};

static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
    struct lane *l = arg;
    size_t bytes = size * n;
    if (bytes > l->most - l->body.len) {
        l->too_much = true;
        return 0;
    }
    buf_put(&l->body, data, bytes);
    return l->body.failed ? 0 : bytes;
}

static size_t take_header(char *data, size_t size, size_t n, void *arg)
{
    struct lane *l = arg;
    size_t bytes = size * n;
    (void)data;
    l->headers_bytes += bytes;
    if (l->headers_bytes > ENGINE_HEADERS_MAX) {
        l->too_much = true;
        return 0;
    }
    return bytes;
}

static enum err check_token(const char *token, struct err_detail *detail)
{
    if (!token)
        return OK;
    size_t n = strlen(token);
    if (n == 0 || n >= ENGINE_TOKEN_CAP)
        return err_say(detail, ERR_INVALID, "token: 1 to %d bytes", ENGINE_TOKEN_CAP - 1);
    for (size_t i = 0; i < n; i++)
        if (token[i] <= ' ' || token[i] >= 0x7f)
            return err_say(detail, ERR_INVALID, "token: no spaces or control characters");
    return OK;
}

static bool set_options(const struct engine_http *h, struct lane *l,
                        const struct engine_http_config *c)
{
    CURL *e = l->easy;
    bool ok = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_USERAGENT, "shunt/" SHUNT_VERSION) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HTTPHEADER, h->headers) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_WRITEDATA, l) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HEADERDATA, l) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_PRIVATE, l) == CURLE_OK;
    if (ok && c->token)
        ok = curl_easy_setopt(e, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER) == CURLE_OK &&
             curl_easy_setopt(e, CURLOPT_XOAUTH2_BEARER, c->token) == CURLE_OK;
    if (ok && c->ca_file)
        ok = curl_easy_setopt(e, CURLOPT_CAINFO, c->ca_file) == CURLE_OK;
    return ok;
}

/* "Expect:" with nothing: curl would else wait a second for a 100 that some engines never send. */
static bool make_headers(struct engine_http *h)
{
    static const char *const lines[] = {"Content-Type: application/json", "Expect:"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct curl_slist *more = curl_slist_append(h->headers, lines[i]);
        if (!more)
            return false;
        h->headers = more;
    }
    return true;
}

static bool open_lane(const struct engine_http *h, struct lane *l,
                      const struct engine_http_config *config)
{
    l->easy = curl_easy_init();
    return l->easy && set_options(h, l, config);
}

enum err engine_http_open(const struct engine_http_config *config, struct engine_http **ret_http,
                          struct err_detail *detail)
{
    TRY(residency_check_url(config->url, detail));
    TRY(check_token(config->token, detail));
    struct engine_http *h = mem_calloc(1, sizeof *h);
    if (!h)
        return ERR_NOMEM;
    atomic_init(&h->aborted, false);
    buf_init(&h->first.body);
    buf_init(&h->again.body);
    memcpy(h->url, config->url, strlen(config->url) + 1);
    /* Counted by libcurl, and safe from any thread: the last close undoes it. */
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    h->multi = curl_multi_init();
    if (!h->multi || !make_headers(h) || !open_lane(h, &h->first, config) ||
        !open_lane(h, &h->again, config)) {
        engine_http_close(h);
        return ERR_NOMEM;
    }
    *ret_http = h;
    return OK;
}

void engine_http_close(struct engine_http *h)
{
    if (!h)
        return;
    curl_easy_cleanup(h->first.easy);
    curl_easy_cleanup(h->again.easy);
    (void)curl_multi_cleanup(h->multi);
    curl_slist_free_all(h->headers);
    curl_global_cleanup();
    buf_done(&h->first.body);
    buf_done(&h->again.body);
    mem_free(h);
}

void engine_http_abort(struct engine_http *h)
{
    atomic_store(&h->aborted, true);
    (void)curl_multi_wakeup(h->multi);
}

static bool aim(const struct engine_http *h, const struct lane *l, const struct engine_ask *ask,
                uint32_t timeout_ms)
{
    char url[ENGINE_URL_CAP + PATH_CAP];
    int n = snprintf(url, sizeof url, "%s%s", h->url, ask->path);
    bool ok = n > 0 && (size_t)n < sizeof url &&
              curl_easy_setopt(l->easy, CURLOPT_URL, url) == CURLE_OK &&
              curl_easy_setopt(l->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms) == CURLE_OK;
    if (ok && ask->body)
        return curl_easy_setopt(l->easy, CURLOPT_POST, 1L) == CURLE_OK &&
               curl_easy_setopt(l->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(ask->body)) ==
                   CURLE_OK &&
               curl_easy_setopt(l->easy, CURLOPT_POSTFIELDS, ask->body) == CURLE_OK;
    return ok && curl_easy_setopt(l->easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
}

static bool begin(struct engine_http *h, struct lane *l, const struct engine_ask *ask,
                  uint32_t timeout_ms)
{
    buf_reset(&l->body);
    l->most = ask->most ? ask->most : ENGINE_BODY_MAX;
    l->headers_bytes = 0;
    l->too_much = l->ended = false;
    l->running = aim(h, l, ask, timeout_ms) && curl_multi_add_handle(h->multi, l->easy) == CURLM_OK;
    return l->running;
}

static void end(struct engine_http *h, struct lane *l)
{
    if (l->running)
        (void)curl_multi_remove_handle(h->multi, l->easy);
    l->running = false;
}

static void take_ended(struct engine_http *h)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(h->multi, &left))) {
        CURLcode code = m->data.result; /* Gone with its handle. */
        struct lane *l = NULL;
        if (m->msg != CURLMSG_DONE ||
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &l) != CURLE_OK || !l)
            continue;
        end(h, l);
        l->ended = true;
        l->code = code;
    }
}

/* How long to wait for what is on its way, and the next question once it is time for one. */
static int ask_again(struct engine_http *h, const struct engine_ask *ask, int64_t *next_ms)
{
    int64_t now_ms = clock_mono_ns() / 1000000;
    if (ask->again_ms == 0)
        return POLL_MS;
    if (*next_ms == 0)
        *next_ms = now_ms + ask->again_ms;
    if (now_ms >= *next_ms) {
        end(h, &h->again);
        (void)begin(h, &h->again, ask, ask->timeout_ms); /* Without memory it is the first alone. */
        *next_ms = now_ms + ask->again_ms;
    }
    return *next_ms - now_ms < POLL_MS ? (int)(*next_ms - now_ms) : POLL_MS;
}

/* Not curl_easy_perform: it looks at an abort once a second only. Which of the two is done. */
static struct lane *perform(struct engine_http *h, const struct engine_ask *ask)
{
    int running;
    int64_t next_ms = 0;
    for (;;) {
        int pause_ms = ask_again(h, ask, &next_ms);
        if (atomic_load(&h->aborted) || curl_multi_perform(h->multi, &running) != CURLM_OK)
            break;
        take_ended(h);
        if (h->again.ended && h->again.code == CURLE_OK)
            return &h->again;
        if (h->first.ended)
            return &h->first;
        if (curl_multi_poll(h->multi, NULL, 0, pause_ms, NULL) != CURLM_OK)
            break;
    }
    h->first.code = atomic_load(&h->aborted) ? CURLE_ABORTED_BY_CALLBACK : CURLE_FAILED_INIT;
    return &h->first;
}

static enum err explain(const struct engine_http *h, const struct lane *l, bool *ret_refused,
                        struct err_detail *detail)
{
    CURLcode code = l->code;
    *ret_refused = code == CURLE_COULDNT_CONNECT || code == CURLE_RECV_ERROR ||
                   code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING ||
                   code == CURLE_PARTIAL_FILE;
    if (l->body.failed)
        return ERR_NOMEM;
    if (atomic_load(&h->aborted))
        return err_say(detail, ERR_CANCELLED, "the driver is being stopped");
    if (l->too_much)
        return err_say(detail, ERR_ENGINE_ANSWER, "the engine answered with more than %zu bytes",
                       l->most);
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY ||
        code == CURLE_BAD_CONTENT_ENCODING)
        return err_say(detail, ERR_ENGINE_ANSWER, "what answers does not speak HTTP: %s",
                       curl_easy_strerror(code));
    return err_say(detail, ERR_ENGINE_DOWN, "no answer: %s", curl_easy_strerror(code));
}

enum err engine_http_call(struct engine_http *h, const struct engine_ask *ask,
                          struct engine_reply *ret_reply, bool *ret_refused,
                          struct err_detail *detail)
{
    int64_t begun_ns = clock_mono_ns();
    *ret_refused = false;
    h->again.ended = false;
    if (!begin(h, &h->first, ask, ask->timeout_ms))
        return ERR_NOMEM;
    struct lane *l = perform(h, ask);
    end(h, &h->first);
    end(h, &h->again);
    if (l->code != CURLE_OK) {
        h->used_ms = 0;
        return explain(h, l, ret_refused, detail);
    }
    long connects = 0;
    int64_t ended_ns = clock_mono_ns();
    ret_reply->status = 0;
    (void)curl_easy_getinfo(l->easy, CURLINFO_RESPONSE_CODE, &ret_reply->status);
    (void)curl_easy_getinfo(l->easy, CURLINFO_NUM_CONNECTS, &connects);
    ret_reply->body = (struct slice){l->body.data, l->body.len};
    ret_reply->ms = (double)(ended_ns - begun_ns) / 1e6;
    ret_reply->reconnected =
        connects > 0 && h->used_ms && begun_ns / 1000000 - h->used_ms < ENGINE_KEEPALIVE_MS;
    h->used_ms = ended_ns / 1000000;
    return OK;
}
