#include "server/engine/replicas.h"

#include "state/base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { LOADS_MAX = 1024 }; /* Between two rounds of the slow loop; more are not measured. */

struct replicas {
    struct reconciler *reconciler;
    struct flights *flights;
    pthread_mutex_t lock;
    uint64_t ended, failed; /* Loads, since somebody took the counts. */
    uint32_t loads_n;
    struct {
        uint32_t uid;
        double ms;
    } loads[LOADS_MAX];
};

_Static_assert((int)RESIDENCY_ENGINE_VLLM == (int)ENGINE_VLLM &&
                   (int)RESIDENCY_ENGINE_SGLANG == (int)ENGINE_SGLANG &&
                   (int)RESIDENCY_ENGINE_LLAMACPP == (int)ENGINE_LLAMACPP,
               "one numbering of engines");
_Static_assert((int)REPLICAS_MAX <= (int)ENGINE_REPLICAS_MAX &&
                   (int)REPLICA_URL_CAP <= (int)ENGINE_URL_CAP,
               "what a router may declare can be driven");

static void traffic(void *ctx, uint32_t replica, uint32_t uid, struct engine_traffic *ret)
{
    const struct replicas *r = ctx;
    struct flights_view v = flights_look(r->flights, uid, replica);
    *ret = (struct engine_traffic){v.in_flight, v.departed_us, v.served_us};
}

static void on_load(void *ctx, uint32_t replica, uint32_t uid, double ms, bool ok)
{
    struct replicas *r = ctx;
    (void)replica;
    pthread_mutex_lock(&r->lock);
    r->ended += ok;
    r->failed += !ok;
    if (ok && r->loads_n < LOADS_MAX) { /* How long a failure takes says nothing of a load. */
        r->loads[r->loads_n].uid = uid;
        r->loads[r->loads_n++].ms = ms;
    }
    pthread_mutex_unlock(&r->lock);
}

/* "http://gpu-1:8000" -> "gpu-1-8000": what logs and views call it. */
static void name_of(const char *url, char ret_name[NAME_CAP])
{
    const char *host = strstr(url, "://") + 3;
    size_t len = strlen(host);
    if (len >= NAME_CAP) /* The end tells hosts of one domain apart as little as it must. */
        host += len - (NAME_CAP - 1);
    (void)snprintf(ret_name, NAME_CAP, "%s", host);
    for (char *c = ret_name; *c; c++)
        if (!name_valid(c, 1))
            *c = '-';
}

static enum err open_reconciler(struct replicas *r, const struct replicas_options *o,
                                struct err_detail *detail)
{
    const struct residency_target *t = o->target;
    struct engine_replica list[REPLICAS_MAX];
    char names[REPLICAS_MAX][NAME_CAP];
    for (uint32_t i = 0; i < t->replicas_n; i++) {
        name_of(t->replicas[i], names[i]);
        list[i] = (struct engine_replica){names[i], t->replicas[i], o->token};
    }
    const struct reconciler_config config = {
        .kind = (enum engine_kind)t->engine,
        .replicas_n = t->replicas_n,
        .replicas = list,
        .ca_file = o->ca_file,
        .slots = o->slots,
        .bytes = o->bytes,
        .tick_ms = t->tick_ms,
        .seed = o->seed,
        .calls = {.ctx = r, .traffic = traffic, .on_load = on_load},
        .log = o->log,
        .router = o->router,
    };
    TRY(reconciler_open(&config, &r->reconciler, detail));
    enum err e = reconciler_start(r->reconciler);
    return e == OK ? OK : err_say(detail, e, "the engine's threads cannot be started");
}

enum err replicas_open(const struct replicas_options *o, struct replicas **ret_replicas,
                       struct err_detail *detail)
{
    struct replicas *r = mem_calloc(1, sizeof *r);
    if (!r)
        return err_say(detail, ERR_NOMEM, "no memory for the engine's replicas");
    r->flights = o->flights;
    pthread_mutex_init(&r->lock, NULL);
    enum err e = open_reconciler(r, o, detail);
    if (e != OK) {
        replicas_close(r);
        return e;
    }
    *ret_replicas = r;
    return OK;
}

void replicas_close(struct replicas *r)
{
    if (!r)
        return;
    reconciler_close(r->reconciler);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

enum err replicas_desire(struct replicas *r, const struct engine_adapter *adapters, size_t n,
                         struct err_detail *detail)
{
    return reconciler_desire(r->reconciler, adapters, n, detail);
}

void replicas_take_counts(struct replicas *r, uint64_t *ret_loads, uint64_t *ret_failed)
{
    pthread_mutex_lock(&r->lock);
    *ret_loads = r->ended;
    *ret_failed = r->failed;
    r->ended = r->failed = 0;
    pthread_mutex_unlock(&r->lock);
}

bool replicas_take_load(struct replicas *r, uint32_t *ret_uid, double *ret_ms)
{
    pthread_mutex_lock(&r->lock);
    bool any = r->loads_n > 0;
    if (any) {
        r->loads_n--;
        *ret_uid = r->loads[r->loads_n].uid;
        *ret_ms = r->loads[r->loads_n].ms;
    }
    pthread_mutex_unlock(&r->lock);
    return any;
}

struct reconciler *replicas_status(const struct replicas *r)
{
    return r->reconciler;
}
