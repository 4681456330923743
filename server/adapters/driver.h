/* driver.h - one small interface to an inference engine, and what each kind makes of it.
 * Why: engines differ in what "make this adapter resident" is: a pinned load, a request that pulls
 * it in, a slot that last ran it. The reconciler knows only these few verbs and flags.
 * Owns: its HTTP connection. Borrows its items (reconcile.h), whose driver fields it keeps.
 * Threads: one caller at a time; driver_abort from any.
 * Invariant: an item is resident only if the engine must still have it, as far as its protocol lets
 * anyone know; when it may have restarted, nothing is. */
#pragma once

#include "server/adapters/engine_http.h"
#include "server/adapters/reconcile.h"

struct driver_ops;
struct json_t; /* Of jansson. */

struct driver {
    const struct driver_ops *ops;
    struct engine_http *http;     /* NULL for ENGINE_NONE. */
    char token[ENGINE_TOKEN_CAP]; /* To keep it out of words; empty: none. */
    uint32_t slots;               /* As configured; or ENGINE_SLOTS_MAX, and unsaid. */
    bool unsaid;
    uint32_t call_ms, load_ms; /* Deadlines. */
    uint32_t again_ms;         /* engine_ask's, of questions, while the replica is silent. */
    bool silent;               /* Its latest list failed: the reconciler says so. */
    struct engine_item *items; /* (n) */
    size_t n, cap;
    struct engine_item **by_name; /* (n) of cap. */
    int64_t *order;               /* (n) of cap: work space of the mirror. */
    uint32_t flags;               /* Of enum engine_flag. */
    /* Learnt from the engine; driver_doubt forgets it. */
    uint32_t room;       /* Residents it has room for; UINT32_MAX: it does not say. */
    bool lists;          /* SGLang: GET /v1/models names adapters. */
    uint32_t numbers;    /* llama.cpp: its adapters are 0 to numbers - 1. */
    int64_t reported_us; /* vLLM: when its metric was asked. */
    double started;      /* vLLM: when its process says it started; 0: it does not say. */
    uint64_t requests;   /* Calls made, counted. */
    double took_ms;      /* Of the latest ensure. */
    bool was_load;       /* The latest ensure took as long as a load; else the adapter was there. */
    bool reconnected;    /* Some call since the latest list found its connection closed. */
    bool gone;           /* The latest call found no process: refused or reset. */
    bool unfit;          /* The latest failure was of one adapter, not of the replica. */
};

/* All but list may be NULL where the engine has no such thing: then it is done by itself.
 * ERR_ENGINE_DOWN, ERR_ENGINE_ANSWER, ERR_ENGINE_REFUSED with a sentence; d->unfit says whether the
 * replica as a whole can still be used. */
struct driver_ops {
    enum engine_kind kind;
    uint32_t flags;
    bool offers, releases, reloads; /* See struct reconcile_rules. */
    const char *room_advice;        /* What to start the engine with, when there is no room. */
    /* Asks what the engine has; brings every item's facts up to date. */
    enum err (*list)(struct driver *d, struct err_detail *detail);
    /* Makes it resident, or touches it. Sets took_ms and was_load. */
    enum err (*ensure)(struct driver *d, struct engine_item *it, struct err_detail *detail);
    /* It may leave fast memory, and is served as a miss from now on. */
    enum err (*release)(struct driver *d, struct engine_item *it, struct err_detail *detail);
    /* It can be served when asked for. */
    enum err (*offer)(struct driver *d, struct engine_item *it, struct err_detail *detail);
    /* The engine forgets it. */
    enum err (*retire)(struct driver *d, struct engine_item *it, struct err_detail *detail);
    /* No call: resident and endangered from what is known, after traffic or an action. */
    void (*settle)(struct driver *d);
    /* No call: the process may be another one now. */
    void (*doubt)(struct driver *d);
};

extern const struct driver_ops driver_none;
extern const struct driver_ops driver_vllm;
extern const struct driver_ops driver_sglang;
extern const struct driver_ops driver_llamacpp;

struct driver_config {
    enum engine_kind kind;
    struct engine_http_config http;
    uint32_t slots, call_timeout_ms, load_timeout_ms, again_ms;
};

MUST_USE enum err driver_open(const struct driver_config *config, struct driver **ret_driver,
                              struct err_detail *detail);
void driver_close(struct driver *d); /* Takes NULL. */
void driver_abort(struct driver *d);
/* Room for n items: taking as many cannot fail then. */
MUST_USE enum err driver_reserve(struct driver *d, size_t n);
/* The items from now on. */
void driver_take_items(struct driver *d, struct engine_item *items, size_t n);
/* A new item's driver fields. */
void driver_item_init(struct engine_item *it);
/* Residents there is room for: as configured, or fewer. */
uint32_t driver_room(const struct driver *d);
void driver_doubt(struct driver *d);

/* For the drivers. A call whose status is 200 is OK; others are refusals with the engine's words,
 * of the one adapter (unfit) but for 401 and 403. */
MUST_USE enum err driver_call(struct driver *d, const char *path, const char *body,
                              uint32_t timeout_ms, struct engine_reply *ret_reply,
                              struct err_detail *detail);
/* GET /v1/models, which may be longer than other answers. */
MUST_USE enum err driver_ask_models(struct driver *d, struct engine_reply *ret_reply,
                                    struct err_detail *detail);
/* The engine's words of an error, without the token; ret_words[ENGINE_WORDS_CAP]. */
void driver_words(const struct driver *d, struct slice body, char *ret_words);
/* Sends a document, and releases it; NULL: there was no memory for it. */
MUST_USE enum err driver_send(struct driver *d, const char *path, struct json_t *root,
                              uint32_t timeout_ms, struct engine_reply *ret_reply,
                              struct err_detail *detail);
/* Sends the JSON of `fmt` as jansson's json_pack takes it. */
MUST_USE enum err driver_post(struct driver *d, const char *path, uint32_t timeout_ms,
                              struct engine_reply *ret_reply, struct err_detail *detail,
                              const char *fmt, ...);
/* The items of one name: that of the library, and predecessors that are about to be retired. */
struct engine_item **driver_named(struct driver *d, const char *name, size_t *ret_n);
/* Whether one of them is gone: then the name that the engine lists is that one's. */
bool driver_has_gone(struct engine_item *const *its, size_t n);
