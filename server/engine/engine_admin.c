#include "server/adapters/cache_policy.h"
#include "server/engine/engine_parts.h"

#include "state/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct event *fresh_event(struct engine_worker *w, enum event_kind kind)
{
    memset(&w->event, 0, sizeof w->event);
    w->event.kind = kind;
    w->event.at_us = clock_unix_us();
    return &w->event;
}

/* What happened to it; what to do about it is err_text's, which every error is sent with. */
static const char *what_happened(enum err e)
{
    switch ((int)e) {
    case ERR_ROUTER_EXISTS:
    case ERR_ARM_EXISTS:
        return "exists already";
    case ERR_ROUTER_NOT_FOUND:
    case ERR_ARM_NOT_FOUND:
        return "is not there any more";
    case ERR_LIMIT:
        return "would be one more than the limit allows";
    default:
        return "was not changed";
    }
}

/* Submits w->event; a refusal gets a sentence that names what it was about. */
static enum err submit(struct engine_worker *w, const char *what, const char *name,
                       struct fold_result *ret_result, struct err_detail *detail)
{
    enum err e = engine_submit(w, &w->event, ret_result);
    return e == OK ? OK : err_say(detail, e, "%s `%s` %s", what, name, what_happened(e));
}

enum err engine_look_up_router(struct engine_worker *w, struct slice name, uint32_t *ret_uid,
                               struct router_config *ret_config, struct err_detail *detail)
{
    const struct router_view *r;
    const struct snapshot *s = engine_snapshot_acquire(w);
    enum err e = engine_find_router(s, name, &r, detail);
    if (e == OK) {
        *ret_uid = r->uid;
        if (ret_config)
            *ret_config = *r->config;
    }
    engine_snapshot_release(w);
    return e;
}

enum err engine_look_up_arm(struct engine_worker *w, struct slice router, struct slice arm,
                            uint32_t *ret_router_uid, uint32_t *ret_arm_uid,
                            struct err_detail *detail)
{
    const struct router_view *r;
    uint32_t k;
    enum err e = engine_find_arm(engine_snapshot_acquire(w), router, arm, &r, &k, detail);
    if (e == OK) {
        *ret_router_uid = r->uid;
        *ret_arm_uid = r->arms[k]->uid;
    }
    engine_snapshot_release(w);
    return e;
}

/* ---- routers ---- */

/* The matrix that the server has now is the one that this router learns through. */
static enum err bind_projection(const struct engine *e, struct feature_spec *spec,
                                struct err_detail *detail)
{
    if (!spec->projection[0])
        return OK;
    const struct projection *p = projections_find(e->o.projections, spec->projection);
    if (!p)
        return err_say(detail, ERR_PROJECTION_NOT_FOUND,
                       "the server has no projection `%s`: put %s.f32 into its projection.dir and "
                       "start it again",
                       spec->projection, spec->projection);
    if (p->embedding_n != spec->embedding_n)
        return err_say(detail, ERR_WRONG_DIMENSION,
                       "the projection `%s` is of embeddings of %u values; embedding_n is %u",
                       spec->projection, p->embedding_n, (unsigned)spec->embedding_n);
    spec->projection_hash = p->hash;
    return OK;
}

enum err engine_router_create(struct engine_worker *w, const struct router_config *config,
                              struct err_detail *detail)
{
    TRY(settings_check(config, detail));
    TRY(policy_check(&config->settings, detail));
    if (config->settings.residency.policy[0])
        TRY(cache_policy_check(&config->settings.residency, detail));
    TRY(selector_check_stages(&config->settings.stages, detail));
    struct event *ev = fresh_event(w, EVENT_ROUTER_CREATE);
    ev->u.router = *config;
    TRY(bind_projection(w->engine, &ev->u.router.spec, detail));
    if (ev->u.router.settings.seed == 0)
        sealer_random(w->sealer, (uint8_t *)&ev->u.router.settings.seed,
                      sizeof ev->u.router.settings.seed);
    return submit(w, "router", config->name, NULL, detail);
}

