/* form.c - the model as bytes and back: what a checkpoint holds and what `verify` compares.
 * Declared configuration goes as the very events that declare it; numbers go as they stand in
 * memory. The parts of a router (form_parts.h) are preceded by their lengths, so that a differing
 * byte can be named. */
#include "state/base/mem.h"
#include "state/math/check.h"
#include "state/math/packed.h"
#include "state/model/form_parts.h"
#include "state/model/model_build.h"
#include "state/model/snapshot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const uint32_t form_magic = 0x4d4e4853; /* "SHNM" */
static const uint32_t form_version = 6;

/* A part is preceded by its length. */
static size_t open_part(struct buf *out)
{
    buf_put_u64(out, 0);
    return out->len;
}

static void close_part(struct buf *out, size_t start)
{
    if (out->failed)
        return;
    uint64_t len = out->len - start;
    memcpy(out->data + start - sizeof len, &len, sizeof len);
}

/* The next part; whoever takes it must take all of it (part_taken). */
static struct reader take_part(struct reader *in)
{
    struct reader part;
    uint64_t len = reader_u64(in);
    const void *bytes = reader_take(in, len);
    reader_init(&part, (struct slice){bytes, bytes ? len : 0});
    part.failed = in->failed;
    return part;
}

static enum err part_taken(const struct reader *part)
{
    return part->failed || reader_left(part) ? ERR_CORRUPT : OK;
}

static void put_event(const struct event *ev, struct buf *out)
{
    size_t at = out->len;
    buf_put_u32(out, 0);
    event_encode(ev, out);
    if (out->failed)
        return;
    uint32_t len = (uint32_t)(out->len - at - 4);
    memcpy(out->data + at, &len, sizeof len);
}

static void take_event(struct reader *r, enum event_kind kind, struct event *ret_event)
{
    uint32_t len = reader_u32(r);
    const void *bytes = reader_take(r, len);
    if (!bytes || event_decode((struct slice){bytes, len}, ret_event) != OK ||
        ret_event->kind != kind || ret_event->at_us != 0)
        r->failed = true;
}

/* One byte form: what decodes encodes to the same bytes again. */
static bool take_bool(struct reader *r)
{
    uint8_t v = reader_u8(r);
    if (v > 1)
        r->failed = true;
    return v == 1;
}

/* A number in (0, 1]. */
static double take_share(struct reader *r)
{
    double v = reader_f64(r);
    if (v > 0 && v <= 1)
        return v;
    r->failed = true;
    return 1;
}

/* What has faded is finite and not negative. */
static double take_weight(struct reader *r)
{
    double v = reader_f64(r);
    if (v >= 0 && isfinite(v))
        return v;
    r->failed = true;
    return 0;
}

static void put_matrix(const struct matrix_stats *g, struct buf *out)
{
    buf_put_u64(out, g->n);
    buf_put_u64(out, g->since);
    buf_put_f64(out, g->evidence);
    buf_put_f64(out, g->ridge);
}

static void take_matrix(struct matrix_stats *g, struct reader *in)
{
    g->n = reader_u64(in);
    g->since = reader_u64(in);
    g->evidence = take_weight(in);
    g->ridge = take_share(in);
}

static void put_recent(const struct recent *r, struct buf *out)
{
    buf_put_f64(out, r->n);
    buf_put_f64(out, r->sum_raw);
    buf_put_f64(out, r->sum_z);
}

static void take_recent(struct recent *ret, struct reader *in)
{
    ret->n = take_weight(in);
    ret->sum_raw = reader_f64(in);
    ret->sum_z = reader_f64(in);
}

