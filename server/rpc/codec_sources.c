#include "server/rpc/codec_sources.h"

#include <string.h>

enum err codec_sources_in(const Shunt__V1__RouterSettings *m, struct sources *sources,
                          struct err_detail *detail)
{
    if (m->unknown_sources)
        TRY(source_rule_parse(slice_text(m->unknown_sources), &sources->unknown, detail));
    for (size_t i = 0; i < m->n_sources; i++)
        TRY(sources_put(sources, slice_text(m->sources[i]->key), slice_text(m->sources[i]->value),
                        detail));
    return OK;
}

static char *rule_out(const struct source_rule *rule, struct arena *arena)
{
    char text[SOURCE_RULE_CAP];
    source_rule_print(rule, text);
    return arena_text(arena, text, strlen(text));
}

bool codec_sources_out(const struct sources *sources, struct arena *arena,
                       Shunt__V1__RouterSettings *m)
{
    Shunt__V1__RouterSettings__SourcesEntry *entries =
        arena_array(arena, sources->n, sizeof *entries);
    m->sources = arena_array(arena, sources->n, sizeof *m->sources);
    m->unknown_sources = rule_out(&sources->unknown, arena);
    if (!entries || !m->sources || !m->unknown_sources)
        return false;
    for (uint32_t i = 0; i < sources->n; i++) {
        const struct source *s = &sources->all[i];
        shunt__v1__router_settings__sources_entry__init(&entries[i]);
        entries[i].key = arena_text(arena, s->name, strlen(s->name));
        entries[i].value = rule_out(&s->rule, arena);
        if (!entries[i].key || !entries[i].value)
            return false;
        m->sources[i] = &entries[i];
    }
    m->n_sources = sources->n;
    return true;
}

static Shunt__V1__SourceCount *count_out(const struct source_count *c, const char *name,
                                         uint64_t capped, struct arena *arena)
{
    Shunt__V1__SourceCount *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__source_count__init(m);
    m->source = name ? arena_text(arena, name, strlen(name)) : NULL;
    m->has_reports = m->has_folded = m->has_logged_only = m->has_beaten = m->has_forgotten = true;
    m->reports = c->folded + c->logged + c->beaten + c->forgotten;
    m->folded = c->folded;
    m->logged_only = c->logged;
    m->beaten = c->beaten;
    m->forgotten = c->forgotten;
    m->has_capped = name != NULL;
    m->capped = capped;
    return name && !m->source ? NULL : m;
}

static bool is_empty(const struct source_count *c)
{
    return !(c->folded | c->logged | c->beaten | c->forgotten);
}

bool codec_source_counts_out(struct engine *e, const struct router_view *r, struct arena *arena,
                             Shunt__V1__RouterInfo *m)
{
    static const struct source_count none;
    bool has_unnamed = false;
    uint64_t unnamed = engine_capped(e, r->uid, "");
    m->sources = arena_array(arena, r->sources_n + 2, sizeof *m->sources);
    if (!m->sources)
        return false;
    for (uint32_t i = 0; i < r->sources_n; i++) {
        const struct source_count *c = &r->sources[i];
        has_unnamed = has_unnamed || !c->name[0];
        m->sources[m->n_sources++] =
            count_out(c, c->name, engine_capped(e, r->uid, c->name), arena);
    }
    if (!has_unnamed && unnamed)
        m->sources[m->n_sources++] = count_out(&none, "", unnamed, arena);
    if (!is_empty(&r->sources[r->sources_n]))
        m->sources[m->n_sources++] = count_out(&r->sources[r->sources_n], NULL, 0, arena);
    for (size_t i = 0; i < m->n_sources; i++)
        if (!m->sources[i])
            return false;
    return true;
}
