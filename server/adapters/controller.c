#include "server/adapters/controller.h"

#include "state/base/mem.h"
#include "state/base/rng.h"

#include <math.h>
#include <string.h>

static const double load_step = .2; /* Of the EWMA of load times. */
static const double rate_step = .2; /* Of the EWMA of shares: five epochs, as the window. */
enum { EXACT_SETS = 50000 };
enum { SEED_SAMPLE = 0x5a3b }; /* Apart from the seed's other uses. */

/* Beside state.arms[i]: what is declared, what engines say, what this epoch counts. */
struct slot {
    uint64_t bytes;
    bool declared; /* To this controller: after a restart the state knows arms before it does. */
    bool pinned, resident, owed, dirty;
    bool untold;    /* A load of it was measured that nobody was told of. */
    bool wide;      /* Forcing may pick it. */
    uint64_t pulls; /* In this epoch. */
    double value;   /* As the last plan saw it. */
};

struct controller {
    struct residency_settings settings;
    const struct cache_policy_ops *ops;
    struct residency state;
    struct slot *slots; /* (state.arms_cap at least) */
    uint32_t slots_cap;
    bool stale;     /* controller_stale. */
    uint64_t place; /* controller_place. */
    uint64_t asked; /* Requests of this epoch. */
    float *sample;  /* (EPOCH_SAMPLE_MAX, stride) */
    uint32_t sample_n;
    size_t stride;
    uint64_t force_left, force_every, force_at; /* Forced pulls of this epoch; every so many
                                                 requests; the next one is due then. */
    struct residency_arm *changed;              /* (slots_cap), of the last update. */
    struct residency_load *loads;               /* (slots_cap), of the last controller_loads. */
    /* Of the adapters that were measured, summed: whole numbers, so that a sum does not depend on
     * what came and went before. */
    uint64_t known_us, known_bytes;
    bool untold; /* Of a slot. */
};

static uint64_t first_length(const struct controller *c)
{
    uint64_t n = c->settings.epoch_requests;
    return c->ops->doubles && n > 1 ? n / 2 : n;
}

static enum err copy_state(struct residency *to, const struct residency *from)
{
    TRY(residency_reserve(to, from->arms_n));
    struct residency_arm *arms = to->arms;
    float *window = to->window;
    uint32_t cap = to->arms_cap;
    *to = *from;
    to->arms = arms;
    to->window = window;
    to->arms_cap = cap;
    if (from->arms_n)
        memcpy(arms, from->arms, from->arms_n * sizeof *arms);
    memcpy(window, from->window, WINDOW_MAX * ((size_t)from->d + from->weights_n) * sizeof *window);
    return OK;
}

/* Slots and the update's list grow with the state. */
static enum err grow_slots(struct controller *c)
{
    if (c->slots_cap >= c->state.arms_cap)
        return OK;
    struct slot *slots = mem_realloc(c->slots, c->state.arms_cap * sizeof *slots);
    if (!slots)
        return ERR_NOMEM;
    memset(slots + c->slots_cap, 0, (c->state.arms_cap - c->slots_cap) * sizeof *slots);
    c->slots = slots;
    struct residency_arm *changed = mem_realloc(c->changed, c->state.arms_cap * sizeof *changed);
    if (!changed)
        return ERR_NOMEM;
    c->changed = changed;
    struct residency_load *loads = mem_realloc(c->loads, c->state.arms_cap * sizeof *loads);
    if (!loads)
        return ERR_NOMEM;
    c->loads = loads;
    c->slots_cap = c->state.arms_cap;
    return OK;
}

static enum err open_controller(struct controller *c, const struct residency *state, uint32_t d,
                                uint32_t weights_n)
{
    TRY(residency_init(&c->state, d, weights_n));
    if (state && state->d == d && state->weights_n == weights_n)
        TRY(copy_state(&c->state, state));
    TRY(grow_slots(c));
    c->stride = (size_t)d + weights_n;
    c->sample = mem_alloc(EPOCH_SAMPLE_MAX * c->stride * sizeof *c->sample);
    if (!c->sample)
        return ERR_NOMEM;
    if (c->state.length == 0)
        c->state.length = first_length(c);
    return OK;
}

