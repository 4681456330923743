/* SGLang, started with --enable-lora and --max-loras-per-batch of one more than the residents.
 * A resident is an adapter that was loaded with "pinned": true; the rest are loaded unpinned, so
 * that a miss is served through the slot that is left. To pin what is loaded unpinned, or the other
 * way round, it is unloaded first: for that moment SGLang serves it to nobody, which is why its
 * requests drain before. */
#include "server/adapters/driver.h"
#include "server/adapters/engine_answer.h"
#include "server/ops/clock.h"

#include <string.h>

static void sglang_doubt(struct driver *d)
{
    for (size_t i = 0; i < d->n; i++) {
        d->items[i].offered = false;
        d->items[i].found = false;
        d->items[i].pinned = false;
        d->items[i].resident = false;
        d->items[i].claimed = false;
    }
}

static void sglang_settle(struct driver *d)
{
    for (size_t i = 0; i < d->n; i++)
        d->items[i].resident = d->items[i].offered && d->items[i].pinned;
}

struct listing {
    struct driver *d;
    bool any;
};

static void look(void *ctx, const char *id, const char *parent)
{
    struct listing *l = ctx;
    (void)id;
    l->any = l->any || (parent && *parent);
}

static void listed(void *ctx, const char *id, const char *parent)
{
    struct listing *l = ctx;
    size_t n;
    struct engine_item **its = driver_named(l->d, id, &n);
    look(ctx, id, parent);
    for (size_t i = 0; i < n; i++)
        its[i]->denied = !its[i]->gone && driver_has_gone(its, n);
}

/* Both calls answer 400 with the same JSON when they refuse; then the words are in detail. */
static enum err sglang_load(struct driver *d, struct engine_item *it, bool pinned,
                            struct err_detail *detail)
{
    struct engine_reply reply;
    struct engine_load_answer answer;
    TRY(driver_post(d, "/load_lora_adapter", d->load_ms, &reply, detail, "{s:s,s:s,s:b}",
                    "lora_name", it->name, "lora_path", it->path, "pinned", (int)pinned));
    d->unfit = true;
    if (engine_load(reply.body, it->name, &answer) != OK)
        return err_say(detail, ERR_ENGINE_ANSWER, "/load_lora_adapter: not its answer");
    if (!answer.success) {
        char words[ENGINE_WORDS_CAP];
        driver_words(d, reply.body, words);
        return err_say(detail, ERR_ENGINE_REFUSED, "/load_lora_adapter: %s", words);
    }
    if (answer.listed == 0)
        return err_say(detail, ERR_ENGINE_ANSWER,
                       "/load_lora_adapter: succeeded, and does not list the adapter");
    it->offered = true;
    it->found = false;
    it->pinned = pinned;
    return OK;
}

/* Whether this build lists adapters can be seen only when it has some. */
static enum err learn_listing(struct driver *d, struct err_detail *detail)
{
    struct engine_reply reply;
    struct listing l = {.d = d};
    if (d->lists)
        return OK;
    TRY(driver_ask_models(d, &reply, detail));
    d->lists = engine_models(reply.body, look, &l) == OK && l.any;
    return OK;
}

/* Of a build that lists nothing: loading what is loaded is refused, unless it has forgotten. */
static enum err probe_restart(struct driver *d, struct err_detail *detail)
{
    size_t i = 0;
    while (i < d->n && !(d->items[i].pinned && !d->items[i].gone))
        i++;
    if (i == d->n)
        return OK;
    enum err e = sglang_load(d, &d->items[i], true, detail);
    if (e == OK) {
        sglang_doubt(d);
        d->items[i].offered = d->items[i].pinned = true;
    }
    return e == ERR_ENGINE_REFUSED && d->unfit ? OK : e;
}

/* Builds that list no adapters are believed what they answered to loads, until a call finds no
 * process there, or a probe another one. A build that has ever listed one lists them all. */
static void take_list(struct driver *d)
{
    size_t lost = 0, kept = 0;
    for (size_t i = 0; i < d->n; i++) {
        struct engine_item *it = &d->items[i];
        lost += it->offered && it->denied && !it->claimed;
        kept += !it->denied;
        it->found = !it->denied && (it->found || !it->offered);
        it->offered = !it->denied;
        it->pinned = it->pinned && it->offered;
    }
    if (lost > 0 && kept == 0) /* All of them: it has restarted, and lied about nothing. */
        sglang_doubt(d);
}

