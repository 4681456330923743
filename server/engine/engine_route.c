#include "server/engine/adapters_parts.h"

#include "state/base/hash.h"
#include "state/base/rng.h"

#include <math.h>
#include <string.h>

/* One request on its way: what the steps below hand to one another. */
struct routing {
    struct engine_worker *w;
    const struct route_in *in;
    const struct snapshot *snapshot;
    const struct router_view *router;
    int64_t now_us;
    uint8_t id[ID_BYTES];
    double weights[MAX_METRICS];
    const double *overrides; /* weights, or NULL. */
    uint32_t arms_n;         /* In w->arms. */
    uint32_t trials;         /* Behind those, arms that the budget keeps on trial; in them later. */
    enum metric_group group; /* Whose matrix gives the width. */
    uint32_t cooling_n;      /* Candidates left out for cooling. */
    int forced;              /* Index into router->arms of an arm on probe, or -1. */
    int baseline;            /* Index into router->arms, or -1. */
    enum router_mode mode;
    uint32_t policy_arm_uid; /* Of an apprentice: what the policy chose. */
    bool all_cooling;
    bool relaxed;              /* Only predictions keep the limits. */
    struct resident *resident; /* The router's adapters; NULL: its arms are none. */
    const struct board *board; /* How they stand; NULL as long as nobody knows. */
    bool explores;             /* `forced` is not on probe: the slow loop wants it tried. */
    uint32_t explored_uid;     /* What was taken of the slow loop for that; 0: nothing. */
    bool counted; /* The request is, and its side: a choice made again is not another one. */
    uint64_t seed;
    double answer_share;
    struct budget budget;
    /* The context's, for the costs under a budget and the scores, open or not; square is its
     * scratch. */
    bool passing;
    struct score_pass *pass;
    struct score_square *square;
    struct newcomer_ask newcomers;
    float probe_cost; /* Of the arm on probe. */
    double cheapest;  /* Of what might have been chosen, predicted; known with a forced arm. */
    struct decide_result result;
};

/* ---- who may be chosen ---- */

static enum err mark_candidates(struct routing *t, struct err_detail *detail)
{
    const struct route_in *in = t->in;
    const struct router_view *r = t->router;
    uint8_t *marks = t->w->marks;
    if (in->candidates_n > MAX_CANDIDATES || in->exclude_n > MAX_CANDIDATES)
        return err_say(detail, ERR_TOO_LARGE, "candidates and exclude hold at most %d names",
                       MAX_CANDIDATES);
    memset(marks, in->candidates_n ? NOT_A_CANDIDATE : ELIGIBLE, r->arms_n);
    for (size_t i = 0; i < in->candidates_n; i++) {
        char name[NAME_CAP];
        TRY(engine_name(in->candidates[i], "a candidate", name, detail));
        int k = router_view_arm(r, in->candidates[i].data, in->candidates[i].len);
        if (k < 0)
            return err_say(detail, ERR_ARM_NOT_FOUND, "candidate `%s` is no arm of router `%s`",
                           name, r->config->name);
        marks[k] = ELIGIBLE;
    }
    /* Excluding what is not there excludes it: a removed arm must not break its callers. */
    for (size_t i = 0; i < in->exclude_n; i++) {
        char name[NAME_CAP];
        TRY(engine_name(in->exclude[i], "an excluded arm", name, detail));
        int k = router_view_arm(r, in->exclude[i].data, in->exclude[i].len);
        if (k >= 0)
            marks[k] = EXCLUDED;
    }
    return OK;
}

static float arm_charge(const struct routing *t, uint32_t uid)
{
    const struct board_arm *a = t->board ? board_find(t->board, uid) : NULL;
    return a ? a->charge : 0;
}

static void add_arm(struct routing *t, uint32_t index)
{
    const struct arm_view *arm = t->router->arms[index];
    const struct live_count *c = live_get(t->w->engine->live, arm->uid);
    uint64_t issued = c ? atomic_load_explicit(&c->issued, memory_order_relaxed) : 0;
    uint64_t learned = arm->folded[t->group] - arm->stood_in[t->group];
    t->w->arms[t->arms_n++] = (struct eligible){
        .index = index,
        .issued = issued,
        .pending = issued > learned ? issued - learned : 0,
        .charge = arm_charge(t, arm->uid),
    };
}

static bool holds_arm(const struct routing *t)
{
    const struct session_step *s = &t->w->session;
    return s->named && s->view.held_arm && t->mode == MODE_ONLINE &&
           t->router->config->settings.switch_cost > 0;
}

static void try_probe(struct routing *t, uint32_t index)
{
    const struct arm_view *arm = t->router->arms[index];
    struct live_count *c = live_get(t->w->engine->live, arm->uid);
    int64_t interval_us = (int64_t)(t->router->config->settings.cooldown_s * 1e6);
    /* Elsewhere the baseline answers; whoever holds an arm is not sent off to try one; and a probe
     * must be served. */
    bool online = t->mode == MODE_ONLINE && !holds_arm(t) && !t->in->defer;
    if (online && !t->in->dry_run && c && t->forced < 0 && live_probe(c, t->now_us, interval_us))
        t->forced = (int)index;
}

/* [Polar26] POLAR+ explores by force, as often as the slow loop says: the first request that may
 * takes it. Never one whose caller waits for every millisecond, nor one that may never be served;
 * and one that could not keep it does not try again. */
