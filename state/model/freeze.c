#include "state/model/freeze.h"

#include "state/base/mem.h"
#include "state/base/search.h"
#include "state/model/form_parts.h"

#include <stddef.h>
#include <string.h>

enum { ENTRIES_A_PART = 256, TABLES = 2 };

struct frozen_table {
    const struct dedup *table;
    uint64_t head, n; /* As it stood. */
    size_t first;     /* Part. */
    size_t parts;     /* At least one, for the length. */
};

/* Parts in order: the head, arms_n arms, the residency, those of the tables. An arm keeps its place
 * in the router until one is removed, and before that all arms are kept. */
struct frozen_router {
    const struct router *router;
    size_t first;
    uint32_t arms_n;
    struct frozen_table tables[TABLES];
};

struct freeze {
    struct model *model; /* NULL: detached. */
    struct event *scratch;
    struct frozen_router *routers;
    uint32_t routers_n;
    struct buf *parts; /* (parts_n); empty: not written down, or read. */
    size_t parts_n, next;
    size_t arm_bytes; /* Of the last one: most of a router are alike. */
    bool failed;
};

/* ---- begin, end ---- */

static size_t lay_table(struct frozen_table *t, const struct dedup *table, size_t first)
{
    size_t parts = (table->n + ENTRIES_A_PART - 1) / ENTRIES_A_PART;
    *t = (struct frozen_table){table, table->head, table->n, first, parts ? parts : 1};
    return first + t->parts;
}

/* Returns the part that comes after it. */
static size_t lay_router(struct frozen_router *fr, const struct router *r, size_t first)
{
    *fr = (struct frozen_router){.router = r, .first = first, .arms_n = r->arms_n};
    size_t next = first + 1 + r->arms_n + 1;
    next = lay_table(&fr->tables[0], &r->dedup, next);
    return lay_table(&fr->tables[1], &r->marks, next);
}

static void leave_model(struct freeze *f)
{
    struct model *m = f->model;
    f->model = NULL;
    if (!m || m->freeze != f)
        return;
    m->freeze = NULL;
    for (uint32_t i = 0; i < m->routers_n; i++)
        m->routers[i]->frozen = NULL;
}

void freeze_end(struct freeze *f)
{
    if (!f)
        return;
    leave_model(f);
    for (size_t i = 0; f->parts && i < f->parts_n; i++)
        buf_done(&f->parts[i]);
    mem_free(f->parts);
    mem_free(f->routers);
    mem_free(f->scratch);
    mem_free(f);
}

/* The head of the model is part 0, kept at once; the sessions are the last. */
static enum err lay_out(struct freeze *f, struct model *m)
{
    size_t next = 1;
    f->routers_n = m->routers_n;
    f->routers = mem_calloc(m->routers_n ? m->routers_n : 1, sizeof *f->routers);
    f->scratch = mem_calloc(1, sizeof *f->scratch);
    if (!f->routers || !f->scratch)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < m->routers_n; i++)
        next = lay_router(&f->routers[i], m->routers[i], next);
    f->parts_n = next + 1;
    f->parts = mem_calloc(f->parts_n, sizeof *f->parts);
    if (!f->parts)
        return ERR_NOMEM;
    form_put_model(m, &f->parts[0]);
    return buf_error(&f->parts[0]);
}

enum err freeze_begin(struct model *m, struct freeze **ret_freeze)
{
    struct freeze *f = mem_calloc(1, sizeof *f);
    enum err e = !f ? ERR_NOMEM : m->freeze ? ERR_EXISTS : lay_out(f, m);
    if (e != OK) {
        freeze_end(f);
        return e;
    }
    for (uint32_t i = 0; i < m->routers_n; i++)
        m->routers[i]->frozen = &f->routers[i];
    m->freeze = f;
    f->model = m;
    *ret_freeze = f;
    return OK;
}

/* ---- a part ---- */

static void write_table(const struct frozen_table *t, size_t part, struct buf *out)
{
    uint64_t from = (part - t->first) * ENTRIES_A_PART, n = t->n - from;
    if (from == 0)
        buf_put_u64(out, t->n * t->table->stride);
    dedup_encode_slots(t->table, t->head, from, n < ENTRIES_A_PART ? n : ENTRIES_A_PART, out);
}

static const struct frozen_router *router_of(const struct freeze *f, size_t part)
{
    uint32_t low = 0, high = f->routers_n - 1;
    while (low < high) {
        uint32_t middle = high - (high - low) / 2;
        if (f->routers[middle].first <= part)
            low = middle;
        else
            high = middle - 1;
    }
    return &f->routers[low];
}

