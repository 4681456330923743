#include "server/rpc/codec_info.h"
#include "server/rpc/codec_spec.h"
#include "server/rpc/handlers.h"
#include "state/base/mem.h"

#include <string.h>

/* Between this and engine_snapshot_release nothing may wait. */
static enum err find_router(const struct snapshot *s, struct slice name,
                            const struct router_view **ret_router, struct err_detail *detail)
{
    const struct router_view *r = snapshot_router(s, name.data, name.len);
    if (!r)
        return err_say(detail, ERR_ROUTER_NOT_FOUND, "there is no router %.*s",
                       name.len < NAME_CAP ? (int)name.len : NAME_CAP, (const char *)name.data);
    *ret_router = r;
    return OK;
}

/* A copy of a router's declaration, so that the snapshot can be let go. */
static enum err copy_config(struct engine_worker *w, struct slice name,
                            struct router_config *ret_config, struct err_detail *detail)
{
    const struct router_view *r = NULL;
    enum err e = find_router(engine_snapshot_acquire(w), name, &r, detail);
    if (r)
        *ret_config = *r->config;
    engine_snapshot_release(w);
    return e;
}

static enum err answer_router(struct handler *h, struct slice name, ProtobufCMessage **ret_response,
                              struct err_detail *detail)
{
    const struct router_view *r = NULL;
    Shunt__V1__RouterInfo *info = NULL;
    enum err e = find_router(engine_snapshot_acquire(h->worker), name, &r, detail);
    if (r)
        e = codec_router_info(h->engine, r, &h->arena, &info, detail);
    engine_snapshot_release(h->worker);
    if (e == OK)
        *ret_response = &info->base;
    return e;
}

enum err answer_arm(struct handler *h, struct slice router, struct slice arm,
                    ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const struct router_view *r = NULL;
    Shunt__V1__ArmInfo *info = NULL;
    enum err e = find_router(engine_snapshot_acquire(h->worker), router, &r, detail);
    int i = r ? router_view_arm(r, arm.data, arm.len) : -1;
    if (e == OK && i < 0) /* Removed by somebody else since. */
        e = err_say(detail, ERR_ARM_NOT_FOUND, "the arm is gone");
    if (r && i >= 0)
        e = codec_arm_info(h->engine, r, r->arms[i], &h->arena, &info, detail);
    engine_snapshot_release(h->worker);
    if (e == OK)
        *ret_response = &info->base;
    return e;
}

/* ---- Routers ---- */

static const char *name_in_list(const void *self, uint32_t i)
{
    return ((const struct arm_config *)self)[i].name;
}

/* Every arm is checked before anything is made: a typing mistake in the last one creates nothing.
 */
static enum err check_arms(const Shunt__V1__RouterSpec *spec, const struct router_config *config,
                           struct arm_config *ret_arms, struct err_detail *detail)
{
    for (size_t i = 0; i < spec->n_arms; i++) {
        TRY(codec_arm_in(spec->arms[i], config, &ret_arms[i], detail));
    }
    const struct arm_names arms = {ret_arms, (uint32_t)spec->n_arms, name_in_list};
    return engine_check_named_arms(&config->settings, NULL, &arms, detail);
}

enum err create_router(struct engine_worker *w, const Shunt__V1__RouterSpec *spec,
                       struct err_detail *detail)
{
    struct router_config config;
    struct slice name = slice_text(spec->name);
    bool created = false;
    TRY(codec_spec_in(spec, &config, detail));
    struct arm_config *arms = mem_calloc(spec->n_arms + 1, sizeof *arms);
    if (!arms)
        return err_say(detail, ERR_NOMEM, "out of memory for %zu arms", spec->n_arms);
    enum err e = check_arms(spec, &config, arms, detail);
    if (e == OK) {
        e = engine_router_create(w, &config, detail);
        created = e == OK;
    }
    for (size_t i = 0; e == OK && i < spec->n_arms; i++)
        e = engine_arm_add(w, name, &arms[i], detail);
    /* Half a router is worse than none; if even this fails, the first error is what counts. */
    if (e != OK && created && engine_router_remove(w, name, NULL) != OK)
        e = err_say(detail, e, "the router was created without all of its arms; remove it");
    mem_free(arms);
    return e;
}