/* What the statistics are built on must stay; weights and the rest of the settings may move. */
static enum err check_fixed(const struct router_config *old, const struct router_config *new,
                            struct err_detail *detail)
{
    if (spec_hash(&old->spec) != spec_hash(&new->spec)) {
        char is[SPEC_TEXT_CAP], asked[SPEC_TEXT_CAP];
        spec_describe(&old->spec, is, sizeof is);
        spec_describe(&new->spec, asked, sizeof asked);
        return err_say(detail, ERR_FIXED_AT_CREATION,
                       "router `%s` has the feature spec `%s`, asked was `%s`", old->name, is,
                       asked);
    }
    bool ridges = true;
    for (int g = 0; g < METRIC_GROUPS; g++)
        for (int i = 0; i < 2; i++)
            ridges = ridges && old->settings.ridge[g][i] == new->settings.ridge[g][i];
    if (!ridges)
        return err_say(detail, ERR_FIXED_AT_CREATION, "the ridges of router `%s` are fixed",
                       old->name);
    if (old->settings.aggregation != new->settings.aggregation)
        return err_say(detail, ERR_FIXED_AT_CREATION, "the aggregation of router `%s` is fixed",
                       old->name);
    bool same = old->metrics_n == new->metrics_n;
    for (uint32_t m = 0; same && m < old->metrics_n; m++) {
        const struct metric_def *a = &old->metrics[m], *b = &new->metrics[m];
        same = strcmp(a->name, b->name) == 0 && a->lower_is_better == b->lower_is_better &&
               a->logarithmic == b->logarithmic && a->group == b->group && a->min == b->min &&
               a->max == b->max && a->norm_low == b->norm_low && a->norm_high == b->norm_high;
    }
    return same
               ? OK
               : err_say(detail, ERR_FIXED_AT_CREATION,
                         "the metric table of router `%s` is fixed but for its weights", old->name);
}

enum { NAMES_SHOWN = 8 };

enum err engine_check_named_arms(const struct router_settings *s, const struct router_settings *old,
                                 const struct arm_names *arms, struct err_detail *detail)
{
    const struct {
        const char *field, *value, *was;
    } named[] = {{"fixed_arm", s->fixed_arm, old ? old->fixed_arm : ""},
                 {"split_fixed_arm", s->split_fixed_arm, old ? old->split_fixed_arm : ""},
                 {"baseline_arm", s->baseline_arm, old ? old->baseline_arm : ""}};
    for (size_t i = 0; i < sizeof named / sizeof *named && arms->n; i++) {
        bool there = !named[i].value[0] || strcmp(named[i].value, named[i].was) == 0;
        char list[NAMES_SHOWN * (NAME_CAP + 2)] = "";
        for (uint32_t a = 0; a < arms->n && !there; a++) {
            const char *name = arms->name(arms->self, a);
            there = strcmp(name, named[i].value) == 0;
            size_t len = strlen(list);
            if (a < NAMES_SHOWN)
                (void)snprintf(list + len, sizeof list - len, "%s%s", a ? ", " : "", name);
        }
        if (!there)
            return err_say(detail, ERR_INVALID,
                           "settings.%s is `%s`, which is no arm of the router; it has %s%s. Add "
                           "the arm first, or check the name",
                           named[i].field, named[i].value, list,
                           arms->n > NAMES_SHOWN ? ", ..." : "");
    }
    return OK;
}

static const char *name_in_view(const void *self, uint32_t i)
{
    return ((const struct router_view *)self)->arms[i]->config->name;
}

/* Names of arms that change must be there; those that stay may name one that was removed since. */
static enum err check_update_names(struct engine_worker *w, const struct router_config *old,
                                   const struct router_config *new, struct err_detail *detail)
{
    const struct router_view *r;
    const struct snapshot *s = engine_snapshot_acquire(w);
    enum err e = engine_find_router(s, (struct slice){new->name, strlen(new->name)}, &r, detail);
    if (e == OK) {
        const struct arm_names arms = {r, r->arms_n, name_in_view};
        e = engine_check_named_arms(&new->settings, &old->settings, &arms, detail);
    }
    engine_snapshot_release(w);
    return e;
}

/* Whether utilities change, which a price is paid in. */
static bool other_values(const struct router_config *old, const struct router_config *new)
{
    bool other = strcmp(old->settings.policy, new->settings.policy) != 0 ||
                 old->settings.alpha != new->settings.alpha;
    for (uint32_t m = 0; m < old->metrics_n; m++)
        other = other || old->metrics[m].weight != new->metrics[m].weight;
    return other;
}

