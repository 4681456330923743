/* budget_cost - what a budget or a session costs engine_route: routers on one engine, the first
 * without either, the second with a budget of its own, the third with a tenant's, the fourth with
 * sessions (2,000 of them, without a budget), the fifth with sessions that hold their arm, the
 * sixth with a budget of its own and sessions; 16 arms, contexts of 45 numbers, a true cost
 * reported for one decision in four. Blocks of calls take turns, so that a busy machine slows all
 * alike; printed is the median of the blocks' means, in CPU time of the calling thread. Argument:
 * blocks (30). No decision log. */
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ARMS = 16, FEATURES = 44, BLOCK = 2000, BLOCKS_MAX = 1000, KINDS = 6, SESSIONS = 2000 };
static const char *const kinds[KINDS] = {"free", "budget", "tenant", "session", "held", "both"};

static void configure(struct router_config *c)
{
    bool budget = strcmp(c->name, "budget") == 0 || strcmp(c->name, "both") == 0;
    c->spec = (struct feature_spec){.version = 1, .features_n = FEATURES};
    c->settings.decision_log = DECISION_LOG_KEEP_NONE;
    if (strcmp(c->name, "held") == 0)
        c->settings.switch_cost = .05;
    if (!budget)
        return;
    strcpy(c->settings.budget_metric, "cost_usd");
    c->settings.budget_per_request = .008;
}

static double cost_of(const char *arm)
{
    return .001 * (1 + atof(arm + 1));
}

/* Its price is declared: an arm of unknown cost would be left out, and cost nothing. */
static void add_arm(struct served *s, const char *router, int i)
{
    struct arm_config a;
    memset(&a, 0, sizeof a);
    (void)snprintf(a.name, sizeof a.name, "a%d", i);
    a.prior_mask = 1U << 2;
    a.prior_raw[2] = a.prior_z[2] = cost_of(a.name);
    if (engine_arm_add(s->w, text(router), &a, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
}

static void open_all(struct served *s)
{
    served_open(s);
    for (int k = 0; k < KINDS; k++) {
        served_router(s, kinds[k], configure);
        for (int i = 0; i < ARMS; i++)
            add_arm(s, kinds[k], i);
    }
    if (engine_tenant_set(s->w, text("tenant"), text("acme"), text("cost_usd"), .008, 2,
                          &s->detail) != OK)
        fail_msg("%s", s->detail.text);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* n requests; a quarter of them is reported, outside of what is timed. Microseconds of one. */
static double run(struct served *s, const char *kind, uint64_t seed, int n)
{
    float features[FEATURES];
    double sum = 0;
    char session[32];
    bool in_session =
        strcmp(kind, "session") == 0 || strcmp(kind, "held") == 0 || strcmp(kind, "both") == 0;
    struct route_in in = {.router = text(kind),
                          .tenant = text(strcmp(kind, "tenant") == 0 ? "acme" : ""),
                          .features = features,
                          .features_n = FEATURES,
                          .max_ranked = 1};
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < FEATURES; k++)
            features[k] = (float)rng_uniform(seed + (uint64_t)i, (uint64_t)k) - .5F;
        (void)snprintf(session, sizeof session, "run-%d",
                       (int)(rng_mix(seed, (uint64_t)i) % SESSIONS));
        in.session = text(in_session ? session : "");
        double start = now_us();
        enum err e = served_ask(s, &in);
        sum += now_us() - start;
        if (e != OK)
            fail_msg("%s", s->detail.text);
        if (i % 4 || i > 400)
            continue;
        double cost = cost_of(s->route->arm);
        (void)served_tell(s, "cost_usd", cost, OUTCOME_OK);
        (void)served_tell(s, "reward", .3 + 30 * cost * rng_uniform(seed, (uint64_t)i), OUTCOME_OK);
    }
    return sum / n;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

int main(int argc, char **argv)
{
    static double us[KINDS][BLOCKS_MAX];
    struct served s;
    int blocks = argc > 1 ? atoi(argv[1]) : 30;
    if (blocks < 1 || blocks > BLOCKS_MAX)
        return 2;
    open_all(&s);
    for (int k = 0; k < KINDS; k++)
        (void)run(&s, kinds[k], 1, BLOCK);
    for (int b = 0; b < blocks; b++)
        for (int k = 0; k < KINDS; k++)
            us[k][b] = run(&s, kinds[k], rng_mix(7, (uint64_t)b), BLOCK);
    for (int k = 0; k < KINDS; k++) {
        qsort(us[k], (size_t)blocks, sizeof *us[k], by_value);
        printf("%-8s %7.2f us  (%+.2f)\n", kinds[k], us[k][blocks / 2],
               us[k][blocks / 2] - us[0][blocks / 2]);
    }
    served_close(&s);
    return 0;
}
