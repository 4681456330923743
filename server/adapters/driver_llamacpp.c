/* llama.cpp: llama-server --lora a.gguf --lora b.gguf --lora-init-without-apply --parallel of one
 * more than the residents. It holds all its adapters always; what a miss costs is that a slot whose
 * LoRA set changes loses its prompt cache. So a resident is an adapter with a slot of its own,
 * which callers name as id_slot; the last slot is the scratch, for everything else. A request
 * without a list of scales, or with an empty one, runs the default scales and keeps what another
 * adapter left in the slot's cache, so every request here sends the full list.
 * What a slot last ran is asked of GET /slots: a process that restarted has run nothing, and a
 * client that named no slot may have taken any. Where that is turned off (--no-slots) what we sent
 * is all that is known. An id_slot that is too large wraps around to a resident's slot: how many
 * there are is asked too. */
#include "server/adapters/driver.h"
#include "server/adapters/engine_answer.h"
#include "server/ops/clock.h"

#include <jansson.h>
#include <string.h>

static void llamacpp_doubt(struct driver *d)
{
    for (size_t i = 0; i < d->n; i++) {
        d->items[i].slot = -1;
        d->items[i].resident = false;
        d->items[i].claimed = false;
    }
}

static void llamacpp_settle(struct driver *d)
{
    for (size_t i = 0; i < d->n; i++) {
        struct engine_item *it = &d->items[i];
        if (it->slot >= (int32_t)driver_room(d))
            it->slot = -1;
        it->resident = it->offered && it->slot >= 0;
    }
}

static const char *file_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Paths as they were given: the whole, or, where the engine sees another directory, the file. */
static bool same_path(const char *a, const char *b, bool whole)
{
    return strcmp(whole ? a : file_of(a), whole ? b : file_of(b)) == 0;
}

struct listing {
    struct driver *d;
    uint32_t count;
    bool applied; /* Some default scale is not 0. */
};

static void listed(void *ctx, uint32_t id, const char *path, double scale)
{
    struct listing *l = ctx;
    l->count++;
    l->applied = l->applied || scale > 0 || scale < 0;
    if (id + 1 > l->d->numbers)
        l->d->numbers = id + 1;
    bool found = false;
    for (int whole = 1; whole >= 0 && !found; whole--)
        for (size_t i = 0; i < l->d->n; i++) {
            struct engine_item *it = &l->d->items[i];
            if (!it->denied || !same_path(it->path, path, whole))
                continue;
            it->number = (int32_t)id;
            it->denied = false;
            found = true;
        }
}

/* [{"id":0,"scale":1.0},...]: `chosen` alone counts; -1: none. */
static json_t *scales(const struct driver *d, int32_t chosen)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < d->numbers; i++)
        if (json_array_append_new(list, json_pack("{s:i,s:f}", "id", (int)i, "scale",
                                                  (int32_t)i == chosen ? 1.0 : 0.0)) != 0)
            break;
    return list;
}

/* Of each slot, what it ran last. */
struct ran {
    int32_t lora[ENGINE_SLOTS_MAX];
    uint32_t total;
};

static void saw_slot(void *ctx, uint32_t id, int32_t lora)
{
    struct ran *r = ctx;
    if (id < ENGINE_SLOTS_MAX)
        r->lora[id] = lora;
    r->total = id + 1;
}

static struct engine_item *in_slot(struct driver *d, uint32_t slot)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->items[i].slot == (int32_t)slot)
            return &d->items[i];
    return NULL;
}

/* A wanted adapter that has no slot, and ran last in one that nobody has: of before we started. */
static void adopt_slot(struct driver *d, uint32_t slot, int32_t lora)
{
    for (size_t i = 0; i < d->n; i++) {
        struct engine_item *it = &d->items[i];
        if (it->number == lora && it->slot < 0 && it->wanted && !it->gone) {
            it->slot = (int32_t)slot;
            return;
        }
    }
}

static void believe_slots(struct driver *d, const struct ran *r)
{
    uint32_t room = driver_room(d);
    for (uint32_t s = 0; s < room; s++) {
        struct engine_item *it = in_slot(d, s);
        if (it && it->number != r->lora[s]) {
            it->denied = true; /* Where it was claimed just now. */
            it->slot = -1;
            it = NULL;
        }
        if (!it && r->lora[s] >= 0)
            adopt_slot(d, s, r->lora[s]);
    }
}