static void try_forced(struct routing *t)
{
    if (!t->resident || t->forced >= 0 || t->in->latency_critical || t->in->dry_run ||
        t->in->defer || t->mode != MODE_ONLINE || holds_arm(t) || t->explored_uid)
        return;
    uint32_t uid = atomic_load_explicit(&t->resident->forced, memory_order_relaxed);
    int k = uid ? router_view_arm_uid(t->router, uid) : -1;
    if (k < 0 || t->w->marks[k] != ELIGIBLE)
        return;
    if (atomic_compare_exchange_strong_explicit(&t->resident->forced, &uid, 0, memory_order_relaxed,
                                                memory_order_relaxed)) {
        t->forced = k;
        t->explores = true;
        t->explored_uid = uid;
    }
}

/* Taken of the slow loop and not used: another request's, unless the next one is there already. */
static void give_forced_back(struct routing *t)
{
    uint32_t none = 0;
    if (t->explored_uid)
        (void)atomic_compare_exchange_strong_explicit(&t->resident->forced, &none, t->explored_uid,
                                                      memory_order_relaxed, memory_order_relaxed);
}

/* Where in w->arms an arm of the router stands; arms_n: nowhere. */
static uint32_t place_of(const struct routing *t, uint32_t index)
{
    uint32_t i = 0;
    while (i < t->arms_n && t->w->arms[i].index != index)
        i++;
    return i;
}

static const char *mode_name(enum router_mode mode)
{
    return mode == MODE_APPRENTICE ? "APPRENTICE" : "LOGGING_ONLY";
}

/* The arm that the request names, else the router's. MODE_ONLINE needs none; what a request names
 * there is recorded. */
static enum err find_baseline(struct routing *t, struct err_detail *detail)
{
    const struct router_view *r = t->router;
    const char *own = r->config->settings.baseline_arm;
    char name[NAME_CAP];
    if (t->in->baseline.len > 0) {
        TRY(engine_name(t->in->baseline, "baseline_arm_id", name, detail));
        t->baseline = router_view_arm(r, name, strlen(name));
        if (t->baseline < 0)
            return err_say(detail, ERR_ARM_NOT_FOUND, "baseline `%s` is no arm of router `%s`",
                           name, r->config->name);
        return OK;
    }
    if (t->mode == MODE_ONLINE)
        return OK;
    if (own[0])
        t->baseline = router_view_arm(r, own, strlen(own));
    if (t->baseline >= 0)
        return OK;
    if (own[0])
        return err_say(detail, ERR_BASELINE_REQUIRED,
                       "router `%s` is in mode %s and its baseline_arm `%s` is no arm of it",
                       r->config->name, mode_name(t->mode), own);
    return err_say(detail, ERR_BASELINE_REQUIRED,
                   "router `%s` is in mode %s and there is no baseline arm", r->config->name,
                   mode_name(t->mode));
}

/* A baseline that is cooling answers all the same: serving beats failing, and each answer may end
 * the cooldown. One that is paused, or that this request rules out, must not. */
static enum err check_baseline(const struct routing *t, struct err_detail *detail)
{
    const struct arm_view *arm = t->router->arms[t->baseline];
    enum ineligible why = arm->paused ? PAUSED : (enum ineligible)t->w->marks[t->baseline];
    if (why == ELIGIBLE)
        return OK;
    if (why == OVER_BUDGET)
        return engine_session_exhausted(t->w, t->router, detail);
    return err_say(detail, ERR_NO_ELIGIBLE_ARM, "the baseline `%s` of router `%s` %s%s",
                   arm->config->name, t->router->config->name, ineligible_text(why),
                   why == PAUSED ? "; resume it or name another" : "");
}

static void add_eligible(struct routing *t)
{
    const struct router_view *r = t->router;
    uint8_t *marks = t->w->marks;
    for (uint32_t i = 0; i < r->arms_n; i++) {
        if (marks[i] != ELIGIBLE)
            continue;
        bool probe_due;
        marks[i] = (uint8_t)eligible_check(r->arms[i], t->now_us, &probe_due);
        if (marks[i] == ELIGIBLE)
            add_arm(t, i);
        t->cooling_n += marks[i] == COOLING;
        if (probe_due)
            try_probe(t, i);
    }
}

/* No arm keeps the limits surely: those that do by their prediction may serve, if a strict budget
 * can pay for them. */
static bool relax_limits(struct routing *t)
{
    uint8_t *marks = t->w->marks;
    uint32_t left_out = t->w->session.left_out;
    for (uint32_t i = 0; i < t->router->arms_n; i++) {
        if (marks[i] != UNCERTAIN)
            continue;
        marks[i] = ELIGIBLE;
        t->relaxed = true;
    }
    if (!t->relaxed)
        return false;
    engine_session_constrain(t->w, t->router, t->in);
    if (t->w->session.view.strict)
        t->w->session.left_out += left_out;
    return true;
}

static enum err find_eligible(struct routing *t, struct err_detail *detail)
{
    const struct router_view *r = t->router;
    uint8_t *marks = t->w->marks;
    TRY(engine_demand(t->w, r, t->in, detail));
    TRY(mark_candidates(t, detail));
    engine_constrain(t->w, r);
    engine_session_constrain(t->w, r, t->in);
    if (t->mode != MODE_ONLINE)
        TRY(check_baseline(t, detail));
    add_eligible(t);
    if (t->arms_n == 0 && relax_limits(t))
        add_eligible(t);
    if (t->arms_n > 0) {
        try_forced(t);
        return OK;
    }
    if (t->cooling_n == 0)
        return engine_session_over(t->w, r) ? engine_session_exhausted(t->w, r, detail)
                                            : engine_say_no_arm(t->w, r, detail);
    /* Every candidate is cooling: serving beats failing, and each answer may end a cooldown. */
    t->all_cooling = true;
    t->forced = -1;
    for (uint32_t i = 0; i < r->arms_n; i++)
        if (marks[i] == COOLING)
            add_arm(t, i);
    return OK;
}

