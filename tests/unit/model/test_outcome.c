/* What an outcome may say beside its metrics: who answered, whose word it is, which piece it is. */
#include "state/math/packed.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/model/given.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double all[MAX_METRICS] = {.75, .5, .25, .125, .5};

static void open_plain(struct given *g)
{
    struct router_config c;
    given_config(&c);
    given_open(g, &c);
}

/* A report in whose decision `served` answered. */
static struct fold_result stand_in(struct given *g, const struct decision *d, uint32_t served,
                                   uint16_t mask, enum outcome_status status)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_OUTCOME;
    struct event_outcome *o = &g->event.u.outcome;
    o->decision = *d;
    o->status = status;
    o->served_uid = served;
    for (uint32_t m = 0; m < MAX_METRICS; m++)
        if (mask >> m & 1)
            o->metrics[o->metrics_n++] =
                (struct outcome_metric){.index = (uint8_t)m, .raw = 10 * all[m], .z = all[m]};
    return given_fold(g);
}

/* ---- another arm answered ---- */

static void what_a_stand_in_earned_teaches_it_and_the_status_the_chosen_arm(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    uint32_t chosen = given_arm(&g, "chosen"), other = given_arm(&g, "other");
    struct decision d = given_decision(&g, chosen, 1);
    struct fold_result r = stand_in(&g, &d, other, 0x07, OUTCOME_ERROR);
    assert_int_equal(r.err, OK);
    assert_int_equal(r.counted_mask, 0x07);
    const struct arm *c = given_find(&g, chosen), *o = given_find(&g, other);
    assert_int_equal(c->failures, 1);
    assert_int_equal(c->answered, 1);
    assert_int_equal(c->groups[METRIC_RATED].n + c->groups[METRIC_SERVED].n, 0);
    assert_int_equal(o->failures, 0);
    assert_int_equal(o->answered, 0);
    assert_int_equal(o->groups[METRIC_RATED].n, 1);
    assert_int_equal(o->stood_in[METRIC_RATED], 1);
    assert_int_equal(o->metrics[0].n, 1);
    assert_int_equal(g.router->outcomes_folded, 1);
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

static void a_later_report_of_a_stand_in_teaches_the_same_arm(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    uint32_t chosen = given_arm(&g, "chosen"), other = given_arm(&g, "other");
    struct decision d = given_decision(&g, chosen, 1);
    (void)stand_in(&g, &d, other, 0x04, OUTCOME_OK);
    assert_int_equal(stand_in(&g, &d, 0, 0x01, OUTCOME_OK).counted_mask, 0x01);
    assert_int_equal(given_find(&g, chosen)->metrics[0].n, 0);
    assert_int_equal(given_find(&g, other)->metrics[0].n, 1);
    assert_true(stand_in(&g, &d, chosen, 0x05, OUTCOME_OK).duplicate); /* Keyed by the decision. */
    given_close(&g);
}

static void a_stand_in_that_is_gone_teaches_nobody_and_the_status_still_counts(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    uint32_t chosen = given_arm(&g, "chosen");
    struct decision d = given_decision(&g, chosen, 1);
    struct fold_result r = stand_in(&g, &d, 999, 0x01, OUTCOME_TIMEOUT);
    assert_int_equal(r.err, OK);
    assert_true(r.orphaned);
    assert_int_equal(g.router->orphaned, 1);
    assert_int_equal(given_find(&g, chosen)->failures, 1);
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

static void a_stand_in_is_the_same_after_its_bytes(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    uint32_t chosen = given_arm(&g, "chosen"), other = given_arm(&g, "other");
    struct decision d = given_decision(&g, chosen, 1);
    (void)stand_in(&g, &d, other, 0x07, OUTCOME_OK);
    struct buf bytes = given_bytes(&g), again;
    struct model *m = NULL;
    struct err_detail detail;
    assert_int_equal(model_decode((struct slice){bytes.data, bytes.len}, &m, &detail), OK);
    assert_int_equal(router_arm(m->routers[0], other)->stood_in[METRIC_RATED], 1);
    buf_init(&again);
    model_encode(m, &again);
    assert_int_equal(again.len, bytes.len);
    assert_memory_equal(again.data, bytes.data, bytes.len);
    buf_done(&again);
    buf_done(&bytes);
    model_free(m);
    given_close(&g);
}

/* ---- several reports of one metric ---- */

static void open_aggregating(struct given *g, enum aggregation a)
{
    struct router_config c;
    given_config(&c);
    c.settings.aggregation = a;
    given_open(g, &c);
}

/* One piece: metric m worth raw. */
static struct fold_result piece(struct given *g, const struct decision *d, uint64_t key, uint8_t m,
                                double raw)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_OUTCOME;
    struct event_outcome *o = &g->event.u.outcome;
    o->decision = *d;
    o->piece = key;
    o->metrics_n = 1;
    o->metrics[0] = (struct outcome_metric){m, raw, raw < 0 ? 0 : raw > 1 ? 1 : raw};
    return given_fold(g);
}

/* The statistics of one arm that was told `value` at once, in a router that takes the first. */
static void assert_as_if_told(const struct given *g, uint32_t arm, double value)
{
    struct given plain;
    open_plain(&plain);
    uint32_t a = given_arm(&plain, "a");
    struct decision d = given_decision(&plain, a, 1);
    assert_int_equal(piece(&plain, &d, 0, 0, value).counted_mask, 1);
    const struct arm *want = given_find(&plain, a), *have = given_find(g, arm);
    const struct metric_stats *w = &want->metrics[0], *h = &have->metrics[0];
    assert_int_equal(h->n, 1);
    assert_true(h->sum_z == w->sum_z && h->sum_raw == w->sum_raw);
    assert_true(h->recent.sum_z == w->recent.sum_z && h->recent.n == w->recent.n);
    for (uint32_t i = 0; i < GIVEN_D; i++) {
        /* Differences of multiples of 1/256 times x: rounded once or twice. */
        assert_true(fabs(h->b[i] - w->b[i]) < 1e-12);
        assert_true(fabs(g->router->pooled->b[0][i] - plain.router->pooled->b[0][i]) < 1e-12);
    }
    assert_memory_equal(have->groups[METRIC_RATED].A, want->groups[METRIC_RATED].A,
                        packed_n(GIVEN_D) * sizeof(double)); /* Moved once. */
    given_close(&plain);
}

static void pieces_of_a_sum_come_to_what_one_report_of_it_would_have(void **state)
{
    (void)state;
    struct given g;
    open_aggregating(&g, AGGREGATE_SUM);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    assert_int_equal(piece(&g, &d, 7, 0, .25).counted_mask, 1);
    struct fold_result r = piece(&g, &d, 8, 0, .125);
    assert_int_equal(r.counted_mask, 1);
    assert_int_equal(r.added_mask, 1);
    assert_as_if_told(&g, arm, .375);
    assert_true(piece(&g, &d, 7, 0, .5).duplicate); /* By its key, whatever it says. */
    assert_as_if_told(&g, arm, .375);
    (void)piece(&g, &d, 9, 0, .75); /* 1.125: the range ends at 1. */
    assert_as_if_told(&g, arm, 1);
    assert_int_equal(given_find(&g, arm)->answered, 1);
    assert_int_equal(g.router->outcomes_folded, 1);
    given_close(&g);
}

static void pieces_of_a_mean_come_to_their_mean(void **state)
{
    (void)state;
    struct given g;
    open_aggregating(&g, AGGREGATE_MEAN);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    (void)piece(&g, &d, 7, 0, 1);
    (void)piece(&g, &d, 8, 0, 0);
    assert_as_if_told(&g, arm, .5);
    (void)piece(&g, &d, 9, 0, 0);
    (void)piece(&g, &d, 10, 0, 0);
    assert_as_if_told(&g, arm, .25);
    given_close(&g);
}

static void a_piece_needs_a_key_and_a_decision_takes_so_many(void **state)
{
    (void)state;
    struct given g;
    open_aggregating(&g, AGGREGATE_SUM);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    assert_int_equal(piece(&g, &d, 0, 0, .5).err, ERR_PIECE_KEY_REQUIRED);
    assert_int_equal(piece(&g, &d, 0, 2, .5).counted_mask,
                     4); /* Served: counts once, needs none. */
    assert_true(piece(&g, &d, 1, 2, .75).duplicate);
    for (uint64_t k = 1; k <= MAX_PIECES; k++)
        assert_int_equal(piece(&g, &d, k, 0, .0078125).counted_mask, 1);
    assert_int_equal(piece(&g, &d, 99, 0, .5).err, ERR_PIECES_FULL);
    assert_true(piece(&g, &d, 3, 0, .5).duplicate);
    assert_true(given_find(&g, arm)->metrics[0].sum_raw == MAX_PIECES * .0078125);
    given_close(&g);
}

static void pieces_go_on_after_the_bytes_of_the_model(void **state)
{
    (void)state;
    struct given g;
    open_aggregating(&g, AGGREGATE_SUM);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    (void)piece(&g, &d, 7, 0, .25);
    struct buf bytes = given_bytes(&g);
    struct err_detail detail;
    model_free(g.model);
    assert_int_equal(model_decode((struct slice){bytes.data, bytes.len}, &g.model, &detail), OK);
    g.router = g.model->routers[0];
    assert_true(piece(&g, &d, 7, 0, .25).duplicate);
    assert_int_equal(piece(&g, &d, 8, 0, .125).added_mask, 1);
    assert_as_if_told(&g, arm, .375);
    buf_done(&bytes);
    given_close(&g);
}

static void a_split_counts_what_the_pieces_came_to(void **state)
{
    (void)state;
    struct given pieces, plain, *both[] = {&pieces, &plain};
    open_aggregating(&pieces, AGGREGATE_SUM);
    open_plain(&plain);
    for (int k = 0; k < 2; k++) {
        struct given *g = both[k];
        uint32_t arm = given_arm(g, "a");
        memset(&g->event, 0, sizeof g->event);
        g->event.kind = EVENT_ROUTER_UPDATE;
        g->event.u.update.router_uid = g->router->uid;
        g->event.u.update.settings = g->router->config.settings;
        strcpy(g->event.u.update.settings.split_policy, "random");
        assert_int_equal(given_fold(g).err, OK);
        for (uint64_t i = 0; i < 6; i++) {
            struct decision d = given_decision(g, arm, i);
            d.epoch = g->router->trial.epoch;
            d.side = i % 2 ? SIDE_A : SIDE_B;
            double v = (double)i / 8;
            (void)piece(g, &d, 0, 2, .5);
            if (k == 0) {
                (void)piece(g, &d, 1, 0, v / 2);
                (void)piece(g, &d, 2, 0, v / 2);
            } else {
                (void)piece(g, &d, 0, 0, v);
            }
        }
    }
    for (int s = 0; s < 2; s++) {
        const struct trial_sums *a = &pieces.router->trial.groups[s],
                                *b = &plain.router->trial.groups[s];
        assert_int_equal(a->answered, b->answered);
        assert_int_equal(a->answered, 3);
        for (int i = 0; i < 6; i++) { /* Metrics 0 to 2. */
            assert_int_equal(a->pair_n[i], b->pair_n[i]);
            assert_true(fabs(a->pair_z[i] - b->pair_z[i]) < 1e-12);
        }
        assert_true(fabs(a->raw[0].mean - b->raw[0].mean) < 1e-12);
        assert_true(fabs(a->raw[0].squares - b->raw[0].squares) < 1e-12);
    }
    given_close(&pieces);
    given_close(&plain);
}

/* ---- whose word it is ---- */

static struct slice text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static struct fold_result said_by(struct given *g, const struct decision *d, const char *source)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_OUTCOME;
    struct event_outcome *o = &g->event.u.outcome;
    o->decision = *d;
    strcpy(o->source, source);
    o->metrics_n = 1;
    o->metrics[0] = (struct outcome_metric){0, .5, .5};
    return given_fold(g);
}