enum err controller_new(const struct residency_settings *settings, const struct residency *state,
                        uint32_t d, uint32_t weights_n, struct controller **ret_controller)
{
    const struct cache_policy_ops *ops = cache_policy_find(settings->policy);
    if (!ops)
        return ERR_INVALID;
    struct controller *c = mem_calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->settings = *settings;
    c->ops = ops;
    enum err e = open_controller(c, state, d, weights_n);
    if (e != OK) {
        controller_free(c);
        return e;
    }
    *ret_controller = c;
    return OK;
}

void controller_free(struct controller *c)
{
    if (!c)
        return;
    residency_done(&c->state);
    mem_free(c->slots);
    mem_free(c->changed);
    mem_free(c->loads);
    mem_free(c->sample);
    mem_free(c);
}

static bool too_large(const struct controller *c, uint32_t at)
{
    uint64_t most = c->place ? c->place : c->settings.bytes;
    return most && c->slots[at].bytes > most;
}

/* There is a place that the plan does not fill, and an adapter that fits into it. */
static bool has_room(const struct controller *c)
{
    const struct residency_settings *s = &c->settings;
    uint64_t n = 0, bytes = 0, least = UINT64_MAX;
    for (uint32_t i = 0; i < c->state.arms_n; i++) {
        uint64_t size = c->slots[i].bytes;
        if (size == 0)
            continue;
        if (c->state.arms[i].desired) {
            n++;
            bytes += size;
        } else if (size < least && !too_large(c, i)) {
            least = size;
        }
    }
    return least < UINT64_MAX && (s->slots == 0 || n < s->slots) &&
           (s->bytes == 0 || (bytes <= s->bytes && least <= s->bytes - bytes));
}

/* There is something to choose from: a policy that admits its misses waits for those. */
static bool can_plan(const struct controller *c)
{
    return c->state.epoch > 0 && !c->ops->keep && (!c->ops->values || c->state.window_n > 0);
}

/* Whether the set should be solved anew when there is more room than there was: no request has to
 * bring it about. */
static bool awaits_room(const struct controller *c)
{
    bool waits = c->ops->fixed;
    for (uint32_t i = 0; i < c->state.arms_n && !waits; i++)
        waits = c->slots[i].pinned && !c->state.arms[i].desired;
    return waits || (can_plan(c) && has_room(c));
}

/* 0 is no bound. Less of it, while a replica is away or has yet to come, waits for the epoch's end:
 * nothing should be dropped for the length of a hiccup. */
static bool is_more(uint64_t room, uint64_t before)
{
    return before && (!room || room > before);
}

enum err controller_set(struct controller *c, const struct residency_settings *settings)
{
    const struct cache_policy_ops *ops = cache_policy_find(settings->policy);
    if (!ops)
        return ERR_INVALID;
    bool more =
        is_more(settings->slots, c->settings.slots) || is_more(settings->bytes, c->settings.bytes);
    bool other = ops != c->ops;
    c->settings = *settings;
    c->ops = ops;
    c->stale |= other || (more && awaits_room(c));
    return OK;
}

void controller_place(struct controller *c, uint64_t bytes)
{
    c->place = bytes;
}

/* ---- arms ---- */

/* Index of the arm, or state.arms_n. */
static uint32_t index_of(const struct controller *c, uint32_t uid)
{
    const struct residency_arm *a = residency_find(&c->state, uid);
    return a ? (uint32_t)(a - c->state.arms) : c->state.arms_n;
}

