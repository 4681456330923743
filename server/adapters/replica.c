#include "server/adapters/replica.h"

#include "server/ops/clock.h"
#include "state/base/mem.h"
#include "state/base/rng.h"

#include <stdio.h>
#include <string.h>

struct replica {
    uint32_t index;
    struct driver *driver;
    const struct replica_hooks *hooks;
    const struct reconciler_calls *calls;
    struct log *log;
    char router[NAME_CAP];
    uint64_t seed, drawn;
    struct library *library;   /* What the items were made from. */
    struct engine_item *items; /* Of the library, in order of uid; then those that are gone. */
    size_t n, kept;            /* kept: of the library. */
    struct reconcile_rules rules;
    struct reconcile_pass pass;
    struct engine_replica_view view;
    bool well;               /* Since its latest failure a whole pass went well. */
    bool away;               /* Its share has gone to the others. */
    int64_t failing_us;      /* Since when it fails. */
    bool stuck;              /* Its latest failure, if any, came after its list had answered. */
    bool lost;               /* And then there was no process any more. */
    bool acted;              /* Something went well in this pass. */
    struct engine_row *rows; /* As published last: to see what changed. */
    size_t rows_n;
    struct engine_replica_view published;
};

static int64_t now_us(void)
{
    return clock_mono_ns() / 1000;
}

double replica_jitter(struct replica *r)
{
    return rng_uniform(r->seed, r->drawn++);
}

uint32_t replica_failures(const struct replica *r)
{
    return r->view.failures;
}

enum err replica_open(const struct replica_config *config, struct replica **ret_replica,
                      struct err_detail *detail)
{
    struct replica *r = mem_calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    r->index = config->index;
    r->hooks = config->hooks;
    r->calls = config->calls;
    r->log = config->log;
    r->seed = config->seed;
    if (config->router)
        (void)snprintf(r->router, sizeof r->router, "%s", config->router);
    enum err e = driver_open(&config->driver, &r->driver, detail);
    if (e != OK) {
        replica_close(r);
        return e;
    }
    const struct driver_ops *ops = r->driver->ops;
    r->rules = (struct reconcile_rules){
        .slots = driver_room(r->driver),
        .offers = ops->offers,
        .releases = ops->releases,
        .reloads = ops->reloads,
        .drain_us = config->drain_us,
        .backoff_min_us = config->backoff_min_us,
        .backoff_max_us = config->backoff_max_us,
    };
    memcpy(r->view.name, config->name, strlen(config->name) + 1);
    r->view.slots = driver_room(r->driver);
    r->view.flags = ops->flags;
    r->view.scratch_slot = ops->kind == ENGINE_LLAMACPP ? (int32_t)config->driver.slots : -1;
    *ret_replica = r;
    return OK;
}

void replica_close(struct replica *r)
{
    if (!r)
        return;
    driver_close(r->driver);
    library_release(r->library);
    mem_free(r->items);
    mem_free(r->rows);
    mem_free(r);
}

void replica_abort(struct replica *r)
{
    driver_abort(r->driver);
}

/* The item that stands for this adapter of the library already, by uid, name and path. */
static struct engine_item *same(const struct replica *r, const struct library_adapter *a)
{
    size_t low = 0, high = r->kept;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (r->items[mid].uid < a->uid)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == r->kept || r->items[low].uid != a->uid)
        return NULL;
    struct engine_item *it = &r->items[low];
    return strcmp(it->name, a->name) == 0 && strcmp(it->path, a->path) == 0 ? it : NULL;
}

static void item_make(struct engine_item *it, const struct library_adapter *a)
{
    memset(it, 0, sizeof *it);
    it->uid = a->uid;
    memcpy(it->name, a->name, sizeof it->name);
    memcpy(it->path, a->path, sizeof it->path);
    it->load_ms = a->load_ms;
    driver_item_init(it);
}

