#include "server/adapters/driver.h"

#include "server/adapters/engine_answer.h"
#include "state/base/mem.h"

#include <assert.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct driver_ops *ops_of(enum engine_kind kind)
{
    switch (kind) {
    case ENGINE_VLLM:
        return &driver_vllm;
    case ENGINE_SGLANG:
        return &driver_sglang;
    case ENGINE_LLAMACPP:
        return &driver_llamacpp;
    case ENGINE_NONE:
        break;
    }
    return &driver_none;
}

enum err driver_open(const struct driver_config *config, struct driver **ret_driver,
                     struct err_detail *detail)
{
    struct driver *d = mem_calloc(1, sizeof *d);
    if (!d)
        return ERR_NOMEM;
    d->ops = ops_of(config->kind);
    d->flags = d->ops->flags;
    d->unsaid = config->slots == 0;
    d->slots = d->unsaid ? ENGINE_SLOTS_MAX : config->slots;
    d->room = UINT32_MAX;
    d->call_ms = config->call_timeout_ms;
    d->load_ms = config->load_timeout_ms;
    d->again_ms = config->again_ms;
    enum err e =
        config->kind == ENGINE_NONE ? OK : engine_http_open(&config->http, &d->http, detail);
    if (e != OK) {
        driver_close(d);
        return e;
    }
    if (d->http && config->http.token) /* It fits: the above has looked. */
        memcpy(d->token, config->http.token, strlen(config->http.token) + 1);
    *ret_driver = d;
    return OK;
}

void driver_close(struct driver *d)
{
    if (!d)
        return;
    engine_http_close(d->http);
    explicit_bzero(d->token, sizeof d->token);
    mem_free(d->order);
    mem_free(d->by_name);
    mem_free(d);
}

void driver_abort(struct driver *d)
{
    if (d->http)
        engine_http_abort(d->http);
}

static int by_names(const void *a, const void *b)
{
    const struct engine_item *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

enum err driver_reserve(struct driver *d, size_t n)
{
    if (n <= d->cap)
        return OK;
    int64_t *order = mem_realloc(d->order, n * sizeof *order);
    if (order)
        d->order = order;
    struct engine_item **by_name = mem_realloc(d->by_name, n * sizeof *by_name);
    if (by_name)
        d->by_name = by_name;
    if (!order || !by_name)
        return ERR_NOMEM;
    d->cap = n;
    return OK;
}

void driver_take_items(struct driver *d, struct engine_item *items, size_t n)
{
    assert(n <= d->cap);
    for (size_t i = 0; i < n; i++)
        d->by_name[i] = &items[i];
    if (n > 1) /* With nothing in the library yet there is no array either. */
        qsort(d->by_name, n, sizeof *d->by_name, by_names);
    d->items = items;
    d->n = n;
}

void driver_item_init(struct engine_item *it)
{
    it->slot = -1;
    it->number = -1;
}

uint32_t driver_room(const struct driver *d)
{
    /* An LRU of unknown length surely holds what was used last, and no more. */
    if (d->unsaid && d->room == UINT32_MAX && d->ops->kind == ENGINE_VLLM)
        return 1;
    return d->slots < d->room ? d->slots : d->room;
}

void driver_doubt(struct driver *d)
{
    d->room = UINT32_MAX;
    d->lists = false;
    d->started = 0;
    d->numbers = 0;
    if (d->ops->doubt)
        d->ops->doubt(d);
}

void driver_words(const struct driver *d, struct slice body, char *ret_words)
{
    engine_error(body, d->token[0] ? d->token : NULL, ret_words);
}

static enum err call(struct driver *d, const struct engine_ask *ask, struct engine_reply *ret_reply,
                     struct err_detail *detail)
{
    d->requests++;
    d->unfit = false;
    enum err e = engine_http_call(d->http, ask, ret_reply, &d->gone, detail);
    d->reconnected = d->reconnected || (e == OK && ret_reply->reconnected);
    if (e != OK || ret_reply->status == 200)
        return e;
    char words[ENGINE_WORDS_CAP];
    driver_words(d, ret_reply->body, words);
    /* A token that is not taken is so for every adapter. */
    d->unfit = ret_reply->status != 401 && ret_reply->status != 403;
    return err_say(detail, ERR_ENGINE_REFUSED, "%s answered %ld: %s", ask->path, ret_reply->status,
                   words);
}

enum err driver_call(struct driver *d, const char *path, const char *body, uint32_t timeout_ms,
                     struct engine_reply *ret_reply, struct err_detail *detail)
{
    const struct engine_ask ask = {.path = path,
                                   .body = body,
                                   .timeout_ms = timeout_ms,
                                   .again_ms = body || !d->silent ? 0 : d->again_ms};
    return call(d, &ask, ret_reply, detail);
}

enum err driver_ask_models(struct driver *d, struct engine_reply *ret_reply,
                           struct err_detail *detail)
{
    const struct engine_ask ask = {.path = "/v1/models",
                                   .timeout_ms = d->call_ms,
                                   .most = ENGINE_LIST_MAX,
                                   .again_ms = d->silent ? d->again_ms : 0};
    return call(d, &ask, ret_reply, detail);
}

enum err driver_send(struct driver *d, const char *path, json_t *root, uint32_t timeout_ms,
                     struct engine_reply *ret_reply, struct err_detail *detail)
{
    char *body = root ? json_dumps(root, JSON_COMPACT) : NULL;
    enum err e = body ? driver_call(d, path, body, timeout_ms, ret_reply, detail) : ERR_NOMEM;
    free(body); /* jansson's. */
    json_decref(root);
    return e;
}

enum err driver_post(struct driver *d, const char *path, uint32_t timeout_ms,
                     struct engine_reply *ret_reply, struct err_detail *detail, const char *fmt,
                     ...)
{
    va_list ap;
    va_start(ap, fmt);
    json_t *root = json_vpack_ex(NULL, 0, fmt, ap);
    va_end(ap);
    return driver_send(d, path, root, timeout_ms, ret_reply, detail);
}

struct engine_item **driver_named(struct driver *d, const char *name, size_t *ret_n)
{
    size_t low = 0, high = d->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(d->by_name[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    size_t n = 0;
    while (low + n < d->n && strcmp(d->by_name[low + n]->name, name) == 0)
        n++;
    *ret_n = n;
    return n ? d->by_name + low : d->by_name; /* NULL while nothing is listed. */
}

bool driver_has_gone(struct engine_item *const *its, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (its[i]->gone)
            return true;
    return false;
}

/* Somebody else carries the plan out; all that can be said is what was planned. */
static enum err none_list(struct driver *d, struct err_detail *detail)
{
    (void)d;
    (void)detail;
    return OK;
}

static enum err none_ensure(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    (void)detail;
    d->took_ms = 0;
    d->was_load = false;
    it->resident = true;
    return OK;
}

static enum err none_release(struct driver *d, struct engine_item *it, struct err_detail *detail)
{
    (void)d;
    (void)detail;
    it->resident = false;
    return OK;
}

const struct driver_ops driver_none = {
    .kind = ENGINE_NONE,
    .flags = ENGINE_TRUE_UNLOAD | ENGINE_PIN,
    .releases = true,
    .room_advice = "the plan has more than one replica has slots",
    .list = none_list,
    .ensure = none_ensure,
    .release = none_release,
    .retire = none_release,
};
