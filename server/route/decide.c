#include "server/route/decide.h"

#include "server/route/probe.h"
#include "state/base/rng.h"

#include <string.h>

/* Who is new among the eligible. */
struct census {
    uint64_t fewest, most; /* Pulls: of the newcomers (UINT64_MAX: there are none), of any arm. */
    uint32_t ties;         /* Newcomers that have the fewest. */
    bool cold;             /* Nobody is more than a newcomer, and somebody has no pull. */
};

static struct census count_newcomers(const struct decide_input *in)
{
    uint32_t pulls = in->router->config->settings.newcomer_pulls;
    struct census c = {.fewest = UINT64_MAX};
    for (uint32_t i = 0; i < in->n; i++) {
        uint64_t issued = in->arms[i].issued;
        if (issued > c.most)
            c.most = issued;
        if (issued >= pulls)
            continue;
        if (issued < c.fewest) {
            c.fewest = issued;
            c.ties = 1;
        } else if (issued == c.fewest) {
            c.ties++;
        }
    }
    c.cold = c.fewest == 0 && c.most <= pulls;
    return c;
}

/* Mass over the newcomers, and the share of the whole that they get. */
static double newcomer_share(const struct decide_input *in, const struct census *c, float *ret_mass)
{
    if (c->ties == 0)
        return 0;
    for (uint32_t i = 0; i < in->n; i++)
        ret_mass[i] = in->arms[i].issued == c->fewest ? 1.0f / (float)c->ties : 0.0f;
    return c->cold ? 1 : 1.0 / in->router->config->settings.newcomer_every;
}

/* Index of the arm that the policy names; n: it names none, or that one is not eligible. */
static uint32_t named_arm(const struct decide_input *in, const struct policy_ops *policy,
                          const char *name)
{
    uint32_t i = in->n;
    if (!policy->names_arm)
        return i;
    for (i = 0; i < in->n; i++)
        if (strcmp(in->router->arms[in->arms[i].index]->config->name, name) == 0)
            break;
    return i;
}

/* Who decides on one side: with which settings, and which arm it names (n: none). */
struct player {
    const struct router_settings *settings;
    const struct policy_ops *policy;
    uint32_t named;
};

static bool has_split(const struct router_settings *s)
{
    return s->mode == MODE_ONLINE && s->split_policy[0];
}

/* Side B has the router's settings where the split says nothing else. */
static void side_b_settings(const struct router_settings *s, struct router_settings *ret)
{
    *ret = *s;
    memcpy(ret->policy, s->split_policy, NAME_CAP);
    if (s->split_alpha >= 0)
        ret->alpha = s->split_alpha;
    if (s->split_epsilon >= 0)
        ret->epsilon = s->split_epsilon;
    if (s->split_fixed_arm[0])
        memcpy(ret->fixed_arm, s->split_fixed_arm, NAME_CAP);
}

static void player_init(struct player *p, const struct decide_input *in,
                        const struct router_settings *settings)
{
    p->settings = settings;
    p->policy = policy_of(settings);
    p->named = named_arm(in, p->policy, settings->fixed_arm);
}

/* Over the arms that have a pull: the others wait for their share as newcomers. */
static void fill_without_fresh(const struct player *p, const struct decide_input *in,
                               struct decide_scratch *scratch, float *ret_mass)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->n; i++)
        if (in->arms[i].issued > 0)
            scratch->tried[n++] = scratch->scores[i];
    const struct policy_input pi = {p->settings, scratch->tried, n, n};
    p->policy->pmf(&pi, scratch->work, ret_mass);
    /* From the back: the mass of the k-th tried arm stands at k <= i. */
    for (uint32_t i = in->n; i-- > 0;)
        ret_mass[i] = in->arms[i].issued > 0 ? ret_mass[--n] : 0;
}

/* Whether arms without a pull wait for their share as newcomers, whatever their score. */
static bool fresh_wait(const struct census *c, const struct policy_ops *policy)
{
    return c->fewest == 0 && !c->cold && !policy->names_arm;
}

static void player_fill(const struct player *p, const struct decide_input *in,
                        const struct census *c, struct decide_scratch *scratch, float *ret_mass)
{
    if (fresh_wait(c, p->policy)) {
        fill_without_fresh(p, in, scratch, ret_mass);
        return;
    }
    const struct policy_input pi = {p->settings, scratch->scores, in->n, p->named};
    p->policy->pmf(&pi, scratch->work, ret_mass);
}