/* As it stands now. */
static void write_part(struct freeze *f, size_t part, struct buf *out)
{
    if (part == f->parts_n - 1) {
        sessions_encode(f->model->sessions, out);
        return;
    }
    const struct frozen_router *fr = router_of(f, part);
    size_t k = part - fr->first, before = out->len;
    if (k == 0) {
        form_put_router(fr->router, f->scratch, out);
    } else if (k <= fr->arms_n) {
        if (f->arm_bytes)
            (void)buf_room(out, f->arm_bytes);
        form_put_arm(fr->router, fr->router->arms[k - 1], f->scratch, out);
        f->arm_bytes = out->len - before;
    } else if (k == (size_t)fr->arms_n + 1) {
        form_put_residency(fr->router, out);
    } else {
        write_table(&fr->tables[part >= fr->tables[1].first], part, out);
    }
}

static void keep(struct freeze *f, size_t part)
{
    if (part < f->next || f->parts[part].data || f->failed)
        return;
    write_part(f, part, &f->parts[part]);
    f->failed = f->parts[part].failed;
}

static void keep_range(struct freeze *f, size_t first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        keep(f, first + i);
}

enum err freeze_next(struct freeze *f, size_t enough, struct buf *out, bool *ret_done)
{
    while (f->next < f->parts_n && out->len < enough && !f->failed) {
        struct buf *kept = &f->parts[f->next];
        if (kept->data)
            buf_put(out, kept->data, kept->len);
        else
            write_part(f, f->next, out);
        buf_done(kept);
        f->next++;
        f->failed = out->failed;
    }
    *ret_done = f->next == f->parts_n;
    return f->failed ? ERR_NOMEM : OK;
}

void freeze_detach(struct freeze *f)
{
    if (!f->model)
        return;
    keep_range(f, f->next, f->parts_n - f->next);
    leave_model(f);
}

/* ---- before a change ---- */

static void keep_head(struct freeze *f, const struct frozen_router *fr)
{
    keep(f, fr->first);
}

static void keep_residency(struct freeze *f, const struct frozen_router *fr)
{
    keep(f, fr->first + 1 + fr->arms_n);
}

static void keep_arm_at(struct freeze *f, const struct frozen_router *fr, uint32_t i)
{
    if (i < fr->arms_n) /* Later ones are not in it. */
        keep(f, fr->first + 1 + i);
}

static void keep_arm(struct freeze *f, const struct frozen_router *fr, uint32_t uid)
{
    const struct router *r = fr->router;
    uint32_t at = search_pointers(r->arms, r->arms_n, offsetof(struct arm, uid), uid);
    if (at < r->arms_n && r->arms[at]->uid == uid)
        keep_arm_at(f, fr, at);
}

static void keep_all_but_tables(struct freeze *f, const struct frozen_router *fr)
{
    keep_range(f, fr->first, (size_t)fr->arms_n + 2);
}

static void keep_slot(struct freeze *f, const struct frozen_table *t, uint64_t slot)
{
    uint64_t capacity = t->table->capacity;
    uint64_t i = slot >= t->head ? slot - t->head : slot + capacity - t->head;
    if (i < t->n)
        keep(f, t->first + i / ENTRIES_A_PART);
}

/* The entry that a decision has, and the slot of one that it may get. */
static void keep_entry(struct freeze *f, const struct frozen_table *t, const uint8_t id[ID_BYTES])
{
    const struct dedup_entry *e = dedup_find(t->table, id);
    if (e)
        keep_slot(f, t, dedup_slot(t->table, e));
    if (t->table->capacity)
        keep_slot(f, t, dedup_next_slot(t->table));
}

void freeze_before_move(struct freeze *f, const struct router *r, const struct dedup *t)
{
    const struct frozen_router *fr = r->frozen;
    for (int i = 0; fr && i < TABLES; i++)
        if (fr->tables[i].table == t) {
            keep_range(f, fr->tables[i].first, fr->tables[i].parts);
        }
}

