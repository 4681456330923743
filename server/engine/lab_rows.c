#include "server/engine/lab_rows.h"

#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/base/search.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const uint32_t none = UINT32_MAX;

struct known {
    uint32_t uid;
    const struct arm_config *config; /* In the view; NULL: removed. */
    char name[NAME_CAP];
};

struct lab_rows {
    struct lab_log *log;
    const struct router_view *view;
    struct known *known; /* In order of uid. */
    struct lab_arm *arms;
    uint32_t arms_n, arms_cap;
    uint32_t eligible[MAX_ARMS]; /* Of the row handed out. */
    float pmf[MAX_ARMS];
    uint64_t damaged;
};

/* Where the uid stands, or would. */
static uint32_t place_of(const struct lab_rows *r, uint32_t uid)
{
    return search_records(r->known, r->arms_n, sizeof *r->known, offsetof(struct known, uid), uid);
}

static uint32_t index_of(const struct lab_rows *r, uint32_t uid)
{
    uint32_t at = place_of(r, uid);
    return at < r->arms_n && r->known[at].uid == uid ? at : none;
}

static enum err grow(struct lab_rows *r)
{
    uint32_t cap = r->arms_cap ? 2 * r->arms_cap : 64;
    struct known *known = mem_realloc(r->known, cap * sizeof *known);
    if (!known)
        return ERR_NOMEM;
    r->known = known;
    r->arms_cap = cap;
    return OK;
}

static enum err add_uid(struct lab_rows *r, uint32_t uid, struct err_detail *detail)
{
    uint32_t at = place_of(r, uid);
    if (at < r->arms_n && r->known[at].uid == uid)
        return OK;
    if (r->arms_n == MAX_ARMS)
        return err_say(detail, ERR_LIMIT,
                       "the window speaks of more than %d versions of arms; shorten it", MAX_ARMS);
    if (r->arms_n == r->arms_cap && grow(r) != OK)
        return err_say(detail, ERR_NOMEM, "no memory for the arms of the log");
    memmove(&r->known[at + 1], &r->known[at], (r->arms_n - at) * sizeof *r->known);
    r->arms_n++;
    struct known *k = &r->known[at];
    int i = router_view_arm_uid(r->view, uid);
    *k = (struct known){.uid = uid, .config = i >= 0 ? r->view->arms[i]->config : NULL};
    if (k->config)
        memcpy(k->name, k->config->name, NAME_CAP);
    else
        (void)snprintf(k->name, sizeof k->name, "removed/%u", uid);
    return OK;
}

static enum err collect(struct lab_rows *r, struct err_detail *detail)
{
    struct lab_logged row;
    bool end = false;
    for (uint32_t i = 0; i < r->view->arms_n; i++)
        TRY(add_uid(r, r->view->arms[i]->uid, detail));
    for (;;) {
        TRY(lab_log_next(r->log, &row, &end, detail));
        if (end)
            break;
        for (uint32_t i = 0; i < row.record->arms_n; i++)
            TRY(add_uid(r, row.record->arms[i].arm_uid, detail));
    }
    lab_log_rewind(r->log);
    if (r->arms_n == 0)
        return err_say(detail, ERR_NO_ELIGIBLE_ARM, "router `%s` has no arms",
                       r->view->config->name);
    r->arms = mem_calloc(r->arms_n, sizeof *r->arms);
    if (!r->arms)
        return err_say(detail, ERR_NOMEM, "no memory for the arms of the log");
    for (uint32_t i = 0; i < r->arms_n; i++)
        r->arms[i] = (struct lab_arm){r->known[i].name, r->known[i].config};
    return OK;
}

enum err lab_rows_open(struct lab_log *log, const struct router_view *view,
                       struct lab_rows **ret_rows, struct err_detail *detail)
{
    struct lab_rows *r = mem_calloc(1, sizeof *r);
    if (!r)
        return err_say(detail, ERR_NOMEM, "no memory for the rows");
    r->log = log;
    r->view = view;
    enum err e = collect(r, detail);
    if (e != OK)
        lab_rows_free(r);
    else
        *ret_rows = r;
    return e;
}

void lab_rows_free(struct lab_rows *r)
{
    if (!r)
        return;
    mem_free(r->known);
    mem_free(r->arms);
    mem_free(r);
}

const struct lab_arm *lab_rows_arms(const struct lab_rows *r, uint32_t *ret_n)
{
    *ret_n = r->arms_n;
    return r->arms;
}

uint64_t lab_rows_damaged(const struct lab_rows *r)
{
    return r->damaged;
}

const char *lab_rows_name(const struct lab_rows *r, uint32_t arm_uid)
{
    uint32_t at = index_of(r, arm_uid);
    return at == none ? NULL : r->known[at].name;
}

/* ---- rows ---- */

bool lab_rows_beyond_sample(const struct audit_record *record)
{
    return !(rng_uniform(record->seed, 3) < (double)record->kept);
}

/* False: its arm is not among the eligible ones, so nothing can be said of it. */
static bool fill_arms(struct lab_rows *r, const struct audit_record *record, struct logged_row *ret)
{
    ret->chosen = none;
    for (uint32_t i = 0; i < record->arms_n; i++) {
        uint32_t at = index_of(r, record->arms[i].arm_uid);
        if (at == none)
            return false;
        r->eligible[i] = at;
        r->pmf[i] = record->arms[i].propensity;
        if (record->arms[i].arm_uid == record->decision.arm_uid)
            ret->chosen = i;
    }
    ret->arms_n = record->arms_n;
    ret->arms = r->eligible;
    ret->pmf = r->pmf;
    return ret->chosen != none;
}

static void fill_outcome(const struct lab_rows *r, const struct lab_logged *logged,
                         struct logged_row *ret)
{
    const struct router_config *c = r->view->config;
    ret->status = logged->status;
    ret->has_mask = logged->mask;
    for (uint32_t m = 0; m < c->metrics_n; m++) {
        if (!(logged->mask >> m & 1))
            continue;
        ret->raw[m] = logged->raw[m];
        ret->z[m] = metric_normalise(&c->metrics[m], logged->raw[m]);
    }
}

static enum err next_row(void *self, struct logged_row *ret, bool *ret_end,
                         struct err_detail *detail)
{
    struct lab_rows *r = self;
    struct lab_logged logged;
    for (;;) {
        TRY(lab_log_next(r->log, &logged, ret_end, detail));
        if (*ret_end)
            return OK;
        const struct audit_record *record = logged.record;
        if (!fill_arms(r, record, ret)) {
            r->damaged++;
            continue;
        }
        memcpy(ret->id, record->decision.id, ID_BYTES);
        ret->issued_us = record->decision.issued_us;
        ret->x = record->decision.x;
        ret->propensity = (double)record->decision.propensity;
        ret->evaluable = record->decision.evaluable && !logged.replaced;
        ret->beyond_sample = lab_rows_beyond_sample(record);
        ret->price = (struct logged_price){.paced = false};
        if (record->budget.paced)
            ret->price = (struct logged_price){true, record->budget.metric,
                                               record->budget.per_request, record->budget.lambda};
        ret->weights = record->weights_n == r->view->config->metrics_n ? record->weights : NULL;
        ret->truth = NULL;
        fill_outcome(r, &logged, ret);
        return OK;
    }
}

static enum err rewind_rows(void *self, struct err_detail *detail)
{
    (void)detail;
    struct lab_rows *r = self;
    lab_log_rewind(r->log);
    r->damaged = 0;
    return OK;
}

struct logged_source lab_rows_source(struct lab_rows *r)
{
    return (struct logged_source){r, next_row, rewind_rows};
}