void form_put_arm(const struct router *r, const struct arm *a, struct event *scratch,
                  struct buf *out)
{
    size_t start = open_part(out);
    scratch->kind = EVENT_ARM_ADD;
    scratch->at_us = 0;
    scratch->u.arm.router_uid = r->uid;
    scratch->u.arm.config = a->config;
    scratch->u.arm.like_uid = 0;
    scratch->u.arm.replace = false;
    scratch->u.arm.seed = (struct slice){NULL, 0};
    put_event(scratch, out);
    buf_put_u32(out, a->uid);
    buf_put_u32(out, a->version);
    buf_put_u8(out, a->paused);
    buf_put_u64(out, a->clock);
    buf_put_u64(out, a->answered);
    buf_put_u64(out, a->failures);
    buf_put_u64(out, a->cooldowns);
    buf_put_u64(out, a->stood_in[METRIC_RATED]);
    buf_put_u64(out, a->stood_in[METRIC_SERVED]);
    buf_put_u64(out, a->trial_served);
    buf_put_u64(out, a->trial_chosen);
    buf_put_u64(out, (uint64_t)a->drain_since_us);
    buf_put_u64(out, a->answered_at);
    buf_put_u64(out, a->recent);
    buf_put_u32(out, a->recent_n);
    buf_put_u64(out, (uint64_t)a->cooldown_until_us);
    buf_put_u32(out, a->cooldown_level);
    for (int g = 0; g < METRIC_GROUPS; g++)
        put_matrix(&a->groups[g], out);
    for (uint32_t m = 0; m < r->config.metrics_n; m++) {
        const struct metric_stats *s = &a->metrics[m];
        buf_put_u64(out, s->n);
        buf_put_f64(out, s->sum_raw);
        buf_put_f64(out, s->sum_z);
        put_recent(&s->recent, out);
        buf_put_f64(out, s->prior_z);
        buf_put_u8(out, s->has_prior);
    }
    buf_put(out, a->block, a->block_n * sizeof *a->block);
    drift_encode(a, &r->config, out);
    close_part(out, start);
}

static enum err take_arm(struct router *r, struct event *scratch, struct reader *in)
{
    take_event(in, EVENT_ARM_ADD, scratch);
    if (in->failed || scratch->u.arm.router_uid != r->uid)
        return ERR_CORRUPT;
    TRY(router_reserve_arm(r));
    struct arm *a = arm_new(&r->config, &scratch->u.arm.config);
    if (!a)
        return ERR_NOMEM;
    r->arms[r->arms_n++] = a;
    a->uid = reader_u32(in);
    a->version = reader_u32(in);
    a->paused = take_bool(in);
    a->clock = reader_u64(in);
    a->answered = reader_u64(in);
    a->failures = reader_u64(in);
    a->cooldowns = reader_u64(in);
    a->stood_in[METRIC_RATED] = reader_u64(in);
    a->stood_in[METRIC_SERVED] = reader_u64(in);
    a->trial_served = reader_u64(in);
    a->trial_chosen = reader_u64(in);
    a->drain_since_us = (int64_t)reader_u64(in);
    a->answered_at = reader_u64(in);
    a->recent = reader_u64(in);
    a->recent_n = reader_u32(in);
    a->cooldown_until_us = (int64_t)reader_u64(in);
    a->cooldown_level = reader_u32(in);
    for (int g = 0; g < METRIC_GROUPS; g++)
        take_matrix(&a->groups[g], in);
    for (uint32_t m = 0; m < r->config.metrics_n; m++) {
        struct metric_stats *s = &a->metrics[m];
        s->n = reader_u64(in);
        s->sum_raw = reader_f64(in);
        s->sum_z = reader_f64(in);
        take_recent(&s->recent, in);
        s->prior_z = reader_f64(in);
        s->has_prior = take_bool(in);
    }
    reader_copy(in, a->block, a->block_n * sizeof *a->block);
    TRY(drift_decode(in, &r->config, a));
    bool ordered = r->arms_n < 2 || r->arms[r->arms_n - 2]->uid < a->uid;
    TRY(part_taken(in));
    return !ordered || a->clock > r->outcomes_folded || a->recent_n > 64 || a->cooldown_level > 4
               ? ERR_CORRUPT
               : OK;
}

static void put_pooled(const struct router *r, struct buf *out)
{
    const struct pooled *p = r->pooled;
    uint32_t n = r->config.metrics_n;
    buf_put_u64(out, p->clock);
    put_matrix(&p->matrix, out);
    buf_put(out, p->metric_n, n * sizeof *p->metric_n);
    buf_put(out, p->metric_sum_z, n * sizeof *p->metric_sum_z);
    buf_put(out, p->level, n * sizeof *p->level);
    for (uint32_t m = 0; m < n; m++)
        put_recent(&p->recent[m], out);
    buf_put(out, p->noise_n, (size_t)n * n * sizeof *p->noise_n);
    buf_put(out, p->noise, (size_t)n * n * sizeof *p->noise);
    buf_put(out, p->block, p->block_n * sizeof *p->block);
}

