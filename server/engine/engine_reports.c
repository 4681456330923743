/* Many reports in one call: the writer takes them together, so they share a commit. */
#include "server/engine/engine_parts.h"

#include "state/base/mem.h"

#include <string.h>

/* All that is in flight; herald and writer count down. */
struct batch {
    struct report_call *calls;
    struct inbox_item **items; /* Of those that were made. */
    struct report_result *results;
    uint32_t waiting;
    pthread_mutex_t lock;
    pthread_cond_t answered;
};

static void answered(struct report_call *call, enum err e, const struct report_out *out,
                     const struct err_detail *detail)
{
    struct batch *b = call->ctx;
    struct report_result *r = &b->results[call - b->calls];
    r->err = e;
    r->out = *out;
    r->detail = *detail;
    pthread_mutex_lock(&b->lock);
    if (--b->waiting == 0)
        pthread_cond_signal(&b->answered);
    pthread_mutex_unlock(&b->lock);
}

static enum err put_and_wait(struct engine_worker *w, struct batch *b, uint32_t n,
                             struct err_detail *detail)
{
    if (n == 0)
        return OK;
    b->waiting = n;
    TRY(engine_say_queue(inbox_put_all(w->engine->inbox, b->items, n), detail));
    pthread_mutex_lock(&b->lock);
    while (b->waiting)
        pthread_cond_wait(&b->answered, &b->lock);
    pthread_mutex_unlock(&b->lock);
    return OK;
}

static enum err run(struct engine_worker *w, const struct report_in *ins, uint32_t n,
                    struct batch *b, struct err_detail *detail)
{
    uint32_t made = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct report_result *r = &b->results[i];
        memset(r, 0, sizeof *r);
        b->calls[i].done = answered;
        b->calls[i].ctx = b;
        r->err = engine_prepare_report(w, &ins[i], &b->calls[i], &r->detail);
        if (r->err == OK)
            b->items[made++] = &b->calls[i].item;
    }
    return put_and_wait(w, b, made, detail);
}

enum err engine_reports(struct engine_worker *w, const struct report_in *ins, uint32_t n,
                        struct report_result *ret_results, struct err_detail *detail)
{
    if (n == 0 || n > REPORTS_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "%u reports; a call takes 1 to %d", n,
                       REPORTS_MAX);
    struct batch b = {.results = ret_results};
    b.calls = mem_calloc(n, sizeof *b.calls);
    b.items = mem_calloc(n, sizeof *b.items);
    enum err e = b.calls && b.items ? OK : err_say(detail, ERR_NOMEM, "no memory for the reports");
    pthread_mutex_init(&b.lock, NULL);
    pthread_cond_init(&b.answered, NULL);
    if (e == OK)
        e = run(w, ins, n, &b, detail);
    for (uint32_t i = 0; b.calls && i < n; i++)
        report_call_done(&b.calls[i]);
    pthread_cond_destroy(&b.answered);
    pthread_mutex_destroy(&b.lock);
    mem_free(b.calls);
    mem_free(b.items);
    return e;
}