/* Whether `forced` is among the arms that the budget affords; and what it costs. An arm on probe
 * was put behind the others; one to explore is one of them. */
static void keep_forced(struct routing *t)
{
    uint32_t i = t->explores ? place_of(t, (uint32_t)t->forced) : t->arms_n - 1;
    if (i == t->arms_n || t->w->arms[i].index != (uint32_t)t->forced) {
        t->forced = -1;
        return;
    }
    t->probe_cost = t->w->costs[i];
    t->trials = 0;
    if (!t->explores)
        t->arms_n--;
}

/* Once for costs and scores. */
static void open_pass(struct routing *t)
{
    const float *x = t->w->decision.x;
    if (!t->passing)
        score_pass_init(t->pass, &x, 1, t->router->d, t->router->arms_n, t->square);
    t->passing = true;
}

/* Leaves out what the budget does not afford: of the arms, and the one on probe. */
static void afford(struct routing *t)
{
    struct engine_worker *w = t->w;
    bool probing = t->forced >= 0 && !t->explores;
    bool may_try = !probing && t->mode == MODE_ONLINE && !t->all_cooling && !holds_arm(t);
    if (probing)
        add_arm(t, (uint32_t)t->forced);
    open_pass(t);
    t->arms_n =
        engine_afford(w, t->router, &t->budget, t->pass, t->arms_n, may_try ? &t->trials : NULL);
    if (t->forced < 0)
        return;
    t->cheapest = (double)w->costs[0];
    for (uint32_t i = 1; i < t->arms_n; i++)
        t->cheapest = (double)w->costs[i] < t->cheapest ? (double)w->costs[i] : t->cheapest;
    keep_forced(t);
}

/* A logged decision is the caller's own: nothing is spent on the policy's account. */
static enum err pace(struct routing *t, struct err_detail *detail)
{
    char tenant[NAME_CAP] = "";
    if (t->in->tenant.len > 0)
        TRY(engine_name(t->in->tenant, "the tenant", tenant, detail));
    if (t->mode == MODE_LOGGING_ONLY)
        return OK;
    TRY(engine_find_budget(t->w, t->router, tenant, t->now_us, &t->budget, detail));
    if (t->budget.paced)
        afford(t);
    return OK;
}

/* ---- weights ---- */

static enum err fill_weights(struct routing *t, struct err_detail *detail)
{
    const struct route_in *in = t->in;
    if (in->weights_n == 0)
        return OK;
    memset(t->weights, 0, sizeof t->weights);
    t->overrides = t->weights;
    double sum = 0;
    for (size_t i = 0; i < in->weights_n; i++) {
        const struct engine_weight *w = &in->weights[i];
        char name[NAME_CAP];
        TRY(engine_name(w->name, "a weight's metric", name, detail));
        int m = settings_metric_index(t->router->config, w->name.data, w->name.len);
        if (m < 0)
            return err_say(detail, ERR_METRIC_NOT_FOUND, "router `%s` has no metric `%s`",
                           t->router->config->name, name);
        if (!isfinite(w->value))
            return err_say(detail, ERR_NOT_FINITE, "the weight of `%s` is not finite", name);
        if (w->value < 0 || w->value > 1e6)
            return err_say(detail, ERR_OUT_OF_RANGE, "the weight of `%s` is outside [0, 1e6]",
                           name);
        t->weights[m] = w->value;
        sum += w->value;
    }
    if (!(sum > 0))
        return err_say(detail, ERR_INVALID,
                       "the weight of every metric is 0, so that no arm could be better than "
                       "another: give one of them a weight above 0, or leave weights away");
    return OK;
}

/* ---- the choice ---- */

/* The score of arm i alone, less the price of what it costs. */
static void score_one(struct routing *t, uint32_t i)
{
    struct engine_worker *w = t->w;
    struct score *s = &w->decide.scores[i];
    score_arms(t->router, &t->result.utility, w->decision.x, &w->arms[i], 1, t->answer_share, s);
    if (t->budget.paced)
        s->mean = (float)((double)s->mean - t->budget.terms.lambda * (double)w->costs[i]);
}

/* An arm on probe is the only one that could be chosen: no draw, propensity 1, not evaluable. */
static void choose_probe(struct routing *t)
{
    t->arms_n = 0;
    add_arm(t, (uint32_t)t->forced);
    t->w->costs[0] = t->probe_cost;
    score_one(t, 0);
    /* Nobody looked at the others: of this context the account knows where it starts. */
    t->result.menu = (struct pacing_menu){.base = t->cheapest};
    t->w->pmf[0] = 1;
    t->result.left_out = 0;
    t->result.policy = policy_of(&t->router->config->settings);
    t->result.chosen = 0;
    t->result.reason = t->explores ? REASON_ADAPTER_PROBE : REASON_COOLDOWN_PROBE;
    t->result.evaluable = false;
    t->result.propensity = 1;
}

/* Deferred decisions that are not served (yet): nobody can answer them. */
static uint64_t count_deferred(struct live_count *c, bool one_more)
{
    uint64_t deferred = one_more ? atomic_fetch_add_explicit(&c->deferred, 1, memory_order_relaxed)
                                 : atomic_load_explicit(&c->deferred, memory_order_relaxed);
    uint64_t activated = deferred ? atomic_load_explicit(&c->activated, memory_order_relaxed) : 0;
    return deferred > activated ? deferred - activated : 0;
}

