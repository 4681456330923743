/* Requests of a batch that are looked at together decide as they would one by one. */
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <stdio.h>
#include <string.h>

enum { FEATURES = 12, ARMS = 9, ROUNDS = 12, ASKED = ROUNDS * ENGINE_AHEAD };

struct told {
    enum err err;
    char arm[NAME_CAP], sentence[sizeof(struct err_detail)];
    double propensity;
    int reason;
    uint32_t ranked_n;
    struct ranked_arm ranked[ARMS];
};

static void configure(struct router_config *c)
{
    c->spec = (struct feature_spec){.version = 1, .task_slots = 3, .features_n = FEATURES};
    c->tasks_n = 1; /* Known: one that is learned in the background is known some time later. */
    memcpy(c->tasks[0], "code", sizeof "code");
    c->settings.seed = 5;
    c->settings.explore_floor = .1;
    c->settings.decision_log = DECISION_LOG_KEEP_NONE;
}

static void open_routers(struct served *s)
{
    static const char *const routers[] = {"one", "two"};
    served_open(s);
    for (int r = 0; r < 2; r++) {
        served_router(s, routers[r], configure);
        for (int i = 0; i < ARMS; i++) {
            char name[NAME_CAP];
            (void)snprintf(name, sizeof name, "arm-%d", i);
            served_arm(s, routers[r], name);
        }
    }
}

struct asked {
    struct route_in in[ASKED];
    float x[ASKED][FEATURES];
};

/* Of every kind that matters: two routers, contexts of many numbers and of few, a label, weights of
 * its own, a dry run, a ranking, and mistakes. */
static void make_requests(struct asked *a)
{
    static const struct engine_weight weight = {.name = {"quality", 7}, .value = 2};
    memset(a, 0, sizeof *a);
    for (uint32_t i = 0; i < ASKED; i++) {
        struct route_in *in = &a->in[i];
        for (uint32_t k = 0; k < FEATURES && (i % 11 != 3 || k == 0); k++)
            a->x[i][k] = (float)rng_uniform(i, k) - .5F;
        in->router = text(i % 7 == 2 ? "two" : i == 40 ? "none" : "one");
        in->features = a->x[i];
        in->features_n = i == 21 ? FEATURES - 1 : FEATURES;
        in->task = i % 5 == 1 ? text("code") : text("");
        in->weights = &weight;
        in->weights_n = i % 13 == 6;
        in->dry_run = i % 17 == 4;
        in->max_ranked = i == 60 ? MAX_RANKED + 1 : i % 3 * 4;
        in->now_us = 1;
    }
}

static void keep(const struct served *s, enum err e, struct told *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->err = e;
    if (e != OK) {
        memcpy(ret->sentence, s->detail.text, strlen(s->detail.text));
        return;
    }
    memcpy(ret->arm, s->route->arm, strlen(s->route->arm));
    ret->propensity = s->route->propensity;
    ret->reason = s->route->reason;
    ret->ranked_n = s->route->ranked_n;
    for (uint32_t k = 0; k < ret->ranked_n; k++) {
        const struct ranked_arm *r = &s->route->ranked[k];
        memcpy(ret->ranked[k].name, r->name, strlen(r->name));
        ret->ranked[k].propensity = r->propensity;
        ret->ranked[k].mean = r->mean;
        ret->ranked[k].width = r->width;
        ret->ranked[k].pending = r->pending;
    }
}

/* Every third answer is rated, in the middle of a group of the requests as well: what was read for
 * the rest of it is old then. */
static void ask_all(struct asked *a, bool together, struct told *ret_told)
{
    struct served s;
    open_routers(&s);
    for (uint32_t i = 0; i < ASKED; i++) {
        if (together && i % ENGINE_AHEAD == 0) {
            struct route_in *list[ENGINE_AHEAD];
            for (uint32_t k = 0; k < ENGINE_AHEAD; k++)
                list[k] = &a->in[i + k];
            engine_route_ahead(s.w, list, ENGINE_AHEAD);
        }
        enum err e = served_ask(&s, &a->in[i]);
        keep(&s, e, &ret_told[i]);
        if (e == OK && !a->in[i].dry_run && i % 3 == 0 && i / ENGINE_AHEAD % 2 == 0)
            (void)served_tell(&s, "quality", rng_uniform(9, i), OUTCOME_OK);
        if (together && (i + 1) % ENGINE_AHEAD == 0)
            engine_route_ahead_done(s.w);
    }
    served_close(&s);
}

static void requests_looked_at_together_decide_as_one_by_one(void **state)
{
    (void)state;
    static struct asked a;
    static struct told alone[ASKED], together[ASKED];
    uint32_t ahead = 0, refused = 0;
    make_requests(&a);
    ask_all(&a, false, alone);
    make_requests(&a);
    ask_all(&a, true, together);
    for (uint32_t i = 0; i < ASKED; i++) {
        assert_string_equal(together[i].sentence, alone[i].sentence);
        assert_string_equal(together[i].arm, alone[i].arm);
        assert_memory_equal(&together[i], &alone[i], sizeof alone[i]);
        ahead += a.in[i].ahead > 0;
        refused += alone[i].err != OK;
    }
    assert_int_equal(refused, 3);
    assert_true(ahead > ASKED / 2);
}

/* What was held is let go, whoever comes after. */
static void a_group_may_be_left_without_having_been_asked(void **state)
{
    (void)state;
    static struct asked a;
    struct route_in *list[] = {&a.in[0], &a.in[1]};
    struct served s;
    make_requests(&a);
    open_routers(&s);
    for (uint32_t n = 0; n <= 2; n++) {
        engine_route_ahead(s.w, list, n);
        engine_route_ahead_done(s.w);
    }
    a.in[0].ahead = 0;
    assert_int_equal(served_ask(&s, &a.in[0]), OK);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_looked_at_together_decide_as_one_by_one),
        cmocka_unit_test(a_group_may_be_left_without_having_been_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