/* What an arm adds to the sums of what was measured: taken out before it changes, and back in. */
static void pool(struct controller *c, uint32_t at, bool in)
{
    const struct residency_arm *a = &c->state.arms[at];
    if (a->loads == 0 || c->slots[at].bytes == 0)
        return;
    uint64_t us = (uint64_t)(fmin(fmax(a->load_ms, 0), 1e9) * 1e3), bytes = c->slots[at].bytes;
    c->known_us += in ? us : -us;
    c->known_bytes += in ? bytes : -bytes;
}

enum err controller_arm(struct controller *c, uint32_t uid, uint64_t bytes, bool pinned)
{
    uint32_t at = index_of(c, uid);
    if (at == c->state.arms_n) {
        TRY(residency_reserve(&c->state, 1));
        TRY(grow_slots(c));
        at = (uint32_t)(residency_add(&c->state, uid) - c->state.arms);
        memmove(&c->slots[at + 1], &c->slots[at], (c->state.arms_n - 1 - at) * sizeof *c->slots);
        memset(&c->slots[at], 0, sizeof *c->slots);
        c->slots[at].dirty = true;
    }
    struct slot *s = &c->slots[at];
    bool fresh = !s->declared && !c->state.arms[at].desired;
    c->stale |= s->declared ? pinned != s->pinned : fresh && pinned;
    c->stale |= fresh && c->ops->fixed && bytes > 0;
    s->declared = true;
    pool(c, at, false);
    s->bytes = bytes;
    pool(c, at, true);
    s->pinned = pinned;
    return OK;
}

void controller_remove(struct controller *c, uint32_t uid)
{
    uint32_t at = index_of(c, uid);
    if (at == c->state.arms_n)
        return;
    bool leaves = c->state.arms[at].desired;
    pool(c, at, false);
    residency_drop(&c->state, uid);
    memmove(&c->slots[at], &c->slots[at + 1], (c->state.arms_n - at) * sizeof *c->slots);
    c->stale |= leaves && awaits_room(c);
}

void controller_resident(struct controller *c, uint32_t uid, bool resident)
{
    uint32_t at = index_of(c, uid);
    if (at == c->state.arms_n)
        return;
    struct residency_arm *a = &c->state.arms[at];
    c->slots[at].resident = resident;
    if (resident && a->waiting) {
        a->waiting = 0;
        c->slots[at].dirty = true;
    }
}

void controller_measured(struct controller *c, uint32_t uid, double load_ms)
{
    uint32_t at = index_of(c, uid);
    if (at == c->state.arms_n || !(load_ms >= 0) || !(load_ms < 1e9))
        return;
    struct residency_arm *a = &c->state.arms[at];
    pool(c, at, false);
    a->load_ms += (a->loads ? load_step : 1) * (load_ms - a->load_ms);
    a->loads++;
    pool(c, at, true);
    c->slots[at].dirty = c->slots[at].untold = c->untold = true;
}

bool controller_has_loads(const struct controller *c)
{
    return c->untold;
}

/* They stay dirty: an update has an arm whole. */
uint32_t controller_loads(struct controller *c, const struct residency_load **ret_loads)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->state.arms_n; i++) {
        const struct residency_arm *a = &c->state.arms[i];
        if (c->slots[i].untold)
            c->loads[n++] = (struct residency_load){a->uid, a->load_ms, a->loads};
        c->slots[i].untold = false;
    }
    c->untold = false;
    *ret_loads = c->loads;
    return n;
}

/* By its size where nobody has measured it: at the rate that the others' loads had, in which what
 * was declared counts as one adapter of its size. */
static double load_ms_of(const struct controller *c, uint32_t at)
{
    const struct residency_arm *a = &c->state.arms[at];
    double bytes = (double)c->slots[at].bytes;
    if (bytes <= 0)
        return 0;
    if (a->loads)
        return a->load_ms;
    double known_ms = (double)c->known_us / 1e3, known_bytes = (double)c->known_bytes;
    return bytes * (bytes / c->settings.bytes_per_ms + known_ms) / (bytes + known_bytes);
}

