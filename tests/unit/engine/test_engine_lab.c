/* The jobs on an engine that routed and was told how it went. */
#include "server/engine/engine_lab.h"
#include "state/base/rng.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/engine/served.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void explores(struct router_config *c)
{
    c->settings.explore_floor = .4;
    c->spec.task_slots = 0;
    c->spec.text_block = false;
    c->spec.scalars = false;
    c->spec.features_n = 1;
    c->metrics[settings_metric_index(c, "cost_usd", 8)].weight = .1;
}

/* Routes n times; the arm's odds depend on the feature; every fourth decision stays unreported. */
static void play(struct served *s, int n)
{
    for (int i = 0; i < n; i++) {
        float feature = i % 2 ? .5F : -.5F;
        struct route_in in = {.features = &feature, .features_n = 1};
        assert_int_equal(served_ask(s, &in), OK);
        bool is_a = strcmp(s->route->arm, "a") == 0;
        if (i % 4 == 3)
            continue;
        struct engine_weight m[2] = {
            {text("reward"), rng_uniform(5, (uint64_t)i) < (is_a == (i % 2 == 1) ? .8 : .3)},
            {text("cost_usd"), is_a ? .002 : .001}};
        struct report_in report = {
            .token = {s->route->token, s->route->token_len}, .metrics = m, .metrics_n = 2};
        assert_int_equal(served_report(s, &report), OK);
    }
}

static void open_played(struct served *s, int n)
{
    served_open(s);
    served_router(s, "default", explores);
    served_arm(s, "default", "a");
    served_arm(s, "default", "b");
    served_router(s, "other", NULL);
    served_arm(s, "other", "x");
    struct route_in in = {.router = text("other"), .text = text("not of this router")};
    assert_int_equal(served_ask(s, &in), OK);
    play(s, n);
}

static struct lab_request *request_of(struct served *s, enum lab_kind kind)
{
    struct lab_request *q = calloc(1, sizeof *q);
    assert_non_null(q);
    const struct snapshot *p = engine_snapshot_acquire(s->w);
    q->config = *snapshot_router(p, "default", 7)->config;
    engine_snapshot_release(s->w);
    q->kind = kind;
    q->seed = 1;
    q->steps = 3;
    (void)snprintf(q->served, sizeof q->served, "cost_usd");
    return q;
}

/* Starts it, frees the request, waits until it has ended; returns it held. */
static struct job *run(struct served *s, struct lab_request *q, struct job_info *ret_info)
{
    uint64_t id;
    if (engine_lab_start(s->w, q, &id, &s->detail) != OK)
        fail_msg("%s", s->detail.text);
    free(q);
    struct job *job = jobs_hold(engine_jobs(s->e), id);
    assert_non_null(job);
    for (;;) {
        job_info(engine_jobs(s->e), job, ret_info);
        if (ret_info->state != JOB_QUEUED && ret_info->state != JOB_RUNNING)
            return job;
        served_nap(1);
    }
}

static struct job *run_well(struct served *s, struct lab_request *q)
{
    struct job_info info;
    struct job *job = run(s, q, &info);
    if (info.state != JOB_DONE)
        fail_msg("%s", info.detail.text);
    return job;
}

static void let_go(struct served *s, struct job *job)
{
    jobs_release(engine_jobs(s->e), job);
}

/* The lines of an export, in a file of the test's directory. */
static void save_output(struct served *s, uint64_t id, const char *path)
{
    uint8_t *bytes = malloc(LAB_OUTPUT_CHUNK);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    bool end = false;
    for (uint64_t at = 0; !end;) {
        size_t n;
        assert_int_equal(engine_lab_output(s->e, id, at, bytes, &n, &end, &s->detail), OK);
        assert_int_equal(fwrite(bytes, 1, n, f), n);
        at += n;
    }
    assert_int_equal(fclose(f), 0);
    free(bytes);
}

static void same_estimate(const struct estimated *a, const struct estimated *b)
{
    assert_true(a->value == b->value);
    assert_true(a->interval.low == b->interval.low && a->interval.high == b->interval.high);
}

static void same_evaluation(const struct evaluation *a, const struct evaluation *b)
{
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->used, b->used);
    assert_true(a->ess == b->ess);
    assert_int_equal(a->verdict, b->verdict);
    assert_int_equal(a->warnings, b->warnings);
    assert_int_equal(a->replay_accepted, b->replay_accepted);
    same_estimate(&a->utility.dr, &b->utility.dr);
    same_estimate(&a->utility.snips, &b->utility.snips);
    same_estimate(&a->utility.logged, &b->utility.logged);
    same_estimate(&a->metric[0].dr, &b->metric[0].dr);
}