static void take_pooled(struct router *r, struct reader *in)
{
    struct pooled *p = r->pooled;
    uint32_t n = r->config.metrics_n;
    p->clock = reader_u64(in);
    take_matrix(&p->matrix, in);
    reader_copy(in, p->metric_n, n * sizeof *p->metric_n);
    reader_copy(in, p->metric_sum_z, n * sizeof *p->metric_sum_z);
    reader_copy(in, p->level, n * sizeof *p->level);
    for (uint32_t m = 0; m < n; m++)
        take_recent(&p->recent[m], in);
    reader_copy(in, p->noise_n, (size_t)n * n * sizeof *p->noise_n);
    reader_copy(in, p->noise, (size_t)n * n * sizeof *p->noise);
    reader_copy(in, p->block, p->block_n * sizeof *p->block);
}

static void put_budgets(const struct router *r, struct buf *out)
{
    uint32_t n = r->tenants ? r->tenants->n : 0;
    account_encode(&r->account, out);
    buf_put_u32(out, n);
    for (uint32_t i = 0; i < n; i++) {
        tenant_encode(&r->tenants->rows[i], out);
        account_encode(&r->tenant_accounts[i], out);
    }
}

static enum err take_budgets(struct router *r, struct reader *in)
{
    account_decode(in, &r->account);
    uint32_t n = reader_u32(in);
    if (in->failed || n > MAX_TENANTS)
        return ERR_CORRUPT;
    TRY(router_reserve_accounts(r, n));
    r->tenants = tenants_new(n);
    if (!r->tenants)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        struct tenant *t = &r->tenants->rows[r->tenants->n];
        tenant_decode(in, t);
        account_decode(in, &r->tenant_accounts[i]);
        bool ordered = i == 0 || strcmp(t[-1].name, t->name) < 0;
        if (in->failed || !ordered || !(t->per_request > 0) || t->metric >= r->config.metrics_n)
            return ERR_CORRUPT;
        r->tenants->n++;
    }
    return OK;
}

void form_put_router(const struct router *r, struct event *scratch, struct buf *out)
{
    size_t start = open_part(out);
    buf_put_u32(out, r->arms_n);
    scratch->kind = EVENT_ROUTER_CREATE;
    scratch->at_us = 0;
    scratch->u.router = r->config;
    put_event(scratch, out);
    buf_put_u32(out, r->uid);
    buf_put_u64(out, (uint64_t)r->late_before_us);
    buf_put_u64(out, r->outcomes_folded);
    buf_put_u64(out, r->orphaned);
    buf_put_u64(out, r->requests);
    buf_put_u64(out, r->sides[0]);
    buf_put_u64(out, r->sides[1]);
    buf_put_u64(out, r->logged_requests);
    buf_put_u64(out, r->deferred);
    buf_put_u64(out, r->activated);
    buf_put_u64(out, r->logged);
    buf_put_u64(out, r->gated);
    buf_put_u64(out, (uint64_t)r->sweep.until_us);
    buf_put_u8(out, r->sweep.beginning);
    buf_put_u64(out, r->sweep.before);
    buf_put_u64(out, r->sweep.found);
    buf_put_u64(out, r->sweep.lost);
    buf_put_u64(out, r->sweep.applied);
    trial_encode(&r->trial, r->config.metrics_n, out);
    drift_log_encode(&r->alarms, out);
    put_budgets(r, out);
    buf_put_f64(out, r->gamma_before);
    buf_put_u64(out, r->gamma_since);
    buf_put_u32(out, r->names_n);
    for (uint32_t i = 0; i < r->names_n; i++) {
        buf_put_str(out, r->names[i].name);
        buf_put_u32(out, r->names[i].version);
    }
    put_pooled(r, out);
    source_counts_encode(&r->sources, out);
    for (uint32_t i = 0; i < r->arms_n; i++)
        buf_put_u64(out, r->arms[i]->issued);
    close_part(out, start);
}

