#include "server/rpc/codec_adapters.h"

#include "server/adapters/cache_policy.h"
#include "server/ops/utf8.h"

#include <string.h>

/* Wire and own name agree: one row serves both directions. */
#define FIELDS(X)                                                                                  \
    X(slots)                                                                                       \
    X(bytes)                                                                                       \
    X(load_weight)                                                                                 \
    X(load_ref_ms)                                                                                 \
    X(bytes_per_ms)                                                                                \
    X(kappa)                                                                                       \
    X(epoch_requests)                                                                              \
    X(epoch_max)                                                                                   \
    X(epoch_loads)                                                                                 \
    X(optimism)                                                                                    \
    X(hysteresis)                                                                                  \
    X(evictions_max)                                                                               \
    X(starve_requests)                                                                             \
    X(force_share)                                                                                 \
    X(force_width)                                                                                 \
    X(seed)

_Static_assert((int)SHUNT__V1__RESIDENCY_ENGINE__RESIDENCY_ENGINE_LLAMACPP ==
                   (int)RESIDENCY_ENGINE_LLAMACPP,
               "one numbering of engines");

static enum err policy_in(const char *name, struct residency_settings *s, struct err_detail *detail)
{
    if (!name)
        return OK;
    size_t len = strlen(name);
    if (!name_valid(name, len))
        return err_say(detail, ERR_BAD_NAME, "residency.policy: not a name");
    memset(s->policy, 0, sizeof s->policy);
    memcpy(s->policy, name, len);
    return cache_policy_check(s, detail);
}

static enum err replicas_in(const Shunt__V1__Residency *m, struct residency_target *t,
                            struct err_detail *detail)
{
    if (m->n_replicas > REPLICAS_MAX)
        return err_say(detail, ERR_LIMIT, "residency.replicas holds at most %d URLs", REPLICAS_MAX);
    memset(t->replicas, 0, sizeof t->replicas);
    for (size_t i = 0; i < m->n_replicas; i++) {
        size_t len = strlen(m->replicas[i]);
        if (len >= REPLICA_URL_CAP)
            return err_say(detail, ERR_TOO_LARGE, "residency.replicas holds a URL of %zu bytes",
                           len);
        memcpy(t->replicas[i], m->replicas[i], len);
    }
    t->replicas_n = (uint32_t)m->n_replicas;
    return OK;
}

static enum err target_in(const Shunt__V1__Residency *m, struct residency_target *t,
                          struct err_detail *detail)
{
    if (m->has_engine) {
        if ((int)m->engine < 0 || (int)m->engine >= RESIDENCY_ENGINES)
            return err_say(detail, ERR_OUT_OF_RANGE, "residency.engine: %d is no known choice",
                           (int)m->engine);
        if (m->engine == SHUNT__V1__RESIDENCY_ENGINE__RESIDENCY_ENGINE_NONE)
            memset(t, 0, sizeof *t);
        t->engine = (enum residency_engine)m->engine;
    }
    if (m->n_replicas)
        TRY(replicas_in(m, t, detail));
    if (m->has_tick_ms && t->engine != RESIDENCY_ENGINE_NONE) /* Nobody's is never looked at. */
        t->tick_ms = m->tick_ms;
    return OK;
}

enum err codec_residency_in(const Shunt__V1__Residency *m, struct router_settings *settings,
                            struct err_detail *detail)
{
    struct residency_settings *s = &settings->residency;
    if (!m)
        return OK;
    if (m->policy && strcmp(m->policy, "none") == 0) {
        memset(s, 0, sizeof *s);
        memset(&settings->target, 0, sizeof settings->target);
        return OK;
    }
    if (!s->policy[0]) {
        residency_defaults(s);
        if (m->has_bytes && m->bytes)
            s->slots = 0; /* A bound that nobody asked for. */
    }
    TRY(policy_in(m->policy, s, detail));
#define X(field)                                                                                   \
    if (m->has_##field)                                                                            \
        s->field = m->field;
    FIELDS(X)
#undef X
    return target_in(m, &settings->target, detail);
}

Shunt__V1__Residency *codec_residency_out(const struct router_settings *settings,
                                          struct arena *arena)
{
    const struct residency_settings *s = &settings->residency;
    const struct residency_target *t = &settings->target;
    Shunt__V1__Residency *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__residency__init(m);
    m->policy = arena_text(arena, s->policy, strlen(s->policy));
#define X(field)                                                                                   \
    m->has_##field = true;                                                                         \
    m->field = s->field;
    FIELDS(X)
#undef X
    m->has_engine = true;
    m->engine = (Shunt__V1__ResidencyEngine)t->engine;
    m->has_tick_ms = t->tick_ms > 0;
    m->tick_ms = t->tick_ms;
    m->replicas = arena_array(arena, t->replicas_n ? t->replicas_n : 1, sizeof *m->replicas);
    if (!m->policy || !m->replicas)
        return NULL;
    for (uint32_t i = 0; i < t->replicas_n; i++) {
        m->replicas[i] = arena_text(arena, t->replicas[i], strlen(t->replicas[i]));
        if (!m->replicas[i])
            return NULL;
    }
    m->n_replicas = t->replicas_n;
    return m;
}

static enum err path_in(const char *path, char ret_path[ADAPTER_PATH_CAP],
                        struct err_detail *detail)
{
    size_t len = path ? strlen(path) : 0;
    if (len >= ADAPTER_PATH_CAP)
        return err_say(detail, ERR_TOO_LARGE, "adapter.path: %zu bytes; at most %d", len,
                       ADAPTER_PATH_CAP - 1);
    size_t good = utf8_good_len(path, len);
    if (good < len) /* Clients that check would refuse every answer that holds it. */
        return err_say(detail, ERR_INVALID, "adapter.path: byte %zu is not UTF-8", good);
    if (path)
        memcpy(ret_path, path, len + 1);
    return OK;
}

enum err codec_adapter_in(const Shunt__V1__Adapter *m, struct adapter_config *ret,
                          struct err_detail *detail)
{
    if (!m)
        return OK;
    size_t len = strlen(m->base_model);
    if (!name_valid(m->base_model, len))
        return err_say(detail, ERR_BAD_NAME, "adapter.base_model: not a name");
    memcpy(ret->base, m->base_model, len);
    TRY(path_in(m->path, ret->path, detail));
    ret->rank = m->has_rank ? m->rank : 0;
    ret->bytes = m->size_bytes;
    ret->pinned = m->has_pinned && m->pinned;
    return OK;
}

Shunt__V1__Adapter *codec_adapter_out(const struct adapter_config *adapter, struct arena *arena)
{
    Shunt__V1__Adapter *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__adapter__init(m);
    m->base_model = arena_text(arena, adapter->base, strlen(adapter->base));
    m->path = arena_text(arena, adapter->path, strlen(adapter->path));
    m->size_bytes = adapter->bytes;
    m->has_rank = adapter->rank > 0;
    m->rank = adapter->rank;
    m->has_pinned = true;
    m->pinned = adapter->pinned;
    return m->base_model && m->path ? m : NULL;
}
