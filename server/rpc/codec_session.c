#include "server/rpc/codec_session.h"

#include <string.h>

enum err codec_caps_in(const Shunt__V1__ArmSpec *m, const struct router_config *config,
                       struct arm_config *arm, struct err_detail *detail)
{
    for (size_t i = 0; i < m->n_caps; i++) {
        const Shunt__V1__ArmSpec__CapsEntry *e = m->caps[i];
        int metric = e->key ? settings_metric_index(config, e->key, strlen(e->key)) : -1;
        if (metric < 0)
            return err_say(detail, ERR_METRIC_NOT_FOUND, "caps: router %s has no metric %.64s",
                           config->name, e->key ? e->key : "without a name");
        if (!(e->value >= 0 && e->value <= 1e9))
            return err_say(detail, ERR_OUT_OF_RANGE, "caps[%s]: %g is not in [0, 1e9]", e->key,
                           e->value);
        arm->cap_mask = (uint16_t)(arm->cap_mask | 1u << metric);
        arm->cap_raw[metric] = e->value;
    }
    return OK;
}

bool codec_caps_out(const struct arm_config *arm, const struct router_config *config,
                    struct arena *arena, Shunt__V1__ArmSpec *m)
{
    if (!arm->cap_mask)
        return true;
    Shunt__V1__ArmSpec__CapsEntry *entries = arena_array(arena, config->metrics_n, sizeof *entries);
    m->caps = arena_array(arena, config->metrics_n, sizeof *m->caps);
    if (!entries || !m->caps)
        return false;
    for (uint32_t i = 0; i < config->metrics_n; i++) {
        if (!(arm->cap_mask >> i & 1))
            continue;
        Shunt__V1__ArmSpec__CapsEntry *e = &entries[m->n_caps];
        shunt__v1__arm_spec__caps_entry__init(e);
        e->key = arena_text(arena, config->metrics[i].name, strlen(config->metrics[i].name));
        e->has_value = true;
        e->value = arm->cap_raw[i];
        if (!e->key)
            return false;
        m->caps[m->n_caps++] = e;
    }
    return true;
}

void codec_session_in(const Shunt__V1__StartSessionRequest *m, struct session_in *ret_in)
{
    *ret_in = (struct session_in){
        .router = slice_text(m->router),
        .session = slice_text(m->session_id),
    };
    if (m->budget) {
        ret_in->metric = slice_text(m->budget->metric);
        ret_in->amount = m->budget->amount;
    }
}

enum err codec_session_end_in(const Shunt__V1__EndSessionRequest *m, struct engine_weight *metrics,
                              struct session_end_in *ret_in, struct err_detail *detail)
{
    if (m->n_metrics > MAX_METRICS)
        return err_say(detail, ERR_OUT_OF_RANGE, "metrics: more than %d names", MAX_METRICS);
    for (size_t i = 0; i < m->n_metrics; i++)
        metrics[i] = (struct engine_weight){slice_text(m->metrics[i]->key), m->metrics[i]->value};
    *ret_in = (struct session_end_in){
        .router = slice_text(m->router),
        .session = slice_text(m->session_id),
        .metrics = metrics,
        .metrics_n = m->n_metrics,
    };
    return OK;
}

enum err codec_session_out(const struct session_info *info, struct arena *arena,
                           Shunt__V1__SessionInfo **ret_message, struct err_detail *detail)
{
    Shunt__V1__SessionInfo *m = arena_alloc(arena, sizeof *m);
    Shunt__V1__SessionBudget *b = arena_alloc(arena, sizeof *b);
    if (!m || !b)
        return arena_error(arena, detail);
    shunt__v1__session_info__init(m);
    shunt__v1__session_budget__init(b);
    m->session_id = arena_text(arena, info->name, strlen(info->name));
    m->held_arm =
        info->held_arm[0] ? arena_text(arena, info->held_arm, strlen(info->held_arm)) : NULL;
    m->has_steps = m->has_expires_s = true;
    m->steps = info->steps;
    m->expires_s = info->expires_s;
    if (info->strict) {
        b->metric = arena_text(arena, info->metric, strlen(info->metric));
        b->amount = info->budget;
        m->budget = b;
        m->has_used = m->has_left = true;
        m->used = info->used;
        m->left = info->used < info->budget ? info->budget - info->used : 0;
    }
    if (!m->session_id || (info->held_arm[0] && !m->held_arm) || (m->budget && !b->metric))
        return arena_error(arena, detail);
    *ret_message = m;
    return OK;
}
