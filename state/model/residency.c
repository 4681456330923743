#include "state/model/residency.h"

#include "state/base/mem.h"
#include "state/base/search.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

void residency_defaults(struct residency_settings *ret_settings)
{
    static const struct residency_settings defaults = {
        .policy = "polar",
        .slots = 4,
        .load_weight = .3,
        .load_ref_ms = 1000,
        .bytes_per_ms = 500e3,
        .kappa = 1,
        .epoch_requests = 200,
        .epoch_max = 20000,
        .epoch_loads = 20,
        .optimism = 1,
        .hysteresis = .0003,
        .evictions_max = 8,
        .starve_requests = 500,
        .force_share = .05,
        .force_width = .1,
    };
    *ret_settings = defaults;
}

struct range {
    const char *field;
    double value, low, high;
};

enum err residency_check(const struct residency_settings *s, struct err_detail *detail)
{
    const struct range ranges[] = {
        {"load_weight", s->load_weight, 0, 100},
        {"load_ref_ms", s->load_ref_ms, 1e-3, 1e7},
        {"bytes_per_ms", s->bytes_per_ms, 1, 1e12},
        {"kappa", s->kappa, 0, 1},
        {"slots", s->slots, 0, MAX_ARMS},
        {"epoch_requests", s->epoch_requests, 1, 1e9},
        {"epoch_max", s->epoch_max, 1, 1e9},
        {"epoch_loads", s->epoch_loads, 0, 1e4},
        {"optimism", s->optimism, 0, 1},
        {"hysteresis", s->hysteresis, 0, 1},
        {"evictions_max", s->evictions_max, 1, MAX_ARMS},
        {"starve_requests", s->starve_requests, 0, 1e9},
        {"force_share", s->force_share, 0, 10},
        {"force_width", s->force_width, 0, 1},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const struct range *r = &ranges[i];
        if (!isfinite(r->value))
            return err_say(detail, ERR_NOT_FINITE, "residency.%s is not a finite number", r->field);
        if (r->value < r->low || r->value > r->high)
            return err_say(detail, ERR_OUT_OF_RANGE,
                           "residency.%s is %.10g; it must lie in [%.10g, %.10g]", r->field,
                           r->value, r->low, r->high);
    }
    if (!name_valid(s->policy, strnlen(s->policy, NAME_CAP)))
        return err_say(detail, ERR_BAD_NAME,
                       "residency.policy must be a name, 1 to 64 of A-Z a-z 0-9 . _ / -");
    if (s->slots == 0 && s->bytes == 0)
        return err_say(detail, ERR_INVALID,
                       "residency.slots and residency.bytes are both 0: say how many adapters, or "
                       "how many bytes of them, fit into fast memory");
    return OK;
}

const char *residency_engine_name(enum residency_engine engine)
{
    switch (engine) {
    case RESIDENCY_ENGINE_NONE:
        return "none";
    case RESIDENCY_ENGINE_VLLM:
        return "vllm";
    case RESIDENCY_ENGINE_SGLANG:
        return "sglang";
    case RESIDENCY_ENGINE_LLAMACPP:
        return "llamacpp";
    }
    return "?";
}

/* A scheme and a host, printable; what it names is libcurl's to find out. Credentials would be
 * shown by ListRouters and kept in the journal. */
enum err residency_check_url(const char *url, struct err_detail *detail)
{
    size_t len = url ? strnlen(url, REPLICA_URL_CAP) : REPLICA_URL_CAP;
    const char *host = NULL;
    if (url && strncmp(url, "http://", 7) == 0)
        host = url + 7;
    else if (url && strncmp(url, "https://", 8) == 0)
        host = url + 8;
    bool plain = len < REPLICA_URL_CAP && host && *host;
    for (size_t i = 0; plain && i < len; i++)
        plain = url[i] > ' ' && url[i] < 0x7f;
    if (plain && strchr(host, '@'))
        return err_say(detail, ERR_INVALID,
                       "residency.replicas holds a URL with credentials; they would be shown and "
                       "journalled: the server has engines.token_file for them");
    if (!plain || strpbrk(host, "/?#\\"))
        return err_say(detail, ERR_INVALID,
                       "residency.replicas holds URLs of at most %d bytes, http://HOST:PORT or "
                       "https://HOST:PORT, without a path",
                       REPLICA_URL_CAP - 1);
    return OK;
}

enum err residency_check_target(const struct residency_target *t, struct err_detail *detail)
{
    if (t->replicas_n > REPLICAS_MAX)
        return err_say(detail, ERR_LIMIT, "residency.replicas holds at most %d URLs", REPLICAS_MAX);
    if (t->engine == RESIDENCY_ENGINE_NONE && t->replicas_n > 0)
        return err_say(detail, ERR_INVALID,
                       "residency.replicas is given without an engine: say engine vllm, sglang or "
                       "llamacpp");
    if (t->engine != RESIDENCY_ENGINE_NONE && t->replicas_n == 0)
        return err_say(detail, ERR_INVALID,
                       "residency.engine %s needs residency.replicas, the URL of each",
                       residency_engine_name(t->engine));
    if (t->tick_ms && (t->tick_ms < 10 || t->tick_ms > 600000))
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "residency.tick_ms is %u; it must lie in [10, 600000]", t->tick_ms);
    for (uint32_t i = 0; i < t->replicas_n; i++) {
        TRY(residency_check_url(t->replicas[i], detail));
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(t->replicas[i], t->replicas[k]) == 0)
                return err_say(detail, ERR_INVALID, "residency.replicas holds a URL twice");
    }
    return OK;
}