/* The seed of this decision, from the count of those before it; and how many callers answer, of
 * the requests that could teach. */
static void count_request(struct routing *t)
{
    struct live_count *c = live_get(t->w->engine->live, t->router->uid);
    uint64_t counter = 0, logged = 0, waiting = 0;
    if (t->counted)
        return;
    if (c) {
        bool counts = !t->in->dry_run;
        counter = atomic_fetch_add_explicit(&c->issued, counts, memory_order_relaxed);
        logged = atomic_fetch_add_explicit(&c->logged, counts && t->mode == MODE_LOGGING_ONLY,
                                           memory_order_relaxed);
        waiting = count_deferred(c, counts && t->in->defer);
    }
    logged += waiting;
    t->seed = rng_mix(t->router->config->settings.seed, counter);
    double asked = counter > logged ? (double)(counter - logged) : 0;
    double share = asked > 0 ? (double)t->router->learned[t->group] / asked : 0;
    t->answer_share = share < 1 ? share : 1;
}

static void count_side(struct routing *t)
{
    struct live_count *c = live_get(t->w->engine->live, t->router->uid);
    bool counts = !t->counted && !t->in->dry_run && !t->in->defer;
    if (c && counts && t->result.side != SIDE_NONE)
        atomic_fetch_add_explicit(&c->sides[t->result.side - SIDE_A], 1, memory_order_relaxed);
}

/* Where in w->arms the baseline stands; a cooling one is put there, with its score. */
static uint32_t place_baseline(struct routing *t)
{
    struct engine_worker *w = t->w;
    uint32_t i = place_of(t, (uint32_t)t->baseline);
    if (i < t->arms_n)
        return i;
    add_arm(t, (uint32_t)t->baseline);
    if (t->budget.paced)
        pacing_costs(t->router, t->budget.id.metric, w->decision.x, t->budget.limits.per_request,
                     &w->arms[i], 1, &w->costs[i]);
    score_one(t, i);
    return i;
}

/* What the policy drew by itself, without newcomers and floor, is what it would have chosen. */
static void serve_baseline(struct routing *t)
{
    struct engine_worker *w = t->w;
    struct decide_result *r = &t->result;
    if (t->mode == MODE_APPRENTICE)
        t->policy_arm_uid = t->router->arms[w->arms[r->policy_choice].index]->uid;
    r->chosen = place_baseline(t);
    memset(w->pmf, 0, t->arms_n * sizeof *w->pmf);
    w->pmf[r->chosen] = 1;
    r->reason = REASON_BASELINE;
    r->evaluable = false;
    r->propensity = 1;
}

/* Where in w->arms the arm of the session's last step stands; arms_n: it may not serve. */
static uint32_t held_arm(const struct routing *t)
{
    uint32_t i = 0, uid = t->w->session.view.held_arm;
    while (i < t->arms_n && t->router->arms[t->w->arms[i].index]->uid != uid)
        i++;
    return i;
}

static void choose(struct routing *t)
{
    count_request(t);
    if (t->forced >= 0) {
        choose_probe(t);
        return;
    }
    const struct ahead *ahead = &t->w->ahead;
    bool shared = t->in->ahead > 0 && ahead->filled && ahead->router == t->router;
    struct decide_input di = {
        .router = t->router,
        .sheet = shared ? ahead->sheet : NULL,
        .sheet_at = shared ? ahead->column[t->in->ahead - 1] : 0,
        .x = t->w->decision.x,
        .weights = t->overrides,
        .utility = &t->result.utility,
        .arms = t->w->arms,
        .n = t->arms_n,
        .answer_share = t->answer_share,
        .seed = t->seed,
        .holds = holds_arm(t),
        .held = holds_arm(t) ? held_arm(t) : 0,
        .pass = t->passing ? t->pass : NULL,
        .cost = t->budget.paced ? t->w->costs : NULL,
        .lambda = t->budget.terms.lambda,
        .budget = t->budget.terms.budget,
        .trials = t->trials,
        .best_only = t->mode == MODE_ONLINE && t->in->max_ranked <= 1 &&
                     t->router->config->settings.decision_log != DECISION_LOG_KEEP_ALL,
    };
    decide(&di, &t->w->decide, t->w->pmf, &t->result);
    t->arms_n += di.trials;
    t->trials = 0;
    if (t->mode != MODE_ONLINE) {
        serve_baseline(t);
        return;
    }
    count_side(t);
    if (t->all_cooling) {
        t->result.reason = REASON_ALL_COOLING;
        t->result.evaluable = false;
    }
}

/* ---- what is kept of it ---- */

static void fill_decision(struct routing *t)
{
    struct decision *d = &t->w->decision;
    const struct arm_view *arm = t->router->arms[t->w->arms[t->result.chosen].index];
    memcpy(d->id, t->id, ID_BYTES);
    d->router_uid = t->router->uid;
    d->arm_uid = arm->uid;
    d->spec_hash = t->router->hash;
    d->issued_us = t->now_us;
    d->propensity = (float)t->result.propensity;
    d->reason = (uint8_t)t->result.reason;
    d->evaluable = t->result.evaluable;
    d->side = (uint8_t)t->result.side;
    d->mode = (uint8_t)t->mode;
    d->deferred = t->in->defer;
    bool trial = t->result.side != SIDE_NONE || t->mode == MODE_APPRENTICE;
    d->epoch = trial ? t->router->trial.epoch : 0;
    d->policy_arm_uid = t->policy_arm_uid;
    d->paced = t->budget.paced && t->mode == MODE_ONLINE;
    d->budget_metric = d->paced ? t->budget.id.metric : 0;
    d->charge = d->paced ? t->w->costs[t->result.chosen] : 0;
    memset(d->tenant, 0, sizeof d->tenant);
    if (d->paced)
        memcpy(d->tenant, t->budget.id.key, sizeof d->tenant);
    d->d = (uint16_t)t->router->d;
}