enum err engine_router_update(struct engine_worker *w, const struct router_config *config,
                              struct err_detail *detail)
{
    struct slice name = {config->name, strlen(config->name)};
    struct router_config *old = mem_calloc(1, sizeof *old);
    uint32_t uid = 0;
    if (!old)
        return err_say(detail, ERR_NOMEM, "no memory for the update");
    enum err e = settings_check(config, detail);
    if (e == OK)
        e = policy_check(&config->settings, detail);
    if (e == OK && config->settings.residency.policy[0])
        e = cache_policy_check(&config->settings.residency, detail);
    if (e == OK)
        e = selector_check_stages(&config->settings.stages, detail);
    if (e == OK)
        e = engine_look_up_router(w, name, &uid, old, detail);
    if (e == OK)
        e = check_fixed(old, config, detail);
    if (e == OK)
        e = check_update_names(w, old, config, detail);
    uint64_t seed = config->settings.seed ? config->settings.seed : old->settings.seed;
    bool revalued = e == OK && other_values(old, config);
    mem_free(old);
    if (e != OK)
        return e;
    struct event *ev = fresh_event(w, EVENT_ROUTER_UPDATE);
    ev->u.update.router_uid = uid;
    ev->u.update.settings = config->settings;
    ev->u.update.settings.seed = seed;
    ev->u.update.metrics_n = config->metrics_n;
    for (uint32_t m = 0; m < config->metrics_n; m++)
        ev->u.update.weights[m] = config->metrics[m].weight;
    TRY(submit(w, "router", config->name, NULL, detail));
    if (revalued)
        pacers_forget(w->engine->pacers, uid);
    return OK;
}

enum err engine_router_remove(struct engine_worker *w, struct slice name, struct err_detail *detail)
{
    char text[NAME_CAP];
    uint32_t uid;
    TRY(engine_name(name, "the router", text, detail));
    TRY(engine_look_up_router(w, name, &uid, NULL, detail));
    fresh_event(w, EVENT_ROUTER_REMOVE)->u.router_uid = uid;
    TRY(submit(w, "router", text, NULL, detail));
    pacers_drop(w->engine->pacers, uid);
    return OK;
}

/* ---- arms ---- */

static enum err put_arm(struct engine_worker *w, enum event_kind kind, struct slice router,
                        const struct arm_config *arm, struct err_detail *detail)
{
    uint32_t uid;
    TRY(settings_check_arm(arm, detail));
    TRY(engine_look_up_router(w, router, &uid, NULL, detail));
    struct event *ev = fresh_event(w, kind);
    ev->u.arm.router_uid = uid;
    ev->u.arm.config = *arm;
    TRY(submit(w, "arm", arm->name, NULL, detail));
    if (kind == EVENT_ARM_UPDATE) /* Of another price: what the window holds is no more. */
        pacers_forget(w->engine->pacers, uid);
    return OK;
}

enum err engine_arm_add(struct engine_worker *w, struct slice router, const struct arm_config *arm,
                        struct err_detail *detail)
{
    return put_arm(w, EVENT_ARM_ADD, router, arm, detail);
}

enum err engine_arm_update(struct engine_worker *w, struct slice router,
                           const struct arm_config *arm, struct err_detail *detail)
{
    return put_arm(w, EVENT_ARM_UPDATE, router, arm, detail);
}

enum err engine_arm_pause(struct engine_worker *w, struct slice router, struct slice arm,
                          bool paused, struct err_detail *detail)
{
    uint32_t router_uid, arm_uid;
    char name[NAME_CAP];
    TRY(engine_name(arm, "the arm", name, detail));
    TRY(engine_look_up_arm(w, router, arm, &router_uid, &arm_uid, detail));
    fresh_event(w, EVENT_ARM_STATE)->u.state =
        (struct event_arm_state){router_uid, arm_uid, paused, false};
    return submit(w, "arm", name, NULL, detail);
}

enum err engine_arm_remove(struct engine_worker *w, struct slice router, struct slice arm,
                           struct err_detail *detail)
{
    uint32_t router_uid, arm_uid;
    char name[NAME_CAP];
    TRY(engine_name(arm, "the arm", name, detail));
    TRY(engine_look_up_arm(w, router, arm, &router_uid, &arm_uid, detail));
    fresh_event(w, EVENT_ARM_REMOVE)->u.state =
        (struct event_arm_state){router_uid, arm_uid, false, false};
    return submit(w, "arm", name, NULL, detail);
}

