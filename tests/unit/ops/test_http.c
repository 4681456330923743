#include "server/ops/http.h"
#include "server/ops/metrics.h"
#include "server/ops/ready.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/ops/prom.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct site {
    struct metrics *metrics;
    struct ready ready;
    struct http *http;
};

static int set_up(void **state)
{
    struct site *s = calloc(1, sizeof *s);
    struct metrics_counter *c;
    struct err_detail detail;
    assert_non_null(s);
    assert_int_equal(metrics_new(&s->metrics), OK);
    assert_int_equal(metrics_add_counter(s->metrics, "calls_total", "C.", NULL, 0, &c), OK);
    metrics_counter_add(c, 42);
    ready_init(&s->ready);
    const struct http_options options = {"127.0.0.1:0", s->metrics, &s->ready, NULL};
    assert_int_equal(http_open(&options, &s->http, &detail), OK);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct site *s = *state;
    http_close(s->http);
    ready_done(&s->ready);
    metrics_free(s->metrics);
    free(s);
    return 0;
}

/* Sends the request as it is; returns everything up to the end of the connection. */
static char *ask(const struct site *s, const char *request)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(strrchr(http_address(s->http), ':') + 1, NULL, 10));
    union {
        struct sockaddr_in *in;
        struct sockaddr *out;
    } generic = {.in = &to};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, generic.out, sizeof to), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    char *answer = calloc(1, 65536);
    assert_non_null(answer);
    size_t len = 0;
    for (ssize_t n; len < 65535 && (n = recv(fd, answer + len, 65535 - len, 0)) > 0;)
        len += (size_t)n;
    (void)close(fd);
    return answer;
}

static void expect(const struct site *s, const char *request, const char *status, const char *text)
{
    char *answer = ask(s, request);
    if (strncmp(answer, status, strlen(status)) != 0 || !strstr(answer, text))
        fail_msg("to %s came %s", request, answer);
    free(answer);
}

#define CLOSE "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

static void the_metrics_page_parses(void **state)
{
    const struct site *s = *state;
    char *answer = ask(s, "GET /metrics " CLOSE "\r\n");
    assert_non_null(strstr(answer, "HTTP/1.1 200"));
    assert_non_null(strstr(answer, "text/plain; version=0.0.4"));
    const char *body = strstr(answer, "\r\n\r\n") + 4;
    struct prom_page page;
    if (!prom_parse(body, strlen(body), &page))
        fail_msg("%s", page.error);
    assert_true(prom_find(&page, "calls_total", "")->value == 42);
    prom_free(&page);
    free(answer);
}

static void readiness_follows_its_reasons_and_liveness_does_not(void **state)
{
    struct site *s = *state;
    ready_hold(&s->ready, "recovering");
    expect(s, "GET /readyz " CLOSE "\r\n", "HTTP/1.1 503", "\r\n\r\nstarting, recovering\n");
    expect(s, "GET /healthz " CLOSE "\r\n", "HTTP/1.1 200", "live\n");
    ready_release(&s->ready, "starting");
    expect(s, "GET /readyz " CLOSE "\r\n", "HTTP/1.1 503", "\r\n\r\nrecovering\n");
    ready_release(&s->ready, "recovering");
    expect(s, "GET /readyz " CLOSE "\r\n", "HTTP/1.1 200", "ready\n");
    ready_hold(&s->ready, "draining");
    ready_hold(&s->ready, "draining");
    ready_release(&s->ready, "draining");
    expect(s, "GET /readyz " CLOSE "\r\n", "HTTP/1.1 200", "ready\n");
}

static void anything_else_is_refused(void **state)
{
    const struct site *s = *state;
    expect(s, "GET / " CLOSE "\r\n", "HTTP/1.1 404", "/metrics");
    expect(s, "DELETE /metrics " CLOSE "\r\n", "HTTP/1.1 405", "Allow: GET, HEAD");
    expect(s, "POST /metrics " CLOSE "Content-Length: 5\r\n\r\nhello", "HTTP/1.1 413", "no body");
    expect(s, "POST /metrics " CLOSE "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
           "HTTP/1.1 413", "no body");
}

static void a_bad_or_taken_address_is_an_error_that_says_so(void **state)
{
    const struct site *s = *state;
    struct err_detail detail;
    struct http *h = NULL;
    const char *bad[] = {"9464", "", ":9464", "nosuchhost.invalid:1", "127.0.0.1:http"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct http_options o = {bad[i], NULL, NULL, NULL};
        assert_int_equal(http_open(&o, &h, &detail), ERR_INVALID);
    }
    const struct http_options taken = {http_address(s->http), NULL, NULL, NULL};
    assert_int_equal(http_open(&taken, &h, &detail), ERR_ADDRESS);
    assert_non_null(strstr(detail.text, http_address(s->http)));
    assert_non_null(strstr(detail.text, "in use"));
    assert_null(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_metrics_page_parses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readiness_follows_its_reasons_and_liveness_does_not, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(anything_else_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_or_taken_address_is_an_error_that_says_so, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
