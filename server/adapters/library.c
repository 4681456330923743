#include "server/adapters/library.h"

#include "server/ops/utf8.h"
#include "state/base/mem.h"
#include "state/base/search.h"
#include "state/model/limits.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static enum err make(uint32_t n, uint32_t replicas, struct library **ret_library)
{
    struct library *l = mem_calloc(1, sizeof *l);
    if (!l)
        return ERR_NOMEM;
    atomic_init(&l->refs, 1);
    l->n = n;
    l->replicas = replicas;
    l->adapters = mem_calloc(n ? n : 1, sizeof *l->adapters);
    l->want = mem_calloc(n ? n : 1, replicas);
    if (!l->adapters || !l->want) {
        library_release(l);
        return ERR_NOMEM;
    }
    *ret_library = l;
    return OK;
}

struct library *library_acquire(struct library *l)
{
    if (l)
        atomic_fetch_add(&l->refs, 1);
    return l;
}

void library_release(struct library *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) > 1)
        return;
    mem_free(l->adapters);
    mem_free(l->want);
    mem_free(l);
}

static enum err take(const struct engine_adapter *a, struct library_adapter *ret,
                     struct err_detail *detail)
{
    const char *name = a->name ? a->name : "", *path = a->path ? a->path : "";
    if (a->uid == 0 || !name_valid(name, strlen(name)))
        return err_say(detail, ERR_INVALID, "adapter: a uid above 0 and a name are needed");
    size_t len = strlen(path);
    if (len >= ADAPTER_PATH_CAP || utf8_good_len(path, len) < len)
        return err_say(detail, ERR_INVALID, "adapter %s: path: at most %d bytes of UTF-8", name,
                       ADAPTER_PATH_CAP - 1);
    if (!isfinite(a->rate) || a->rate < 0)
        return err_say(detail, ERR_INVALID, "adapter %s: rate: 0 or more", name);
    ret->uid = a->uid;
    ret->bytes = a->bytes;
    ret->rate = a->rate;
    ret->load_ms = a->load_ms > 0 ? a->load_ms : 0;
    ret->desired = a->desired;
    memcpy(ret->name, name, strlen(name) + 1);
    memcpy(ret->path, path, strlen(path) + 1);
    return OK;
}

static int by_uid(const void *a, const void *b)
{
    const struct library_adapter *x = a, *y = b;
    return (x->uid > y->uid) - (x->uid < y->uid);
}

static int by_name(const void *a, const void *b)
{
    const struct library_adapter *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static enum err check_once(const struct library *l, struct err_detail *detail)
{
    for (uint32_t i = 1; i < l->n; i++)
        if (l->adapters[i - 1].uid == l->adapters[i].uid)
            return err_say(detail, ERR_INVALID, "adapter %s: its uid is another's too",
                           l->adapters[i].name);
    const struct library_adapter **names = mem_calloc(l->n ? l->n : 1, sizeof *names);
    if (!names)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < l->n; i++)
        names[i] = &l->adapters[i];
    qsort(names, l->n, sizeof *names, by_name);
    enum err e = OK;
    for (uint32_t i = 1; i < l->n && e == OK; i++)
        if (strcmp(names[i - 1]->name, names[i]->name) == 0)
            e = err_say(detail, ERR_INVALID, "adapter %s: there are two of this name",
                        names[i]->name);
    mem_free(names);
    return e;
}

enum err library_new(const struct engine_adapter *adapters, size_t n, uint32_t replicas,
                     struct library **ret_library, struct err_detail *detail)
{
    struct library *l = NULL;
    if (n > MAX_ARMS)
        return err_say(detail, ERR_LIMIT, "at most %d adapters", MAX_ARMS);
    TRY(make((uint32_t)n, replicas, &l));
    enum err e = OK;
    for (size_t i = 0; i < n && e == OK; i++)
        e = take(&adapters[i], &l->adapters[i], detail);
    if (e == OK) {
        qsort(l->adapters, n, sizeof *l->adapters, by_uid);
        e = check_once(l, detail);
    }
    if (e != OK) {
        library_release(l);
        return e;
    }
    *ret_library = l;
    return OK;
}