void form_put_residency(const struct router *r, struct buf *out)
{
    size_t start = open_part(out);
    if (residency_any(&r->residency))
        residency_put(&r->residency, out);
    close_part(out, start);
}

static enum err take_names(struct router *r, struct reader *in)
{
    uint32_t n = reader_u32(in);
    if (in->failed || n > MAX_ARM_NAMES)
        return ERR_CORRUPT;
    r->names = mem_calloc(n, sizeof *r->names);
    if (!r->names)
        return ERR_NOMEM;
    r->names_cap = n;
    for (; r->names_n < n; r->names_n++) {
        struct arm_name *name = &r->names[r->names_n];
        size_t before = reader_left(in);
        reader_str(in, name->name, NAME_CAP);
        size_t len = before - reader_left(in) - sizeof(uint16_t);
        name->version = reader_u32(in);
        if (in->failed || !name_valid(name->name, len))
            return ERR_CORRUPT;
    }
    return OK;
}

static enum err take_residency(struct router *r, struct reader *in)
{
    struct residency *res = &r->residency;
    TRY(residency_get(in, res));
    if (!r->config.settings.residency.policy[0] || res->d != r->d ||
        res->weights_n != r->config.metrics_n || !residency_any(res))
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < res->arms_n; i++)
        if (!router_arm(r, res->arms[i].uid))
            return ERR_CORRUPT;
    return OK;
}

/* The arms' counts stay to be read, when there are arms. */
static enum err take_router_head(struct router *r, uint32_t arms, struct reader *in)
{
    r->uid = reader_u32(in);
    r->late_before_us = (int64_t)reader_u64(in);
    r->outcomes_folded = reader_u64(in);
    r->orphaned = reader_u64(in);
    r->requests = reader_u64(in);
    r->sides[0] = reader_u64(in);
    r->sides[1] = reader_u64(in);
    r->logged_requests = reader_u64(in);
    r->deferred = reader_u64(in);
    r->activated = reader_u64(in);
    r->logged = reader_u64(in);
    r->gated = reader_u64(in);
    r->sweep.until_us = (int64_t)reader_u64(in);
    r->sweep.beginning = take_bool(in);
    r->sweep.before = reader_u64(in);
    r->sweep.found = reader_u64(in);
    r->sweep.lost = reader_u64(in);
    r->sweep.applied = reader_u64(in);
    TRY(trial_decode(in, r->config.metrics_n, &r->trial));
    drift_log_decode(in, r->config.metrics_n, &r->alarms);
    TRY(take_budgets(r, in));
    r->gamma_before = take_share(in);
    r->gamma_since = reader_u64(in);
    TRY(take_names(r, in));
    take_pooled(r, in);
    source_counts_decode(in, &r->sources);
    return in->failed || arms > MAX_ARMS || reader_left(in) != arms * sizeof(uint64_t) ||
                   r->gamma_since > r->outcomes_folded || r->pooled->clock > r->outcomes_folded
               ? ERR_CORRUPT
               : OK;
}

/* What follows the head. */
static enum err take_router_parts(struct router *r, struct reader *issued, struct event *scratch,
                                  struct reader *in)
{
    while (reader_left(issued)) {
        struct reader arm = take_part(in);
        TRY(take_arm(r, scratch, &arm));
        r->arms[r->arms_n - 1]->issued = reader_u64(issued);
    }
    struct reader residency = take_part(in);
    if (reader_left(&residency))
        TRY(take_residency(r, &residency));
    TRY(part_taken(&residency));
    TRY(dedup_decode(&r->dedup, in));
    return dedup_decode(&r->marks, in);
}

/* The router is in m at once, so that model_free finds whatever was built. */
static enum err take_router(struct model *m, struct event *scratch, struct reader *in)
{
    struct reader head = take_part(in);
    uint32_t arms = reader_u32(&head);
    take_event(&head, EVENT_ROUTER_CREATE, scratch);
    if (head.failed)
        return ERR_CORRUPT;
    TRY(model_reserve_router(m));
    struct router *r = router_new(&scratch->u.router);
    if (!r)
        return ERR_NOMEM;
    m->routers[m->routers_n++] = r;
    TRY(model_reserve_scratch(m, r->d));
    TRY(take_router_head(r, arms, &head));
    TRY(take_router_parts(r, &head, scratch, in));
    return m->routers_n < 2 || m->routers[m->routers_n - 2]->uid < r->uid ? OK : ERR_CORRUPT;
}

