#include "server/lab/evaluate.h"

#include "state/base/mem.h"
#include "state/base/rng.h"

#include <string.h>

static const double replay_least = .001;

/* An evaluation on its way. */
struct run {
    const struct evaluate_options *o;
    const struct logged_source *source;
    struct err_detail *detail;
    struct target *target, *replayed;
    struct evaluation_sums sums;
    uint64_t *logged_n; /* (arms_n) */
    uint32_t *at;       /* (arms_n) */
    double *shares;     /* (2, arms_n): logged, target. */
    struct evaluation *ret;
};

static enum err check_row(const struct run *r, const struct logged_row *row)
{
    const struct router_config *c = r->o->target.config;
    return logged_check(row, r->o->target.arms_n, spec_d(&c->spec), c->metrics_n, r->detail);
}

static enum err next_row(const struct run *r, struct logged_row *ret_row, bool *ret_end)
{
    memset(ret_row, 0, sizeof *ret_row);
    *ret_end = false;
    TRY(r->source->next(r->source->self, ret_row, ret_end, r->detail));
    return *ret_end ? OK : check_row(r, ret_row);
}

static enum err survey(struct run *r)
{
    struct logged_row row;
    bool end;
    uint64_t n = 0;
    double least = 1;
    for (;;) {
        TRY(next_row(r, &row, &end));
        if (end)
            break;
        n++;
        if (row.evaluable && !row.beyond_sample) {
            least = fmin(least, row.propensity);
            r->logged_n[row.arms[row.chosen]]++;
        }
        TRY(lab_watch_row(&r->o->watch, n, 0));
    }
    r->ret->rows = n;
    r->ret->propensity_least = least;
    r->ret->replay_c = fmax(least, replay_least);
    return r->source->rewind(r->source->self, r->detail);
}

/* [Li11] Alg. 2, with rejection for a log that is not uniform: estimate.h. */
static enum err replay_row(struct run *r, const struct logged_row *row, const double *weights,
                           uint64_t i)
{
    struct target_decision d;
    double c = r->ret->replay_c;
    r->ret->replay_below += row->propensity < c;
    TRY(target_decide(r->replayed, row, weights, i, &d));
    if (d.drawn != row->chosen ||
        rng_uniform(rng_mix(r->o->target.seed, ~i), 0) >= c / row->propensity)
        return OK;
    r->ret->replay_accepted++;
    evaluation_add_replay(&r->sums, row, evaluation_utility(&d.utility, row));
    return target_learn(r->replayed, row);
}

static enum err score_row(struct run *r, const struct logged_row *row, uint64_t i)
{
    const double *weights = r->o->weights ? r->o->weights : row->weights;
    struct target_decision d;
    uint32_t left = target_arms_left(r->target, row);
    r->ret->arms_gone += left == 0;
    if (left == 0)
        return OK;
    r->ret->arms_fewer += left < row->arms_n;
    r->ret->priced += row->price.paced;
    TRY(target_decide(r->target, row, weights, i, &d));
    for (uint32_t k = 0; k < row->arms_n; k++)
        r->at[k] = target_arm(r->target, row->arms[k]);
    const struct evaluated_row scored = {row, target_view(r->target), r->at, d.pmf, &d.utility};
    if (!evaluation_add(&r->sums, &scored, UINT16_MAX)) {
        r->ret->unreported++;
        r->ret->unreported_failures +=
            row->status == OUTCOME_ERROR || row->status == OUTCOME_TIMEOUT;
        return OK;
    }
    r->ret->in_sample += r->o->target.frozen && row->issued_us <= r->o->learned_until_us;
    return r->o->no_replay ? OK : replay_row(r, row, weights, i);
}

static enum err score_rows(struct run *r)
{
    struct logged_row row;
    bool end;
    for (uint64_t i = 0;; i++) {
        TRY(next_row(r, &row, &end));
        if (end)
            return OK;
        r->ret->not_evaluable += !row.evaluable;
        r->ret->beyond_sample += row.evaluable && row.beyond_sample;
        if (row.evaluable && !row.beyond_sample)
            TRY(score_row(r, &row, i));
        TRY(target_learn(r->target, &row));
        TRY(lab_watch_row(&r->o->watch, r->ret->rows + i + 1, 2 * r->ret->rows));
    }
}

static enum err run_all(struct run *r)
{
    const struct target_options *t = &r->o->target;
    TRY(target_new(t, &r->target, r->detail));
    if (!r->o->no_replay)
        TRY(target_new(t, &r->replayed, r->detail));
    r->logged_n = mem_calloc(t->arms_n, sizeof *r->logged_n);
    r->at = mem_calloc(t->arms_n, sizeof *r->at);
    r->shares = mem_calloc(2 * (size_t)t->arms_n, sizeof *r->shares);
    if (!r->logged_n || !r->at || !r->shares)
        return ERR_NOMEM;
    r->sums.logged_share = r->shares;
    r->sums.target_share = r->shares + t->arms_n;
    r->sums.logged_n = r->logged_n;
    TRY(survey(r));
    return score_rows(r);
}

enum err evaluate_run(const struct evaluate_options *o, const struct logged_source *source,
                      struct evaluation *ret, double *ret_logged_share, double *ret_target_share,
                      struct err_detail *detail)
{
    struct run *r = mem_calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    struct evaluation result;
    memset(&result, 0, sizeof result);
    *r = (struct run){.o = o, .source = source, .detail = detail, .ret = &result};
    evaluation_init(&r->sums);
    enum err e = run_all(r);
    if (e == OK) {
        evaluation_finish(&r->sums, o->target.config, o->target.arms_n, &result);
        *ret = result;
        for (uint32_t i = 0; i < o->target.arms_n; i++) {
            if (ret_logged_share)
                ret_logged_share[i] = r->sums.logged_share[i];
            if (ret_target_share)
                ret_target_share[i] = r->sums.target_share[i];
        }
    }
    target_free(r->target);
    target_free(r->replayed);
    mem_free(r->logged_n);
    mem_free(r->at);
    mem_free(r->shares);
    mem_free(r);
    return e;
}
