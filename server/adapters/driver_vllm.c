/* vLLM, with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --max-loras of one more than the residents.
 * It loads by being asked for: an adapter is registered once, then a completion of one token makes
 * it resident; what leaves is the least recently used. An unload drops the name and may leave the
 * weights, so it serves to retire only. What is resident is kept in a mirror of its LRU
 * (engine_lru.h), or read from vllm:lora_adapter_loaded where a build has it. */
#include "server/adapters/driver.h"
#include "server/adapters/engine_answer.h"
#include "server/ops/clock.h"
#include "state/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_CAP = 65536 }; /* Of the names that run: a thousand of them. */

static int64_t now_us(void)
{
    return clock_mono_ns() / 1000;
}

static void vllm_doubt(struct driver *d)
{
    for (size_t i = 0; i < d->n; i++) {
        lru_doubt(&d->items[i].use, now_us());
        d->items[i].resident = false;
        d->items[i].claimed = false;
    }
}

/* What the metric said stands until something has been used since; then the mirror must agree. */
static void vllm_settle(struct driver *d)
{
    int64_t now = now_us();
    for (size_t i = 0; i < d->n; i++) {
        struct engine_item *it = &d->items[i];
        /* Decided since the latest look, or not answered yet: it may be used this very moment. */
        if (it->traffic.in_flight || it->traffic.routed_us > it->use.last_us)
            lru_maybe(&it->use, now);
        if (it->traffic.served_us > 0)
            lru_used(&it->use, it->traffic.served_us, it->traffic.served_us);
        d->order[i] = it->use.last_us;
    }
    lru_sort(d->order, d->n);
    size_t slots = (size_t)(d->room == UINT32_MAX ? driver_room(d) : d->room) + 1;
    for (size_t i = 0; i < d->n; i++) {
        struct engine_item *it = &d->items[i];
        size_t rank = it->offered ? lru_rank(d->order, d->n, &it->use) : SIZE_MAX;
        bool there = rank < slots;
        if (d->flags & ENGINE_RESIDENCY_METRIC)
            there = it->reported && (there || d->order[0] <= d->reported_us);
        it->resident = it->offered && there;
        it->endangered = it->resident && rank + 1 >= slots;
    }
}

static void listed(void *ctx, const char *id, const char *parent)
{
    struct driver *d = ctx;
    size_t n;
    struct engine_item **its = driver_named(d, id, &n);
    (void)parent; /* Older builds name none. */
    for (size_t i = 0; i < n; i++)
        its[i]->denied = !its[i]->gone && driver_has_gone(its, n);
}

/* Names that run now are in a slot now. */
static void running(struct driver *d, char *names, int64_t begun_us)
{
    char *save = NULL;
    for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
        size_t n;
        struct engine_item **its = driver_named(d, name, &n);
        for (size_t i = 0; i < n; i++)
            lru_used(&its[i]->use, begun_us, now_us());
    }
}

static bool named(const struct engine_metric *m, const char *name)
{
    return m->name.len == strlen(name) && memcmp(m->name.data, name, m->name.len) == 0;
}

static void read_loaded(struct driver *d, const struct engine_metric *m)
{
    char name[NAME_CAP], level[16] = "gpu";
    if (!engine_metric_label(m, "adapter_name", name, sizeof name))
        return;
    d->flags |= ENGINE_RESIDENCY_METRIC;
    (void)engine_metric_label(m, "level", level, sizeof level);
    size_t n;
    struct engine_item **its = driver_named(d, name, &n);
    for (size_t i = 0; i < n && strcmp(level, "gpu") == 0; i++)
        its[i]->reported = m->value > 0;
}

/* The label set changes with what runs, and old ones stay: the newest has the largest value. */
struct newest {
    char names[LABEL_CAP], slots[16];
    double at;
    double started; /* Of several processes behind one address, the newest. */
};

static void read_info(const struct engine_metric *m, struct newest *newest)
{
    if (newest->at > 0 && !(m->value > newest->at))
        return;
    newest->at = m->value;
    if (!engine_metric_label(m, "running_lora_adapters", newest->names, sizeof newest->names))
        newest->names[0] = 0;
    if (!engine_metric_label(m, "max_lora", newest->slots, sizeof newest->slots))
        newest->slots[0] = 0;
}

static void take_started(struct driver *d, double started)
{
    if (d->started > 0 && started > d->started)
        driver_doubt(d);
    d->started = started;
}

/* What an earlier answer said of residents is no longer so. */
static void forget_metrics(struct driver *d)
{
    d->flags &= ~(uint32_t)ENGINE_RESIDENCY_METRIC;
    for (size_t i = 0; i < d->n; i++)
        d->items[i].reported = false;
}

static void read_metrics(struct driver *d, struct slice body, int64_t begun_us,
                         struct newest *newest)
{
    struct engine_metric m;
    d->reported_us = begun_us;
    while (engine_metric_next(&body, &m)) {
        if (named(&m, "process_start_time_seconds"))
            newest->started = isfinite(m.value) ? fmax(newest->started, m.value) : newest->started;
        else if (named(&m, "vllm:lora_adapter_loaded"))
            read_loaded(d, &m);
        else if (named(&m, "vllm:lora_requests_info"))
            read_info(&m, newest);
    }
    if (newest->started > 0)
        take_started(d, newest->started);
    unsigned long max = strtoul(newest->slots, NULL, 10);
    if (max > 0 && max <= ENGINE_SLOTS_MAX + 1)
        d->room = (uint32_t)max - 1;
    running(d, newest->names, begun_us);
}

/* Metrics are a help, not a need: they may be off (404), behind another address, or longer than we
 * read, as they grow with each set of adapters that ever ran together. */