/* New items of `l`, with what is known of them; then what is gone and still has to be retired. */
static size_t merge(struct replica *r, const struct library *l, struct engine_item *items)
{
    const uint8_t *want = l->want + (size_t)r->index * l->n;
    for (uint32_t i = 0; i < l->n; i++) {
        struct engine_item *old = same(r, &l->adapters[i]);
        if (old) {
            items[i] = *old;
            old->uid = 0; /* Taken over. */
        } else {
            item_make(&items[i], &l->adapters[i]);
        }
        items[i].wanted = want[i];
        items[i].rate = l->adapters[i].rate;
    }
    size_t n = l->n;
    for (size_t i = 0; i < r->n; i++) {
        struct engine_item *old = &r->items[i];
        if (old->uid == 0 || (!old->offered && !old->resident))
            continue;
        items[n] = *old;
        if (!old->gone) { /* What failed was to load it; now it is to leave. */
            items[n].failures = 0;
            items[n].retry_us = 0;
        }
        items[n].gone = true;
        items[n++].wanted = false;
    }
    return n;
}

/* On an error the former library stays: the next pass tries again. */
static enum err adopt(struct replica *r)
{
    struct library *l = r->hooks->library(r->hooks->ctx);
    if (!l || l == r->library) {
        library_release(l);
        return OK;
    }
    struct engine_item *items = mem_calloc(l->n + r->n + 1, sizeof *items);
    /* Room for the driver first: once merge has run there is no way back. */
    if (!items || driver_reserve(r->driver, l->n + r->n) != OK) {
        mem_free(items);
        library_release(l);
        return ERR_NOMEM;
    }
    size_t n = merge(r, l, items);
    driver_take_items(r->driver, items, n);
    mem_free(r->items);
    library_release(r->library);
    r->items = items;
    r->n = n;
    r->kept = l->n;
    r->library = l;
    return OK;
}

/* Those that the engine has forgotten. */
static void drop_retired(struct replica *r)
{
    size_t n = r->kept;
    for (size_t i = r->kept; i < r->n; i++)
        if (r->items[i].offered || r->items[i].resident)
            r->items[n++] = r->items[i];
    r->n = n;
    driver_take_items(r->driver, r->items, n);
}

/* Those that it will not forget. */
static void give_up(struct replica *r)
{
    bool any = false;
    for (size_t i = r->kept; i < r->n; i++) {
        struct engine_item *it = &r->items[i];
        if (!reconcile_hopeless(r->items, r->kept, it))
            continue;
        log_event(r->log, LOG_WARN, "engine_keeps_adapter", LOG_STR("router", r->router),
                  LOG_STR("replica", r->view.name), LOG_STR("adapter", it->name),
                  LOG_STR("error", it->error), LOG_END);
        it->offered = it->resident = false;
        any = true;
    }
    drop_retired(r);
    /* A mirror without it does not know of the slot that it may have. */
    if (any && r->driver->ops->kind == ENGINE_VLLM)
        driver_doubt(r->driver);
}

static void see_traffic(struct replica *r)
{
    for (size_t i = 0; i < r->n; i++) {
        memset(&r->items[i].traffic, 0, sizeof r->items[i].traffic);
        if (r->calls->traffic)
            r->calls->traffic(r->calls->ctx, r->index, r->items[i].uid, &r->items[i].traffic);
    }
    if (r->driver->ops->settle)
        r->driver->ops->settle(r->driver);
    r->rules.slots = driver_room(r->driver);
}

static void row_fill(const struct replica *r, const struct engine_item *it, struct engine_row *row)
{
    row->replica = r->index;
    row->uid = it->uid;
    row->wanted = it->wanted;
    row->phase = reconcile_phase(it);
    row->slot = it->slot;
    row->failures = it->failures;
    memcpy(row->error, it->error, strlen(it->error) + 1);
}

static bool says_something(const struct engine_item *it)
{
    return !it->gone && (it->wanted || it->resident || it->error[0]);
}

static void see_view(struct replica *r)
{
    struct engine_replica_view *v = &r->view;
    bool converged = v->up;
    v->slots = driver_room(r->driver);
    v->flags = r->driver->flags;
    if (r->driver->ops->kind == ENGINE_LLAMACPP)
        v->scratch_slot = (int32_t)v->slots;
    v->requests = r->driver->requests;
    v->wanted = v->resident = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct engine_item *it = &r->items[i];
        v->wanted += it->wanted;
        v->resident += it->resident;
        converged = converged && !(it->wanted && !it->resident) &&
                    !(r->rules.releases && it->resident && !it->wanted);
    }
    v->converged = converged;
}

static bool view_changed(const struct engine_replica_view *a, const struct engine_replica_view *b)
{
    return a->up != b->up || a->converged != b->converged || a->slots != b->slots ||
           a->flags != b->flags || a->wanted != b->wanted || a->resident != b->resident ||
           strcmp(a->error, b->error) != 0;
}

