/* budget_cost - what a budget or a session costs engine_route: routers on one engine, the first
 * without either, the second with a budget of its own, the third with a tenant's, the fourth with
 * sessions (without a budget), the fifth with sessions that hold their arm, the sixth with a budget
 * of its own and sessions; 16 arms, contexts of 45 numbers. The kinds take turns, so that a busy
 * machine slows all alike. A turn: 50 requests whose true cost and reward are reported, 2,000
 * untimed ones, then 500 between two looks at the clock, CPU time of the calling thread. The
 * untimed ones bring back what the other kinds' turns displaced: the figure is that of a router in
 * service. One look at that clock takes 1.2 us and more: around each request it was a third of the
 * figure. What requests say is made before their time is taken. Printed: of the turns the median
 * and the least, and what each kind has above the first. Arguments: turns (30), live sessions of a
 * router (2,000), asked at random. No decision log. */
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ARMS = 16, FEATURES = 44, KINDS = 6 };
enum { STRETCH = 500, REPORTS = 50, UNTIMED = 4, WARM_UP = 5, TURNS_MAX = 1000 };
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

/* What a stretch of requests asks. */
struct asked {
    float features[STRETCH][FEATURES];
    char session[STRETCH][32];
};

static void prepare(struct asked *a, uint64_t sessions, uint64_t seed)
{
    for (uint64_t i = 0; i < STRETCH; i++) {
        for (uint64_t k = 0; k < FEATURES; k++)
            a->features[i][k] = (float)rng_uniform(seed + i, k) - .5F;
        (void)snprintf(a->session[i], sizeof a->session[i], "run-%06u",
                       (unsigned)(rng_mix(seed, i) % sessions));
    }
}

static void ask(struct served *s, const struct asked *a, const char *kind, int from, int to)
{
    bool in_session =
        strcmp(kind, "session") == 0 || strcmp(kind, "held") == 0 || strcmp(kind, "both") == 0;
    struct route_in in = {.router = text(kind),
                          .tenant = text(strcmp(kind, "tenant") == 0 ? "acme" : ""),
                          .features_n = FEATURES,
                          .max_ranked = 1};
    for (int i = from; i < to; i++) {
        in.features = a->features[i];
        in.session = text(in_session ? a->session[i] : "");
        if (served_ask(s, &in) != OK)
            fail_msg("%s", s->detail.text);
    }
}

/* A turn; microseconds of one request. */
static double run(struct served *s, struct asked *a, uint64_t sessions, const char *kind,
                  uint64_t seed)
{
    prepare(a, sessions, seed);
    for (int i = 0; i < REPORTS; i++) {
        ask(s, a, kind, i, i + 1);
        double cost = cost_of(s->route->arm);
        (void)served_tell(s, "cost_usd", cost, OUTCOME_OK);
        (void)served_tell(s, "reward", .3 + 30 * cost * rng_uniform(seed, (uint64_t)i), OUTCOME_OK);
    }
    for (uint64_t k = 0; k < UNTIMED; k++) {
        ask(s, a, kind, 0, STRETCH);
        prepare(a, sessions, rng_mix(seed, k));
    }
    double start = now_us();
    ask(s, a, kind, 0, STRETCH);
    return (now_us() - start) / STRETCH;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

int main(int argc, char **argv)
{
    static double us[KINDS][TURNS_MAX];
    static struct asked asked;
    struct served s;
    int turns = argc > 1 ? atoi(argv[1]) : 30, sessions = argc > 2 ? atoi(argv[2]) : 2000;
    if (turns < 1 || turns > TURNS_MAX || sessions < 1 || sessions > MAX_SESSIONS / 3)
        return 2;
    open_all(&s);
    for (int t = -WARM_UP; t < turns; t++)
        for (int k = 0; k < KINDS; k++)
            us[k][t < 0 ? 0 : t] =
                run(&s, &asked, (uint64_t)sessions, kinds[k], rng_mix(7, (uint64_t)(t + WARM_UP)));
    printf("%d sessions a router; median of %d turns, least\n", sessions, turns);
    for (int k = 0; k < KINDS; k++) {
        qsort(us[k], (size_t)turns, sizeof *us[k], by_value);
        printf("%-8s %5.2f us (%+.2f)   %5.2f us (%+.2f)\n", kinds[k], us[k][turns / 2],
               us[k][turns / 2] - us[0][turns / 2], us[k][0], us[k][0] - us[0][0]);
    }
    served_close(&s);
    return 0;
}