/* As audited() has it: evaluations take the share that would have been kept anyway. */
static float kept_share(const struct router_settings *s)
{
    return s->decision_log == DECISION_LOG_KEEP_SAMPLE ? (float)s->decision_log_sample : 1;
}

static bool audited(const struct routing *t)
{
    const struct router_settings *s = &t->router->config->settings;
    switch (s->decision_log) {
    case DECISION_LOG_KEEP_ALL:
        return true;
    case DECISION_LOG_KEEP_SAMPLE:
        return (t->result.reason != REASON_EXPLOIT && t->result.reason != REASON_BASELINE) ||
               rng_uniform(t->seed, 3) < (double)kept_share(s);
    case DECISION_LOG_KEEP_NONE:
        return false;
    }
    return true;
}

static float total(const struct routing *t, uint32_t i)
{
    return t->w->decide.scores[i].mean + t->w->decide.scores[i].width;
}

/* Marks the `want` best scores (ties by the order of the arms) beside what is marked; ret_order, or
 * NULL, gets them best first. Repeated selection: rankings are short. */
static uint32_t mark_best(struct routing *t, uint32_t want, uint32_t *ret_order)
{
    uint8_t *marks = t->w->marks;
    for (uint32_t k = 0; k < want; k++) {
        uint32_t best = UINT32_MAX;
        float most = 0;
        for (uint32_t i = 0; i < t->arms_n; i++) {
            float score = total(t, i);
            if (marks[i] || (best != UINT32_MAX && !(score > most)))
                continue;
            best = i;
            most = score;
        }
        if (best == UINT32_MAX)
            return k;
        marks[best] = 1;
        if (ret_order)
            ret_order[k] = best;
    }
    return want;
}

/* What the budget took off an arm's mean. */
static float pacing_term(const struct routing *t, uint32_t i)
{
    return t->budget.paced ? (float)(-t->budget.terms.lambda * (double)t->w->costs[i]) : 0;
}

/* The terms of all arms; of many, those of the chosen one and of the best scores. */
static void audit_terms(struct routing *t, struct audit_record *r)
{
    struct engine_worker *w = t->w;
    bool all = t->arms_n <= AUDIT_TERMS_MAX;
    memset(w->marks, all, t->arms_n); /* Their other meaning is used up by now. */
    if (!all) {
        w->marks[t->result.chosen] = 1;
        (void)mark_best(t, AUDIT_TERMS_MAX - 1, NULL);
    }
    for (uint32_t i = 0; i < t->arms_n; i++) {
        if (!w->marks[i])
            continue;
        w->shown[r->terms_n] = w->arms[i];
        r->terms[r->terms_n++].arm = i;
    }
    score_terms(t->router, &t->result.utility, w->decision.x, w->shown, r->terms_n, t->answer_share,
                w->terms);
    for (uint32_t k = 0; k < r->terms_n; k++) {
        r->terms[k].silence = (float)w->terms[k].silence;
        r->terms[k].charge = (float)w->terms[k].charge;
        r->terms[k].pacing = pacing_term(t, r->terms[k].arm);
        for (uint32_t m = 0; m < r->weights_n; m++)
            r->terms[k].predicted[m] = (float)w->terms[k].predicted[m];
    }
}

static void audit_arms(struct routing *t, struct audit_record *r)
{
    struct engine_worker *w = t->w;
    r->arms = w->audit_arms;
    r->arms_n = t->arms_n;
    for (uint32_t i = 0; i < t->arms_n; i++) {
        uint64_t pending = w->arms[i].pending;
        w->audit_arms[i] = (struct audit_arm){
            .arm_uid = t->router->arms[w->arms[i].index]->uid,
            .propensity = w->pmf[i],
            .mean = w->decide.scores[i].mean,
            .width = w->decide.scores[i].width,
            .pending = pending < UINT32_MAX ? (uint32_t)pending : UINT32_MAX,
        };
    }
}

static void audit_budget(const struct routing *t, struct audit_budget *ret)
{
    const struct budget *b = &t->budget;
    ret->paced = b->paced; /* Else nothing else holds. */
    if (!b->paced)
        return;
    ret->metric = b->id.metric;
    memcpy(ret->tenant, b->id.key, sizeof ret->tenant);
    ret->per_request = b->terms.budget;
    ret->lambda = b->terms.lambda;
    ret->affordable = b->terms.affordable;
    ret->breaker = b->terms.cheapest_only;
    for (uint32_t i = 0; i < t->w->refused_n && i < AUDIT_REFUSED_MAX; i++)
        ret->refused[i] = t->w->refused[i];
    ret->refused_n = t->w->refused_n;
}

/* All but arms and terms. The record is the worker's, with rows for 64 arms: to write all of it for
 * each decision would cost more than to say what holds. */
static void audit_head(struct routing *t, struct audit_record *r)
{
    const struct router_config *c = t->router->config;
    r->decision = t->w->decision;
    r->position = t->snapshot->position;
    r->seed = t->seed;
    r->kept = kept_share(&c->settings);
    memcpy(r->policy, t->result.policy->name, strlen(t->result.policy->name) + 1);
    r->fallback = t->result.fallback;
    r->baseline_uid = t->baseline >= 0 ? t->router->arms[t->baseline]->uid : 0;
    r->weights_n = c->metrics_n;
    r->lower_mask = 0;
    for (uint32_t m = 0; m < r->weights_n; m++) {
        r->weights[m] = fabs(t->result.utility.weight[m]);
        if (c->metrics[m].lower_is_better)
            r->lower_mask = (uint16_t)(r->lower_mask | 1u << m);
    }
    audit_budget(t, &r->budget);
    r->terms_n = 0;
}

