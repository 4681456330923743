/* handle_drift.c - ListAlarms, SetArmPrice, ReloadArm. */
#include "server/rpc/codec_info.h"
#include "server/rpc/handlers.h"

#include <string.h>

static enum err fill_alarm(const struct router_view *r, const struct drift_alarm *a,
                           struct arena *arena, Shunt__V1__Alarm **ret_alarm,
                           struct err_detail *detail)
{
    Shunt__V1__Alarm *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return arena_error(arena, detail);
    shunt__v1__alarm__init(m);
    const char *metric = r->config->metrics[a->metric].name;
    m->router = arena_text(arena, r->config->name, strlen(r->config->name));
    m->arm = arena_text(arena, a->arm, strlen(a->arm));
    m->metric = arena_text(arena, metric, strlen(metric));
    if (!m->router || !m->arm || !m->metric)
        return arena_error(arena, detail);
    m->has_id = m->has_at_us = m->has_arm_version = m->has_rising = m->has_worse = true;
    m->has_policy = m->has_state = m->has_estimate = m->has_before = m->has_after = true;
    m->has_pulls = true;
    m->id = a->id;
    m->at_us = a->at_us;
    m->arm_version = a->arm_version;
    m->rising = a->rising;
    m->worse = a->worse;
    m->policy = (Shunt__V1__DriftPolicy)a->policy;
    m->state = (Shunt__V1__AlarmState)a->end;
    m->has_ended_us = a->ended_us != 0;
    m->ended_us = a->ended_us;
    m->estimate = a->estimate;
    m->before = a->before;
    m->after = a->after;
    m->pulls = a->pulls;
    *ret_alarm = m;
    return OK;
}

/* Of one router or of all; the caller holds the snapshot. */
static enum err list_alarms(const struct snapshot *s, const struct router_view *only,
                            struct arena *arena, Shunt__V1__ListAlarmsResponse *ret,
                            struct err_detail *detail)
{
    size_t n = 0;
    ret->has_raised = true;
    for (uint32_t i = 0; i < s->routers_n; i++)
        n += s->routers[i]->alarms_n;
    ret->alarms = arena_array(arena, n ? n : 1, sizeof *ret->alarms);
    if (!ret->alarms)
        return arena_error(arena, detail);
    for (uint32_t i = 0; i < s->routers_n; i++) {
        const struct router_view *r = s->routers[i];
        if (only && r != only)
            continue;
        ret->raised += r->alarms_raised;
        for (uint32_t k = 0; k < r->alarms_n; k++)
            TRY(fill_alarm(r, &r->alarms[k], arena, &ret->alarms[ret->n_alarms++], detail));
    }
    return OK;
}

enum err handle_list_alarms(struct handler *h, const ProtobufCMessage *request,
                            ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ListAlarmsRequest *m = (const Shunt__V1__ListAlarmsRequest *)request;
    Shunt__V1__ListAlarmsResponse *r = arena_alloc(&h->arena, sizeof *r);
    const struct router_view *only = NULL;
    if (!r)
        return arena_error(&h->arena, detail);
    shunt__v1__list_alarms_response__init(r);
    const struct snapshot *s = engine_snapshot_acquire(h->worker);
    enum err e = OK;
    if (m->router)
        only = snapshot_router(s, m->router, strlen(m->router));
    if (m->router && !only)
        e = err_say(detail, ERR_ROUTER_NOT_FOUND, "there is no router of that name");
    if (e == OK)
        e = list_alarms(s, only, &h->arena, r, detail);
    engine_snapshot_release(h->worker);
    if (e == OK)
        *ret_response = &r->base;
    return e;
}

enum err handle_set_arm_price(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__SetArmPriceRequest *m = (const Shunt__V1__SetArmPriceRequest *)request;
    struct slice router = codec_router(m->router), name = slice_text(m->name);
    const char *metric = m->metric && m->metric[0] ? m->metric : "cost_usd";
    TRY(engine_arm_price(h->worker, router, name, slice_text(metric), m->factor, detail));
    return answer_arm(h, router, name, ret_response, detail);
}

enum err handle_reload_arm(struct handler *h, const ProtobufCMessage *request,
                           ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ReloadArmRequest *m = (const Shunt__V1__ReloadArmRequest *)request;
    struct slice router = codec_router(m->router), name = slice_text(m->name);
    TRY(engine_arm_reload(h->worker, router, name, m->has_strength ? m->strength : 0, detail));
    return answer_arm(h, router, name, ret_response, detail);
}