static enum err ask_metrics(struct driver *d, struct err_detail *detail)
{
    struct engine_reply reply;
    int64_t begun = now_us();
    forget_metrics(d);
    enum err e = driver_call(d, "/metrics", NULL, d->call_ms, &reply, detail);
    if (e == OK) {
        struct newest *newest = mem_calloc(1, sizeof *newest);
        if (!newest)
            return ERR_NOMEM;
        read_metrics(d, reply.body, begun, newest);
        mem_free(newest);
    }
    return e == ERR_ENGINE_REFUSED || e == ERR_ENGINE_ANSWER ? OK : e;
}

static enum err vllm_list(struct driver *d, struct err_detail *detail)
{
    struct engine_reply reply;
    TRY(driver_ask_models(d, &reply, detail));
    if (d->reconnected)
        driver_doubt(d);
    d->reconnected = false;
    for (size_t i = 0; i < d->n; i++)
        d->items[i].denied = true;
    if (engine_models(reply.body, listed, d) != OK)
        return err_say(detail, ERR_ENGINE_ANSWER, "GET /v1/models: not a list of models");
    size_t lost = 0, kept = 0;
    for (size_t i = 0; i < d->n; i++) {
        struct engine_item *it = &d->items[i];
        lost += it->offered && it->denied && !it->claimed;
        kept += it->offered && !it->denied;
        if (it->denied)
            lru_doubt(&it->use, now_us());
        it->found = !it->denied && (it->found || !it->offered);
        it->offered = !it->denied;
    }
    if (lost > 0 && kept == 0) /* All of them: it has restarted, and lied about nothing. */
        driver_doubt(d);
    TRY(ask_metrics(d, detail));
    vllm_settle(d);
    return OK;
}

static enum err vllm_offer(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    struct engine_reply reply;
    enum err e = driver_post(d, "/v1/load_lora_adapter", d->load_ms, &reply, detail, "{s:s,s:s}",
                             "lora_name", it->name, "lora_path", it->path);
    bool already =
        e == ERR_ENGINE_REFUSED && reply.status == 400 && strstr(detail->text, " already ");
    if (already)
        e = OK;
    if (e != OK)
        return e;
    it->offered = true;
    it->found = already;           /* By a process before this: our library came after the list. */
    lru_maybe(&it->use, now_us()); /* Newer builds load it at once, older ones when asked for it. */
    return OK;
}

/* Whether what a miss, or a process before this, may have made resident has surely been evicted
 * since: as many others as there are slots were surely used after its last possible use, which was
 * before our time where no request went to it. What nobody else offered either came by a load of
 * ours, if at all. */
static bool surely_gone(const struct driver *d, const struct engine_item *it)
{
    if (it->traffic.in_flight)
        return false;
    if (!it->found && it->traffic.routed_us == 0 && it->traffic.served_us == 0)
        return true;
    size_t others = 0, slots = (size_t)(d->room == UINT32_MAX ? driver_room(d) : d->room) + 1;
    for (size_t i = 0; i < d->n && others < slots; i++)
        others += &d->items[i] != it && d->items[i].use.sure_us > it->use.last_us;
    return others == slots;
}

/* A touch of what may still be there, by a miss or by a process before this, tells nothing of loads
 * unless it took half as long as one: the price of a load must not be that of a hit. */
static void measure(struct driver *d, struct engine_item *it, double ms, bool there, bool fresh,
                    bool gone)
{
    d->took_ms = ms;
    bool first = it->load_ms <= 0 && gone;
    d->was_load = !there && (fresh || first || (it->load_ms > 0 && ms >= it->load_ms / 2));
    if (d->was_load)
        it->load_ms = ms;
}

static enum err vllm_ensure(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    struct engine_reply reply;
    bool there = it->resident, fresh = !it->offered, gone = surely_gone(d, it);
    int64_t begun = now_us();
    d->took_ms = 0;
    d->was_load = !there;
    if (fresh)
        TRY(vllm_offer(d, it, detail));
    gone = gone && !(fresh && it->found); /* Known there before we ever looked. */
    fresh = fresh && !it->found;
    int64_t asked = now_us();
    enum err e = driver_post(d, "/v1/completions", d->load_ms, &reply, detail, "{s:s,s:s,s:i,s:i}",
                             "model", it->name, "prompt", ".", "max_tokens", 1, "temperature", 0);
    d->took_ms = (double)(now_us() - begun) / 1e3;
    if (e == ERR_ENGINE_REFUSED && reply.status == 404)
        it->offered = false;
    if (e == OK && engine_completion(reply.body) != OK) {
        d->unfit = true;
        e = err_say(detail, ERR_ENGINE_ANSWER, "/v1/completions: not a completion");
    }
    if (e != OK)
        return e;
    lru_used(&it->use, asked, now_us());
    it->reported = true;
    measure(d, it, d->took_ms, there, fresh, gone);
    return OK;
}

static enum err vllm_retire(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    struct engine_reply reply;
    enum err e = driver_post(d, "/v1/unload_lora_adapter", d->load_ms, &reply, detail, "{s:s}",
                             "lora_name", it->name);
    if (e != OK && !(e == ERR_ENGINE_REFUSED && reply.status == 404))
        return e;
    it->offered = false;
    lru_doubt(&it->use, now_us());
    return OK;
}

const struct driver_ops driver_vllm = {
    .kind = ENGINE_VLLM,
    .offers = true,
    .room_advice = "start it with --max-loras of one more than the router's slots",
    .list = vllm_list,
    .ensure = vllm_ensure,
    .offer = vllm_offer,
    .retire = vllm_retire,
    .settle = vllm_settle,
    .doubt = vllm_doubt,
};