static void audit(struct routing *t)
{
    struct engine_worker *w = t->w;
    struct audit_record *r = &w->record;
    if (!audited(t))
        return;
    if (t->result.left_out > 0) /* A record has the scores of all. */
        score_arms(t->router, &t->result.utility, w->decision.x, w->arms, t->arms_n,
                   t->answer_share, w->decide.scores);
    audit_head(t, r);
    audit_arms(t, r);
    audit_terms(t, r);
    buf_reset(&w->audit_bytes);
    audit_encode(r, &w->audit_bytes);
    if (buf_error(&w->audit_bytes) == OK)
        (void)audit_put(w->engine->audit, w->decision.id, w->decision.issued_us,
                        (struct slice){w->audit_bytes.data, w->audit_bytes.len});
}

static void show_terms(const struct score_terms *from, uint32_t metrics_n, struct shown_terms *ret)
{
    for (uint32_t m = 0; m < metrics_n; m++) {
        ret->predicted[m] = (float)from->predicted[m];
        ret->contribution[m] = (float)from->contribution[m];
    }
    ret->silence = (float)from->silence;
    ret->charge = (float)from->charge;
}

/* Best score first. */
static void rank(struct routing *t, struct route_out *out)
{
    struct engine_worker *w = t->w;
    const struct router_config *c = t->router->config;
    uint32_t order[MAX_RANKED]; /* Its first ranked_n are set. */
    out->ranked_n = t->in->max_ranked < t->arms_n ? t->in->max_ranked : t->arms_n;
    memset(w->marks, 0, t->arms_n); /* Their other meaning is used up by now. */
    out->ranked_n = mark_best(t, out->ranked_n, order);
    for (uint32_t k = 0; k < out->ranked_n; k++) {
        uint32_t i = order[k];
        struct ranked_arm *r = &out->ranked[k];
        memcpy(r->name, t->router->arms[w->arms[i].index]->config->name, NAME_CAP);
        r->propensity = (double)w->pmf[i];
        r->mean = (double)w->decide.scores[i].mean;
        r->width = (double)w->decide.scores[i].width;
        r->pending = w->arms[i].pending;
        w->shown[k] = w->arms[i];
    }
    out->weighted_mask = t->result.utility.mask;
    out->metrics_n = t->in->explain ? c->metrics_n : 0;
    for (uint32_t m = 0; m < out->metrics_n; m++)
        memcpy(out->metric_names[m], c->metrics[m].name, NAME_CAP);
    if (!t->in->explain)
        return;
    score_terms(t->router, &t->result.utility, w->decision.x, w->shown, out->ranked_n,
                t->answer_share, w->terms);
    for (uint32_t k = 0; k < out->ranked_n; k++) {
        show_terms(&w->terms[k], c->metrics_n, &out->ranked[k].terms);
        out->ranked[k].terms.pacing = pacing_term(t, order[k]);
    }
}

/* An apprentice's account is charged as if its policy had answered: the price is then the one that
 * a promotion finds. Its true cost never comes. */
static void charge(struct routing *t)
{
    const struct decide_result *r = &t->result;
    uint32_t spent_on = t->mode == MODE_APPRENTICE ? r->policy_choice : r->chosen;
    if (t->budget.paced)
        pacers_charge(t->w->engine->pacers, &t->budget.id, &r->menu, (double)t->w->costs[spent_on]);
}

static void count_served(struct routing *t, const struct arm_view *arm)
{
    struct live_count *c = live_get(t->w->engine->live, arm->uid);
    /* Nobody will learn from a logged pull: counted here, it would be unanswered for ever. */
    if (c && t->mode != MODE_LOGGING_ONLY)
        atomic_fetch_add_explicit(&c->issued, 1, memory_order_relaxed);
    charge(t);
}

static enum err answer(struct routing *t, struct route_out *out, struct err_detail *detail)
{
    struct engine_worker *w = t->w;
    const struct arm_view *arm = t->router->arms[w->arms[t->result.chosen].index];
    memcpy(out->arm, arm->config->name, NAME_CAP);
    out->arm_version = arm->version;
    out->propensity = t->result.propensity;
    out->reason = (int)t->result.reason;
    out->position = t->snapshot->position;
    out->token_len = 0;
    out->decision_id[0] = '\0';
    rank(t, out);
    adapters_show(t->board, arm->uid, t->id, &out->adapter);
    if (t->in->dry_run)
        return OK;
    fill_decision(t);
    enum err e = seal_decision(w->sealer, t->snapshot->keys, t->snapshot->keys_n, &w->decision,
                               out->token, &out->token_len);
    if (e != OK)
        return err_say(detail, e, "the decision could not be sealed");
    id_format(t->id, out->decision_id);
    if (!t->in->defer) {
        count_served(t, arm);
        if (t->resident)
            adapters_tell(w->engine, t->resident, t->router, &w->decision, t->overrides,
                          &out->adapter);
    }
    audit(t);
    return OK;
}