static void the_log_is_joined_with_its_outcomes(void **unused)
{
    (void)unused;
    struct served s;
    open_played(&s, 200);
    struct job *job = run_well(&s, request_of(&s, LAB_EVALUATE));
    const struct lab_result *r = engine_lab_result(job);
    assert_true(r->has_log);
    assert_int_equal(r->log.decisions, 200);
    assert_int_equal(r->log.outcomes, 150);
    assert_int_equal(r->log.outcomes_unknown + r->log.damaged + r->log.gone + r->log.beyond, 0);
    assert_int_equal(r->evaluation.rows, 200);
    assert_int_equal(r->evaluation.used + r->evaluation.unreported + r->evaluation.not_evaluable,
                     200);
    assert_in_range(r->evaluation.used, 140, 150);
    assert_int_equal(r->arms_n, 2);
    assert_true(fabs(r->arms[0].logged + r->arms[1].logged - 1) < 1e-9);
    assert_true(r->evaluation.utility.logged.value > .2 && r->evaluation.utility.logged.value < .8);
    let_go(&s, job);
    served_verify(&s);
    served_close(&s);
}

/* Decisions in whose place the other arm answered, all of them well. */
static void play_stand_ins(struct served *s, int n)
{
    for (int i = 0; i < n; i++) {
        float feature = i % 2 ? .5F : -.5F;
        struct route_in in = {.features = &feature, .features_n = 1};
        assert_int_equal(served_ask(s, &in), OK);
        struct engine_weight m[2] = {{text("reward"), 1}, {text("cost_usd"), 0}};
        struct report_in report = {.token = {s->route->token, s->route->token_len},
                                   .metrics = m,
                                   .metrics_n = 2,
                                   .status = OUTCOME_ERROR,
                                   .served_arm = text(s->route->arm[0] == 'a' ? "b" : "a")};
        assert_int_equal(served_report(s, &report), OK);
    }
}

static void what_another_arm_earned_enters_no_estimate(void **unused)
{
    (void)unused;
    struct served s;
    open_played(&s, 200);
    struct job *before = run_well(&s, request_of(&s, LAB_EVALUATE));
    struct job *then = run_well(&s, request_of(&s, LAB_WHAT_IF));
    play_stand_ins(&s, 40);
    struct job *after = run_well(&s, request_of(&s, LAB_EVALUATE));
    struct job *now = run_well(&s, request_of(&s, LAB_WHAT_IF));
    const struct evaluation *a = &engine_lab_result(before)->evaluation,
                            *b = &engine_lab_result(after)->evaluation;
    assert_int_equal(b->rows, 240);
    assert_int_equal(b->used, a->used);
    assert_int_equal(b->not_evaluable, a->not_evaluable + 40);
    /* 40 rewards of 1 would show. */
    assert_true(b->utility.logged.value == a->utility.logged.value);
    assert_true(b->metric[0].logged.value == a->metric[0].logged.value);
    const struct whatif *w = &engine_lab_result(then)->whatif, *v = &engine_lab_result(now)->whatif;
    assert_int_equal(v->outcomes, w->outcomes + 40);
    assert_int_equal(v->evaluation.used, w->evaluation.used);
    assert_true(v->prediction_gap == 0); /* It teaches both alike. */
    let_go(&s, before);
    let_go(&s, then);
    let_go(&s, after);
    let_go(&s, now);
    served_verify(&s);
    served_close(&s);
}

static void explores_and_averages(struct router_config *c)
{
    explores(c);
    c->settings.aggregation = AGGREGATE_MEAN;
}