static void before_outcome(struct freeze *f, const struct event_outcome *o)
{
    const struct router *r = model_router(f->model, o->decision.router_uid);
    const struct frozen_router *fr = r ? r->frozen : NULL;
    if (sessions_holds(f->model->sessions, o->decision.id))
        keep(f, f->parts_n - 1);
    if (!fr)
        return;
    const struct dedup_entry *e = dedup_find(&r->dedup, o->decision.id);
    keep_head(f, fr);
    keep_entry(f, &fr->tables[0], o->decision.id);
    keep_entry(f, &fr->tables[1], o->decision.id);
    keep_arm(f, fr, o->decision.arm_uid);
    if (o->served_uid)
        keep_arm(f, fr, o->served_uid);
    if (e)
        keep_arm(f, fr, e->arm_uid);
    if (o->decision.policy_arm_uid)
        keep_arm(f, fr, o->decision.policy_arm_uid);
    if (r->config.settings.gamma != 1 && r->arms_n) /* Whose turn it is to fade. */
        keep_arm_at(f, fr, (uint32_t)((r->outcomes_folded + 1) % r->arms_n));
}

static void before_arm(struct freeze *f, const struct event *ev)
{
    const struct event_arm *e = &ev->u.arm;
    const struct router *r = model_router(f->model, e->router_uid);
    const struct frozen_router *fr = r ? r->frozen : NULL;
    if (!fr)
        return;
    const struct arm *there = router_arm_named(r, e->config.name);
    keep_head(f, fr);
    if (there && ev->kind == EVENT_ARM_ADD)
        keep_all_but_tables(f, fr); /* It is replaced. */
    if (there)
        keep_arm(f, fr, there->uid);
    if (e->like_uid)
        keep_arm(f, fr, e->like_uid);
}

/* Events of one router that change no more than its head and one arm. */
static void before_head(struct freeze *f, uint32_t router_uid, uint32_t arm_uid)
{
    const struct router *r = model_router(f->model, router_uid);
    if (!r || !r->frozen)
        return;
    keep_head(f, r->frozen);
    if (arm_uid)
        keep_arm(f, r->frozen, arm_uid);
}

static void before_admin(struct freeze *f, uint32_t router_uid, enum event_kind kind)
{
    const struct router *r = model_router(f->model, router_uid);
    if (!r || !r->frozen)
        return;
    if (kind == EVENT_RESIDENCY) {
        keep_residency(f, r->frozen);
        return;
    }
    keep_all_but_tables(f, r->frozen);
    for (int i = 0; kind == EVENT_ROUTER_REMOVE && i < TABLES; i++)
        keep_range(f, r->frozen->tables[i].first, r->frozen->tables[i].parts);
}

static void before_activate(struct freeze *f, const struct decision *d)
{
    const struct router *r = model_router(f->model, d->router_uid);
    if (!r || !r->frozen)
        return;
    keep_head(f, r->frozen);
    keep_entry(f, &r->frozen->tables[1], d->id);
}

void freeze_before(struct freeze *f, const struct event *ev)
{
    switch (ev->kind) {
    case EVENT_OUTCOME:
        before_outcome(f, &ev->u.outcome);
        break;
    case EVENT_ACTIVATE:
        before_activate(f, &ev->u.activate.decision);
        break;
    case EVENT_TALLY:
        before_head(f, ev->u.tally.router_uid, 0);
        break;
    case EVENT_LABEL_ADD:
        before_head(f, ev->u.label.router_uid, 0);
        break;
    case EVENT_TENANT_SET:
        before_head(f, ev->u.tenant.router_uid, 0);
        break;
    case EVENT_SWEEP:
        before_head(f, ev->u.sweep.router_uid, 0);
        break;
    case EVENT_ACCOUNTS:
        for (uint32_t i = 0; i < ev->u.accounts.n; i++)
            before_head(f, ev->u.accounts.rows[i].router_uid, 0);
        break;
    case EVENT_ARM_ADD:
    case EVENT_ARM_UPDATE:
        before_arm(f, ev);
        break;
    case EVENT_ARM_STATE:
        before_head(f, ev->u.state.router_uid, ev->u.state.arm_uid);
        break;
    case EVENT_ARM_PRICE:
        before_head(f, ev->u.price.router_uid, ev->u.price.arm_uid);
        break;
    case EVENT_ARM_REMOVE:
        before_admin(f, ev->u.state.router_uid, ev->kind);
        break;
    case EVENT_ROUTER_UPDATE:
        before_admin(f, ev->u.update.router_uid, ev->kind);
        break;
    case EVENT_ROUTER_REMOVE:
        before_admin(f, ev->u.router_uid, ev->kind);
        break;
    case EVENT_RESIDENCY:
        before_admin(f, ev->u.residency.router_uid, ev->kind);
        break;
    case EVENT_SESSION:
    case EVENT_SESSION_END:
        keep(f, f->parts_n - 1);
        break;
    case EVENT_ROUTER_CREATE: /* What is new is not in it; the model's head is written already. */
    case EVENT_KEY_ADD:
    case EVENT_FORGET:
        break;
    }
}