/* Without memory nothing is published: what was said before stands, and the next pass says it. */
static void publish(struct replica *r)
{
    size_t n = 0;
    see_view(r);
    for (size_t i = 0; i < r->n; i++)
        n += says_something(&r->items[i]);
    struct engine_row *rows = mem_calloc(n ? n : 1, sizeof *rows);
    struct engine_row *copy = mem_calloc(n ? n : 1, sizeof *copy);
    if (!rows || !copy) {
        mem_free(rows);
        mem_free(copy);
        return;
    }
    n = 0;
    for (size_t i = 0; i < r->n; i++)
        if (says_something(&r->items[i]))
            row_fill(r, &r->items[i], &rows[n++]);
    bool changed = n != r->rows_n || (n && memcmp(rows, r->rows, n * sizeof *rows) != 0) ||
                   view_changed(&r->view, &r->published);
    memcpy(copy, rows, n * sizeof *rows);
    mem_free(r->rows);
    r->rows = copy;
    r->rows_n = n;
    r->published = r->view;
    r->hooks->publish(r->hooks->ctx, r->index, rows, n, &r->view, changed);
}

static enum err down(struct replica *r, enum err e, const struct err_detail *detail)
{
    if (e == ERR_CANCELLED)
        return e;
    struct engine_replica_view *v = &r->view;
    r->well = false;
    v->up = false;
    v->failures++;
    v->errors++;
    (void)snprintf(v->error, sizeof v->error, "%.*s", (int)sizeof v->error - 1,
                   detail->text[0] ? detail->text : err_text(e));
    for (size_t i = 0; i < r->n; i++)
        r->items[i].claimed = false; /* What becomes of it proves no lie now. */
    /* A mirror cannot survive what it did not see; a list can, unless the process was gone. */
    if (r->driver->gone || r->driver->ops->kind == ENGINE_VLLM)
        driver_doubt(r->driver);
    if (v->failures == 1)
        r->failing_us = now_us();
    if (v->failures == 1)
        log_event(r->log, LOG_WARN, "engine_down", LOG_STR("router", r->router),
                  LOG_STR("replica", v->name), LOG_STR("code", err_code(e)),
                  LOG_STR("error", v->error), LOG_END);
    publish(r);
    /* However often it is looked at, others do not load its share for the length of a hiccup. */
    bool for_long = now_us() - r->failing_us >= 2 * r->rules.backoff_min_us;
    if (v->failures >= REPLICA_DOWN && for_long && !r->away) {
        r->away = true;
        r->hooks->moved(r->hooks->ctx, r->index, true);
    }
    return e;
}

static void come_back(struct replica *r)
{
    if (!r->away)
        return;
    r->away = false;
    r->hooks->moved(r->hooks->ctx, r->index, false);
}

/* Its list answers. That will do after an outage; but where loads hang behind a list that answers,
 * they sit out their pauses, and requests stay with the others until loads go well. */
static void answered(struct replica *r)
{
    struct engine_replica_view *v = &r->view;
    if (v->up)
        return;
    if (!r->stuck || r->lost)
        reconcile_forgive(r->items, r->n);
    if (r->away && r->stuck)
        return;
    v->up = true;
    publish(r);
    come_back(r);
}

/* A whole pass went well: only that ends a row of failures. */
static void recovered(struct replica *r)
{
    struct engine_replica_view *v = &r->view;
    if (r->well)
        return;
    r->well = true;
    v->up = true;
    v->failures = 0;
    v->error[0] = 0;
    log_event(r->log, LOG_INFO, "engine_up", LOG_STR("router", r->router),
              LOG_STR("replica", v->name), LOG_END);
}

static enum err act(struct replica *r, struct engine_item *it, enum reconcile_act what,
                    struct err_detail *detail)
{
    struct driver *d = r->driver;
    switch (what) {
    case RECONCILE_LOAD:
    case RECONCILE_TOUCH:
        return d->ops->ensure(d, it, detail);
    case RECONCILE_OFFER:
        return d->ops->offer(d, it, detail);
    case RECONCILE_RELEASE:
        return d->ops->release(d, it, detail);
    case RECONCILE_RETIRE:
        return d->ops->retire(d, it, detail);
    case RECONCILE_REST:
        break;
    }
    return OK;
}