static void pieces_are_evaluated_by_what_they_came_to(void **unused)
{
    (void)unused;
    struct served s;
    served_open(&s);
    served_router(&s, "default", explores_and_averages);
    served_arm(&s, "default", "a");
    served_arm(&s, "default", "b");
    for (int i = 0; i < 60; i++) {
        float feature = i % 2 ? .5F : -.5F;
        struct route_in in = {.features = &feature, .features_n = 1};
        assert_int_equal(served_ask(&s, &in), OK);
        for (int piece = 0; piece < 3; piece++) {
            char key[2] = {(char)('0' + piece), '\0'};
            struct engine_weight m[2] = {{text("reward"), piece == 0}, {text("cost_usd"), .001}};
            struct report_in report = {.token = {s.route->token, s.route->token_len},
                                       .metrics = m,
                                       .metrics_n = 2,
                                       .piece_key = text(key)};
            assert_int_equal(served_report(&s, &report), OK);
        }
    }
    struct job *job = run_well(&s, request_of(&s, LAB_EVALUATE));
    const struct evaluation *v = &engine_lab_result(job)->evaluation;
    assert_true(v->used > 40);
    assert_true(fabs(v->metric[0].logged.value - 1. / 3) < 1e-12);
    let_go(&s, job);
    struct job_info info;
    job = run(&s, request_of(&s, LAB_WHAT_IF), &info);
    assert_int_equal(info.state, JOB_FAILED);
    assert_non_null(strstr(info.detail.text, "aggregates"));
    let_go(&s, job);
    served_close(&s);
}

static void explores_and_sums_or_gives_a_default(struct router_config *c)
{
    explores(c);
    c->settings.aggregation = AGGREGATE_SUM;
    c->settings.reward_wait_s = 1;
    assert_int_equal(defaults_put(&c->settings.defaults, text("reward"), 1, NULL), OK);
}

static enum err say_piece(struct served *s, const char *source, const char *key, double reward)
{
    struct engine_weight m[2] = {{text("reward"), reward}, {text("cost_usd"), .001}};
    struct report_in report = {.token = {s->route->token, s->route->token_len},
                               .metrics = m,
                               .metrics_n = 2,
                               .piece_key = text(key),
                               .source = text(source)};
    return served_report(s, &report);
}

static uint64_t defaulted(struct served *s)
{
    uint64_t n = snapshot_router(engine_snapshot_acquire(s->w), "default", 7)->defaulted;
    engine_snapshot_release(s->w);
    return n;
}

/* Told by `human` first, twice .25; beaten: a piece of the same key, and the default of 1. */
static void reports_that_another_source_had_beaten_enter_no_estimate(void **unused)
{
    (void)unused;
    struct served s;
    served_open(&s);
    served_router(&s, "default", explores_and_sums_or_gives_a_default);
    served_arm(&s, "default", "a");
    served_arm(&s, "default", "b");
    for (int i = 0; i < 40; i++) {
        float feature = i % 2 ? .5F : -.5F;
        struct route_in in = {.features = &feature, .features_n = 1};
        assert_int_equal(served_ask(&s, &in), OK);
        assert_int_equal(say_piece(&s, "human", "one", .25), OK);
        assert_int_equal(say_piece(&s, "judge", "one", .5), OK);
        assert_true(s.report.duplicate);
        assert_int_equal(say_piece(&s, "judge", "two", .25), OK);
    }
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t rated_until = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    float feature = 0;
    struct route_in in = {.features = &feature, .features_n = 1};
    assert_int_equal(served_ask(&s, &in), OK);
    /* Nobody rates this one: when it has its default, those before it had theirs. */
    for (int i = 0; i < 600 && defaulted(&s) < 1; i++)
        served_nap(50);
    assert_int_equal(defaulted(&s), 1);
    struct lab_request *q = request_of(&s, LAB_EVALUATE);
    q->until_us = rated_until;
    struct job *job = run_well(&s, q);
    const struct evaluation *v = &engine_lab_result(job)->evaluation;
    assert_int_equal(engine_lab_result(job)->log.outcomes, 40);
    assert_true(v->used > 20);
    assert_true(fabs(v->metric[0].logged.value - .5) < 1e-12);
    let_go(&s, job);
    job = run_well(&s, request_of(&s, LAB_EVALUATE)); /* The default that counts has no key. */
    assert_int_equal(engine_lab_result(job)->log.outcomes, 41);
    let_go(&s, job);
    served_verify(&s);
    served_close(&s);
}