static enum err sglang_list(struct driver *d, struct err_detail *detail)
{
    struct engine_reply reply;
    struct listing l = {.d = d};
    TRY(driver_ask_models(d, &reply, detail));
    for (size_t i = 0; i < d->n; i++)
        d->items[i].denied = true;
    if (engine_models(reply.body, listed, &l) != OK)
        return err_say(detail, ERR_ENGINE_ANSWER, "GET /v1/models: not a list of models");
    d->lists = d->lists || l.any;
    bool reconnected = d->reconnected;
    d->reconnected = false;
    if (d->lists) {
        take_list(d);
    } else {
        for (size_t i = 0; i < d->n; i++)
            d->items[i].denied = false;
        if (reconnected)
            TRY(probe_restart(d, detail));
    }
    sglang_settle(d);
    return OK;
}

static enum err sglang_retire(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    struct engine_reply reply;
    struct engine_load_answer answer;
    enum err e = driver_post(d, "/unload_lora_adapter", d->load_ms, &reply, detail, "{s:s}",
                             "lora_name", it->name);
    bool gone = e == ERR_ENGINE_REFUSED && (reply.status == 400 || reply.status == 404);
    if (e != OK && !gone)
        return e;
    if (e == OK && engine_load(reply.body, it->name, &answer) != OK) {
        d->unfit = true;
        return err_say(detail, ERR_ENGINE_ANSWER, "/unload_lora_adapter: not its answer");
    }
    it->offered = it->found = it->pinned = it->resident = false;
    return OK;
}

static uint32_t pins(const struct driver *d)
{
    uint32_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        n += d->items[i].pinned;
    return n;
}

/* Found there, so it may have been pinned by a process before this one; and nobody wants it so. */
static bool squats(const struct engine_item *it)
{
    return it->found && !it->pinned && !it->wanted && !it->gone && it->traffic.in_flight == 0;
}

/* Loads them unpinned, so that their slots are free; ret_any: there were some. */
static enum err evict_squatters(struct driver *d, bool *ret_any, struct err_detail *detail)
{
    *ret_any = false;
    for (size_t i = 0; i < d->n; i++) {
        if (!squats(&d->items[i]))
            continue;
        TRY(sglang_retire(d, &d->items[i], detail));
        TRY(sglang_load(d, &d->items[i], false, detail));
        *ret_any = true;
    }
    return OK;
}

static bool slotless(const struct driver *d, enum err e, const struct err_detail *detail)
{
    return e == ERR_ENGINE_REFUSED && d->unfit && strstr(detail->text, "pin all slots");
}

static enum err sglang_ensure(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    d->took_ms = 0;
    d->was_load = true;
    if (it->offered && !it->pinned)
        TRY(sglang_retire(d, it, detail));
    int64_t begun_ns = clock_mono_ns();
    enum err e = sglang_load(d, it, true, detail);
    if (e == ERR_ENGINE_REFUSED && strstr(detail->text, " already ")) {
        /* By somebody else, or by a process before this one: pinned or not, nobody can tell. */
        TRY(sglang_retire(d, it, detail));
        e = sglang_load(d, it, true, detail);
    }
    bool any = false;
    if (slotless(d, e, detail))
        TRY(evict_squatters(d, &any, detail));
    if (any) {
        begun_ns = clock_mono_ns();
        e = sglang_load(d, it, true, detail);
    }
    d->took_ms = (double)(clock_mono_ns() - begun_ns) / 1e6;
    if (e == OK) {
        it->load_ms = d->took_ms;
        sglang_settle(d);
        return learn_listing(d, detail);
    }
    if (slotless(d, e, detail)) {
        /* It has fewer slots than we were told. Served as a miss it still can be. */
        struct err_detail other;
        d->room = pins(d);
        if (sglang_load(d, it, false, &other) == ERR_CANCELLED)
            return ERR_CANCELLED;
        d->unfit = true;
    }
    return e;
}

static enum err sglang_offer(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    enum err e = sglang_load(d, it, false, detail);
    if (e != ERR_ENGINE_REFUSED || !strstr(detail->text, " already "))
        return e;
    it->offered = true;
    return OK;
}

static enum err sglang_release(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    TRY(sglang_retire(d, it, detail));
    d->room = UINT32_MAX; /* It may have refused for the lack of this place. */
    return sglang_load(d, it, false, detail);
}

const struct driver_ops driver_sglang = {
    .kind = ENGINE_SGLANG,
    .flags = ENGINE_TRUE_UNLOAD | ENGINE_RESIDENCY_METRIC | ENGINE_PIN,
    .offers = true,
    .releases = true,
    .reloads = true,
    .room_advice = "start it with --max-loras-per-batch of one more than the router's slots",
    .list = sglang_list,
    .ensure = sglang_ensure,
    .release = sglang_release,
    .offer = sglang_offer,
    .retire = sglang_retire,
    .settle = sglang_settle,
    .doubt = sglang_doubt,
};