/* The mass of side B too, and which of the two was drawn; widths are those of the drawn one. */
static void fill_side_b(const struct decide_input *in, const struct census *c,
                        struct decide_scratch *scratch, struct player *drawn,
                        struct decide_result *r)
{
    const struct router_settings *a = &in->router->config->settings;
    struct router_settings settings;
    struct player b;
    side_b_settings(a, &settings);
    player_init(&b, in, &settings);
    r->side = rng_uniform(in->seed, 4) < a->split_share ? SIDE_B : SIDE_A;
    bool widen = settings.alpha != a->alpha;
    if (widen)
        score_widen(scratch->scores, in->n, &r->utility, settings.alpha);
    player_fill(&b, in, c, scratch, scratch->policy[1]);
    if (widen && r->side == SIDE_A)
        score_widen(scratch->scores, in->n, &r->utility, a->alpha);
    if (r->side == SIDE_B) {
        drawn->policy = b.policy;
        drawn->named = b.named;
    }
}

/* Below this looking for the best costs more than it saves. */
enum { LARGE_POOL = 64 };

/* A budget's menu, a session's comparison and the widths of another side need every score. */
static bool best_is_enough(const struct decide_input *in, const struct policy_ops *policy)
{
    return in->best_only && in->n > LARGE_POOL && !in->cost && !in->holds && !policy->weighs_all &&
           !has_split(&in->router->config->settings);
}

static void fill_scores(const struct decide_input *in, const struct census *c,
                        const struct policy_ops *policy, struct score *scores,
                        struct decide_result *r)
{
    if (!in->utility)
        utility_init(&r->utility, in->router, in->weights);
    else if (in->utility != &r->utility)
        r->utility = *in->utility;
    r->left_out = 0;
    if (best_is_enough(in, policy))
        r->left_out = in->n - score_best(in->router, &r->utility, in->x, in->arms, in->n,
                                         in->answer_share, fresh_wait(c, policy), scores);
    else if (in->sheet && score_sheet_has(in->sheet, in->sheet_at, in->router, &r->utility, in->x))
        score_sheet_read(in->sheet, in->sheet_at, &r->utility, in->arms, in->n + in->trials,
                         in->answer_share, scores);
    else if (in->pass)
        score_arms_with(in->pass, in->router, &r->utility, in->x, in->arms, in->n + in->trials,
                        in->answer_share, scores);
    else
        score_arms(in->router, &r->utility, in->x, in->arms, in->n + in->trials, in->answer_share,
                   scores);
}

/* Scores, and the mass of one side or of both; returns the arm that the drawn side's policy names.
 */
static uint32_t fill_policy(const struct decide_input *in, const struct census *c,
                            struct decide_scratch *scratch, struct decide_result *r)
{
    const struct router_settings *s = &in->router->config->settings;
    struct player drawn;
    player_init(&drawn, in, s);
    fill_scores(in, c, drawn.policy, scratch->scores, r);
    if (in->cost) /* Under a split the menu is side A's, whose window it enters. */
        pacing_apply(in->lambda, in->cost, in->n, drawn.policy == &policy_linucb ? 1 : 0,
                     scratch->scores, scratch->menu, &r->menu);
    for (uint32_t i = in->n; in->cost && i < in->n + in->trials; i++)
        scratch->scores[i].mean =
            (float)((double)scratch->scores[i].mean - in->lambda * (double)in->cost[i]);
    player_fill(&drawn, in, c, scratch, scratch->policy[0]);
    r->side = SIDE_NONE;
    if (has_split(s))
        fill_side_b(in, c, scratch, &drawn, r);
    r->policy = drawn.policy;
    r->fallback = drawn.policy->names_arm && drawn.named == in->n;
    return drawn.named;
}

/* The arm whose interval of the cumulative mass holds u. */
static uint32_t pick(const float *pmf, uint32_t n, double u)
{
    double total = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!(pmf[i] > 0))
            continue;
        last = i;
        total += (double)pmf[i];
        if (u < total)
            return i;
    }
    return last; /* Rounding left u at or above the sum. */
}

static bool best_mean(const struct score *scores, uint32_t n, uint32_t chosen)
{
    for (uint32_t i = 0; i < n; i++)
        if (scores[i].mean > scores[chosen].mean)
            return false;
    return true;
}