static void a_source_teaches_or_is_kept_or_is_refused_as_its_rule_says(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    struct sources *s = &c.settings.sources;
    assert_int_equal(sources_put(s, text("judge"), text("fold"), NULL), OK);
    assert_int_equal(sources_put(s, text("novice"), text("log_only"), NULL), OK);
    assert_int_equal(source_rule_parse(text("refuse"), &s->unknown, NULL), OK);
    given_open(&g, &c);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    assert_int_equal(said_by(&g, &d, "stranger").err, ERR_SOURCE_REFUSED);
    assert_int_equal(said_by(&g, &d, "").err, ERR_SOURCE_REFUSED);
    for (int i = 1; i <= 2; i++) {
        struct fold_result r = said_by(&g, &d, "novice");
        assert_int_equal(r.err, OK);
        assert_true(r.gated);
        assert_int_equal(r.counted_mask, 0);
        assert_int_equal(g.router->gated, i);
    }
    assert_int_equal(g.router->outcomes_folded, 0);
    assert_int_equal(given_find(&g, arm)->answered, 0);
    /* It has used nothing up. */
    assert_int_equal(said_by(&g, &d, "judge").counted_mask, 1);
    d = given_decision(&g, arm, 2);
    g.now_us += 2 * 86400 * (int64_t)1000000;
    assert_int_equal(said_by(&g, &d, SOURCE_DEFAULT).counted_mask, 1); /* The server's own. */
    given_close(&g);
}