enum err handle_create_router(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__CreateRouterRequest *m = (const Shunt__V1__CreateRouterRequest *)request;
    TRY(create_router(h->worker, m->spec, detail));
    return answer_router(h, slice_text(m->spec->name), ret_response, detail);
}

static enum err weights_in(const Shunt__V1__UpdateRouterRequest *m, struct router_config *config,
                           struct err_detail *detail)
{
    for (size_t i = 0; i < m->n_weights; i++) {
        const char *key = m->weights[i]->key ? m->weights[i]->key : "";
        int k = settings_metric_index(config, key, strlen(key));
        if (k < 0)
            return err_say(detail, ERR_METRIC_NOT_FOUND, "weights: router %s has no metric %.64s",
                           config->name, key);
        config->metrics[k].weight = m->weights[i]->value;
    }
    return OK;
}

static enum err remove_stages(const Shunt__V1__UpdateRouterRequest *m, struct stages *stages,
                              struct err_detail *detail)
{
    for (size_t i = 0; i < m->n_remove_stages; i++)
        if (!stages_remove(stages, slice_text(m->remove_stages[i])))
            return err_say(detail, ERR_STAGE_NOT_FOUND, "remove_stages: there is no stage %.64s",
                           m->remove_stages[i]);
    return OK;
}

static enum err remove_sources(const Shunt__V1__UpdateRouterRequest *m, struct sources *sources,
                               struct err_detail *detail)
{
    for (size_t i = 0; i < m->n_remove_sources; i++)
        if (!sources_remove(sources, slice_text(m->remove_sources[i])))
            return err_say(detail, ERR_SOURCE_NOT_FOUND, "remove_sources: there is no source %.64s",
                           m->remove_sources[i]);
    return OK;
}

static enum err remove_defaults(const Shunt__V1__UpdateRouterRequest *m,
                                struct default_rewards *defaults, struct err_detail *detail)
{
    for (size_t i = 0; i < m->n_remove_default_rewards; i++)
        if (!defaults_remove(defaults, slice_text(m->remove_default_rewards[i])))
            return err_say(detail, ERR_METRIC_NOT_FOUND,
                           "remove_default_rewards: metric %.64s has none",
                           m->remove_default_rewards[i]);
    return OK;
}

enum err handle_update_router(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__UpdateRouterRequest *m = (const Shunt__V1__UpdateRouterRequest *)request;
    struct router_config config;
    TRY(copy_config(h->worker, slice_text(m->name), &config, detail));
    TRY(remove_stages(m, &config.settings.stages, detail));
    TRY(remove_sources(m, &config.settings.sources, detail));
    TRY(remove_defaults(m, &config.settings.defaults, detail));
    TRY(codec_settings_in(m->settings, &config.settings, detail));
    TRY(weights_in(m, &config, detail));
    TRY(engine_router_update(h->worker, &config, detail));
    return answer_router(h, slice_text(m->name), ret_response, detail);
}

enum err handle_remove_router(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__RemoveRouterRequest *m = (const Shunt__V1__RemoveRouterRequest *)request;
    Shunt__V1__RemoveRouterResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    TRY(engine_router_remove(h->worker, slice_text(m->name), detail));
    shunt__v1__remove_router_response__init(r);
    *ret_response = &r->base;
    return OK;
}

enum err handle_list_routers(struct handler *h, const ProtobufCMessage *request,
                             ProtobufCMessage **ret_response, struct err_detail *detail)
{
    (void)request;
    Shunt__V1__ListRoutersResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    shunt__v1__list_routers_response__init(r);
    const struct snapshot *s = engine_snapshot_acquire(h->worker);
    enum err e = OK;
    r->routers = arena_array(&h->arena, s->routers_n, sizeof *r->routers);
    if (!r->routers)
        e = arena_error(&h->arena, detail);
    for (uint32_t i = 0; e == OK && i < s->routers_n; i++)
        e = codec_router_info(h->engine, s->routers[i], &h->arena, &r->routers[i], detail);
    r->n_routers = s->routers_n;
    engine_snapshot_release(h->worker);
    if (e == OK)
        *ret_response = &r->base;
    return e;
}

