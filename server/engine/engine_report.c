#include "server/engine/adapters_parts.h"

#include "state/base/hash.h"
#include "state/base/mem.h"

#include <string.h>

/* The decision behind a report: from its token, else from the decision log. */
static enum err find_decision(struct engine_worker *w, const struct report_in *in,
                              const struct snapshot *s, struct err_detail *detail)
{
    uint8_t id[ID_BYTES];
    if (in->decision_id.len > 0 && id_parse(in->decision_id.data, in->decision_id.len, id) != OK)
        return err_say(detail, ERR_BAD_ID, "decision_id is not a UUID of 36 characters");
    struct decision *d = &w->event.u.outcome.decision;
    if (in->token.len > 0) {
        if (seal_open(w->sealer, s->keys, s->keys_n, in->token, d) != OK)
            return engine_unknown_decision(detail);
        if (in->decision_id.len > 0 && memcmp(id, d->id, ID_BYTES) != 0)
            return engine_unknown_decision(detail);
        return OK;
    }
    if (in->decision_id.len == 0)
        return err_say(detail, ERR_INVALID, "give decision_id, decision_token, or both");
    return OK;
}

/* Without a token; may wait for the decision log's thread, so no snapshot is held meanwhile. */
static enum err find_logged(struct engine_worker *w, const struct report_in *in,
                            struct err_detail *detail)
{
    uint8_t id[ID_BYTES];
    struct audit_record r;
    TRY(id_parse(in->decision_id.data, in->decision_id.len, id));
    if (audit_find(w->engine->audit, id, &r) != OK)
        return engine_unknown_decision(detail);
    w->event.u.outcome.decision = r.decision;
    mem_free(r.arms);
    return OK;
}

enum err engine_find_decision(struct engine_worker *w, const struct report_in *in,
                              struct err_detail *detail)
{
    const struct snapshot *s = engine_snapshot_acquire(w);
    enum err e = find_decision(w, in, s, detail);
    engine_snapshot_release(w);
    return e == OK && in->token.len == 0 ? find_logged(w, in, detail) : e;
}

/* What was charged with a prediction is put right by this report, if it counts. */
static void fill_charge(const struct event_outcome *o, struct report_charge *ret)
{
    const struct decision *d = &o->decision;
    ret->is_set = false;
    ret->router_uid = d->router_uid;
    for (uint8_t i = 0; d->paced && i < o->metrics_n; i++) {
        if (o->metrics[i].index != d->budget_metric)
            continue;
        ret->is_set = true;
        ret->metric = d->budget_metric;
        memcpy(ret->tenant, d->tenant, NAME_CAP);
        ret->charged = (double)d->charge;
        ret->cost = o->metrics[i].raw;
    }
}

static enum err fill_metrics(struct engine_worker *w, const struct report_in *in,
                             const struct router_view *r, struct report_call *call,
                             struct err_detail *detail)
{
    struct event_outcome *o = &w->event.u.outcome;
    const struct router_config *c = r->config;
    if (in->metrics_n > MAX_METRICS)
        return err_say(detail, ERR_TOO_LARGE, "a report holds at most %d metrics", MAX_METRICS);
    if (in->status < 0 || in->status >= OUTCOME_STATUS_N)
        return err_say(detail, ERR_OUT_OF_RANGE, "status %d is not known", in->status);
    if (in->metrics_n == 0 && in->status == OUTCOME_OK)
        return err_say(detail, ERR_INVALID, "the report holds no metric and no status");
    o->status = (enum outcome_status)in->status;
    o->metrics_n = 0;
    call->sent_mask = 0;
    call->router_uid = r->uid;
    for (size_t i = 0; i < in->metrics_n; i++) {
        const struct engine_weight *m = &in->metrics[i];
        char name[NAME_CAP];
        TRY(engine_name(m->name, "a metric", name, detail));
        int index = settings_metric_index(c, m->name.data, m->name.len);
        if (index < 0)
            return err_say(detail, ERR_METRIC_NOT_FOUND, "router `%s` has no metric `%s`", c->name,
                           name);
        TRY(metric_check_value(&c->metrics[index], m->value, detail));
        if (call->sent_mask >> index & 1)
            return err_say(detail, ERR_INVALID, "metric `%s` stands twice in the report", name);
        o->metrics[o->metrics_n++] = (struct outcome_metric){
            .index = (uint8_t)index,
            .raw = m->value,
            .z = metric_normalise(&c->metrics[index], m->value),
        };
        call->sent_mask = (uint16_t)(call->sent_mask | 1u << index);
    }
    fill_charge(o, &call->charge);
    call->metrics_n = c->metrics_n;
    call->weighted_mask = 0;
    for (uint32_t m = 0; m < c->metrics_n; m++) {
        memcpy(call->names[m], c->metrics[m].name, NAME_CAP);
        if (c->metrics[m].weight > 0)
            call->weighted_mask = (uint16_t)(call->weighted_mask | 1u << m);
    }
    return OK;
}