static void rules_are_read_and_written_in_one_way(void **state)
{
    (void)state;
    const struct {
        const char *in, *out; /* out NULL: refused. */
    } rows[] = {
        {"", "fold"},
        {"log_only", "log_only"},
        {" refuse  max_per_min=60 max_per_s=2 ", "refuse max_per_s=2 max_per_min=60"},
        {"fold max_per_min=1000000000", "fold max_per_min=1000000000"},
        {"trusted", NULL},
        {"fold max_per_s=0", NULL},
        {"fold max_per_s=1000000001", NULL},
        {"fold max_per_s=", NULL},
        {"fold max_per_s=-1", NULL},
        {"fold max_per_day=3", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct source_rule rule, again;
        struct err_detail detail;
        char out[SOURCE_RULE_CAP];
        enum err e = source_rule_parse(text(rows[i].in), &rule, &detail);
        assert_int_equal(e, rows[i].out ? OK : ERR_INVALID);
        if (e != OK)
            continue;
        source_rule_print(&rule, out);
        assert_string_equal(out, rows[i].out);
        assert_int_equal(source_rule_parse(text(out), &again, NULL), OK);
        assert_memory_equal(&rule, &again, sizeof rule);
    }
}

static void a_table_of_sources_is_in_order_and_bounded_and_has_one_form(void **state)
{
    (void)state;
    struct sources s = {0}, again;
    char name[NAME_CAP];
    for (int i = MAX_SOURCES - 1; i >= 0; i--) {
        snprintf(name, sizeof name, "s%02d", i);
        assert_int_equal(sources_put(&s, text(name), text("log_only max_per_s=7"), NULL), OK);
    }
    for (uint32_t i = 0; i < s.n; i++) {
        snprintf(name, sizeof name, "s%02u", i);
        assert_string_equal(s.all[i].name, name);
        assert_int_equal(sources_find(&s, text(name)), i);
    }
    struct err_detail detail;
    assert_int_equal(sources_put(&s, text("more"), text(""), &detail), ERR_OUT_OF_RANGE);
    assert_int_equal(sources_put(&s, text("s03"), text("refuse"), &detail), OK);
    assert_int_equal(sources_put(&s, text("no name"), text(""), &detail), ERR_BAD_NAME);
    assert_int_equal(sources_put(&s, text(SOURCE_DEFAULT), text(""), &detail), ERR_INVALID);
    struct buf b;
    struct reader r;
    buf_init(&b);
    sources_encode(&s, &b);
    reader_init(&r, (struct slice){b.data, b.len});
    sources_decode(&r, &again);
    assert_false(r.failed);
    assert_memory_equal(&s, &again, sizeof s);
    /* Two that change places, and one that stands twice. */
    uint8_t was = b.data[13];
    assert_int_equal(was, '0');
    for (uint8_t digit = '1'; digit <= '2'; digit++) {
        b.data[13] = digit; /* s00 becomes s10, which stands there; s20 is out of order. */
        reader_init(&r, (struct slice){b.data, b.len});
        sources_decode(&r, &again);
        assert_true(r.failed);
    }
    assert_true(sources_remove(&s, text("s15")));
    assert_false(sources_remove(&s, text("s15")));
    assert_int_equal(sources_find(&s, text("s15")), s.n);
    buf_done(&b);
}

/* ---- defaults ---- */

static const int64_t second_us = 1000000;

static void a_default_counts_once_and_only_where_nobody_rated_in_time(void **state)
{
    (void)state;
    struct router_config c;
    struct given g;
    given_config(&c);
    assert_int_equal(defaults_put(&c.settings.defaults, (struct slice){"reward", 6}, 0, NULL), OK);
    c.settings.reward_wait_s = 100;
    given_open(&g, &c);
    uint32_t arm = given_arm(&g, "a");
    struct decision silent = given_decision(&g, arm, 1), paid = given_decision(&g, arm, 2),
                    rated = given_decision(&g, arm, 3);
    assert_int_equal(given_report(&g, &paid, 0x04, all, OUTCOME_OK).counted_mask, 0x04);
    assert_int_equal(given_report(&g, &rated, 0x01, all, OUTCOME_OK).counted_mask, 0x01);
    assert_int_equal(said_by(&g, &silent, SOURCE_DEFAULT).err, ERR_INVALID); /* Too early. */
    g.now_us += 200 * second_us;
    assert_int_equal(said_by(&g, &silent, SOURCE_DEFAULT).counted_mask, 1);
    assert_int_equal(said_by(&g, &paid, SOURCE_DEFAULT).counted_mask, 1);
    assert_true(said_by(&g, &rated, SOURCE_DEFAULT).duplicate);
    assert_int_equal(g.router->sweep.applied, 2);
    assert_true(said_by(&g, &silent, SOURCE_DEFAULT).duplicate); /* Again, after a crash. */
    assert_int_equal(g.router->sweep.applied, 2);
    assert_int_equal(given_find(&g, arm)->metrics[0].n, 3);
    /* Whoever comes now is late, and is told so, not that it is a duplicate. */
    assert_int_equal(said_by(&g, &silent, "judge").err, ERR_DECISION_LATE);
    silent.issued_us = g.now_us; /* A report that was stamped in time and folded afterwards. */
    assert_int_equal(said_by(&g, &silent, "judge").err, ERR_DECISION_LATE);
    struct err_detail detail;
    assert_int_equal(model_check(g.model, &detail), OK);
    given_close(&g);
}

/* Defaults of reward and quality. */
static struct fold_result give_both(struct given *g, const struct decision *d)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_OUTCOME;
    struct event_outcome *o = &g->event.u.outcome;
    o->decision = *d;
    strcpy(o->source, SOURCE_DEFAULT);
    o->metrics_n = 2;
    o->metrics[0] = (struct outcome_metric){0, .5, .5};
    o->metrics[1] = (struct outcome_metric){1, .5, .5};
    return given_fold(g);
}

