/* Taking a source out of all that was learned: state/model/forget.h says what that means,
 * state/ledger.h how. The folding is done here, on the caller's thread, while routes go on. */
#include "server/engine/engine_parts.h"

#include <string.h>

/* Beyond MAX_SOURCE_COUNTS names a router counts without them (the last row): it may know it. */
static bool knows(const struct router_view *r, const char *source)
{
    for (uint32_t i = 0; i < r->sources_n; i++)
        if (strcmp(r->sources[i].name, source) == 0)
            return true;
    const struct source_count *others = &r->sources[r->sources_n];
    return (others->folded | others->logged | others->beaten | others->forgotten) != 0;
}

/* only: NULL for every router. */
static enum err find_source(const struct snapshot *s, const struct router_view *only,
                            const char *source, struct err_detail *detail)
{
    for (uint32_t i = 0; i < s->routers_n; i++)
        if ((!only || only == s->routers[i]) && knows(s->routers[i], source))
            return OK;
    return only ? err_say(detail, ERR_SOURCE_NOT_FOUND, "router `%s` has no report of source `%s`",
                          only->config->name, source)
                : err_say(detail, ERR_SOURCE_NOT_FOUND, "no router has a report of source `%s`",
                          source);
}

/* The event of the request; also finds the router, and that the source reported. */
static enum err ask(struct engine_worker *w, const struct forget_in *in,
                    struct event_forget *ret_what, struct err_detail *detail)
{
    memset(ret_what, 0, sizeof *ret_what);
    TRY(engine_name(in->source, "the source", ret_what->source, detail));
    if (!source_is_named(source_tag(ret_what->source)))
        return err_say(detail, ERR_INVALID,
                       "source: `" SOURCE_DEFAULT "` is the server's own; there are no reports of "
                       "somebody else under it");
    const struct router_view *r = NULL;
    const struct snapshot *s = engine_snapshot_acquire(w);
    enum err e = in->router.len ? engine_find_router(s, in->router, &r, detail) : OK;
    if (e == OK && r)
        ret_what->router_uid = r->uid;
    if (e == OK)
        e = find_source(s, r, ret_what->source, detail);
    engine_snapshot_release(w);
    return e;
}

static enum err forget(struct engine_worker *w, const struct forget_in *in,
                       const struct event_forget *what, const _Atomic bool *cancelled,
                       struct ledger_forgotten *ret, struct err_detail *detail)
{
    struct ledger *l = w->engine->ledger;
    struct ledger_forget *f = NULL;
    TRY(ledger_forget_begin(l, what, in->partial, cancelled, &f, ret, detail));
    enum err e = engine_forget_command(w, f, cancelled, ret);
    ledger_forget_free(l, f);
    return e == OK ? OK : err_say(detail, e, "nothing was forgotten: %s", err_text(e));
}

enum err engine_forget(struct engine_worker *w, const struct forget_in *in,
                       const _Atomic bool *cancelled, struct ledger_forgotten *ret,
                       struct err_detail *detail)
{
    struct event_forget what;
    memset(ret, 0, sizeof *ret);
    TRY(ask(w, in, &what, detail));
    if (in->dry_run)
        return ledger_forget_count(w->engine->ledger, &what, cancelled, ret, detail);
    TRY(forget(w, in, &what, cancelled, ret, detail));
    log_event(w->engine->o.log, LOG_INFO, "source_forgotten", LOG_STR("source", what.source),
              LOG_UINT("taken_out", ret->taken), LOG_UINT("before_base", ret->before_base),
              LOG_UINT("position", ret->position), LOG_END);
    return OK;
}