static double price_of(const struct controller *c, uint32_t at)
{
    return c->settings.load_weight * load_ms_of(c, at) / c->settings.load_ref_ms;
}

struct controller_arm_view controller_look(const struct controller *c, uint32_t uid)
{
    uint32_t at = index_of(c, uid);
    if (at == c->state.arms_n)
        return (struct controller_arm_view){0};
    const struct residency_arm *a = &c->state.arms[at];
    const struct slot *s = &c->slots[at];
    return (struct controller_arm_view){
        .uid = uid,
        .adapter = s->bytes > 0,
        .resident = s->resident || s->bytes == 0,
        .desired = a->desired,
        .pinned = s->pinned,
        .owed = s->owed,
        .load_ms = load_ms_of(c, at),
        .price = price_of(c, at),
        .pulls = a->pulls,
        .misses = a->misses,
        .waiting = a->waiting,
        .loads = a->loads,
        .rate = a->rate,
        .value = s->value,
    };
}

double controller_charge(const struct controller *c, uint32_t uid)
{
    uint32_t at = index_of(c, uid);
    if (c->ops->oblivious || at == c->state.arms_n || c->slots[at].resident)
        return 0;
    return price_of(c, at);
}

/* ---- requests ---- */

uint32_t controller_force(struct controller *c, bool critical)
{
    if (c->force_left == 0 || critical || c->asked < c->force_at)
        return 0;
    uint32_t best = c->state.arms_n;
    for (uint32_t i = 0; i < c->state.arms_n; i++)
        if (c->slots[i].wide &&
            (best == c->state.arms_n || c->state.arms[i].pulls < c->state.arms[best].pulls))
            best = i;
    if (best == c->state.arms_n)
        return 0;
    c->force_left--;
    c->force_at += c->force_every;
    return c->state.arms[best].uid;
}

/* [Vitter85], "Random Sampling with a Reservoir", algorithm R: every request of the epoch is as
 * likely to be in the sample, however many there will be. */
static void offer_sample(struct controller *c, const float *row)
{
    uint64_t at = c->sample_n;
    if (at == EPOCH_SAMPLE_MAX)
        at = rng_below(c->settings.seed ^ SEED_SAMPLE, c->state.requests + c->asked, c->asked);
    else
        c->sample_n++;
    if (at < EPOCH_SAMPLE_MAX)
        memcpy(c->sample + at * c->stride, row, c->stride * sizeof *row);
}

/* Evicts by the policy's order until the arm fits, pins aside; nothing if it never will. */
static void admit(struct controller *c, uint32_t at)
{
    const struct residency_settings *s = &c->settings;
    if (too_large(c, at))
        return;
    for (;;) {
        uint32_t n = 0, victim = c->state.arms_n;
        uint64_t bytes = c->slots[at].bytes;
        for (uint32_t i = 0; i < c->state.arms_n; i++) {
            if (!c->slots[i].resident || c->slots[i].bytes == 0)
                continue;
            n++;
            bytes += c->slots[i].bytes;
            if (!c->slots[i].pinned &&
                (victim == c->state.arms_n ||
                 c->ops->keep(&c->state.arms[i]) < c->ops->keep(&c->state.arms[victim])))
                victim = i;
        }
        if ((s->slots == 0 || n < s->slots) && (s->bytes == 0 || bytes <= s->bytes))
            break;
        if (victim == c->state.arms_n)
            return;
        c->slots[victim].resident = false;
        c->slots[victim].dirty = true;
        c->state.arms[victim].desired = false;
    }
    c->slots[at].resident = true;
    c->state.arms[at].desired = true;
    c->state.arms[at].waiting = 0;
}