static void a_default_is_no_piece_of_what_was_rated_and_needs_no_place_among_them(void **state)
{
    (void)state;
    const enum aggregation ways[] = {AGGREGATE_SUM, AGGREGATE_MEAN};
    for (int i = 0; i < 2; i++) {
        struct given g;
        open_aggregating(&g, ways[i]);
        uint32_t arm = given_arm(&g, "a");
        struct decision one = given_decision(&g, arm, 1), full = given_decision(&g, arm, 2),
                        silent = given_decision(&g, arm, 3);
        (void)piece(&g, &one, 7, 0, .25);
        for (uint64_t k = 1; k <= MAX_PIECES; k++)
            (void)piece(&g, &full, k, 0, .0078125);
        const struct arm *a = given_find(&g, arm);
        double was = a->metrics[0].sum_raw;
        g.now_us += 2 * 86400 * second_us;
        const struct decision *rated[] = {&one, &full};
        for (int k = 0; k < 2; k++) {
            struct fold_result r = give_both(&g, rated[k]);
            assert_int_equal(r.err, OK);
            assert_int_equal(r.counted_mask, 1U << 1);
            assert_int_equal(r.added_mask, 0);
            assert_true(give_both(&g, rated[k]).duplicate);
        }
        assert_int_equal(a->metrics[0].n, 2);
        assert_true(a->metrics[0].sum_raw == was);
        assert_int_equal(a->metrics[1].n, 2);
        assert_int_equal(give_both(&g, &silent).counted_mask, 3);
        assert_int_equal(g.router->sweep.applied, 3);
        struct err_detail detail;
        assert_int_equal(model_check(g.model, &detail), OK);
        given_close(&g);
    }
}