/* Not of a baseline's: its caller chose it. */
static void hold_newcomers_back(struct routing *t)
{
    t->newcomers = (struct newcomer_ask){.metric = -1};
    if (t->mode != MODE_ONLINE || t->all_cooling)
        return;
    t->arms_n = engine_newcomers_filter(t->w, t->router, t->now_us, t->arms_n, &t->newcomers);
    /* There is somebody else: to try an arm is no outage that would have to be served. */
    if (t->forced >= 0 &&
        !engine_newcomers_may_pay(t->w, t->router, &t->newcomers, (uint32_t)t->forced))
        t->forced = -1;
}

enum { RACES = 16 }; /* For one request; each that is lost means that others were served. */

/* Chooses; under a strict budget until what the arm may cost is reserved. */
static enum err choose_payable(struct routing *t, struct err_detail *detail)
{
    for (int i = 0; i < RACES; i++) {
        t->arms_n = t->trials = t->cooling_n = 0;
        t->all_cooling = t->relaxed = false;
        t->forced = -1;
        t->explores = false;
        TRY(find_eligible(t, detail));
        hold_newcomers_back(t);
        TRY(pace(t, detail));
        choose(t);
        t->counted = true;
        uint32_t arm = t->w->arms[t->result.chosen].index;
        if (!engine_newcomers_take(t->w, t->router, &t->newcomers, arm, t->in->dry_run))
            continue;
        if (engine_session_reserve(t->w, t->router, arm, t->in->dry_run)) {
            if (t->w->session.view.strict && t->w->session.left_out)
                t->result.evaluable = false; /* The budget chose among the arms. */
            if (t->newcomers.refused)
                t->result.evaluable = false;
            return OK;
        }
        engine_newcomers_give(t->w, t->router, &t->newcomers, arm);
    }
    return err_say(detail, ERR_OVERLOADED, "many requests race for one budget; try again");
}

static void show_session(const struct routing *t, struct route_out *out)
{
    const struct session_step *s = &t->w->session;
    const struct session_view *v = &s->view;
    out->strict = v->strict;
    out->limits_uncertain = t->relaxed;
    out->reserved = (double)s->reserved * 1e-9;
    out->left = v->strict && v->used < v->budget ? (double)(v->budget - v->used) * 1e-9 : 0;
    out->waits = s->reserved > 0;
}

static void show_more(const struct routing *t, struct route_out *out)
{
    uint32_t chosen = t->result.chosen;
    engine_show_excluded(t->w, t->router, t->all_cooling, t->w->arms[chosen].index, &t->budget,
                         out);
    engine_show_budget(&t->budget, t->router, &out->budget);
    if (!t->budget.paced || t->mode != MODE_ONLINE)
        return;
    out->budget.is_charged = !t->in->dry_run && !t->in->defer;
    out->budget.charged = (double)t->w->costs[chosen];
}

static void find_board(struct routing *t)
{
    if (!t->router->config->settings.residency.policy[0])
        return;
    t->resident = adapters_find(t->w->engine->adapters, t->router->uid);
    if (t->resident)
        t->board = atomic_load_explicit(&t->resident->board, memory_order_acquire);
}

static enum err route_once(struct routing *t, struct route_out *out, struct err_detail *detail)
{
    if (t->in->max_ranked > MAX_RANKED)
        return err_say(detail, ERR_OUT_OF_RANGE, "max_ranked is at most %d", MAX_RANKED);
    TRY(engine_find_router(t->snapshot, t->in->router, &t->router, detail));
    t->mode = t->router->config->settings.mode;
    find_board(t);
    TRY(engine_session_expect(t->w, t->router, t->in, t->now_us, detail));
    TRY(find_baseline(t, detail));
    TRY(engine_take_context(t->w, t->router, t->in, detail));
    engine_session_fetch(t->w);
    TRY(fill_weights(t, detail));
    utility_init(&t->result.utility, t->router, t->overrides);
    t->group = t->result.utility.group;
    if (t->w->session.named && t->in->ahead == 0) { /* While the session is on its way. */
        open_pass(t);
        score_pass_square(t->pass);
    }
    TRY(engine_session_enter(t->w, t->router, t->in->dry_run, detail));
    if (t->in->defer && t->w->session.view.strict)
        return err_say(detail, ERR_INVALID,
                       "defer_activation: a strict session budget pays when it is decided; route "
                       "when it is served");
    TRY(choose_payable(t, detail));
    out->excluded_n = 0;
    out->shows_excluded = t->in->explain || t->in->dry_run;
    if (out->shows_excluded)
        show_more(t, out);
    show_session(t, out);
    return answer(t, out, detail);
}

/* ---- a caller's id, sent again ---- */

static void write_answer(struct engine_worker *w, const struct route_out *o)
{
    struct buf *b = &w->answer;
    buf_reset(b);
    buf_put_u32(b, (uint32_t)o->token_len);
    buf_put(b, o->token, o->token_len);
    buf_put_str(b, o->arm);
    buf_put_u32(b, o->arm_version);
    buf_put_f64(b, o->propensity);
    buf_put_u32(b, (uint32_t)o->reason);
    buf_put_u64(b, o->position);
    buf_put_u16(b, o->weighted_mask);
    buf_put_u32(b, o->metrics_n);
    for (uint32_t m = 0; m < o->metrics_n; m++)
        buf_put_str(b, o->metric_names[m]);
    buf_put_u32(b, o->ranked_n);
    for (uint32_t i = 0; i < o->ranked_n; i++)
        buf_put(b, &o->ranked[i], sizeof o->ranked[i]);
    buf_put_u8(b, o->shows_excluded);
    buf_put_u32(b, o->excluded_n);
    for (uint32_t i = 0; i < o->excluded_n && i < MAX_EXCLUDED; i++)
        buf_put(b, &o->excluded[i], sizeof o->excluded[i]);
    if (o->shows_excluded)
        buf_put(b, &o->budget, sizeof o->budget);
    buf_put_u8(b, o->strict);
    buf_put_f64(b, o->reserved);
    buf_put_f64(b, o->left);
    buf_put(b, &o->adapter, sizeof o->adapter);
}

