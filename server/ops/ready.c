#include "server/ops/ready.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void ready_init(struct ready *r)
{
    (void)pthread_mutex_init(&r->mutex, NULL);
    r->reasons[0] = "starting";
    r->n = 1;
}

void ready_done(struct ready *r)
{
    (void)pthread_mutex_destroy(&r->mutex);
}

static size_t find(const struct ready *r, const char *reason)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->reasons[i], reason))
            return i;
    return r->n;
}

void ready_hold(struct ready *r, const char *reason)
{
    (void)pthread_mutex_lock(&r->mutex);
    if (find(r, reason) == r->n) {
        assert(r->n < READY_REASONS_MAX);
        r->reasons[r->n++] = reason;
    }
    (void)pthread_mutex_unlock(&r->mutex);
}

void ready_release(struct ready *r, const char *reason)
{
    (void)pthread_mutex_lock(&r->mutex);
    size_t i = find(r, reason);
    if (i < r->n) {
        r->n--;
        memmove(&r->reasons[i], &r->reasons[i + 1], (r->n - i) * sizeof r->reasons[0]);
    }
    (void)pthread_mutex_unlock(&r->mutex);
}

bool ready_check(struct ready *r, char ret_text[READY_TEXT_CAP])
{
    size_t used = 0;
    (void)pthread_mutex_lock(&r->mutex);
    const bool ready = r->n == 0;
    if (ret_text)
        ret_text[0] = '\0';
    for (size_t i = 0; ret_text && i < r->n && used < READY_TEXT_CAP; i++) {
        int n =
            snprintf(ret_text + used, READY_TEXT_CAP - used, "%s%s", i ? ", " : "", r->reasons[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    (void)pthread_mutex_unlock(&r->mutex);
    return ready;
}
