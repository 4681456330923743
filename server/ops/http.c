#include "server/ops/http.h"
#include "server/ops/log.h"
#include "server/ops/metrics.h"
#include "server/ops/ready.h"
#include "state/base/mem.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IDLE_TIMEOUT_S 10U
#define CONNECTION_MEMORY ((size_t)16 * 1024) /* Bounds a request's headers. */

struct http {
    struct MHD_Daemon *daemon;
    struct metrics *metrics;
    struct ready *ready;
    char address[HTTP_ADDRESS_CAP];
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              struct MHD_Response *response)
{
    if (!response)
        return MHD_NO;
    enum MHD_Result ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (ok == MHD_YES && status == MHD_HTTP_METHOD_NOT_ALLOWED)
        ok = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (ok == MHD_YES)
        ok = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return ok;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *text)
{
    char line[READY_TEXT_CAP + 32];
    const int n = snprintf(line, sizeof line, "%s\n", text);
    union {
        char *in;
        void *out;
    } bytes = {.in = line};
    return answer(connection, status, "text/plain; charset=utf-8",
                  MHD_create_response_from_buffer((size_t)n, bytes.out, MHD_RESPMEM_MUST_COPY));
}

static enum MHD_Result answer_metrics(const struct http *h, struct MHD_Connection *connection)
{
    struct buf page;
    buf_init(&page);
    metrics_render(h->metrics, &page);
    if (buf_error(&page)) {
        buf_done(&page);
        return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(page.len, page.data, mem_free);
    if (!response)
        buf_done(&page);
    return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", response);
}

/* The type is libmicrohttpd's MHD_AccessHandlerCallback. */
static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload_data,
                              size_t *upload_data_size, void **state)
{
    const struct http *h = arg;
    (void)version, (void)upload_data, (void)state;
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const char *coding =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    /* Answering before the body is asked for makes libmicrohttpd close the connection unread. */
    if (coding || (length && strcmp(length, "0") != 0) || *upload_data_size)
        return answer_text(connection, MHD_HTTP_CONTENT_TOO_LARGE, "send no body");
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET only");
    if (!strcmp(url, "/metrics"))
        return answer_metrics(h, connection);
    if (!strcmp(url, "/healthz"))
        return answer_text(connection, MHD_HTTP_OK, "live");
    if (!strcmp(url, "/readyz")) {
        char reasons[READY_TEXT_CAP];
        if (ready_check(h->ready, reasons))
            return answer_text(connection, MHD_HTTP_OK, "ready");
        return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, reasons);
    }
    return answer_text(connection, MHD_HTTP_NOT_FOUND, "try /metrics, /healthz or /readyz");
}

/* Our own socket, and not libmicrohttpd's: its errors are a line on stderr, ours name the cause. */
static enum err listen_on(const char *address, int *ret_fd, struct err_detail *detail)
{
    const char *colon = strrchr(address, ':');
    char host[HTTP_ADDRESS_CAP];
    const size_t n = colon ? (size_t)(colon - address) : 0;
    const bool v6 = n > 2 && address[0] == '[' && address[n - 1] == ']';
    if (!n || n >= sizeof host)
        return err_say(detail, ERR_INVALID, "metrics_listen: \"%s\" is not HOST:PORT", address);
    (void)snprintf(host, sizeof host, "%.*s", (int)(v6 ? n - 2 : n), address + (v6 ? 1 : 0));
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV |
                                               (strcmp(host, "localhost") ? AI_NUMERICHOST : 0),
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int no = getaddrinfo(host, colon + 1, &hints, &found);
    if (no)
        return err_say(detail, ERR_INVALID, "metrics_listen: \"%s\": %s", address,
                       gai_strerror(no));
    const int one = 1;
    const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool bound = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) &&
                       !bind(fd, found->ai_addr, found->ai_addrlen) &&
                       !listen(fd, HTTP_CONNECTIONS_MAX);
    const int cause = errno;
    freeaddrinfo(found);
    if (!bound) {
        if (fd >= 0)
            (void)close(fd);
        return err_say(detail, ERR_ADDRESS,
                       "cannot listen on %s for metrics: %s; choose another with metrics_listen, "
                       "or \"none\"",
                       address, strerror(cause));
    }
    *ret_fd = fd;
    return OK;
}

static void name_address(int fd, char ret_address[HTTP_ADDRESS_CAP])
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char host[64] = "?", port[8] = "?";
    union {
        struct sockaddr_storage *in;
        struct sockaddr *out;
    } generic = {.in = &a};
    if (!getsockname(fd, generic.out, &len))
        (void)getnameinfo(generic.out, len, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV);
    (void)snprintf(ret_address, HTTP_ADDRESS_CAP, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
                   port);
}

enum err http_open(const struct http_options *options, struct http **ret_http,
                   struct err_detail *detail)
{
    struct http *h = mem_calloc(1, sizeof *h);
    int fd = -1;
    enum err e = h ? listen_on(options->address, &fd, detail) : ERR_NOMEM;
    if (e) {
        mem_free(h);
        return e;
    }
    h->metrics = options->metrics;
    h->ready = options->ready;
    name_address(fd, h->address);
    sigset_t all, before; /* Signals are for main. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    h->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, handle, h,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        CONNECTION_MEMORY, MHD_OPTION_END);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!h->daemon) {
        (void)close(fd);
        mem_free(h);
        return err_say(detail, ERR_ADDRESS, "cannot start the metrics server on %s",
                       options->address);
    }
    log_event(options->log, LOG_INFO, "listening", LOG_STR("service", "metrics"),
              LOG_STR("address", h->address), LOG_END);
    *ret_http = h;
    return OK;
}

void http_close(struct http *h)
{
    if (!h)
        return;
    MHD_stop_daemon(h->daemon); /* Closes the socket, too. */
    mem_free(h);
}

const char *http_address(const struct http *h)
{
    return h->address;
}