void controller_pull(struct controller *c, uint32_t uid, bool resident, const float *row)
{
    c->asked++;
    offer_sample(c, row);
    uint32_t at = index_of(c, uid);
    if (at == c->state.arms_n)
        return;
    struct residency_arm *a = &c->state.arms[at];
    struct slot *s = &c->slots[at];
    s->dirty = true;
    s->pulls++;
    a->pulls++;
    a->used_at = c->state.requests + c->asked;
    if (resident || s->bytes == 0)
        return;
    a->misses++;
    a->waiting++;
    if (c->ops->keep)
        admit(c, at);
}

/* ---- the end of an epoch ---- */

static double mean_load_ms(const struct controller *c)
{
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->state.arms_n; i++)
        if (c->slots[i].bytes) {
            sum += load_ms_of(c, i);
            n++;
        }
    return n ? sum / n : 0;
}

uint64_t controller_asked(const struct controller *c)
{
    return c->asked;
}

bool controller_due(const struct controller *c, int64_t now_us)
{
    double least_us = c->settings.epoch_loads * mean_load_ms(c) * 1e3;
    return c->asked >= c->state.length && (double)(now_us - c->state.begun_us) >= least_us;
}

static void count_rates(struct controller *c)
{
    for (uint32_t i = 0; i < c->state.arms_n; i++) {
        struct residency_arm *a = &c->state.arms[i];
        double share = c->asked ? (double)c->slots[i].pulls / (double)c->asked : 0;
        double rate = a->rate + rate_step * (share - a->rate);
        rate = rate < 1e-6 ? 0 : rate; /* So that an idle arm's entry comes to rest. */
        c->slots[i].dirty |= rate != a->rate;
        c->slots[i].pulls = 0;
        a->rate = rate;
    }
}

struct controller_window controller_window(const struct controller *c)
{
    return (struct controller_window){.rows = c->state.window,
                                      .n = c->ops->values ? c->state.window_n : 0,
                                      .stride = c->stride,
                                      .bonus = c->ops->believes || c->ops->forces};
}

struct controller_window controller_close(struct controller *c)
{
    for (uint32_t i = 0; i < c->sample_n; i++)
        residency_sample(&c->state, c->sample + i * c->stride);
    count_rates(c);
    c->state.requests += c->asked;
    c->asked = 0;
    return controller_window(c);
}

/* What one plan works with, in one allocation. */
struct planning {
    struct controller *c;
    struct cache_input in;
    const struct residency_arm **arms;
    double *cost;
    uint64_t *bytes;
    double *gain;
    float *q;
    uint8_t *flags, *next;
    void *block;
};

static enum err open_planning(struct planning *p, struct controller *c, uint32_t contexts)
{
    size_t n = c->state.arms_n;
    size_t each = sizeof *p->arms + sizeof *p->cost + sizeof *p->bytes + sizeof *p->gain +
                  contexts * sizeof *p->q + sizeof *p->flags + sizeof *p->next;
    p->c = c;
    p->block = mem_calloc(n ? n : 1, each);
    if (!p->block)
        return ERR_NOMEM;
    p->arms = p->block;
    p->cost = (double *)(p->arms + n);
    p->bytes = (uint64_t *)(p->cost + n);
    p->gain = (double *)(p->bytes + n);
    p->q = (float *)(p->gain + n);
    p->flags = (uint8_t *)(p->q + n * contexts);
    p->next = p->flags + n;
    return OK;
}

/* One at a time: whoever waited longest, if longer than anybody should. */
static void find_owed(struct controller *c)
{
    uint32_t worst = c->state.arms_n;
    for (uint32_t i = 0; i < c->state.arms_n; i++) {
        c->slots[i].owed = false;
        if (c->slots[i].bytes == 0 || c->slots[i].resident || c->settings.starve_requests == 0 ||
            c->ops->fixed || c->state.arms[i].waiting < c->settings.starve_requests ||
            too_large(c, i)) /* Else it would be the worst for good, and nobody's turn came. */
            continue;
        if (worst == c->state.arms_n || c->state.arms[i].waiting > c->state.arms[worst].waiting)
            worst = i;
    }
    if (worst < c->state.arms_n)
        c->slots[worst].owed = true;
}