static void count(struct replica *r, const struct engine_item *it, enum reconcile_act what)
{
    bool leaves = what == RECONCILE_RELEASE || what == RECONCILE_RETIRE;
    r->view.loads += what == RECONCILE_LOAD && r->driver->was_load;
    r->view.touches += what == RECONCILE_TOUCH || (what == RECONCILE_LOAD && !r->driver->was_load);
    r->view.releases += leaves;
    r->view.undrained += leaves && it->undrained;
}

/* A load that failed took until now; one that went well, what the driver measured. */
static void tell_load(struct replica *r, const struct engine_item *it, int64_t begun_us, bool ok)
{
    if (!r->calls->on_load || (ok && !r->driver->was_load))
        return;
    double ms = ok ? r->driver->took_ms : (double)(now_us() - begun_us) / 1e3;
    r->calls->on_load(r->calls->ctx, r->index, it->uid, ms, ok);
}

static enum err carry_out(struct replica *r, struct reconcile_step s, struct err_detail *detail)
{
    struct engine_item *it = &r->items[s.item];
    int64_t begun = now_us();
    reconcile_begin(it, s.act, &r->pass);
    if (s.act == RECONCILE_LOAD)
        publish(r);
    enum err e = act(r, it, s.act, detail);
    if (e == ERR_CANCELLED) {
        it->loading = false;
        return e;
    }
    bool again = it->failures > 0, noted = it->failures > 1;
    it->hung = e != OK && !r->driver->unfit;
    const char *words = detail->text[0] ? detail->text : err_text(e);
    reconcile_done(it, s.act, &r->rules, e == OK ? NULL : words, now_us(), replica_jitter(r));
    if (s.act == RECONCILE_LOAD)
        tell_load(r, it, begun, e == OK);
    if (e == OK) {
        count(r, it, s.act);
        r->acted = true;
        if (again && s.act == RECONCILE_LOAD)
            reconcile_forgive(r->items, r->n);
        return OK;
    }
    r->view.errors++;
    if (!noted)
        log_event(r->log, LOG_WARN, "engine_refused_adapter", LOG_STR("router", r->router),
                  LOG_STR("replica", r->view.name), LOG_STR("adapter", it->name),
                  LOG_STR("code", err_code(e)), LOG_STR("error", it->error), LOG_END);
    return e;
}

/* Acts until nothing is left to do. An adapter that the engine refuses ends nothing: it waits. */
static enum err work(struct replica *r, struct err_detail *detail)
{
    for (;;) {
        if (r->hooks->stopping(r->hooks->ctx))
            return ERR_CANCELLED;
        (void)adopt(r);
        see_traffic(r);
        struct reconcile_step s = reconcile_next(r->items, r->n, &r->rules, &r->pass, now_us());
        if (s.act == RECONCILE_REST)
            return OK;
        detail->text[0] = 0;
        enum err e = carry_out(r, s, detail);
        if (e == ERR_CANCELLED || (e != OK && !r->driver->unfit))
            return e;
        publish(r);
    }
}

enum err replica_tick(struct replica *r, bool *ret_more)
{
    struct err_detail detail = {""};
    *ret_more = false;
    TRY(adopt(r));
    give_up(r);
    r->view.ticks++;
    r->pass.number++;
    r->pass.offers = REPLICA_OFFERS;
    r->pass.offering = false;
    r->acted = false;
    enum err e = r->driver->ops->list(r->driver, &detail);
    if (e != OK) {
        r->stuck = false;
        r->driver->silent = true;
        return down(r, e, &detail);
    }
    r->driver->silent = false;
    see_traffic(r);
    reconcile_confirm(r->items, r->n, &r->rules, now_us(), replica_jitter(r));
    answered(r);
    e = work(r, &detail);
    if (e != OK) {
        r->stuck = true;
        r->lost = r->driver->gone;
        return down(r, e, &detail);
    }
    drop_retired(r);
    see_traffic(r);
    if (r->stuck && !r->acted && reconcile_sits_out(r->items, r->n, &r->rules, now_us())) {
        publish(r); /* What hung waits: this pass proves nothing. */
        return OK;
    }
    reconcile_crowd(r->items, r->n, &r->rules, r->driver->ops->room_advice);
    recovered(r);
    publish(r);
    come_back(r);
    *ret_more = r->pass.offers == 0;
    return OK;
}
