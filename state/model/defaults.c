#include "state/model/defaults.h"

#include <math.h>
#include <string.h>

/* Where the name stands or would stand. */
static uint32_t place_of(const struct default_rewards *d, struct slice metric, bool *ret_there)
{
    *ret_there = false;
    for (uint32_t i = 0; i < d->n; i++) {
        size_t len = strlen(d->all[i].metric), both = len < metric.len ? len : metric.len;
        int order = both ? memcmp(d->all[i].metric, metric.data, both) : 0;
        *ret_there = order == 0 && len == metric.len;
        if (order > 0 || (order == 0 && len >= metric.len))
            return i;
    }
    return d->n;
}

enum err defaults_put(struct default_rewards *d, struct slice metric, double raw,
                      struct err_detail *detail)
{
    if (!name_valid(metric.data, metric.len))
        return err_say(detail, ERR_BAD_NAME,
                       "default_rewards: a metric's name is 1 to 64 of A-Z a-z 0-9 . _ / -");
    bool there;
    uint32_t i = place_of(d, metric, &there);
    if (!there && d->n == MAX_METRICS)
        return err_say(detail, ERR_OUT_OF_RANGE, "default_rewards: more than %d", MAX_METRICS);
    if (!there) {
        memmove(&d->all[i + 1], &d->all[i], (d->n - i) * sizeof *d->all);
        d->n++;
    }
    memset(&d->all[i], 0, sizeof d->all[i]);
    memcpy(d->all[i].metric, metric.data, metric.len);
    d->all[i].raw = raw;
    return OK;
}

bool defaults_remove(struct default_rewards *d, struct slice metric)
{
    bool there = false;
    uint32_t i = place_of(d, metric, &there);
    if (!there)
        return false;
    memmove(&d->all[i], &d->all[i + 1], (d->n - i - 1) * sizeof *d->all);
    memset(&d->all[--d->n], 0, sizeof *d->all);
    return true;
}

void defaults_encode(const struct default_rewards *d, struct buf *out)
{
    buf_put_u8(out, (uint8_t)d->n);
    for (uint32_t i = 0; i < d->n; i++) {
        buf_put_str(out, d->all[i].metric);
        buf_put_f64(out, d->all[i].raw);
    }
}

void defaults_decode(struct reader *r, struct default_rewards *ret)
{
    memset(ret, 0, sizeof *ret);
    uint32_t n = reader_u8(r);
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        size_t len = reader_u16(r);
        const char *name = reader_take(r, len);
        double raw = reader_f64(r);
        /* In order and each once: there is one form, so each must come to stand last. */
        if (r->failed || !isfinite(raw) ||
            defaults_put(ret, (struct slice){name, len}, raw, NULL) != OK || ret->n != i + 1 ||
            memcmp(ret->all[i].metric, name, len) != 0)
            r->failed = true;
    }
}
