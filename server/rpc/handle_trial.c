/* handle_trial.c - GetSplit and GetAgreement: what a trial shows, as messages. */
#include "server/route/trial_report.h"
#include "server/rpc/handlers.h"

#include <math.h>
#include <string.h>

static char *copy(struct arena *arena, const char *text)
{
    return arena_text(arena, text, strlen(text));
}

static Shunt__V1__MeanEstimate *estimate_out(const struct estimate *e, struct arena *arena)
{
    Shunt__V1__MeanEstimate *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__mean_estimate__init(m);
    m->has_n = true;
    m->n = e->n;
    m->has_mean = !isnan(e->mean);
    m->has_low = m->has_high = !isnan(e->low);
    m->mean = e->mean;
    m->low = e->low;
    m->high = e->high;
    return m;
}

/* The maps of SplitSide and SplitReport are different types of the same shape. */
#define ESTIMATES_OUT(function, entry, entry_init)                                                 \
    static entry **function(const struct router_config *c, const struct estimate *estimates,       \
                            struct arena *arena, size_t *ret_n)                                    \
    {                                                                                              \
        entry *entries = arena_array(arena, c->metrics_n, sizeof *entries);                        \
        entry **list = arena_array(arena, c->metrics_n, sizeof *list);                             \
        *ret_n = 0;                                                                                \
        for (uint32_t m = 0; entries && list && m < c->metrics_n; m++) {                           \
            if (estimates[m].n == 0)                                                               \
                continue;                                                                          \
            entry_init(&entries[m]);                                                               \
            entries[m].key = copy(arena, c->metrics[m].name);                                      \
            entries[m].value = estimate_out(&estimates[m], arena);                                 \
            if (!entries[m].key || !entries[m].value)                                              \
                return NULL;                                                                       \
            list[(*ret_n)++] = &entries[m];                                                        \
        }                                                                                          \
        return entries ? list : NULL;                                                              \
    }
ESTIMATES_OUT(side_metrics, Shunt__V1__SplitSide__MetricsEntry,
              shunt__v1__split_side__metrics_entry__init)
ESTIMATES_OUT(differences, Shunt__V1__SplitReport__DifferenceEntry,
              shunt__v1__split_report__difference_entry__init)

static Shunt__V1__SplitSide *side_out(const struct router_view *r, const struct group_report *g,
                                      int side, uint64_t asked, struct arena *arena)
{
    Shunt__V1__SplitSide *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__split_side__init(m);
    m->policy = copy(arena, r->trial.policies[side]);
    m->has_requests = m->has_answered = true;
    m->answered = g->answered;
    /* A crash can lose a tenth of a second of counts, never an answered one. */
    m->requests = asked > g->answered ? asked : g->answered;
    m->metrics = side_metrics(r->config, g->metrics, arena, &m->n_metrics);
    m->utility = estimate_out(&g->utility, arena);
    return m->policy && m->metrics && m->utility ? m : NULL;
}

static enum err split_out(struct engine *e, const struct router_view *r, struct arena *arena,
                          Shunt__V1__SplitReport **ret, struct err_detail *detail)
{
    struct split_report report;
    uint64_t asked[2];
    const struct trial *t = &r->trial;
    const struct router_settings *s = &r->config->settings;
    Shunt__V1__SplitReport *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__split_report__init(m);
    trial_report_split(r, &report);
    engine_issued_sides(e, r->uid, asked);
    m->router = copy(arena, r->config->name);
    m->a = side_out(r, &report.sides[0], 0, asked[0] - t->asked_before[0], arena);
    m->b = side_out(r, &report.sides[1], 1, asked[1] - t->asked_before[1], arena);
    m->difference = differences(r->config, report.metrics, arena, &m->n_difference);
    m->utility_difference = estimate_out(&report.utility, arena);
    m->verdict = copy(arena, report.sentence);
    if (!m->router || !m->a || !m->b || !m->difference || !m->utility_difference || !m->verdict)
        return arena_error(arena, detail);
    m->has_running = m->has_share = m->has_better = true;
    m->running = s->mode == MODE_ONLINE && s->split_policy[0];
    /* Of an apprentice's trial no side was ever named. */
    m->has_since_us = t->policies[1][0] != '\0';
    m->since_us = t->since_us;
    m->share = t->share;
    m->better = (Shunt__V1__Side)report.better;
    *ret = m;
    return OK;
}

