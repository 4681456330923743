#include "state/model/budget.h"

#include "state/base/mem.h"
#include "state/model/settings.h"

#include <math.h>
#include <string.h>

uint32_t tenants_place(const struct tenants *t, const char *name, bool *ret_there)
{
    uint32_t low = 0, high = t ? t->n : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(t->rows[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_there = t && low < t->n && strcmp(t->rows[low].name, name) == 0;
    return low;
}

const struct tenant *tenants_find(const struct tenants *t, const char *name)
{
    bool there;
    uint32_t i = tenants_place(t, name, &there);
    return there ? &t->rows[i] : NULL;
}

struct tenants *tenants_new(uint32_t n)
{
    struct tenants *t = mem_calloc(1, sizeof *t + (size_t)n * sizeof *t->rows);
    if (t)
        atomic_init(&t->refs, 1);
    return t;
}

struct tenants *tenants_with(const struct tenants *t, const struct tenant *row)
{
    bool there, keep = row->per_request > 0;
    uint32_t n = t ? t->n : 0, at = tenants_place(t, row->name, &there);
    struct tenants *next = tenants_new(n + 1);
    if (!next)
        return NULL;
    for (uint32_t i = 0; i < at; i++)
        next->rows[next->n++] = t->rows[i];
    if (keep)
        next->rows[next->n++] = *row;
    for (uint32_t i = at + there; i < n; i++)
        next->rows[next->n++] = t->rows[i];
    return next;
}

struct tenants *tenants_hold(struct tenants *t)
{
    if (t)
        atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tenants_release(struct tenants *t)
{
    if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        mem_free(t);
}

enum err budget_check(const struct router_config *config, const char *prefix, const char *metric,
                      double per_request, double ceiling, struct err_detail *detail)
{
    int m = settings_metric_index(config, metric, strnlen(metric, NAME_CAP));
    if (m < 0)
        return err_say(detail, ERR_METRIC_NOT_FOUND, "%smetric: router `%s` has no metric `%.64s`",
                       prefix, config->name, metric);
    const struct metric_def *def = &config->metrics[m];
    if (def->group != METRIC_SERVED || !def->lower_is_better)
        return err_say(detail, ERR_INVALID,
                       "%smetric: `%s` cannot be spent; name a served metric where lower is "
                       "better, such as cost_usd",
                       prefix, def->name);
    if (!(per_request >= 1e-12 && per_request <= 1e12))
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "%sper_request is %.10g; it must lie in [1e-12, 1e12]", prefix, per_request);
    if (!(ceiling > 1 && ceiling <= 1000))
        return err_say(detail, ERR_OUT_OF_RANGE, "%sceiling is %.10g; it must lie in (1, 1000]",
                       prefix, ceiling);
    return OK;
}

/* Fold and checkpoints take what is finite and no less than 0, the bank alone may be. */
static double get_amount(struct reader *r)
{
    double v = reader_f64(r);
    if (isfinite(v) && v >= 0 && !signbit(v))
        return v;
    r->failed = true;
    return 0;
}

/* A name, or none when `empty`. */
static void get_name(struct reader *r, char *ret, bool empty)
{
    const uint8_t *start = r->p;
    reader_str(r, ret, NAME_CAP);
    size_t len = r->failed ? 0 : (size_t)(r->p - start) - 2;
    if (!(len == 0 && empty) && !name_valid(ret, len))
        r->failed = true;
}

void tenant_encode(const struct tenant *t, struct buf *out)
{
    buf_put_str(out, t->name);
    buf_put_u8(out, t->metric);
    buf_put_f64(out, t->per_request);
    buf_put_f64(out, t->ceiling);
}

void tenant_decode(struct reader *r, struct tenant *ret)
{
    get_name(r, ret->name, false);
    ret->metric = reader_u8(r);
    if (ret->metric >= MAX_METRICS)
        r->failed = true;
    ret->per_request = get_amount(r);
    ret->ceiling = get_amount(r);
}

void account_encode(const struct budget_account *a, struct buf *out)
{
    buf_put_f64(out, a->budget);
    buf_put_f64(out, a->bank);
    buf_put_f64(out, a->spend);
    buf_put_f64(out, a->charged);
    buf_put_f64(out, a->cost);
    buf_put_f64(out, a->lambda);
    buf_put_u8(out, a->tripped);
    buf_put_u64(out, a->requests);
    buf_put_u64(out, a->corrected);
    buf_put_u64(out, a->breaker);
    buf_put_f64(out, a->predicted);
    buf_put_f64(out, a->paid);
    buf_put_f64(out, a->allowed);
}

void account_decode(struct reader *r, struct budget_account *ret)
{
    ret->budget = get_amount(r);
    ret->bank = reader_f64(r);
    ret->spend = get_amount(r);
    ret->charged = get_amount(r);
    ret->cost = get_amount(r);
    ret->lambda = get_amount(r);
    uint8_t tripped = reader_u8(r);
    ret->tripped = tripped == 1;
    ret->requests = reader_u64(r);
    ret->corrected = reader_u64(r);
    ret->breaker = reader_u64(r);
    ret->predicted = get_amount(r);
    ret->paid = get_amount(r);
    ret->allowed = get_amount(r);
    if (tripped > 1 || !isfinite(ret->bank))
        r->failed = true;
}