static void a_default_says_nothing_of_the_arms_health(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    uint32_t arm = given_arm(&g, "a");
    struct decision d = given_decision(&g, arm, 1);
    g.now_us += 2 * 86400 * second_us;
    assert_int_equal(said_by(&g, &d, SOURCE_DEFAULT).counted_mask, 1);
    assert_int_equal(given_find(&g, arm)->recent_n, 0);
    assert_int_equal(given_find(&g, arm)->answered, 1);
    given_close(&g);
}

static void tally(struct given *g, uint64_t requests)
{
    memset(&g->event, 0, sizeof g->event);
    g->event.kind = EVENT_TALLY;
    g->event.u.tally = (struct event_tally){.router_uid = g->router->uid, .requests = requests};
    (void)given_fold(g);
}

static void requests_before_a_default_was_set_are_none_that_can_be_lost(void **state)
{
    (void)state;
    struct given g;
    open_plain(&g);
    tally(&g, 100);
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_ROUTER_UPDATE;
    g.event.u.update.router_uid = g.router->uid;
    g.event.u.update.settings = g.router->config.settings;
    assert_int_equal(
        defaults_put(&g.event.u.update.settings.defaults, (struct slice){"reward", 6}, 0, NULL),
        OK);
    assert_int_equal(given_fold(&g).err, OK);
    tally(&g, 130); /* Counted by then, asked before. */
    assert_int_equal(g.router->sweep.before, 130);
    tally(&g, 500);
    assert_int_equal(g.router->sweep.before, 130);
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_SWEEP;
    g.event.u.sweep = (struct event_sweep){g.router->uid, g.now_us, 300, 70};
    (void)given_fold(&g);
    assert_int_equal(g.router->sweep.found, 300);
    assert_int_equal(g.router->sweep.lost, 70);
    int64_t until_us = g.router->sweep.until_us;
    memset(&g.event, 0, sizeof g.event);
    g.event.kind = EVENT_SWEEP;
    g.event.u.sweep = (struct event_sweep){g.router->uid, until_us - 1, 9, 9}; /* Back in time. */
    (void)given_fold(&g);
    assert_int_equal(g.router->sweep.found, 300);
    assert_true(g.router->sweep.until_us == until_us);
    given_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_stand_in_earned_teaches_it_and_the_status_the_chosen_arm),
        cmocka_unit_test(a_later_report_of_a_stand_in_teaches_the_same_arm),
        cmocka_unit_test(a_stand_in_that_is_gone_teaches_nobody_and_the_status_still_counts),
        cmocka_unit_test(a_stand_in_is_the_same_after_its_bytes),
        cmocka_unit_test(pieces_of_a_sum_come_to_what_one_report_of_it_would_have),
        cmocka_unit_test(pieces_of_a_mean_come_to_their_mean),
        cmocka_unit_test(a_piece_needs_a_key_and_a_decision_takes_so_many),
        cmocka_unit_test(pieces_go_on_after_the_bytes_of_the_model),
        cmocka_unit_test(a_split_counts_what_the_pieces_came_to),
        cmocka_unit_test(a_source_teaches_or_is_kept_or_is_refused_as_its_rule_says),
        cmocka_unit_test(rules_are_read_and_written_in_one_way),
        cmocka_unit_test(a_table_of_sources_is_in_order_and_bounded_and_has_one_form),
        cmocka_unit_test(a_default_counts_once_and_only_where_nobody_rated_in_time),
        cmocka_unit_test(a_default_is_no_piece_of_what_was_rated_and_needs_no_place_among_them),
        cmocka_unit_test(a_default_says_nothing_of_the_arms_health),
        cmocka_unit_test(requests_before_a_default_was_set_are_none_that_can_be_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