static bool arms_out(const struct router_view *r, struct arena *arena,
                     Shunt__V1__AgreementReport *m)
{
    Shunt__V1__ArmAgreement *arms = arena_array(arena, r->arms_n, sizeof *arms);
    m->arms = arena_array(arena, r->arms_n, sizeof *m->arms);
    if (!arms || !m->arms)
        return false;
    for (uint32_t i = 0; i < r->arms_n; i++) {
        const struct arm_view *a = r->arms[i];
        shunt__v1__arm_agreement__init(&arms[i]);
        arms[i].arm_id = copy(arena, a->config->name);
        if (!arms[i].arm_id)
            return false;
        arms[i].has_served = arms[i].has_chosen = arms[i].has_known = true;
        arms[i].served = a->trial_served;
        arms[i].chosen = a->trial_chosen;
        arms[i].known = a->answered > 0;
        m->arms[i] = &arms[i];
    }
    m->n_arms = r->arms_n;
    return true;
}

static enum err agreement_out(const struct router_view *r, struct arena *arena,
                              Shunt__V1__AgreementReport **ret, struct err_detail *detail)
{
    struct agreement_report report;
    const struct trial *t = &r->trial;
    Shunt__V1__AgreementReport *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__agreement_report__init(m);
    trial_report_agreement(r, &report);
    m->router = copy(arena, r->config->name);
    m->verdict = copy(arena, report.sentence);
    m->agreed_utility = estimate_out(&report.agreed.utility, arena);
    m->differed_utility = estimate_out(&report.differed.utility, arena);
    if (!m->router || !m->verdict || !m->agreed_utility || !m->differed_utility ||
        !arms_out(r, arena, m))
        return arena_error(arena, detail);
    m->has_running = m->has_decided = m->has_agreed = m->has_promote = true;
    m->running = r->config->settings.mode == MODE_APPRENTICE;
    m->agreed = report.agreed.answered;
    m->decided = m->agreed + report.differed.answered;
    m->has_share = m->has_recent = m->decided > 0;
    m->share = report.share;
    m->recent = report.recent;
    m->has_constant = m->has_by_chance = m->decided > 0;
    m->constant = report.constant;
    m->by_chance = report.by_chance;
    m->has_kappa = isfinite(report.kappa);
    m->kappa = m->has_kappa ? report.kappa : 0;
    m->promote = report.promote;
    m->has_since_us = t->epoch && !t->policies[1][0];
    m->since_us = t->since_us;
    *ret = m;
    return OK;
}

/* The router of this name, an absent one being the default. The snapshot must be held. */
static enum err find_router(const struct snapshot *s, const char *name,
                            const struct router_view **ret_router, struct err_detail *detail)
{
    name = name && name[0] ? name : "default";
    *ret_router = snapshot_router(s, name, strlen(name));
    return *ret_router ? OK
                       : err_say(detail, ERR_ROUTER_NOT_FOUND, "there is no router %.64s", name);
}

enum err handle_get_split(struct handler *h, const ProtobufCMessage *request,
                          ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__GetSplitRequest *m = (const Shunt__V1__GetSplitRequest *)request;
    const struct router_view *r;
    Shunt__V1__SplitReport *report = NULL;
    enum err e = find_router(engine_snapshot_acquire(h->worker), m->router, &r, detail);
    if (e == OK)
        e = split_out(h->engine, r, &h->arena, &report, detail);
    engine_snapshot_release(h->worker);
    if (e == OK)
        *ret_response = &report->base;
    return e;
}

enum err handle_get_agreement(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__GetAgreementRequest *m = (const Shunt__V1__GetAgreementRequest *)request;
    const struct router_view *r;
    Shunt__V1__AgreementReport *report = NULL;
    enum err e = find_router(engine_snapshot_acquire(h->worker), m->router, &r, detail);
    if (e == OK)
        e = agreement_out(r, &h->arena, &report, detail);
    engine_snapshot_release(h->worker);
    if (e == OK)
        *ret_response = &report->base;
    return e;
}
