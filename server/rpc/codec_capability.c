#include "server/rpc/codec_capability.h"

#include <string.h>

/* Of a map: one that is absent is empty. */
static struct slice entry_text(const char *s)
{
    return slice_text(s ? s : "");
}

enum err codec_modalities_in(const Shunt__V1__Modality *list, size_t n, const char *field,
                             uint8_t *ret_mask, struct err_detail *detail)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < n; i++) {
        int m = (int)list[i]; /* The wire may hold any number. */
        if (m < 0 || m >= MODALITIES)
            return err_say(detail, ERR_OUT_OF_RANGE, "%s: %d is no known choice", field, m);
        mask |= 1u << m;
    }
    *ret_mask = (uint8_t)mask;
    return OK;
}

enum err codec_capability_in(const Shunt__V1__ArmSpec *m, struct arm_config *arm,
                             struct err_detail *detail)
{
    for (size_t i = 0; i < m->n_labels; i++)
        TRY(labels_put(&arm->labels, entry_text(m->labels[i]->key), entry_text(m->labels[i]->value),
                       detail));
    arm->can.context_window = m->has_context_window ? m->context_window : 0;
    arm->can.max_output_tokens = m->has_max_output_tokens ? m->max_output_tokens : 0;
    TRY(codec_modalities_in(m->modalities, m->n_modalities, "modalities", &arm->can.modalities,
                            detail));
    if (m->has_tools)
        arm->can.tools = m->tools ? DECLARED_YES : DECLARED_NO;
    if (m->has_json)
        arm->can.json = m->json ? DECLARED_YES : DECLARED_NO;
    return OK;
}

static bool labels_out(const struct labels *labels, struct arena *arena, Shunt__V1__ArmSpec *m)
{
    Shunt__V1__ArmSpec__LabelsEntry *entries = arena_array(arena, labels->n, sizeof *entries);
    m->labels = arena_array(arena, labels->n, sizeof *m->labels);
    struct label l;
    if (!entries || !m->labels)
        return false;
    for (uint16_t at = 0; labels_next(labels, &at, &l);) {
        Shunt__V1__ArmSpec__LabelsEntry *e = &entries[m->n_labels];
        shunt__v1__arm_spec__labels_entry__init(e);
        e->key = arena_text(arena, l.key, l.key_len);
        e->value = arena_text(arena, l.value, l.value_len);
        if (!e->key || !e->value)
            return false;
        m->labels[m->n_labels++] = e;
    }
    return true;
}

bool codec_capability_out(const struct arm_config *arm, struct arena *arena, Shunt__V1__ArmSpec *m)
{
    const struct capability *can = &arm->can;
    m->has_context_window = m->has_max_output_tokens = true;
    m->context_window = can->context_window;
    m->max_output_tokens = can->max_output_tokens;
    m->has_tools = can->tools != DECLARED_NOT;
    m->tools = can->tools == DECLARED_YES;
    m->has_json = can->json != DECLARED_NOT;
    m->json = can->json == DECLARED_YES;
    m->modalities = arena_array(arena, MODALITIES, sizeof *m->modalities);
    if (!m->modalities)
        return false;
    for (uint32_t k = 0; k < MODALITIES; k++)
        if (can->modalities >> k & 1)
            m->modalities[m->n_modalities++] = (Shunt__V1__Modality)k;
    return labels_out(&arm->labels, arena, m);
}

enum err codec_stages_in(const Shunt__V1__RouterSettings *m, struct stages *stages,
                         struct err_detail *detail)
{
    for (size_t i = 0; i < m->n_stages; i++)
        TRY(stages_put(stages, entry_text(m->stages[i]->key), entry_text(m->stages[i]->value),
                       detail));
    return OK;
}

bool codec_stages_out(const struct stages *stages, struct arena *arena,
                      Shunt__V1__RouterSettings *m)
{
    Shunt__V1__RouterSettings__StagesEntry *entries =
        arena_array(arena, stages->n, sizeof *entries);
    m->stages = arena_array(arena, stages->n, sizeof *m->stages);
    if (!entries || !m->stages)
        return false;
    for (uint32_t i = 0; i < stages->n; i++) {
        const struct stage *s = &stages->all[i];
        shunt__v1__router_settings__stages_entry__init(&entries[i]);
        entries[i].key = arena_text(arena, s->name, strlen(s->name));
        entries[i].value = arena_text(arena, s->allowed, strlen(s->allowed));
        if (!entries[i].key || !entries[i].value)
            return false;
        m->stages[i] = &entries[i];
    }
    m->n_stages = stages->n;
    return true;
}