enum err adapter_check(const struct adapter_config *a, struct err_detail *detail)
{
    if (a->bytes == 0) {
        if (a->rank || a->path[0] || a->base[0] || a->pinned)
            return err_say(detail, ERR_INVALID,
                           "adapter.size_bytes is missing: how much of an "
                           "engine's memory it takes");
        return OK;
    }
    if (a->bytes > 1ULL << 50)
        return err_say(detail, ERR_OUT_OF_RANGE, "adapter.size_bytes is more than 2^50");
    if (a->rank > ADAPTER_RANK_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "adapter.rank is %u; it must lie in [0, %d]",
                       a->rank, ADAPTER_RANK_MAX);
    if (!name_valid(a->base, strnlen(a->base, NAME_CAP)))
        return err_say(
            detail, ERR_BAD_NAME,
            "adapter.base_model must name the base model it belongs to: 1 to 64 of A-Z a-z 0-9 "
            ". _ / -");
    size_t len = strnlen(a->path, ADAPTER_PATH_CAP);
    if (len == ADAPTER_PATH_CAP)
        return err_say(detail, ERR_TOO_LARGE, "adapter.path holds at most %d bytes",
                       ADAPTER_PATH_CAP - 1);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)a->path[i] < 0x20 || a->path[i] == 0x7f)
            return err_say(detail, ERR_INVALID, "adapter.path holds a control character");
    return OK;
}

static size_t row_floats(const struct residency *r)
{
    return (size_t)r->d + r->weights_n;
}

enum err residency_init(struct residency *r, uint32_t d, uint32_t weights_n)
{
    memset(r, 0, sizeof *r);
    r->d = d;
    r->weights_n = weights_n;
    r->window = mem_calloc(WINDOW_MAX * row_floats(r), sizeof *r->window);
    return r->window ? OK : ERR_NOMEM;
}

void residency_done(struct residency *r)
{
    mem_free(r->arms);
    mem_free(r->window);
    memset(r, 0, sizeof *r);
}

/* Where the uid stands, or would. */
static uint32_t place_of(const struct residency *r, uint32_t uid)
{
    return search_records(r->arms, r->arms_n, sizeof *r->arms, offsetof(struct residency_arm, uid),
                          uid);
}

struct residency_arm *residency_find(const struct residency *r, uint32_t uid)
{
    uint32_t at = place_of(r, uid);
    return at < r->arms_n && r->arms[at].uid == uid ? &r->arms[at] : NULL;
}

enum err residency_reserve(struct residency *r, uint32_t more)
{
    if (more > MAX_ARMS || r->arms_n + more > MAX_ARMS)
        return ERR_LIMIT;
    if (r->arms_n + more <= r->arms_cap)
        return OK;
    uint32_t cap = r->arms_cap ? r->arms_cap : 16;
    while (cap < r->arms_n + more)
        cap *= 2;
    struct residency_arm *grown = mem_realloc(r->arms, cap * sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    r->arms = grown;
    r->arms_cap = cap;
    return OK;
}

struct residency_arm *residency_add(struct residency *r, uint32_t uid)
{
    uint32_t at = place_of(r, uid);
    if (at < r->arms_n && r->arms[at].uid == uid)
        return &r->arms[at];
    memmove(&r->arms[at + 1], &r->arms[at], (r->arms_n - at) * sizeof *r->arms);
    r->arms_n++;
    memset(&r->arms[at], 0, sizeof *r->arms);
    r->arms[at].uid = uid;
    return &r->arms[at];
}

void residency_drop(struct residency *r, uint32_t uid)
{
    uint32_t at = place_of(r, uid);
    if (at == r->arms_n || r->arms[at].uid != uid)
        return;
    r->arms_n--;
    memmove(&r->arms[at], &r->arms[at + 1], (r->arms_n - at) * sizeof *r->arms);
}

void residency_sample(struct residency *r, const float *row)
{
    memcpy(r->window + r->window_next * row_floats(r), row, row_floats(r) * sizeof *row);
    r->window_next = (r->window_next + 1) % WINDOW_MAX;
    r->window_n += r->window_n < WINDOW_MAX;
}

bool residency_any(const struct residency *r)
{
    return r->epoch > 0 || r->arms_n > 0;
}

void residency_fold_loads(struct residency *r, const struct residency_load *loads, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct residency_arm *a = residency_add(r, loads[i].uid);
        a->load_ms = loads[i].load_ms;
        a->loads = loads[i].loads;
    }
}

void residency_fold(struct residency *r, const struct residency_update *u)
{
    r->epoch = u->epoch;
    r->requests = u->requests;
    r->length = u->length;
    r->begun_us = u->begun_us;
    r->value = u->value;
    r->uncached = u->uncached;
    for (uint32_t i = 0; i < u->arms_n; i++)
        *residency_add(r, u->arms[i].uid) = u->arms[i];
    if (u->d != r->d || u->weights_n != r->weights_n)
        return;
    for (uint32_t i = 0; i < u->samples_n; i++)
        residency_sample(r, u->samples + i * row_floats(r));
}
