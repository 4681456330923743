/* Taking a source out of all that was learned: state/model/forget.h says what that means,
 * state/ledger.h how. The folding is done here, on the caller's thread, while routes go on. */
#include "server/engine/engine_parts.h"

#include <string.h>

/* The event of the request; also finds the router. */
static enum err ask(struct engine_worker *w, const struct forget_in *in,
                    struct event_forget *ret_what, struct err_detail *detail)
{
    memset(ret_what, 0, sizeof *ret_what);
    TRY(engine_name(in->source, "the source", ret_what->source, detail));
    if (!source_is_named(source_tag(ret_what->source)))
        return err_say(detail, ERR_INVALID,
                       "source: `" SOURCE_DEFAULT "` is the server's own; there are no reports of "
                       "somebody else under it");
    if (in->router.len == 0)
        return OK;
    const struct router_view *r;
    const struct snapshot *s = engine_snapshot_acquire(w);
    enum err e = engine_find_router(s, in->router, &r, detail);
    if (e == OK)
        ret_what->router_uid = r->uid;
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
    enum err e = engine_forget_command(w, f, ret);
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