/* ---- keys, checkpoint, proof ---- */

enum err engine_keys_rotate(struct engine_worker *w, uint32_t *ret_key_id, uint32_t *ret_keys,
                            struct err_detail *detail)
{
    struct fold_result result;
    seal_make_key(fresh_event(w, EVENT_KEY_ADD)->u.key);
    enum err e = submit(w, "key", "new", &result, detail);
    explicit_bzero(w->event.u.key, KEY_BYTES);
    if (e != OK)
        return e;
    *ret_key_id = result.uid;
    *ret_keys = engine_snapshot_acquire(w)->keys_n;
    engine_snapshot_release(w);
    return OK;
}

enum err engine_checkpoint(struct engine_worker *w, uint64_t *ret_position,
                           struct err_detail *detail)
{
    enum err e = engine_command(w, WRITER_CHECKPOINT, NULL, ret_position);
    return e == OK ? OK : err_say(detail, e, "the checkpoint failed");
}

enum err engine_verify(struct engine_worker *w, const _Atomic bool *cancelled,
                       struct verify_result *ret_result, struct err_detail *detail)
{
    struct buf state;
    uint64_t position;
    struct ledger_verdict v;
    buf_init(&state);
    detail->text[0] = '\0';
    enum err e = engine_command(w, WRITER_ENCODE, &state, &position);
    if (e == OK)
        e = ledger_verify(w->engine->ledger, position, (struct slice){state.data, state.len},
                          cancelled, &v, detail);
    if (state.data)
        explicit_bzero(state.data, state.len); /* It held the key ring. */
    buf_done(&state);
    if (e != OK)
        return detail->text[0] ? e : err_say(detail, e, "%s", err_text(e));
    *ret_result = (struct verify_result){
        .ok = v.ok,
        .base_position = v.base_position,
        .position = v.position,
        .events = v.events,
        .state_bytes = v.state_bytes,
    };
    (void)snprintf(ret_result->detail, sizeof ret_result->detail, "%s", v.ok ? "" : v.text);
    return OK;
}

enum err engine_backup(struct engine_worker *w, const char *path, uint64_t *ret_position,
                       uint64_t *ret_bytes, struct err_detail *detail)
{
    if (path[0] != '/')
        return err_say(detail, ERR_INVALID,
                       "the backup's path must be absolute: it is on the server's host");
    return ledger_backup(w->engine->ledger, path, ret_position, ret_bytes, detail);
}

/* ---- explain ---- */

static int by_score(const void *a, const void *b)
{
    const struct explained_arm *x = a, *y = b;
    double sx = x->mean + x->width, sy = y->mean + y->width;
    return sx < sy ? 1 : sx > sy ? -1 : strcmp(x->name, y->name);
}

static void explain_terms(const struct audit_record *record, const struct audit_terms *from,
                          struct explained_arm *e)
{
    e->has_terms = true;
    e->terms.silence = from->silence;
    e->terms.charge = from->charge;
    e->terms.pacing = from->pacing;
    for (uint32_t m = 0; m < record->weights_n; m++) {
        double sign = record->lower_mask >> m & 1 ? -1 : 1;
        e->terms.predicted[m] = from->predicted[m];
        e->terms.contribution[m] = (float)(sign * record->weights[m] * (double)from->predicted[m]);
    }
}

static void arm_name_of(const struct router_view *r, uint32_t uid, char ret_name[NAME_CAP])
{
    int k = r && uid ? router_view_arm_uid(r, uid) : -1;
    if (k >= 0)
        memcpy(ret_name, r->arms[k]->config->name, NAME_CAP);
}

static void explain_arms(const struct router_view *r, const struct audit_record *record,
                         struct explain_out *out)
{
    for (uint32_t i = 0; i < record->arms_n; i++) {
        const struct audit_arm *a = &record->arms[i];
        struct explained_arm *e = &out->arms[i];
        memset(e, 0, sizeof *e);
        arm_name_of(r, a->arm_uid, e->name);
        e->propensity = (double)a->propensity;
        e->mean = (double)a->mean;
        e->width = (double)a->width;
        e->pending = a->pending;
    }
    for (uint32_t k = 0; k < record->terms_n; k++)
        explain_terms(record, &record->terms[k], &out->arms[record->terms[k].arm]);
    out->arms_n = record->arms_n;
    qsort(out->arms, out->arms_n, sizeof *out->arms, by_score);
}

