/* Questions that are asked again, of a server that answers only some of its connections. */
#include "server/adapters/engine_http.h"
#include "tests/unit/cmocka_all.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64 };

/* Reads from each connection, answers the `answered`th (from 1), and keeps them all open. */
struct server {
    int fd, port;
    int answered; /* 0: none. */
    int seen;
    int connections[CONNECTIONS_MAX];
    pthread_t thread;
};

static void answer(int fd)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    assert_int_equal(send(fd, text, sizeof text - 1, MSG_NOSIGNAL), sizeof text - 1);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    char asked[4096];
    int fd;
    while (s->seen < CONNECTIONS_MAX && (fd = accept(s->fd, NULL, NULL)) >= 0) {
        s->connections[s->seen++] = fd;
        if (recv(fd, asked, sizeof asked, 0) > 0 && s->seen == s->answered)
            answer(fd);
    }
    return NULL;
}

static void open_server(struct server *s, int answered)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    memset(s, 0, sizeof *s);
    s->answered = answered;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void close_server(struct server *s)
{
    (void)shutdown(s->fd, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    for (int i = 0; i < s->seen; i++)
        (void)close(s->connections[i]);
    (void)close(s->fd);
}

static enum err ask(const struct server *s, const struct engine_ask *ask, char ret_body[8])
{
    char url[64];
    struct engine_http *h;
    struct engine_reply reply;
    struct err_detail detail;
    bool refused;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", s->port);
    const struct engine_http_config c = {.url = url};
    assert_int_equal(engine_http_open(&c, &h, NULL), OK);
    enum err e = engine_http_call(h, ask, &reply, &refused, &detail);
    if (e == OK) {
        assert_int_equal(reply.status, 200);
        (void)snprintf(ret_body, 8, "%.*s", (int)reply.body.len, (const char *)reply.body.data);
    }
    engine_http_close(h);
    return e;
}

/* The first question is one that its predecessor took to its grave. */
static void who_is_back_answers_the_question_that_is_asked_again(void **state)
{
    (void)state;
    struct server s;
    char body[8] = "";
    open_server(&s, 3);
    const struct engine_ask a = {.path = "/x", .timeout_ms = 60000, .again_ms = 20};
    assert_int_equal(ask(&s, &a, body), OK);
    assert_string_equal(body, "hi");
    close_server(&s);
    assert_true(s.seen >= 3);
}

static void an_answer_to_the_first_question_counts_as_well(void **state)
{
    (void)state;
    struct server s;
    char body[8] = "";
    open_server(&s, 1);
    const struct engine_ask a = {.path = "/x", .timeout_ms = 60000, .again_ms = 20};
    assert_int_equal(ask(&s, &a, body), OK);
    assert_string_equal(body, "hi");
    close_server(&s);
}

static void who_never_answers_is_down_when_the_first_question_is_over(void **state)
{
    (void)state;
    struct server s;
    char body[8] = "";
    open_server(&s, 0);
    const struct engine_ask again = {.path = "/x", .timeout_ms = 300, .again_ms = 50};
    assert_int_equal(ask(&s, &again, body), ERR_ENGINE_DOWN);
    close_server(&s);
    assert_in_range(s.seen, 2, 8);
    open_server(&s, 2);
    const struct engine_ask once = {.path = "/x", .timeout_ms = 300};
    assert_int_equal(ask(&s, &once, body), ERR_ENGINE_DOWN);
    close_server(&s);
    assert_int_equal(s.seen, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_back_answers_the_question_that_is_asked_again),
        cmocka_unit_test(an_answer_to_the_first_question_counts_as_well),
        cmocka_unit_test(who_never_answers_is_down_when_the_first_question_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