static void fill_planning(struct planning *p, uint32_t contexts)
{
    struct controller *c = p->c;
    const struct residency_settings *s = &c->settings;
    for (uint32_t i = 0; i < c->state.arms_n; i++) {
        const struct slot *slot = &c->slots[i];
        p->arms[i] = &c->state.arms[i];
        p->cost[i] = price_of(c, i);
        /* More than there is: it fits into no set, and no sum of it overflows. */
        p->bytes[i] = too_large(c, i) ? s->bytes + 1 : slot->bytes;
        p->flags[i] = (uint8_t)((slot->bytes ? 0 : SOLVE_ALWAYS) |
                                (slot->pinned || slot->owed ? SOLVE_MUST : 0) |
                                (slot->resident && slot->bytes ? SOLVE_RESIDENT : 0));
    }
    p->in = (struct cache_input){
        .settings = s,
        .solve = {.n = c->state.arms_n,
                  .contexts = contexts,
                  .q = p->q,
                  .cost = p->cost,
                  .bytes = p->bytes,
                  .flags = p->flags,
                  .slots = s->slots,
                  .budget = s->bytes,
                  .load_share = s->kappa / (double)c->state.length,
                  .hysteresis = s->hysteresis,
                  .evictions = s->evictions_max,
                  .exact_sets = EXACT_SETS},
        .arms = p->arms,
        .requests = c->state.requests,
    };
}

/* q = clip(neutral + optimism * bonus), and which arms are still wide. */
static void fill_worth(struct planning *p, const struct controller_values *v, uint32_t contexts)
{
    struct controller *c = p->c;
    float share = c->ops->believes ? (float)c->settings.optimism : 0;
    for (uint32_t a = 0; a < v->arms_n; a++) {
        uint32_t at = index_of(c, v->uids[a]);
        if (at == c->state.arms_n)
            continue;
        const float *neutral = v->neutral + (size_t)a * contexts;
        const float *bonus = v->bonus ? v->bonus + (size_t)a * contexts : NULL;
        float *q = p->q + (size_t)at * contexts;
        double wide = 0;
        for (uint32_t x = 0; x < contexts; x++) {
            float worth = neutral[x] + (bonus ? share * bonus[x] : 0);
            worth = worth < v->low[x] ? v->low[x] : worth;
            q[x] = worth > v->high[x] ? v->high[x] : worth;
            wide += bonus ? (double)bonus[x] : 0;
        }
        c->slots[at].wide = contexts && wide / contexts > c->settings.force_width;
    }
}

/* E = ceil(c_f N log(2 + t + L)) forced pulls, spread over the epoch. */
static void set_forcing(struct controller *c)
{
    c->force_left = 0;
    if (!c->ops->forces)
        return;
    double t = (double)c->state.requests, length = (double)c->state.length;
    double pulls = ceil(c->settings.force_share * c->state.arms_n * log(2 + t + length));
    c->force_left = (uint64_t)(pulls < length ? pulls : length);
    c->force_every = c->force_left ? c->state.length / c->force_left : 1;
    c->force_at = c->force_every / 2;
}

static void next_epoch(struct controller *c, int64_t now_us)
{
    c->state.epoch++;
    c->state.begun_us = now_us;
    uint64_t length = c->ops->doubles ? 2 * c->state.length : c->settings.epoch_requests;
    if (c->ops->doubles && length > c->settings.epoch_max)
        length = c->settings.epoch_max;
    c->state.length = length ? length : 1;
    c->sample_n = 0;
}

static bool desires(const struct planning *p)
{
    for (uint32_t i = 0; i < p->c->state.arms_n; i++)
        if (p->c->state.arms[i].desired != (p->next[i] != 0))
            return true;
    return false;
}