static void an_export_evaluates_to_the_same_figures_as_the_log(void **unused)
{
    (void)unused;
    struct served s;
    struct stat st;
    char path[2 * SCRATCH_CAP], inside[2 * SCRATCH_CAP];
    open_played(&s, 300);
    struct lab_request *q = request_of(&s, LAB_EVALUATE);
    (void)snprintf(q->config.settings.policy, NAME_CAP, "thompson");
    struct job *log = run_well(&s, q);
    struct job *export = run_well(&s, request_of(&s, LAB_EXPORT));
    assert_int_equal(engine_lab_result(export)->rows, 300);
    (void)snprintf(path, sizeof path, "%s/export.jsonl", s.dir);
    save_output(&s, job_id(export), path);
    (void)snprintf(inside, sizeof inside, "%s/lab/%d.jsonl", s.data, (int)job_id(export));
    assert_int_equal(stat(inside, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, engine_lab_result(export)->bytes);

    q = request_of(&s, LAB_EVALUATE);
    (void)snprintf(q->config.settings.policy, NAME_CAP, "thompson");
    (void)snprintf(q->data, sizeof q->data, "%.4000s", path);
    struct job *file = run_well(&s, q);
    same_evaluation(&engine_lab_result(log)->evaluation, &engine_lab_result(file)->evaluation);
    let_go(&s, log);
    let_go(&s, file);

    /* Forgotten, the file goes. */
    assert_int_equal(jobs_cancel(engine_jobs(s.e), job_id(export), true, &s.detail), OK);
    let_go(&s, export);
    assert_int_equal(stat(inside, &st), -1);
    (void)remove(path);
    served_close(&s);
}

static void a_window_takes_what_was_decided_in_it(void **unused)
{
    (void)unused;
    struct served s;
    open_played(&s, 40);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t middle = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    play(&s, 60);
    struct lab_request *q = request_of(&s, LAB_EXPORT);
    q->since_us = middle;
    struct job *job = run_well(&s, q);
    assert_int_equal(engine_lab_result(job)->rows, 60);
    let_go(&s, job);
    q = request_of(&s, LAB_EXPORT);
    q->until_us = middle;
    job = run_well(&s, q);
    assert_int_equal(engine_lab_result(job)->rows, 40);
    let_go(&s, job);
    q = request_of(&s, LAB_EXPORT);
    q->since_us = middle;
    q->until_us = middle;
    uint64_t id;
    assert_int_equal(engine_lab_start(s.w, q, &id, &s.detail), ERR_OUT_OF_RANGE);
    free(q);
    served_close(&s);
}

static void a_removed_arm_stays_in_the_log_and_leaves_the_frozen_target(void **unused)
{
    (void)unused;
    struct served s;
    open_played(&s, 120);
    served_arm(&s, "default", "c");
    play(&s, 60);
    assert_int_equal(engine_arm_remove(s.w, text("default"), text("c"), &s.detail), OK);
    struct job *job = run_well(&s, request_of(&s, LAB_EVALUATE));
    const struct lab_result *r = engine_lab_result(job);
    int removed = 0;
    for (uint32_t a = 0; a < r->arms_n; a++)
        removed += strncmp(r->arms[a].name, "removed/", 8) == 0;
    assert_int_equal(r->arms_n, 3);
    assert_int_equal(removed, 1);
    assert_int_equal(r->evaluation.rows, 180);
    let_go(&s, job);

    struct lab_request *q = request_of(&s, LAB_EVALUATE);
    q->frozen = true;
    job = run_well(&s, q);
    r = engine_lab_result(job);
    assert_int_equal(r->arms_n, 3);
    assert_int_equal(r->evaluation.rows, 180);
    assert_int_equal(r->evaluation.used, 135);
    assert_int_equal(r->arms_gone, 0);
    assert_int_equal(r->arms_fewer, 60);
    for (uint32_t a = 0; a < r->arms_n; a++)
        assert_true(strncmp(r->arms[a].name, "removed/", 8) != 0 || r->arms[a].target == 0);
    let_go(&s, job);

    job = run_well(&s, request_of(&s, LAB_SWEEP));
    r = engine_lab_result(job);
    assert_int_equal(r->contexts, 180);
    assert_int_equal(r->arms_fewer, 60);
    assert_int_equal(r->sweep_warnings, 1u << SWEEP_ARMS_GONE);
    let_go(&s, job);
    served_close(&s);
}

static void logs_a_share(struct router_config *c)
{
    explores(c);
    c->settings.decision_log = DECISION_LOG_KEEP_SAMPLE;
    c->settings.decision_log_sample = .3;
}

/* Explorations are all in the log; scored together with the share they would outweigh the rest. */
static void a_sampled_log_scores_the_share_alone(void **unused)
{
    (void)unused;
    struct served s;
    served_open(&s);
    served_router(&s, "default", logs_a_share);
    served_arm(&s, "default", "a");
    served_arm(&s, "default", "b");
    play(&s, 400);
    struct job *job = run_well(&s, request_of(&s, LAB_EVALUATE));
    const struct lab_result *r = engine_lab_result(job);
    const struct evaluation *v = &r->evaluation;
    assert_true(v->beyond_sample > 30);
    /* 120 expected, six standard deviations are 55. */
    uint64_t share = v->rows - v->beyond_sample;
    assert_true(share > 65 && share < 175);
    assert_int_equal(v->used + v->unreported + v->not_evaluable, share);
    assert_true(v->warnings >> WARN_SAMPLED & 1);
    assert_non_null(strstr(r->note, "DECISION_LOG_SAMPLE"));
    let_go(&s, job);
    served_close(&s);
}

static void logs_nothing(struct router_config *c)
{
    explores(c);
    c->settings.decision_log = DECISION_LOG_KEEP_NONE;
}

static void an_empty_log_says_why_and_what_to_do(void **unused)
{
    (void)unused;
    struct served s;
    struct job_info info;
    served_open(&s);
    served_router(&s, "default", logs_nothing);
    served_arm(&s, "default", "a");
    struct job *job = run_well(&s, request_of(&s, LAB_EVALUATE));
    assert_non_null(strstr(engine_lab_result(job)->note, "decision_log=DECISION_LOG_ALL"));
    let_go(&s, job);
    served_router(&s, "fresh", explores);
    served_arm(&s, "fresh", "a");
    struct lab_request *q = request_of(&s, LAB_SWEEP);
    (void)snprintf(q->config.name, NAME_CAP, "fresh");
    job = run(&s, q, &info);
    assert_int_equal(info.state, JOB_FAILED);
    assert_non_null(strstr(info.detail.text, "decided nothing yet"));
    let_go(&s, job);
    served_close(&s);
}

static void has_a_budget(struct router_config *c)
{
    explores(c);
    c->settings.budget_per_request = .0012;
    (void)snprintf(c->settings.budget_metric, NAME_CAP, "cost_usd");
}

static void an_export_of_a_paced_router_holds_the_price(void **unused)
{
    (void)unused;
    struct served s;
    char path[2 * SCRATCH_CAP];
    served_open(&s);
    served_router(&s, "default", has_a_budget);
    served_arm(&s, "default", "a");
    served_arm(&s, "default", "b");
    play(&s, 300);
    struct job *log = run_well(&s, request_of(&s, LAB_EVALUATE));
    const struct evaluation *v = &engine_lab_result(log)->evaluation;
    assert_true(v->priced > 50);
    struct job *export = run_well(&s, request_of(&s, LAB_EXPORT));
    (void)snprintf(path, sizeof path, "%s/export.jsonl", s.dir);
    save_output(&s, job_id(export), path);
    struct lab_request *q = request_of(&s, LAB_EVALUATE);
    (void)snprintf(q->data, sizeof q->data, "%.4000s", path);
    struct job *file = run_well(&s, q);
    const struct evaluation *w = &engine_lab_result(file)->evaluation;
    same_evaluation(v, w);
    assert_int_equal(v->priced, w->priced);
    let_go(&s, log);
    let_go(&s, export);
    let_go(&s, file);
    (void)remove(path);
    served_close(&s);
}

static void the_same_settings_learn_the_same_and_agree(void **unused)
{
    (void)unused;
    struct served s;
    open_played(&s, 200);
    struct job *job = run_well(&s, request_of(&s, LAB_WHAT_IF));
    const struct whatif *w = &engine_lab_result(job)->whatif;
    assert_int_equal(w->outcomes, 150);
    assert_int_equal(w->arms_n, 2);
    assert_true(w->prediction_gap == 0 && w->prediction_gap_max == 0);
    for (int a = 0; a < 2; a++)
        assert_true(w->arms[a].utility_then == w->arms[a].utility_other);
    let_go(&s, job);

    struct lab_request *q = request_of(&s, LAB_WHAT_IF);
    (void)snprintf(q->config.settings.policy, NAME_CAP, "fixed");
    (void)snprintf(q->config.settings.fixed_arm, NAME_CAP, "b");
    q->config.settings.explore_floor = 0;
    q->config.settings.newcomer_pulls = 0;
    job = run_well(&s, q);
    w = &engine_lab_result(job)->whatif;
    assert_true(w->arms[0].other_share == 0 && fabs(w->arms[1].other_share - 1) < 1e-9);
    assert_true(w->evaluation.agreement < 1);
    let_go(&s, job);
    served_close(&s);
}

static void a_what_if_reads_the_journal_across_a_restart(void **unused)
{
    (void)unused;
    struct served s;
    uint64_t position;
    open_played(&s, 100);
    assert_int_equal(engine_checkpoint(s.w, &position, &s.detail), OK);
    play(&s, 100);
    served_again(&s);
    struct job *job = run_well(&s, request_of(&s, LAB_WHAT_IF));
    assert_true(engine_lab_result(job)->whatif.outcomes >= 75);
    assert_true(engine_lab_result(job)->whatif.prediction_gap == 0);
    let_go(&s, job);
    served_close(&s);
}

static void a_sweep_goes_from_quality_to_cost(void **unused)
{
    (void)unused;
    struct served s;
    open_played(&s, 300);
    struct lab_request *q = request_of(&s, LAB_SWEEP);
    struct job *job = run_well(&s, q);
    const struct lab_result *r = engine_lab_result(job);
    assert_int_equal(r->steps_n, 3);
    assert_int_equal(r->contexts, 300);
    assert_true(r->steps[0].lambda == 0 && r->steps[2].lambda == 1);
    assert_true(r->steps[2].served <= r->steps[0].served);
    uint32_t b = strcmp(r->arms[0].name, "b") == 0 ? 0 : 1;
    assert_true(fabs(r->shares[2 * r->arms_n + b] - 1) < 1e-9); /* The cheap arm alone. */
    let_go(&s, job);

    uint64_t id;
    q = request_of(&s, LAB_SWEEP);
    (void)snprintf(q->served, sizeof q->served, "reward");
    assert_int_equal(engine_lab_start(s.w, q, &id, &s.detail), ERR_METRIC_NOT_FOUND);
    q->steps = 1;
    assert_int_equal(engine_lab_start(s.w, q, &id, &s.detail), ERR_OUT_OF_RANGE);
    free(q);
    served_close(&s);
}

/* ---- files ---- */

static void write_file(const struct served *s, const char *lines, char ret_path[2 * SCRATCH_CAP])
{
    (void)snprintf(ret_path, 2 * SCRATCH_CAP, "%s/rows.jsonl", s->dir);
    FILE *f = fopen(ret_path, "we");
    assert_non_null(f);
    assert_true(fputs(lines, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static struct lab_request *bare_request(const char *path)
{
    struct lab_request *q = calloc(1, sizeof *q);
    assert_non_null(q);
    settings_defaults(&q->config, "default");
    q->kind = LAB_EVALUATE;
    q->bare = true;
    q->seed = 1;
    (void)snprintf(q->data, sizeof q->data, "%.4000s", path);
    return q;
}

/* Runs a file that must fail, with this text in its sentence. */
static void refuses(struct served *s, const char *lines, enum err e, const char *words)
{
    char path[2 * SCRATCH_CAP];
    struct job_info info;
    write_file(s, lines, path);
    struct job *job = run(s, bare_request(path), &info);
    assert_int_equal(info.state, JOB_FAILED);
    if (info.err != e || !strstr(info.detail.text, words))
        fail_msg("%s: %s", err_code(info.err), info.detail.text);
    let_go(s, job);
    (void)remove(path);
}

#define ROW(more) "{\"arm\":\"a\",\"propensity\":0.5,\"outcome\":{\"reward\":1}" more "}\n"

/* As exports have it: the metrics one level down. */
#define OURS(more)                                                                                 \
    "{\"arm_id\":\"a\",\"propensity\":0.5,\"outcome\":{\"metrics\":{\"reward\":1}}" more "}\n"

static void a_bad_line_is_named_with_what_is_wrong(void **unused)
{
    (void)unused;
    struct served s;
    served_open(&s);
    refuses(&s, ROW("") "nonsense\n", ERR_PARSE, "rows.jsonl:2: ");
    refuses(&s, "{\"arm\":\"a\",\"outcome\":{\"reward\":1}}\n", ERR_OUT_OF_RANGE, "propensity");
    refuses(&s, "{\"arm\":\"a\",\"propensity\":1.5,\"outcome\":{\"reward\":1}}\n", ERR_OUT_OF_RANGE,
            "propensity");
    refuses(&s, "{\"arm\":\"a b\",\"propensity\":0.5}\n", ERR_BAD_NAME, "no name");
    refuses(&s, "{\"arm\":\"a\",\"propensity\":0.5,\"outcome\":{\"rewrad\":1}}\n",
            ERR_METRIC_NOT_FOUND, "rewrad");
    refuses(&s, "{\"arm\":\"a\",\"propensity\":0.5,\"outcome\":{\"reward\":7}}\n", ERR_OUT_OF_RANGE,
            ":1: ");
    refuses(&s, ROW(",\"candidates\":[\"b\",\"c\"]"), ERR_INVALID, "eligible");
    refuses(&s, ROW(",\"candidates\":[\"a\",\"b\",\"a\"]"), ERR_INVALID, "`a` twice");
    refuses(&s, ROW(",\"arms\":[{\"arm_id\":\"a\",\"propensity\":-5}]"), ERR_OUT_OF_RANGE,
            "`propensity` in `arms`");
    refuses(&s, OURS(",\"context\":[1,2]"), ERR_WRONG_DIMENSION, "2 numbers");
    refuses(&s, OURS(",\"context\":[1],\"feature_spec_hash\":\"12345678901234567890\""),
            ERR_SPEC_MISMATCH, "feature spec");
    refuses(&s, "\n\n", ERR_INVALID, "no decision");
    refuses(&s, "{\"arm\":\"a\",\"propensity\":0.5,\"outcome\":{\"quality\":1}}\n", ERR_INVALID,
            "`reward` has weight");
    struct job_info info;
    struct job *job = run(&s, bare_request("/nonexistent/file"), &info);
    assert_int_equal(info.err, ERR_NOT_FOUND);
    let_go(&s, job);
    job = run(&s, bare_request("/dev/zero"), &info);
    assert_int_equal(info.err, ERR_INVALID);
    let_go(&s, job);
    uint64_t id;
    struct lab_request *q = bare_request("relative");
    assert_int_equal(engine_lab_start(s.w, q, &id, &s.detail), ERR_INVALID);
    free(q);
    served_close(&s);
}

static void a_file_brings_its_own_arms_labels_and_scale(void **unused)
{
    (void)unused;
    struct served s;
    char path[2 * SCRATCH_CAP], *lines = NULL;
    size_t len;
    served_open(&s);
    FILE *f = open_memstream(&lines, &len);
    (void)fputs("{\"router_spec\":{\"name\":\"elsewhere\"}}\n\n", f);
    for (int i = 0; i < 400; i++) {
        bool b = i % 2;
        (void)fprintf(f,
                      "{\"id\":\"%d\",\"task\":\"%s\",\"text\":\"row %d\",\"arm\":\"%s\","
                      "\"propensity\":0.5,\"outcome\":{\"reward\":%d,\"cost_usd\":%s}}\n",
                      i, i % 3 ? "code" : "chat", i, b ? "b" : "a", b, b ? "0.002" : "0.001");
    }
    (void)fclose(f);
    write_file(&s, lines, path);
    free(lines);
    struct lab_request *q = bare_request(path);
    q->weights_given = true;
    q->config.metrics[settings_metric_index(&q->config, "cost_usd", 8)].weight = .25;
    struct job *job = run_well(&s, q);
    const struct lab_result *r = engine_lab_result(job);
    assert_false(r->has_log);
    assert_int_equal(r->config.tasks_n, 2);
    int cost = settings_metric_index(&r->config, "cost_usd", 8);
    assert_true(fabs(r->config.metrics[cost].norm_high - .002) < 1e-12); /* A mean of sums. */
    assert_int_equal(r->evaluation.used, 400);
    /* b earns 1 - .25, a earns 0 - .125: the logged mean is known, the target finds b. */
    assert_true(fabs(r->evaluation.utility.logged.value - .3125) < 1e-9);
    assert_int_equal(r->evaluation.verdict, VERDICT_BETTER);
    assert_string_equal(r->arms[0].name, "a");
    assert_true(r->arms[1].target > .9);
    let_go(&s, job);
    (void)remove(path);
    served_close(&s);
}

/* ---- life and death ---- */

static uint64_t files_in(const char *dir)
{
    uint64_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static void outputs_do_not_outlive_the_process(void **unused)
{
    (void)unused;
    struct served s;
    char dir[2 * SCRATCH_CAP], stale[3 * SCRATCH_CAP];
    open_played(&s, 10);
    let_go(&s, run_well(&s, request_of(&s, LAB_EXPORT)));
    (void)snprintf(dir, sizeof dir, "%s/lab", s.data);
    assert_int_equal(files_in(dir), 1);
    /* What a killed process leaves is what nobody removed. */
    (void)snprintf(stale, sizeof stale, "%s/99.jsonl", dir);
    FILE *f = fopen(stale, "we");
    assert_non_null(f);
    (void)fclose(f);
    served_again(&s);
    assert_int_equal(files_in(dir), 0);
    served_close(&s);
}

static void closing_the_engine_cancels_its_jobs(void **unused)
{
    (void)unused;
    struct served s;
    uint64_t id;
    open_played(&s, 400);
    for (int i = 0; i < LAB_WAITING_MAX; i++) {
        struct lab_request *q = request_of(&s, i % 2 ? LAB_WHAT_IF : LAB_EVALUATE);
        assert_int_equal(engine_lab_start(s.w, q, &id, &s.detail), OK);
        free(q);
    }
    served_again(&s);
    served_verify(&s);
    served_close(&s);
}

static void jobs_leave_the_state_as_it_is(void **unused)
{
    (void)unused;
    struct served s;
    open_played(&s, 100);
    served_again(&s); /* The counters are journalled: only a job could still write something. */
    uint64_t folded = served_folded(&s), issued = served_issued(&s, NULL);
    uint64_t position = engine_positions(s.e).journal;
    static const enum lab_kind kinds[] = {LAB_EVALUATE, LAB_WHAT_IF, LAB_SWEEP, LAB_EXPORT};
    for (int i = 0; i < 4; i++)
        let_go(&s, run_well(&s, request_of(&s, kinds[i])));
    assert_int_equal(served_folded(&s), folded);
    assert_int_equal(served_issued(&s, NULL), issued);
    assert_int_equal(engine_positions(s.e).journal, position);
    served_close(&s);
}

static void simulates(struct served *s, const char *trace, enum err e, const char *words)
{
    struct job_info info;
    struct lab_request *q = bare_request(trace);
    q->kind = LAB_SIMULATE;
    q->simulate.seeds = 1;
    simulate_defaults(&q->simulate.settings);
    workload_defaults(&q->simulate.spec);
    struct job *job = run(s, q, &info);
    if (info.err != e || (words && !strstr(info.detail.text, words)))
        fail_msg("%s: %s", err_code(info.err), info.detail.text);
    let_go(s, job);
}

/* A pipe that nobody writes would hold the jobs' thread for good. */
static void a_trace_is_a_regular_file(void **unused)
{
    (void)unused;
    struct served s;
    char path[SCRATCH_CAP + 16];
    served_open(&s);
    simulates(&s, "/dev/zero", ERR_INVALID, "no regular file");
    simulates(&s, "/nonexistent/file", ERR_NOT_FOUND, "No such file");
    (void)snprintf(path, sizeof path, "%s/fifo", s.dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    simulates(&s, path, ERR_INVALID, "no regular file");
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/trace.csv", s.dir);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    (void)fputs("adapter,a,1000,100\nrequest,1,.5\nrequest,1,.6\n", f);
    (void)fclose(f);
    simulates(&s, path, OK, NULL);
    (void)unlink(path);
    served_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_log_is_joined_with_its_outcomes),
        cmocka_unit_test(what_another_arm_earned_enters_no_estimate),
        cmocka_unit_test(pieces_are_evaluated_by_what_they_came_to),
        cmocka_unit_test(reports_that_another_source_had_beaten_enter_no_estimate),
        cmocka_unit_test(an_export_evaluates_to_the_same_figures_as_the_log),
        cmocka_unit_test(a_window_takes_what_was_decided_in_it),
        cmocka_unit_test(a_removed_arm_stays_in_the_log_and_leaves_the_frozen_target),
        cmocka_unit_test(a_sampled_log_scores_the_share_alone),
        cmocka_unit_test(an_empty_log_says_why_and_what_to_do),
        cmocka_unit_test(an_export_of_a_paced_router_holds_the_price),
        cmocka_unit_test(the_same_settings_learn_the_same_and_agree),
        cmocka_unit_test(a_what_if_reads_the_journal_across_a_restart),
        cmocka_unit_test(a_sweep_goes_from_quality_to_cost),
        cmocka_unit_test(a_bad_line_is_named_with_what_is_wrong),
        cmocka_unit_test(a_file_brings_its_own_arms_labels_and_scale),
        cmocka_unit_test(a_trace_is_a_regular_file),
        cmocka_unit_test(outputs_do_not_outlive_the_process),
        cmocka_unit_test(closing_the_engine_cancels_its_jobs),
        cmocka_unit_test(jobs_leave_the_state_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
