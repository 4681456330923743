#include "tests/crash/steward.h"

#include "state/base/rng.h"
#include "tests/crash/load.h"

#include <stdio.h>
#include <string.h>

enum {
    CANCELLED = 1,
    ROTATIONS_MAX = 8
}; /* The ring holds 16: no token of the test may outlive its key. */

void steward_init(struct steward *o, uint64_t seed)
{
    memset(o, 0, sizeof *o);
    o->seed = seed;
    o->known.weight = 1;
    for (unsigned i = 0; i < CHURN_ARMS; i++) {
        (void)snprintf(o->known.arms[i].name, sizeof o->known.arms[i].name, "c%u", i);
        o->known.arms[i].present = true;
        o->known.arms[i].version = 1;
    }
}

static uint64_t draw(struct steward *o, uint64_t n)
{
    return rng_below(o->seed, o->turn++, n);
}

/* Keeps at least the first two, so that the router can always answer. */
static int move_arm(struct steward *o, struct call_channel *admin, struct steward_view *next,
                    struct call_error *error)
{
    struct steward_arm *arm = &next->arms[2 + draw(o, CHURN_ARMS - 2)];
    unsigned version = 0;
    arm->present = !arm->present;
    if (!arm->present)
        return wire_arm_remove(admin, ROUTER_CHURN, arm->name, error);
    arm->version++;
    int status = wire_arm_add(admin, ROUTER_CHURN, arm->name, &version, error);
    if (!status && version != arm->version)
        (void)snprintf(o->wrong, sizeof o->wrong, "arm %s was added as version %u, not %u",
                       arm->name, version, arm->version);
    return status;
}

static int checkpoint(struct steward *o, struct call_channel *admin, struct call_error *error)
{
    uint64_t position = 0;
    int status = wire_checkpoint(admin, &position, error);
    if (!status && position < o->checkpoint)
        (void)snprintf(o->wrong, sizeof o->wrong, "the checkpoint went back from %llu to %llu",
                       (unsigned long long)o->checkpoint, (unsigned long long)position);
    if (!status)
        o->checkpoint = position;
    return status;
}

bool steward_act(struct steward *o, struct call_channel *admin)
{
    struct steward_view next = o->known;
    struct call_error error;
    uint64_t what = draw(o, 100);
    int status;
    if (what < 40) {
        status = move_arm(o, admin, &next, &error);
    } else if (what < 60) {
        next.weight = (double)(1 + draw(o, 64)) / 16;
        status = wire_router_weigh(admin, ROUTER_CHURN, next.weight, &error);
    } else if (what < 80) {
        next.paused = !next.paused;
        status = wire_arm_pause(admin, ROUTER_KEPT, "k3", next.paused, &error);
    } else if (what < 95 || o->rotations == ROTATIONS_MAX) {
        status = checkpoint(o, admin, &error);
    } else {
        o->rotations++;
        status = wire_keys_rotate(admin, &error);
    }
    if (!status) {
        o->known = next;
        o->acked++;
    } else if (status == CALL_UNAVAILABLE ||
               (status == CANCELLED && !error.code[0])) { /* CANCELLED: as in load.c. */
        o->doubtful = next;
        o->in_doubt = true;
    } else {
        (void)snprintf(o->wrong, sizeof o->wrong, "the steward was told %s %s: %.300s",
                       call_status_name(status), error.code, error.message);
    }
    return !status && !o->wrong[0];
}

static const struct wire_arm *find_arm(const struct wire_router *r, const char *name)
{
    for (size_t i = 0; i < r->arms_n; i++)
        if (strcmp(r->arms[i].name, name) == 0)
            return &r->arms[i];
    return NULL;
}

static bool matches(const struct steward_view *v, const struct wire_router *kept,
                    const struct wire_router *churn, char *ret_why, size_t cap)
{
    const struct wire_arm *last = find_arm(kept, "k3");
    ret_why[0] = '\0';
    if (!last || last->paused != v->paused)
        (void)snprintf(ret_why, cap, "arm k3 is %s, not %s",
                       !last          ? "gone"
                       : last->paused ? "paused"
                                      : "active",
                       v->paused ? "paused" : "active");
    if (churn->weight[0] < v->weight || churn->weight[0] > v->weight)
        (void)snprintf(ret_why, cap, "the weight is %g, not %g", churn->weight[0], v->weight);
    for (unsigned i = 0; i < CHURN_ARMS; i++) {
        const struct steward_arm *want = &v->arms[i];
        const struct wire_arm *have = find_arm(churn, want->name);
        if (!have != !want->present || (have && have->version != want->version))
            (void)snprintf(ret_why, cap, "arm %s is %s (version %u), not %s (version %u)",
                           want->name, have ? "there" : "gone", have ? have->version : 0,
                           want->present ? "there" : "gone", want->version);
    }
    return !ret_why[0];
}

bool steward_compare(struct steward *o, const struct wire_router *kept,
                     const struct wire_router *churn)
{
    char why[256], why_not[256];
    bool same = matches(&o->known, kept, churn, why, sizeof why);
    if (!same && o->in_doubt && matches(&o->doubtful, kept, churn, why_not, sizeof why_not)) {
        o->known = o->doubtful;
        same = true;
    }
    o->in_doubt = false;
    if (!same)
        (void)snprintf(o->wrong, sizeof o->wrong, "after a restart %.300s", why);
    return same;
}