static void adopt(struct planning *p, struct controller_plan *ret)
{
    struct controller *c = p->c;
    for (uint32_t i = 0; i < c->state.arms_n; i++) {
        struct residency_arm *a = &c->state.arms[i];
        bool is = p->flags[i] & SOLVE_RESIDENT, will = p->next[i];
        if (will && !is) {
            ret->loads++;
            ret->load_price += p->cost[i];
        }
        ret->evictions += is && !will;
        if (a->desired != will) {
            a->desired = will;
            c->slots[i].dirty = true;
        }
    }
    c->state.value = ret->solve.value;
    c->state.uncached = ret->solve.uncached;
}

/* For people: why an adapter has its slot, or has none. */
static void keep_values(struct planning *p, bool valued)
{
    if (valued)
        solve_gains(&p->in.solve, p->next, p->gain);
    for (uint32_t i = 0; i < p->c->state.arms_n; i++)
        p->c->slots[i].value = valued ? p->gain[i] : 0;
}

static void fill_update(struct controller *c, uint32_t samples, struct residency_update *u)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->state.arms_n; i++)
        if (c->slots[i].dirty) {
            c->changed[n++] = c->state.arms[i];
            c->slots[i].dirty = c->slots[i].untold = false;
        }
    c->untold = false; /* Whatever is untold is dirty. */
    *u = (struct residency_update){
        .epoch = c->state.epoch,
        .requests = c->state.requests,
        .length = c->state.length,
        .begun_us = c->state.begun_us,
        .value = c->state.value,
        .uncached = c->state.uncached,
        .arms_n = n,
        .arms = c->changed,
        .samples_n = samples,
        .d = c->state.d,
        .weights_n = c->state.weights_n,
        .samples = c->sample,
    };
}

/* The policy's choice, in p->next. */
static enum err choose_set(struct planning *p, const struct controller_values *values,
                           uint32_t contexts, struct solve_result *ret)
{
    fill_planning(p, contexts);
    if (values)
        fill_worth(p, values, contexts);
    return p->c->ops->plan(&p->in, p->next, ret);
}

enum err controller_plan(struct controller *c, const struct controller_values *values,
                         int64_t now_us, struct controller_plan *ret_plan)
{
    struct controller_plan plan = {0};
    struct planning p = {0};
    uint32_t contexts = values ? c->state.window_n : 0, samples = c->sample_n;
    enum err e = open_planning(&p, c, contexts);
    next_epoch(c, now_us);
    if (e == OK) {
        find_owed(c);
        e = choose_set(&p, values, contexts, &plan.solve);
    }
    if (e == OK) {
        adopt(&p, &plan);
        keep_values(&p, values != NULL);
        c->stale = false;
    }
    set_forcing(c);
    mem_free(p.block);
    fill_update(c, samples, &plan.update);
    *ret_plan = plan;
    return e;
}

bool controller_stale(const struct controller *c)
{
    return c->stale;
}

enum err controller_amend(struct controller *c, const struct controller_values *values,
                          struct controller_plan *ret_plan)
{
    struct controller_plan plan = {0};
    struct planning p = {0};
    uint32_t contexts = values ? c->state.window_n : 0;
    enum err e = open_planning(&p, c, contexts);
    if (e == OK)
        e = choose_set(&p, values, contexts, &plan.solve);
    if (e == OK) {
        bool changes = desires(&p);
        adopt(&p, &plan);
        keep_values(&p, values != NULL);
        c->stale = false;
        c->state.epoch += changes;
        if (changes)
            fill_update(c, 0, &plan.update);
    }
    mem_free(p.block);
    *ret_plan = plan;
    return e;
}

uint32_t controller_desired(const struct controller *c, uint32_t *ret_uids, uint32_t cap)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->state.arms_n; i++)
        if (c->state.arms[i].desired) {
            if (n < cap)
                ret_uids[n] = c->state.arms[i].uid;
            n++;
        }
    return n;
}

const struct residency *controller_state(const struct controller *c)
{
    return &c->state;
}

const struct cache_policy_ops *controller_policy(const struct controller *c)
{
    return c->ops;
}
