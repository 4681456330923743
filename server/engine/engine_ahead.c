/* Requests of a batch, looked at together before they are decided one by one. */
#include "server/engine/engine_parts.h"
#include "server/route/score_pass.h"

#include <assert.h>
#include <string.h>

static_assert((int)ENGINE_AHEAD <= (int)SCORE_CONTEXTS, "one sheet holds them all");

/* Pools for which every score is asked; of larger ones most arms are not read at all (decide.h). */
enum { SMALL_POOL = 64 };

static bool all_scored(const struct router_view *r)
{
    return r->arms_n <= SMALL_POOL || r->config->settings.decision_log == DECISION_LOG_KEEP_ALL;
}

/* Contexts of the router's own weights: other weights may ask for other metrics. */
static void fill_sheet(struct ahead *a, struct route_in *const *in, uint32_t n)
{
    const float *x[ENGINE_AHEAD];
    struct utility u;
    uint32_t held = 0;
    for (uint32_t i = 0; i < n; i++) {
        a->column[i] = UINT32_MAX;
        if (!a->made[i] || in[i]->weights_n > 0 || score_pass_is_sparse(a->x[i], a->router->d))
            continue;
        a->column[i] = held;
        x[held++] = a->x[i];
    }
    if (held < 2)
        return;
    utility_init(&u, a->router, NULL);
    a->filled = score_sheet_fill(a->sheet, a->router, &u, x, held) == OK;
}

static bool same_name(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

void engine_route_ahead(struct engine_worker *w, struct route_in *const *in, uint32_t n)
{
    struct ahead *a = &w->ahead;
    struct err_detail detail; /* Whatever is wrong is said when the request is decided. */
    const struct router_view *r;
    a->filled = false;
    a->router = NULL;
    if (n < 2)
        return;
    const struct snapshot *s = engine_snapshot_acquire(w);
    if (engine_find_router(s, in[0]->router, &r, &detail) == OK)
        a->router = snapshot_router_hold(s, r->uid);
    for (uint32_t i = 0; a->router && i < n; i++) {
        bool learn = !in[i]->dry_run;
        a->made[i] = same_name(in[i]->router, in[0]->router) &&
                     engine_fill_context(w, a->router, in[i], learn, &detail) == OK;
        if (!a->made[i])
            continue;
        memcpy(a->x[i], w->decision.x, a->router->d * sizeof *w->decision.x);
        memcpy(a->new_label[i], w->new_label, sizeof w->new_label);
        in[i]->ahead = i + 1;
    }
    if (a->router && all_scored(a->router))
        fill_sheet(a, in, n);
    engine_snapshot_release(w);
}

void engine_route_ahead_done(struct engine_worker *w)
{
    snapshot_router_release(w->ahead.router);
    w->ahead.router = NULL;
    w->ahead.filled = false;
}

enum err engine_take_context(struct engine_worker *w, const struct router_view *router,
                             const struct route_in *in, struct err_detail *detail)
{
    struct ahead *a = &w->ahead;
    if (in->ahead == 0 || a->router != router) /* Or outcomes were folded since. */
        return engine_fill_context(w, router, in, !in->dry_run, detail);
    memcpy(w->decision.x, a->x[in->ahead - 1], router->d * sizeof *w->decision.x);
    memcpy(w->new_label, a->new_label[in->ahead - 1], sizeof w->new_label);
    return OK;
}