/* The context is in the record alone: no call keeps room for one that few of them need. Without
 * memory the slow loop plans without this one, as it does of a flood. */
static void tell_served(const struct report_call *call)
{
    struct event *ev = mem_alloc(sizeof *ev);
    if (ev && event_decode(call->item.record, ev) == OK)
        engine_tell_served(call->engine, &ev->u.outcome.decision, false);
    mem_free(ev);
}

static void report_answered(struct inbox_item *item, enum err e, const struct fold_result *result,
                            uint64_t position)
{
    void *at = item;
    struct report_call *call = at;
    struct report_out out;
    struct err_detail detail = {""};
    memset(&out, 0, sizeof out);
    /* Folded is folded, also where the caller is told otherwise: it will never count again. */
    if (result->activated)
        engine_count_served(call->engine, &call->served);
    if (result->activated && call->has_adapters)
        tell_served(call);
    if (call->charge.is_set && result->counted_mask >> call->charge.metric & 1)
        engine_correct(call->engine, &call->charge);
    if (result->alarms || result->alarms_ended)
        engine_alarmed(call->engine, call->router_uid, result);
    if (e == ERR_DECISION_NOT_FOUND || e == ERR_SPEC_MISMATCH)
        e = engine_unknown_decision(&detail);
    else if (e == ERR_DECISION_LATE)
        (void)err_say(&detail, e, "the decision is known, but its reward_wait_s is over");
    else if (e == ERR_PIECES_FULL)
        (void)err_say(&detail, e, "the decision has %d reports of rated metrics already",
                      MAX_PIECES);
    else if (e != OK)
        (void)err_say(&detail, e, "the outcome was not taken");
    out.position = position;
    out.duplicate = result->duplicate;
    out.orphaned = result->orphaned;
    out.gated = result->gated;
    out.unweighted = !(call->sent_mask & call->weighted_mask);
    for (uint32_t m = 0; m < call->metrics_n; m++)
        if (result->counted_mask >> m & 1)
            memcpy(out.counted[out.counted_n++], call->names[m], NAME_CAP);
    call->done(call, e, &out, &detail);
}

void report_call_done(struct report_call *call)
{
    buf_done(&call->record);
}

/* The arm that stood in for the chosen one; naming the chosen one says that none did. */
static enum err fill_served(struct engine_worker *w, const struct report_in *in,
                            const struct router_view *r, struct err_detail *detail)
{
    struct event_outcome *o = &w->event.u.outcome;
    char name[NAME_CAP];
    o->served_uid = 0;
    if (in->served_arm.len == 0)
        return OK;
    TRY(engine_name(in->served_arm, "served_arm_id", name, detail));
    int k = router_view_arm(r, in->served_arm.data, in->served_arm.len);
    if (k < 0)
        return err_say(detail, ERR_ARM_NOT_FOUND, "served_arm_id: router `%s` has no arm `%s`",
                       r->config->name, name);
    if (r->arms[k]->uid != o->decision.arm_uid)
        o->served_uid = r->arms[k]->uid;
    return OK;
}