static void explain_names(const struct router_view *r, uint32_t baseline_uid,
                          struct explain_out *out)
{
    if (!r)
        return;
    memcpy(out->router, r->config->name, NAME_CAP);
    arm_name_of(r, out->decision.arm_uid, out->arm);
    arm_name_of(r, out->decision.policy_arm_uid, out->policy_arm);
    arm_name_of(r, baseline_uid, out->baseline);
    for (uint32_t m = 0; m < out->weights_n && m < r->config->metrics_n; m++)
        memcpy(out->metric_names[m], r->config->metrics[m].name, NAME_CAP);
}

static void explain_budget(const struct router_view *r, const struct audit_record *record,
                           struct explain_out *out)
{
    const struct audit_budget *b = &record->budget;
    bool named = r && b->metric < r->config->metrics_n;
    const char *metric = named ? r->config->metrics[b->metric].name : "";
    out->budget = (struct shown_budget){.paced = b->paced,
                                        .per_request = b->per_request,
                                        .lambda = b->lambda,
                                        .affordable = b->affordable,
                                        .breaker = b->breaker,
                                        .is_charged = record->decision.paced,
                                        .charged = (double)record->decision.charge};
    memcpy(out->budget.tenant, b->tenant, NAME_CAP);
    (void)snprintf(out->budget.metric, NAME_CAP, "%s", metric);
    out->unaffordable_n = b->refused_n;
    for (uint32_t i = 0; i < b->refused_n && i < MAX_EXCLUDED; i++) {
        struct excluded_arm *e = &out->unaffordable[i];
        e->why = UNAFFORDABLE;
        arm_name_of(r, b->refused[i].arm_uid, e->name);
        engine_say_unaffordable(metric, (double)b->refused[i].cost, b->affordable, b->breaker,
                                e->detail, sizeof e->detail);
    }
}

enum err engine_explain(struct engine_worker *w, struct slice decision_id,
                        struct explain_out *ret_out, struct err_detail *detail)
{
    uint8_t id[ID_BYTES];
    struct audit_record record;
    if (id_parse(decision_id.data, decision_id.len, id) != OK)
        return err_say(detail, ERR_BAD_ID, "decision_id is not a UUID of 36 characters");
    enum err e = audit_find(w->engine->audit, id, &record);
    if (e == ERR_NOT_FOUND)
        return err_say(detail, ERR_DECISION_NOT_FOUND,
                       "the decision log does not have it (off, sampled out, dropped or too old)");
    if (e != OK)
        return err_say(detail, e, "the decision log cannot be read: %s", err_text(e));
    memset(ret_out, 0, sizeof *ret_out);
    ret_out->decision = record.decision;
    ret_out->position = record.position;
    ret_out->seed = record.seed;
    memcpy(ret_out->policy, record.policy, NAME_CAP);
    ret_out->fallback = record.fallback;
    ret_out->weights_n = record.weights_n;
    memcpy(ret_out->weights, record.weights, sizeof ret_out->weights);
    for (uint32_t m = 0; m < record.weights_n; m++)
        if (record.weights[m] > 0)
            ret_out->weighted_mask = (uint16_t)(ret_out->weighted_mask | 1u << m);
    ret_out->arms = mem_calloc(record.arms_n, sizeof *ret_out->arms);
    if (ret_out->arms) {
        const struct snapshot *s = engine_snapshot_acquire(w);
        const struct router_view *r = snapshot_router_uid(s, record.decision.router_uid);
        explain_names(r, record.baseline_uid, ret_out);
        explain_arms(r, &record, ret_out);
        explain_budget(r, &record, ret_out);
        engine_snapshot_release(w);
    }
    mem_free(record.arms);
    return ret_out->arms ? OK : err_say(detail, ERR_NOMEM, "no memory for the explanation");
}

void explain_out_done(struct explain_out *out)
{
    mem_free(out->arms);
    out->arms = NULL;
}