void form_put_model(const struct model *m, struct buf *out)
{
    buf_put_u32(out, form_magic);
    buf_put_u32(out, form_version);
    buf_put_u64(out, m->position);
    buf_put_u64(out, (uint64_t)m->clock_us);
    buf_put_u32(out, m->next_uid);
    buf_put_u32(out, m->next_key);
    buf_put_u64(out, m->ignored);
    buf_put_u64(out, m->forgot_at);
    buf_put_u32(out, m->keys_n);
    for (uint32_t i = 0; i < m->keys_n; i++) {
        buf_put_u32(out, m->keys[i].id);
        buf_put(out, m->keys[i].secret, KEY_BYTES);
    }
    buf_put_u32(out, m->routers_n);
}

void model_encode(const struct model *m, struct buf *out)
{
    struct event *scratch = mem_calloc(1, sizeof *scratch);
    if (!scratch) {
        out->failed = true;
        return;
    }
    form_put_model(m, out);
    for (uint32_t i = 0; i < m->routers_n && !out->failed; i++) {
        const struct router *r = m->routers[i];
        form_put_router(r, scratch, out);
        for (uint32_t k = 0; k < r->arms_n; k++)
            form_put_arm(r, r->arms[k], scratch, out);
        form_put_residency(r, out);
        dedup_encode(&r->dedup, out);
        dedup_encode(&r->marks, out);
    }
    sessions_encode(m->sessions, out);
    mem_free(scratch);
}

static enum err take_model(struct model *m, struct event *scratch, struct reader *in)
{
    if (reader_u32(in) != form_magic || reader_u32(in) != form_version)
        return ERR_CORRUPT;
    m->position = reader_u64(in);
    m->clock_us = (int64_t)reader_u64(in);
    m->next_uid = reader_u32(in);
    m->next_key = reader_u32(in);
    m->ignored = reader_u64(in);
    m->forgot_at = reader_u64(in);
    m->keys_n = reader_u32(in);
    if (in->failed || m->keys_n > MAX_KEYS)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < m->keys_n; i++) {
        m->keys[i].id = reader_u32(in);
        reader_copy(in, m->keys[i].secret, KEY_BYTES);
    }
    uint32_t routers = reader_u32(in);
    if (in->failed || routers > MAX_ROUTERS)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < routers; i++)
        TRY(take_router(m, scratch, in));
    TRY(sessions_decode(in, m->sessions));
    return in->failed || reader_left(in) ? ERR_CORRUPT : OK;
}

enum err model_decode(struct slice bytes, struct model **ret_model, struct err_detail *detail)
{
    struct model *m = NULL;
    struct event *scratch = mem_calloc(1, sizeof *scratch);
    if (!scratch)
        return ERR_NOMEM;
    enum err e = model_new(&m);
    if (e == OK) {
        struct reader in;
        reader_init(&in, bytes);
        e = take_model(m, scratch, &in);
        if (e == ERR_CORRUPT)
            (void)err_say(detail, e, "the checkpoint cannot be read near byte %zu of %zu",
                          (size_t)(in.p - (const uint8_t *)bytes.data), bytes.len);
    }
    mem_free(scratch);
    if (e == OK)
        *ret_model = m;
    else
        model_free(m);
    return e;
}

/* Of part i of a router with so many arms. */
static void describe_part(uint32_t i, uint32_t arms, char *ret_text, size_t cap)
{
    static const char *const behind[] = {"residency", "reports", "marks"};
    if (i == 0)
        (void)snprintf(ret_text, cap, "head");
    else if (i <= arms)
        (void)snprintf(ret_text, cap, "arm %u of %u", i, arms);
    else
        (void)snprintf(ret_text, cap, "%s", behind[i - arms - 1]);
}

