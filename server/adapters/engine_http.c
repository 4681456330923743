#include "server/adapters/engine_http.h"

#include "server/adapters/engine.h"
#include "server/ops/clock.h"
#include "state/base/mem.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { PATH_CAP = 64, POLL_MS = 1000 };

struct engine_http {
    CURL *easy;
    CURLM *multi;
    struct curl_slist *headers;
    char url[ENGINE_URL_CAP];
    struct buf body;
    size_t most; /* Bytes of this call's answer. */
    size_t headers_bytes;
    bool too_much;
    int64_t used_ms; /* When the connection was last used, monotonic; 0: never. */
    atomic_bool aborted;
};

static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
    struct engine_http *h = arg;
    size_t bytes = size * n;
    if (bytes > h->most - h->body.len) {
        h->too_much = true;
        return 0;
    }
    buf_put(&h->body, data, bytes);
    return h->body.failed ? 0 : bytes;
}

static size_t take_header(char *data, size_t size, size_t n, void *arg)
{
    struct engine_http *h = arg;
    size_t bytes = size * n;
    (void)data;
    h->headers_bytes += bytes;
    if (h->headers_bytes > ENGINE_HEADERS_MAX) {
        h->too_much = true;
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

static bool set_options(struct engine_http *h, const struct engine_http_config *c)
{
    CURL *e = h->easy;
    bool ok = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_USERAGENT, "shunt/" SHUNT_VERSION) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HTTPHEADER, h->headers) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_WRITEDATA, h) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_HEADERDATA, h) == CURLE_OK;
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

enum err engine_http_open(const struct engine_http_config *config, struct engine_http **ret_http,
                          struct err_detail *detail)
{
    TRY(residency_check_url(config->url, detail));
    TRY(check_token(config->token, detail));
    struct engine_http *h = mem_calloc(1, sizeof *h);
    if (!h)
        return ERR_NOMEM;
    atomic_init(&h->aborted, false);
    buf_init(&h->body);
    memcpy(h->url, config->url, strlen(config->url) + 1);
    /* Counted by libcurl, and safe from any thread: the last close undoes it. */
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    h->easy = curl_easy_init();
    h->multi = curl_multi_init();
    if (!h->easy || !h->multi || !make_headers(h) || !set_options(h, config)) {
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
    curl_easy_cleanup(h->easy);
    (void)curl_multi_cleanup(h->multi);
    curl_slist_free_all(h->headers);
    curl_global_cleanup();
    buf_done(&h->body);
    mem_free(h);
}

void engine_http_abort(struct engine_http *h)
{
    atomic_store(&h->aborted, true);
    (void)curl_multi_wakeup(h->multi);
}

/* Not curl_easy_perform: it looks at an abort once a second only. */
static CURLcode perform(struct engine_http *h)
{
    int running = 1;
    while (running) {
        if (atomic_load(&h->aborted))
            return CURLE_ABORTED_BY_CALLBACK;
        if (curl_multi_perform(h->multi, &running) != CURLM_OK)
            return CURLE_FAILED_INIT;
        if (running && curl_multi_poll(h->multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
            return CURLE_FAILED_INIT;
    }
    int left;
    CURLMsg *m = curl_multi_info_read(h->multi, &left);
    return m && m->msg == CURLMSG_DONE ? m->data.result : CURLE_FAILED_INIT;
}

static enum err explain(struct engine_http *h, CURLcode code, bool *ret_refused,
                        struct err_detail *detail)
{
    *ret_refused = code == CURLE_COULDNT_CONNECT || code == CURLE_RECV_ERROR ||
                   code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING ||
                   code == CURLE_PARTIAL_FILE;
    if (h->body.failed)
        return ERR_NOMEM;
    if (atomic_load(&h->aborted))
        return err_say(detail, ERR_CANCELLED, "the driver is being stopped");
    if (h->too_much)
        return err_say(detail, ERR_ENGINE_ANSWER, "the engine answered with more than %zu bytes",
                       h->most);
    if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY ||
        code == CURLE_BAD_CONTENT_ENCODING)
        return err_say(detail, ERR_ENGINE_ANSWER, "what answers does not speak HTTP: %s",
                       curl_easy_strerror(code));
    return err_say(detail, ERR_ENGINE_DOWN, "no answer: %s", curl_easy_strerror(code));
}

static bool aim(struct engine_http *h, const struct engine_ask *ask)
{
    char url[ENGINE_URL_CAP + PATH_CAP];
    int n = snprintf(url, sizeof url, "%s%s", h->url, ask->path);
    bool ok = n > 0 && (size_t)n < sizeof url &&
              curl_easy_setopt(h->easy, CURLOPT_URL, url) == CURLE_OK &&
              curl_easy_setopt(h->easy, CURLOPT_TIMEOUT_MS, (long)ask->timeout_ms) == CURLE_OK;
    if (ok && ask->body)
        return curl_easy_setopt(h->easy, CURLOPT_POST, 1L) == CURLE_OK &&
               curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(ask->body)) ==
                   CURLE_OK &&
               curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, ask->body) == CURLE_OK;
    return ok && curl_easy_setopt(h->easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
}

enum err engine_http_call(struct engine_http *h, const struct engine_ask *ask,
                          struct engine_reply *ret_reply, bool *ret_refused,
                          struct err_detail *detail)
{
    int64_t begun_ns = clock_mono_ns();
    *ret_refused = false;
    buf_reset(&h->body);
    h->most = ask->most ? ask->most : ENGINE_BODY_MAX;
    h->headers_bytes = 0;
    h->too_much = false;
    if (!aim(h, ask) || curl_multi_add_handle(h->multi, h->easy) != CURLM_OK)
        return ERR_NOMEM;
    CURLcode code = perform(h);
    (void)curl_multi_remove_handle(h->multi, h->easy);
    if (code != CURLE_OK) {
        h->used_ms = 0;
        return explain(h, code, ret_refused, detail);
    }
    long connects = 0;
    int64_t ended_ns = clock_mono_ns();
    ret_reply->status = 0;
    (void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &ret_reply->status);
    (void)curl_easy_getinfo(h->easy, CURLINFO_NUM_CONNECTS, &connects);
    ret_reply->body = (struct slice){h->body.data, h->body.len};
    ret_reply->ms = (double)(ended_ns - begun_ns) / 1e6;
    ret_reply->reconnected =
        connects > 0 && h->used_ms && begun_ns / 1000000 - h->used_ms < ENGINE_KEEPALIVE_MS;
    h->used_ms = ended_ns / 1000000;
    return OK;
}