/* Only its hash is kept: two keys of one decision agree in it with probability 2^-54. */
static enum err fill_piece(struct engine_worker *w, const struct report_in *in,
                           const struct router_view *r, struct err_detail *detail)
{
    struct event_outcome *o = &w->event.u.outcome;
    bool adds = r->config->settings.aggregation != AGGREGATE_FIRST;
    o->piece = 0;
    if (in->piece_key.len > PIECE_KEY_BYTES)
        return err_say(detail, ERR_TOO_LARGE, "idempotency_key: %zu bytes; at most %d",
                       in->piece_key.len, PIECE_KEY_BYTES);
    if (!adds || in->piece_key.len == 0)
        return OK;
    o->piece = hash_bytes(in->piece_key.data, in->piece_key.len);
    if (o->piece == 0) /* Which says that there is none. */
        o->piece = 1;
    return OK;
}

/* Whose word it is. */
static enum err fill_source(struct engine_worker *w, const struct report_in *in,
                            struct err_detail *detail)
{
    struct event_outcome *o = &w->event.u.outcome;
    memset(o->source, 0, sizeof o->source);
    if (in->source.len == 0)
        return OK;
    TRY(engine_name(in->source, "source", o->source, detail));
    if (strcmp(o->source, SOURCE_DEFAULT) == 0)
        return err_say(detail, ERR_INVALID,
                       "source: `" SOURCE_DEFAULT "` is how the server signs its own outcomes");
    return OK;
}

/* After all else: what is refused for another reason does not count against the cap. */
static enum err check_cap(struct engine_worker *w, const struct router_view *r,
                          struct err_detail *detail)
{
    const struct sources *s = &r->config->settings.sources;
    const char *source = w->event.u.outcome.source;
    const struct source_rule *rule = sources_rule(s, source);
    bool own = sources_find(s, (struct slice){source, strlen(source)}) < s->n;
    enum err e = source_caps_take(w->engine->source_caps, r->uid, source_tag(own ? source : ""),
                                  rule->max_per_s, rule->max_per_min, w->event.at_us);
    return e == OK ? OK
                   : err_say(detail, e, "source `%s` of router `%s`: no more than its rule allows",
                             source, r->config->name);
}

static enum err build(struct engine_worker *w, const struct report_in *in, struct report_call *call,
                      const struct snapshot *s, struct err_detail *detail)
{
    const struct decision *d = &w->event.u.outcome.decision;
    const struct router_view *r = snapshot_router_uid(s, d->router_uid);
    if (!r || r->hash != d->spec_hash || r->d != d->d)
        return engine_unknown_decision(detail);
    TRY(fill_served(w, in, r, detail));
    TRY(fill_piece(w, in, r, detail));
    TRY(fill_source(w, in, detail));
    TRY(fill_metrics(w, in, r, call, detail));
    TRY(check_cap(w, r, detail));
    call->has_adapters = r->config->settings.residency.policy[0] != '\0';
    if (r->config->settings.target.engine != RESIDENCY_ENGINE_NONE) {
        const struct event_outcome *o = &w->event.u.outcome;
        flights_land(w->engine->adapters->flights, d->id,
                     o->status == OUTCOME_OK && !o->served_uid);
    }
    return OK;
}

enum err engine_prepare_report(struct engine_worker *w, const struct report_in *in,
                               struct report_call *call, struct err_detail *detail)
{
    w->event.kind = EVENT_OUTCOME;
    w->event.at_us = clock_unix_us();
    TRY(engine_find_decision(w, in, detail));
    const struct snapshot *s = engine_snapshot_acquire(w);
    enum err e = build(w, in, call, s, detail);
    engine_snapshot_release(w);
    if (e != OK)
        return e;
    call->served = engine_serving_of(&w->event.u.outcome.decision);
    buf_reset(&call->record);
    event_encode(&w->event, &call->record);
    if (buf_error(&call->record) != OK)
        return err_say(detail, ERR_NOMEM, "no memory for the outcome");
    call->engine = w->engine;
    call->item.record = (struct slice){call->record.data, call->record.len};
    call->item.done = report_answered;
    return OK;
}

enum err engine_say_queue(enum err e, struct err_detail *detail)
{
    return e == OK ? OK
                   : err_say(detail, e, "%s",
                             e == ERR_QUEUE_FULL ? "the writer's queue is full"
                                                 : "the server is shutting down");
}

enum err engine_report(struct engine_worker *w, const struct report_in *in,
                       struct report_call *call, struct err_detail *detail)
{
    TRY(engine_prepare_report(w, in, call, detail));
    return engine_say_queue(inbox_put(w->engine->inbox, &call->item), detail);
}