void model_describe_offset(struct slice bytes, size_t offset, char *ret_text, size_t cap)
{
    struct reader in;
    reader_init(&in, bytes);
    (void)reader_take(&in, 48);
    uint32_t keys = reader_u32(&in);
    (void)reader_take(&in, (size_t)keys * (4 + KEY_BYTES));
    uint32_t routers = reader_u32(&in);
    size_t end = (size_t)(in.p - (const uint8_t *)bytes.data);
    if (in.failed || offset < end) {
        (void)snprintf(ret_text, cap, "the head, byte %zu", offset);
        return;
    }
    for (uint32_t i = 0; i < routers; i++) {
        uint32_t arms = 0;
        for (uint32_t k = 0; k < arms + 4; k++) {
            struct reader part = take_part(&in);
            size_t start = end, len = reader_left(&part);
            end = (size_t)(in.p - (const uint8_t *)bytes.data);
            if (k == 0)
                arms = reader_u32(&part);
            if (!in.failed && arms <= MAX_ARMS && offset >= end)
                continue;
            char name[32];
            describe_part(k, arms, name, sizeof name);
            (void)snprintf(ret_text, cap, "router %u of %u, %s, byte %zu of its %zu", i + 1,
                           routers, name, offset - start, len + sizeof(uint64_t));
            return;
        }
    }
    (void)snprintf(ret_text, cap, "the sessions, byte %zu", offset - end);
}

/* ---- the invariant checker ---- */

static bool all_finite(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

static double largest(const double *v, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        if (fabs(v[i]) > most)
            most = fabs(v[i]);
    return most;
}

/* A factors, and OpenBLAS finds A P = I up to what double can hold: Sherman-Morrison stays below
 * 4e-10 over 1e6 updates, times the spread of the features (a bound of the condition number). */
static bool inverse_holds(const double *A, const double *P, uint32_t d, double *scratch)
{
    double error, spread = largest(A, packed_n(d)) * largest(P, packed_n(d)) * d;
    if (packed_invert(A, d, scratch, scratch + packed_n(d)) != OK ||
        blas_inverse_error(A, P, d, &error) != OK)
        return false;
    return error <= 1e-6 + 1e-10 * spread;
}

static enum err check_arm(const struct router *r, const struct arm *a, double *scratch,
                          struct err_detail *detail)
{
    if (!all_finite(a->block, a->block_n))
        return err_say(detail, ERR_CORRUPT, "router %s, arm %s: a statistic is not finite",
                       r->config.name, a->config.name);
    for (int g = 0; g < METRIC_GROUPS; g++)
        if (!inverse_holds(a->groups[g].A, a->groups[g].P, r->d, scratch))
            return err_say(detail, ERR_CORRUPT,
                           "router %s, arm %s: the %s matrix is not positive definite or its "
                           "inverse has drifted",
                           r->config.name, a->config.name, g == METRIC_RATED ? "rated" : "served");
    for (int g = 0; g < METRIC_GROUPS; g++) {
        uint64_t others = a->stood_in[g];
        if (others > a->groups[g].n || a->groups[g].n - others > a->answered)
            return err_say(detail, ERR_CORRUPT, "router %s, arm %s: more learned than answered",
                           r->config.name, a->config.name);
    }
    return OK;
}

enum err model_check(const struct model *m, struct err_detail *detail)
{
    for (uint32_t i = 0; i < m->routers_n; i++) {
        const struct router *r = m->routers[i];
        double *scratch = mem_alloc(2 * packed_n(r->d) * sizeof *scratch);
        if (!scratch)
            return ERR_NOMEM;
        enum err e = OK;
        uint64_t answered = 0;
        for (uint32_t k = 0; k < r->arms_n && e == OK; k++) {
            e = check_arm(r, r->arms[k], scratch, detail);
            answered += r->arms[k]->answered;
        }
        if (e == OK && (!all_finite(r->pooled->block, r->pooled->block_n) ||
                        !inverse_holds(r->pooled->matrix.A, r->pooled->matrix.P, r->d, scratch)))
            e = err_say(detail, ERR_CORRUPT, "router %s: the pooled matrix is damaged",
                        r->config.name);
        /* Arms since removed took their counts along. */
        if (e == OK && answered > r->outcomes_folded)
            e = err_say(detail, ERR_CORRUPT, "router %s: arms answered %llu, folded %llu",
                        r->config.name, (unsigned long long)answered,
                        (unsigned long long)r->outcomes_folded);
        mem_free(scratch);
        if (e != OK)
            return e;
    }
    return OK;
}
