#include "server/rpc/codec_sources.h"

#include <string.h>

static struct slice text_slice(const char *s)
{
    return (struct slice){s, s ? strlen(s) : 0};
}

enum err codec_sources_in(const Shunt__V1__RouterSettings *m, struct sources *sources,
                          struct err_detail *detail)
{
    if (m->unknown_sources)
        TRY(source_rule_parse(text_slice(m->unknown_sources), &sources->unknown, detail));
    for (size_t i = 0; i < m->n_sources; i++)
        TRY(sources_put(sources, text_slice(m->sources[i]->key), text_slice(m->sources[i]->value),
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