enum err handle_get_router(struct handler *h, const ProtobufCMessage *request,
                           ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__GetRouterRequest *m = (const Shunt__V1__GetRouterRequest *)request;
    return answer_router(h, slice_text(m->name), ret_response, detail);
}

/* ---- Arms ---- */

static const double like_strength = 10; /* Outcomes. */

static enum err arm_in(struct engine_worker *w, struct slice router, const Shunt__V1__ArmSpec *spec,
                       struct arm_config *ret_arm, struct err_detail *detail)
{
    struct router_config config;
    TRY(copy_config(w, router, &config, detail));
    return codec_arm_in(spec, &config, ret_arm, detail);
}

enum err create_arm(struct engine_worker *w, struct slice router, const Shunt__V1__ArmSpec *spec,
                    struct err_detail *detail)
{
    struct arm_config arm;
    TRY(arm_in(w, router, spec, &arm, detail));
    return engine_arm_add(w, router, &arm, detail);
}

static enum err create_arm_like(struct engine_worker *w, struct slice router,
                                const Shunt__V1__AddArmRequest *m, struct err_detail *detail)
{
    struct arm_config arm;
    TRY(arm_in(w, router, m->spec, &arm, detail));
    return engine_arm_add_like(w, router, &arm, slice_text(m->like),
                               m->has_strength ? m->strength : like_strength, detail);
}

enum err handle_add_arm(struct handler *h, const ProtobufCMessage *request,
                        ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__AddArmRequest *m = (const Shunt__V1__AddArmRequest *)request;
    struct slice router = codec_router(m->router);
    TRY(m->like ? create_arm_like(h->worker, router, m, detail)
                : create_arm(h->worker, router, m->spec, detail));
    return answer_arm(h, router, slice_text(m->spec->name), ret_response, detail);
}

enum err handle_update_arm(struct handler *h, const ProtobufCMessage *request,
                           ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__UpdateArmRequest *m = (const Shunt__V1__UpdateArmRequest *)request;
    struct slice router = codec_router(m->router);
    struct arm_config arm;
    TRY(arm_in(h->worker, router, m->spec, &arm, detail));
    TRY(engine_arm_update(h->worker, router, &arm, detail));
    return answer_arm(h, router, slice_text(m->spec->name), ret_response, detail);
}

enum err handle_set_arm_state(struct handler *h, const ProtobufCMessage *request,
                              ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__SetArmStateRequest *m = (const Shunt__V1__SetArmStateRequest *)request;
    struct slice router = codec_router(m->router), name = slice_text(m->name);
    int state = (int)m->state;
    if (state == SHUNT__V1__ARM_STATE__ARM_DRAINING) {
        TRY(engine_arm_drain(h->worker, router, name, detail));
        return answer_arm(h, router, name, ret_response, detail);
    }
    if (state != SHUNT__V1__ARM_STATE__ARM_ACTIVE && state != SHUNT__V1__ARM_STATE__ARM_PAUSED)
        return err_say(detail, ERR_OUT_OF_RANGE, "state: %d is no known choice", state);
    bool paused = state == SHUNT__V1__ARM_STATE__ARM_PAUSED;
    TRY(engine_arm_pause(h->worker, router, name, paused, detail));
    return answer_arm(h, router, name, ret_response, detail);
}

enum err handle_remove_arm(struct handler *h, const ProtobufCMessage *request,
                           ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__RemoveArmRequest *m = (const Shunt__V1__RemoveArmRequest *)request;
    Shunt__V1__RemoveArmResponse *r = arena_alloc(&h->arena, sizeof *r);
    if (!r)
        return arena_error(&h->arena, detail);
    TRY(engine_arm_remove(h->worker, codec_router(m->router), slice_text(m->name), detail));
    shunt__v1__remove_arm_response__init(r);
    *ret_response = &r->base;
    return OK;
}