/* Step 4. Where there is one arm it is the only one, whoever holds it. */
static void keep_held(const struct decide_input *in, const struct decide_scratch *scratch,
                      float *pmf, struct decide_result *r)
{
    if (in->held == in->n) {
        bool newcomer = r->reason == REASON_NEWCOMER;
        r->reason = newcomer ? r->reason : REASON_SESSION_MOVED;
        return;
    }
    if (in->n == 1)
        return;
    double held = (double)scratch->scores[in->held].mean, best = held;
    for (uint32_t i = 0; i < in->n; i++)
        if ((double)scratch->scores[i].mean > best)
            best = (double)scratch->scores[i].mean;
    if (best - held > in->router->config->settings.switch_cost)
        return;
    memset(pmf, 0, in->n * sizeof *pmf);
    pmf[in->held] = 1;
    r->chosen = in->held;
    r->reason = REASON_SESSION;
    r->side = SIDE_NONE;
    r->evaluable = false;
    r->propensity = 1;
}

/* Arms on trial take their share off all others. */
static void try_one(const struct decide_input *in, struct decide_scratch *scratch, float *pmf,
                    struct decide_result *r)
{
    uint32_t n = in->n;
    double share = probe_trials(in->cost + n, in->trials, in->budget, scratch->probe + n);
    for (uint32_t i = 0; i < n; i++)
        pmf[i] = (float)((1 - share) * (double)pmf[i]);
    memcpy(pmf + n, scratch->probe + n, in->trials * sizeof *pmf);
    double u = rng_uniform(in->seed, 6);
    if (u < share) {
        r->chosen = n + pick(scratch->probe + n, in->trials, u);
        r->reason = REASON_PROBE;
    }
    r->propensity = (double)pmf[r->chosen];
}

void decide(const struct decide_input *in, struct decide_scratch *scratch, float *ret_pmf,
            struct decide_result *ret_result)
{
    const struct router_settings *s = &in->router->config->settings;
    struct decide_result *r = ret_result;
    const struct census census = count_newcomers(in);
    uint32_t named = fill_policy(in, &census, scratch, r);
    double share = newcomer_share(in, &census, scratch->newcomer);
    double floor = s->explore_floor;
    double probes = probe_fill(in->router, in->arms, in->n, in->cost, in->budget, scratch->probe);
    const float *pa = scratch->policy[0], *pb = scratch->policy[1];
    for (uint32_t i = 0; i < in->n; i++) {
        double own = (double)pa[i];
        if (r->side != SIDE_NONE)
            own = (1 - s->split_share) * own + s->split_share * (double)pb[i];
        double mass = (1 - share) * own;
        if (share > 0)
            mass += share * (double)scratch->newcomer[i];
        mass = (1 - probes) * mass + (double)scratch->probe[i];
        ret_pmf[i] = (float)((1 - floor) * mass + floor / in->n);
    }
    double u = rng_uniform(in->seed, 2);
    r->policy_choice = pick(r->side == SIDE_B ? pb : pa, in->n, u);
    if (in->n == 1) {
        r->chosen = 0;
        r->reason = REASON_ONLY_ELIGIBLE;
    } else if (rng_uniform(in->seed, 0) < floor) {
        r->chosen = (uint32_t)(u * in->n);
        r->reason = REASON_EXPLORE;
    } else if (rng_uniform(in->seed, 5) < probes) {
        r->chosen = pick(scratch->probe, in->n, u * probes);
        r->reason = REASON_PROBE;
    } else if (rng_uniform(in->seed, 1) < share) {
        r->chosen = pick(scratch->newcomer, in->n, u);
        r->reason = REASON_NEWCOMER;
    } else {
        r->chosen = r->policy_choice;
        r->reason = r->chosen == named                             ? REASON_FIXED
                    : best_mean(scratch->scores, in->n, r->chosen) ? REASON_EXPLOIT
                                                                   : REASON_EXPLORE;
    }
    r->evaluable = share < 1 || floor > 0;
    r->propensity = (double)ret_pmf[r->chosen];
    struct score *chosen = &scratch->scores[r->chosen]; /* It is shown. */
    if (chosen->deviation < 0)
        score_arms(in->router, &r->utility, in->x, &in->arms[r->chosen], 1, in->answer_share,
                   chosen);
    if (in->trials)
        try_one(in, scratch, ret_pmf, r);
    if (in->holds)
        keep_held(in, scratch, ret_pmf, r);
}