/* The last slot is the scratch. */
static void has_slots(struct driver *d, uint32_t total)
{
    d->room = total - 1;
}

/* An engine that will not tell, or says more than we read, is no worse for it. */
static enum err ask_slots(struct driver *d, struct err_detail *detail)
{
    struct engine_reply reply;
    struct ran ran = {.total = 0};
    uint32_t total = 0;
    d->flags &= ~(uint32_t)ENGINE_RESIDENCY_METRIC;
    enum err e = driver_call(d, "/slots", NULL, d->call_ms, &reply, detail);
    if (e == OK && engine_slots(reply.body, saw_slot, &ran) == OK) {
        has_slots(d, ran.total);
        believe_slots(d, &ran);
        d->flags |= ENGINE_RESIDENCY_METRIC;
        return OK;
    }
    if (e != OK && e != ERR_ENGINE_ANSWER && e != ERR_ENGINE_REFUSED)
        return e;
    e = driver_call(d, "/props", NULL, d->call_ms, &reply, detail);
    if (e == OK && engine_props(reply.body, &total) == OK)
        has_slots(d, total);
    return e == ERR_ENGINE_ANSWER || e == ERR_ENGINE_REFUSED ? OK : e;
}

static enum err llamacpp_list(struct driver *d, struct err_detail *detail)
{
    struct engine_reply reply;
    struct listing l = {.d = d};
    TRY(driver_call(d, "/lora-adapters", NULL, d->call_ms, &reply, detail));
    d->numbers = 0;
    for (size_t i = 0; i < d->n; i++) {
        d->items[i].denied = true;
        d->items[i].number = -1;
    }
    enum err e = engine_loras(reply.body, listed, &l);
    if (e != OK || l.count != d->numbers) {
        d->numbers = 0;
        return err_say(detail, ERR_ENGINE_ANSWER, "GET /lora-adapters: not a list of adapters");
    }
    for (size_t i = 0; i < d->n; i++) {
        struct engine_item *it = &d->items[i];
        it->offered = !it->denied;
        if (it->denied)
            it->slot = -1;
    }
    TRY(ask_slots(d, detail));
    llamacpp_settle(d);
    /* Else requests without a list of their own, those of the base model, would run them all. */
    if (!l.applied)
        return OK;
    return driver_send(d, "/lora-adapters", scales(d, -1), d->call_ms, &reply, detail);
}

static int32_t free_slot(struct driver *d)
{
    for (uint32_t s = 0; s < driver_room(d); s++)
        if (!in_slot(d, s))
            return (int32_t)s;
    return -1;
}

static enum err llamacpp_ensure(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    struct engine_reply reply;
    d->took_ms = 0;
    d->was_load = true;
    d->unfit = true;
    if (it->number < 0)
        return err_say(detail, ERR_ENGINE_REFUSED,
                       "the process does not have it: start llama-server with --lora %s", it->path);
    int32_t slot = it->slot >= 0 ? it->slot : free_slot(d);
    if (slot < 0)
        return err_say(detail, ERR_ENGINE_REFUSED, "every slot has an adapter");
    json_t *root = json_pack("{s:s,s:i,s:i,s:b,s:o}", "prompt", ".", "n_predict", 1, "id_slot",
                             (int)slot, "cache_prompt", 1, "lora", scales(d, it->number));
    enum err e = driver_send(d, "/completion", root, d->load_ms, &reply, detail);
    if (e != OK)
        return e;
    if (engine_completion(reply.body) != OK) {
        d->unfit = true;
        return err_say(detail, ERR_ENGINE_ANSWER, "/completion: not a completion");
    }
    d->took_ms = it->load_ms = reply.ms;
    it->slot = slot;
    it->resident = true;
    return OK;
}

/* Nothing to call: the slot is given to another. */
static enum err llamacpp_release(struct driver *d, struct engine_item *it,
                                 struct err_detail *detail)
{
    (void)d;
    (void)detail;
    it->slot = -1;
    it->resident = false;
    it->offered = it->offered && !it->gone;
    return OK;
}

const struct driver_ops driver_llamacpp = {
    .kind = ENGINE_LLAMACPP,
    .releases = true,
    .room_advice = "start it with --parallel of one more than the router's slots",
    .list = llamacpp_list,
    .ensure = llamacpp_ensure,
    .release = llamacpp_release,
    .retire = llamacpp_release,
    .settle = llamacpp_settle,
    .doubt = llamacpp_doubt,
};
