#include "tests/unit/engine/served.h"

#include "server/seal/seal.h"
#include "state/math/check.h"
#include "tests/unit/cmocka_all.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct slice text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static void disk_failed(void *ctx, const char *why)
{
    (void)ctx;
    (void)fprintf(stderr, "the disk failed: %s\n", why);
    abort();
}

static void open_engine(struct served *s)
{
    if (engine_open(&s->o, &s->e, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
    assert_int_equal(engine_worker_new(s->e, &s->w), OK);
}

void served_open(struct served *s)
{
    assert_int_equal(seal_init(), OK);
    (void)!blas_init();
    memset(s, 0, sizeof *s);
    scratch_make(s->dir);
    scratch_path(s->dir, "data", s->data);
    scratch_path(s->dir, "decisions", s->decisions);
    s->o = (struct engine_options){
        .data_dir = s->data,
        .map_bytes = 1ULL << 30,
        .inbox_capacity = 4096,
        .max_text_bytes = 4096,
        .checkpoint_every_events = 500,
        .checkpoint_every_us = 3600 * 1000000LL,
        .journal_keep_us = 86400 * 1000000LL,
        .decisions_dir = s->decisions,
        .decisions_keep_us = 86400 * 1000000LL,
        .decisions_ring_bytes = 1 << 20,
        .fatal = disk_failed,
    };
    s->route = calloc(1, sizeof *s->route);
    assert_non_null(s->route);
    open_engine(s);
}

void served_again(struct served *s)
{
    engine_worker_free(s->w);
    engine_close(s->e);
    open_engine(s);
}

void served_close(struct served *s)
{
    engine_worker_free(s->w);
    engine_close(s->e);
    scratch_remove(s->dir);
    free(s->route);
}

void served_router(struct served *s, const char *name, void (*set)(struct router_config *config))
{
    struct router_config c;
    settings_defaults(&c, name);
    c.settings.seed = 11;
    if (set)
        set(&c);
    if (engine_router_create(s->w, &c, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
}

void served_arm(struct served *s, const char *router, const char *name)
{
    struct arm_config a;
    memset(&a, 0, sizeof a);
    (void)snprintf(a.name, sizeof a.name, "%s", name);
    if (engine_arm_add(s->w, text(router), &a, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
}

enum err served_ask(struct served *s, const struct route_in *in)
{
    s->detail.text[0] = '\0';
    return engine_route(s->w, in, s->route, &s->detail);
}

void served_route(struct served *s)
{
    struct route_in in = {.text = text("What is two and two?"), .max_ranked = 1};
    if (served_ask(s, &in) != OK)
        fail_msg("%s", s->detail.text);
}

struct waiting {
    struct report_call call;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool done;
    enum err err;
    struct report_out out;
    struct err_detail detail;
};

static void answered(struct report_call *call, enum err e, const struct report_out *out,
                     const struct err_detail *detail)
{
    struct waiting *w = call->ctx;
    pthread_mutex_lock(&w->lock);
    w->err = e;
    w->out = *out;
    w->detail = *detail;
    w->done = true;
    pthread_cond_signal(&w->answered);
    pthread_mutex_unlock(&w->lock);
}

enum err report_and_wait(struct engine_worker *w, const struct report_in *in,
                         struct report_out *ret_report, struct err_detail *detail)
{
    struct waiting wait;
    memset(&wait, 0, sizeof wait);
    pthread_mutex_init(&wait.lock, NULL);
    pthread_cond_init(&wait.answered, NULL);
    wait.call.done = answered;
    wait.call.ctx = &wait;
    enum err e = engine_report(w, in, &wait.call, detail);
    if (e == OK) {
        pthread_mutex_lock(&wait.lock);
        while (!wait.done)
            pthread_cond_wait(&wait.answered, &wait.lock);
        pthread_mutex_unlock(&wait.lock);
        e = wait.err;
        *detail = wait.detail;
        if (ret_report)
            *ret_report = wait.out;
    }
    report_call_done(&wait.call);
    pthread_cond_destroy(&wait.answered);
    pthread_mutex_destroy(&wait.lock);
    return e;
}

enum err served_report(struct served *s, const struct report_in *in)
{
    s->detail.text[0] = '\0';
    memset(&s->report, 0, sizeof s->report);
    return report_and_wait(s->w, in, &s->report, &s->detail);
}

enum err served_tell(struct served *s, const char *metric, double value, int status)
{
    struct engine_weight m = {text(metric), value};
    struct report_in in = {
        .token = {s->route->token, s->route->token_len},
        .metrics = &m,
        .metrics_n = metric[0] ? 1 : 0,
        .status = status,
    };
    return served_report(s, &in);
}

uint64_t served_folded(struct served *s)
{
    const struct snapshot *p = engine_snapshot_acquire(s->w);
    uint64_t n = snapshot_router(p, "default", 7)->outcomes_folded;
    engine_snapshot_release(s->w);
    return n;
}

uint64_t served_issued(struct served *s, const char *arm)
{
    const struct snapshot *p = engine_snapshot_acquire(s->w);
    const struct router_view *r = snapshot_router(p, "default", 7);
    uint32_t uid = arm ? r->arms[router_view_arm(r, arm, strlen(arm))]->uid : r->uid;
    engine_snapshot_release(s->w);
    return engine_issued(s->e, uid);
}

void served_nap(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

void served_verify(struct served *s)
{
    struct verify_result v;
    if (engine_verify(s->w, NULL, &v, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
    if (!v.ok)
        fail_msg("%s", v.detail);
}