static void remember_answer(struct engine_worker *w, const uint8_t id[ID_BYTES],
                            const struct route_out *o)
{
    struct buf *b = &w->answer;
    write_answer(w, o);
    if (o->waits) /* Not before it is durable. */
        return;
    if (buf_error(b) == OK)
        live_recent_put(w->engine->live, id, (struct slice){b->data, b->len});
    else
        live_recent_drop(w->engine->live, id);
}

static enum err recall_answer(struct engine_worker *w, const uint8_t id[ID_BYTES],
                              struct route_out *o, struct err_detail *detail)
{
    struct reader r;
    reader_init(&r, (struct slice){w->answer.data, w->answer.len});
    id_format(id, o->decision_id);
    o->token_len = reader_u32(&r);
    if (o->token_len > sizeof o->token)
        return err_say(detail, ERR_INTERNAL, "a remembered answer is damaged");
    reader_copy(&r, o->token, o->token_len);
    reader_str(&r, o->arm, NAME_CAP);
    o->arm_version = reader_u32(&r);
    o->propensity = reader_f64(&r);
    o->reason = (int)reader_u32(&r);
    o->position = reader_u64(&r);
    o->weighted_mask = reader_u16(&r);
    o->metrics_n = reader_u32(&r);
    for (uint32_t m = 0; m < o->metrics_n && m < MAX_METRICS; m++)
        reader_str(&r, o->metric_names[m], NAME_CAP);
    o->ranked_n = reader_u32(&r);
    for (uint32_t i = 0; i < o->ranked_n && i < MAX_RANKED; i++)
        reader_copy(&r, &o->ranked[i], sizeof o->ranked[i]);
    o->shows_excluded = reader_u8(&r) != 0;
    o->excluded_n = reader_u32(&r);
    for (uint32_t i = 0; i < o->excluded_n && i < MAX_EXCLUDED; i++)
        reader_copy(&r, &o->excluded[i], sizeof o->excluded[i]);
    if (o->shows_excluded)
        reader_copy(&r, &o->budget, sizeof o->budget);
    o->strict = reader_u8(&r) != 0;
    o->reserved = reader_f64(&r);
    o->left = reader_f64(&r);
    reader_copy(&r, &o->adapter, sizeof o->adapter);
    return r.failed ? err_say(detail, ERR_INTERNAL, "a remembered answer is damaged") : OK;
}

static enum err begin_id(struct routing *t, struct route_out *out, bool *ret_answered,
                         struct err_detail *detail)
{
    struct engine_worker *w = t->w;
    struct slice id = t->in->decision_id;
    *ret_answered = false;
    if (id.len == 0) {
        uint8_t random[10];
        sealer_random(w->sealer, random, sizeof random);
        id_make_v7(t->now_us, random, t->id);
        return OK;
    }
    if (id_parse(id.data, id.len, t->id) != OK)
        return err_say(detail, ERR_BAD_ID, "decision_id is not a UUID of 36 characters");
    if (t->in->dry_run)
        return OK;
    uint64_t body = hash_bytes(t->in->body.data, t->in->body.len);
    buf_reset(&w->answer);
    switch (live_recent_begin(w->engine->live, t->id, body, t->now_us, &w->answer)) {
    case LIVE_FRESH:
        return OK;
    case LIVE_SAME:
        *ret_answered = true;
        return recall_answer(w, t->id, out, detail);
    case LIVE_OTHER:
        return err_say(detail, ERR_ID_REUSED,
                       "this decision_id was used within the last 60 s with another request");
    case LIVE_BUSY:
        return err_say(detail, ERR_OVERLOADED, "this decision_id is being decided right now");
    }
    return ERR_INTERNAL;
}

enum err engine_route(struct engine_worker *w, const struct route_in *in, struct route_out *ret_out,
                      struct err_detail *detail)
{
    struct routing t;
    struct score_square square;
    struct score_pass pass;
    memset(&t, 0, sizeof t);
    t.w = w;
    t.pass = &pass;
    t.square = &square;
    t.in = in;
    t.forced = t.baseline = -1;
    t.now_us = in->now_us ? in->now_us : clock_unix_us();
    bool answered;
    ret_out->waits = false;
    ret_out->own_id = in->decision_id.len > 0 && !in->dry_run;
    w->session.view.strict = false;
    w->session.reserved = 0;
    TRY(begin_id(&t, ret_out, &answered, detail));
    if (answered)
        return OK;
    t.snapshot = engine_snapshot_acquire(w);
    enum err e = route_once(&t, ret_out, detail);
    if (e != OK || t.forced < 0 || !t.explores)
        give_forced_back(&t);
    if (e == OK && !ret_out->waits)
        engine_learn_label(w->engine, t.router->uid, w->new_label);
    engine_snapshot_release(w);
    if (e != OK) {
        ret_out->waits = false;
        engine_session_give_back(w);
    } else if (w->session.named && !ret_out->waits && !in->dry_run && !in->defer) {
        session_table_step(w->engine->sessions, &w->session.ask.key, w->session.view.hash, t.id,
                           w->decision.arm_uid);
    }
    if (in->decision_id.len > 0 && !in->dry_run) {
        if (e == OK)
            remember_answer(w, t.id, ret_out);
        else
            live_recent_drop(w->engine->live, t.id);
    }
    return e;
}