enum err library_copy(const struct library *from, struct library **ret_library)
{
    TRY(make(from->n, from->replicas, ret_library));
    memcpy((*ret_library)->adapters, from->adapters, from->n * sizeof *from->adapters);
    return OK;
}

uint32_t library_find(const struct library *l, uint32_t uid)
{
    uint32_t at = search_records(l->adapters, l->n, sizeof *l->adapters,
                                 offsetof(struct library_adapter, uid), uid);
    return at < l->n && l->adapters[at].uid == uid ? at : l->n;
}

/* The columns of assign_input, and where the replicas that take part stand in the library. */
struct assigning {
    struct assign_input in;
    uint32_t places[ENGINE_REPLICAS_MAX];
    uint8_t *desired, *held, *want;
    double *rate;
    uint64_t *bytes;
};

static void fill(struct assigning *a, const struct library *l, const struct library_room *room)
{
    bool all_down = true;
    for (uint32_t r = 0; r < l->replicas; r++)
        all_down = all_down && room->down[r];
    for (uint32_t r = 0; r < l->replicas; r++)
        if (all_down || !room->down[r])
            a->places[a->in.replicas++] = r;
    for (uint32_t i = 0; i < l->n; i++) {
        a->desired[i] = l->adapters[i].desired;
        a->rate[i] = l->adapters[i].rate;
        a->bytes[i] = l->adapters[i].bytes;
    }
    for (uint32_t p = 0; p < a->in.replicas; p++)
        for (size_t k = 0; k < room->rows_n; k++) {
            const struct engine_row *row = &room->rows[k];
            uint32_t i = row->replica == a->places[p] ? library_find(l, row->uid) : l->n;
            if (i < l->n)
                a->held[(size_t)p * l->n + i] =
                    row->phase == ENGINE_RESIDENT || row->phase == ENGINE_LOADING;
        }
}

static void keep_former(struct library *l, const struct library *former, uint32_t replica)
{
    for (uint32_t i = 0; former && i < l->n; i++) {
        uint32_t k = library_find(former, l->adapters[i].uid);
        if (k < former->n && l->adapters[i].desired)
            l->want[(size_t)replica * l->n + i] = former->want[(size_t)replica * former->n + k];
    }
}

static enum err run(struct assigning *a, struct library *l, const struct library *former,
                    const struct library_room *room)
{
    uint32_t left;
    fill(a, l, room);
    a->in.n = l->n;
    a->in.desired = a->desired;
    a->in.rate = a->rate;
    a->in.bytes = a->bytes;
    a->in.held = a->held;
    a->in.slots = room->slots;
    a->in.budget = room->bytes;
    TRY(assign_replicas(&a->in, a->want, &left));
    uint32_t p = 0;
    for (uint32_t r = 0; r < l->replicas; r++) {
        if (p < a->in.replicas && a->places[p] == r)
            memcpy(l->want + (size_t)r * l->n, a->want + (size_t)p++ * l->n, l->n);
        else
            keep_former(l, former, r);
    }
    return OK;
}

enum err library_assign(struct library *l, const struct library *former,
                        const struct library_room *room)
{
    size_t n = l->n ? l->n : 1;
    struct assigning a = {.in = {.n = 0}};
    a.desired = mem_calloc(n, 1);
    a.held = mem_calloc(n, l->replicas);
    a.want = mem_calloc(n, l->replicas);
    a.rate = mem_calloc(n, sizeof *a.rate);
    a.bytes = mem_calloc(n, sizeof *a.bytes);
    enum err e =
        a.desired && a.held && a.want && a.rate && a.bytes ? run(&a, l, former, room) : ERR_NOMEM;
    mem_free(a.desired);
    mem_free(a.held);
    mem_free(a.want);
    mem_free(a.rate);
    mem_free(a.bytes);
    return e;
}
