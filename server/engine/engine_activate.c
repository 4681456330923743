/* Deferred activation: a decision that was made ahead, and counts once somebody says that it is
 * served. fold knows which were (state/model/fold_outcome.c); what is counted here is what a
 * request counts that was not deferred. */
#include "server/engine/engine_parts.h"

#include <string.h>

struct serving engine_serving_of(const struct decision *d)
{
    struct serving s;
    memset(&s, 0, sizeof s);
    s.router_uid = d->router_uid;
    s.arm_uid = d->arm_uid;
    s.mode = d->mode;
    s.side = d->side;
    s.paced = d->paced;
    s.metric = d->budget_metric;
    s.charge = (double)d->charge;
    memcpy(s.tenant, d->tenant, sizeof s.tenant);
    return s;
}

/* Of the context's menu nothing is known any more but what was chosen of it. */
static void charge(struct engine *e, const struct serving *s)
{
    struct pacer_id id;
    memset(&id, 0, sizeof id);
    id.router_uid = s->router_uid;
    id.metric = s->metric;
    memcpy(id.key, s->tenant, sizeof id.key);
    const struct pacing_menu menu = {.base = s->charge};
    pacers_charge(e->pacers, &id, &menu, s->charge);
}

void engine_count_served(struct engine *e, const struct serving *s)
{
    struct live_count *router = live_get(e->live, s->router_uid);
    struct live_count *arm = live_get(e->live, s->arm_uid);
    if (router && s->side != SIDE_NONE)
        atomic_fetch_add_explicit(&router->sides[s->side - SIDE_A], 1, memory_order_relaxed);
    if (router)
        atomic_fetch_add_explicit(&router->activated, 1, memory_order_relaxed);
    if (arm && s->mode != MODE_LOGGING_ONLY)
        atomic_fetch_add_explicit(&arm->issued, 1, memory_order_relaxed);
    if (s->paced)
        charge(e, s);
}

static enum err submit(struct engine_worker *w, const struct decision *d,
                       struct fold_result *ret_result, struct err_detail *detail)
{
    struct event *ev = &w->event;
    memset(ev, 0, sizeof *ev);
    ev->kind = EVENT_ACTIVATE;
    ev->at_us = clock_unix_us();
    ev->u.activate.decision = *d;
    enum err e = engine_submit(w, ev, ret_result);
    if (e == ERR_DECISION_NOT_FOUND || e == ERR_SPEC_MISMATCH)
        return engine_unknown_decision(detail);
    if (e == ERR_DECISION_LATE)
        return err_say(detail, e, "the decision is known, but its reward_wait_s is over");
    if (e != OK)
        return err_say(detail, e, "the decision was not activated: %s", err_text(e));
    return OK;
}

static void count(struct engine_worker *w, const struct decision *d, const char *session)
{
    const struct serving served = engine_serving_of(d);
    engine_count_served(w->engine, &served);
    engine_tell_served(w->engine, d, true);
    if (session[0]) {
        struct session_key key;
        memset(&key, 0, sizeof key);
        key.router_uid = d->router_uid;
        memcpy(key.name, session, sizeof key.name);
        session_table_step(w->engine->sessions, &key, 0, d->id, d->arm_uid);
    }
}

enum err engine_activate(struct engine_worker *w, const struct activate_in *in,
                         struct activate_out *ret_out, struct err_detail *detail)
{
    const struct report_in report = {.decision_id = in->decision_id, .token = in->token};
    struct decision d;
    struct fold_result result;
    char session[NAME_CAP] = "";
    memset(ret_out, 0, sizeof *ret_out);
    if (in->session.len)
        TRY(engine_name(in->session, "the session", session, detail));
    TRY(engine_find_decision(w, &report, detail));
    d = w->event.u.outcome.decision;
    enum err e = submit(w, &d, &result, detail);
    /* Folded is folded, also where the caller is told otherwise: sent again, it is there already.
     */
    if (result.activated)
        count(w, &d, session);
    ret_out->already = e == OK && result.duplicate;
    return e;
}
