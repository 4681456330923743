#include "state/model/event.h"

#include "state/base/mem.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t tally_pairs[24] = {1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
                                        2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0x80};

static void fill_decision(struct decision *d, uint16_t len)
{
    for (int i = 0; i < ID_BYTES; i++)
        d->id[i] = (uint8_t)(i * 17);
    d->router_uid = 3;
    d->arm_uid = UINT32_MAX;
    d->spec_hash = 0x0123456789abcdef;
    d->issued_us = -5; /* Before 1970, as a broken clock may say. */
    d->propensity = .25F;
    d->reason = 2;
    d->evaluable = 1;
    d->side = SIDE_B;
    d->epoch = 77;
    d->paced = 1;
    d->budget_metric = 2;
    d->charge = .125F;
    strcpy(d->tenant, "acme/eu");
    d->d = len;
    for (uint16_t i = 0; i < len; i++)
        d->x[i] = (float)i / 8 - 1;
}

static void fill_arm(struct arm_config *a)
{
    strcpy(a->name, "org/model-7b");
    memset(a->description, 'd', DESCRIPTION_CAP - 1);
    a->tags_n = 2;
    strcpy(a->tags[0], "small");
    memset(a->tags[1], 't', NAME_CAP - 1);
    a->prior_mask = 0x8001;
    a->prior_raw[0] = .5;
    a->prior_z[0] = .5;
    a->prior_raw[15] = -3;
    a->prior_z[15] = 1;
    a->known = ARM_KNOWS_SIZE | ARM_KNOWS_PRICE_OUT;
    a->size_b = 7.5;
    a->price_out_usd = .3;
    strcpy(a->family, "qwen");
    assert_int_equal(
        labels_put(&a->labels, (struct slice){"tier", 4}, (struct slice){"small", 5}, NULL), OK);
    assert_int_equal(
        labels_put(&a->labels, (struct slice){"example.org/beta", 16}, (struct slice){"", 0}, NULL),
        OK);
    a->can = (struct capability){128000, 4096, 1 << MODALITY_TEXT | 1 << MODALITY_FILE,
                                 DECLARED_YES, DECLARED_NO};
    a->cap_mask = 4;
    a->cap_raw[2] = .25;
    strcpy(a->adapter.base, "qwen");
    strcpy(a->adapter.path, "/models/a1");
    a->adapter.rank = 16;
    a->adapter.bytes = 50 << 20;
    a->adapter.pinned = true;
}

/* An update of one arm and one sample of two numbers. */
static void put_residency(struct event_residency *e)
{
    static const struct residency_arm arm = {
        .uid = 7, .desired = true, .load_ms = 291.5, .loads = 2, .pulls = 9, .rate = .25};
    static const float sample[2] = {1, -.5F};
    static uint8_t bytes[512];
    const struct residency_update u = {.epoch = 3,
                                       .requests = 600,
                                       .length = 200,
                                       .begun_us = 1700000000000000,
                                       .value = .75,
                                       .uncached = .5,
                                       .arms_n = 1,
                                       .arms = &arm,
                                       .samples_n = 1,
                                       .d = 1,
                                       .weights_n = 1,
                                       .samples = sample};
    struct buf b;
    buf_init(&b);
    residency_put_update(&u, &b);
    assert_true(b.len <= sizeof bytes);
    memcpy(bytes, b.data, b.len);
    e->router_uid = 3;
    e->update = (struct slice){bytes, b.len};
    buf_done(&b);
}

static void put_stages(struct stages *s)
{
    assert_int_equal(
        stages_put(s, (struct slice){"plan", 4}, (struct slice){"tier in (large)", 15}, NULL), OK);
    assert_int_equal(stages_put(s, (struct slice){"act/1", 5}, (struct slice){"", 0}, NULL), OK);
}

static void fill_accounts(struct event_accounts *a)
{
    a->n = 2;
    for (uint32_t i = 0; i < a->n; i++) {
        struct budget_account *to = &a->rows[i].account;
        a->rows[i].router_uid = 3 + i;
        a->rows[i].metric = 2;
        to->budget = 1e-3;
        to->bank = -4.5;
        to->spend = 1.25;
        to->charged = 80;
        to->cost = 81;
        to->lambda = .0625;
        to->tripped = i == 1;
        to->requests = 1000;
        to->corrected = 900;
        to->breaker = 3;
        to->predicted = .9;
        to->paid = 1.1;
        to->allowed = 1;
    }
    strcpy(a->rows[1].tenant, "acme/eu");
}

/* One event of each kind. Zeroed first, so that equal events have equal bytes. */
static void fill_event(struct event *e, enum event_kind kind)
{
    memset(e, 0, sizeof *e);
    e->kind = kind;
    e->at_us = 1700000000000000;
    switch (kind) {
    case EVENT_OUTCOME:
        fill_decision(&e->u.outcome.decision, 26);
        e->u.outcome.status = OUTCOME_TIMEOUT;
        e->u.outcome.metrics_n = 2;
        e->u.outcome.metrics[0] = (struct outcome_metric){.index = 15, .raw = -1e300, .z = 0};
        e->u.outcome.metrics[1] = (struct outcome_metric){.index = 0, .raw = .125, .z = 1};
        e->u.outcome.served_uid = 70000;
        e->u.outcome.piece = 1ULL << 63;
        strcpy(e->u.outcome.source, "judge/1");
        return;
    case EVENT_TALLY:
        e->u.tally = (struct event_tally){.router_uid = 1,
                                          .requests = UINT64_MAX,
                                          .sides = {3, 1ULL << 40},
                                          .logged = 5,
                                          .deferred = 7,
                                          .activated = 6,
                                          .n = 2};
        e->u.tally.pairs = tally_pairs;
        return;
    case EVENT_ROUTER_CREATE:
        settings_defaults(&e->u.router, "r/1");
        e->u.router.ephemeral = true;
        e->u.router.spec.version = 1;
        e->u.router.spec.agent = true;
        e->u.router.spec.text_block = true;
        e->u.router.metrics[1].logarithmic = true;
        e->u.router.metrics[1].norm_low = .1;
        e->u.router.tasks_n = 16;
        for (uint32_t i = 0; i < 16; i++)
            e->u.router.tasks[i][0] = (char)('a' + i);
        e->u.router.settings.seed = 77;
        e->u.router.settings.gamma = .99;
        e->u.router.settings.hybrid = e->u.router.settings.pooled_level = true;
        strcpy(e->u.router.settings.split_policy, "thompson");
        e->u.router.settings.split_share = .25;
        e->u.router.settings.split_alpha = 3;
        e->u.router.settings.split_epsilon = .5;
        strcpy(e->u.router.settings.split_fixed_arm, "b");
        e->u.router.settings.mode = MODE_LOGGING_ONLY;
        strcpy(e->u.router.settings.baseline_arm, "a");
        strcpy(e->u.router.settings.budget_metric, "cost_usd");
        e->u.router.settings.budget_per_request = 2e-4;
        e->u.router.settings.budget_ceiling = 3;
        e->u.router.settings.drift_policy = DRIFT_DISCOUNT;
        e->u.router.settings.stale_after = 500;
        strcpy(e->u.router.settings.newcomer_metric, "cost_usd");
        e->u.router.settings.newcomer_per_hour = 2.5;
        put_stages(&e->u.router.settings.stages);
        e->u.router.settings.aggregation = AGGREGATE_MEAN;
        assert_int_equal(
            defaults_put(&e->u.router.settings.defaults, (struct slice){"reward", 6}, -.5, NULL),
            OK);
        assert_int_equal(
            defaults_put(&e->u.router.settings.defaults, (struct slice){"quality", 7}, .25, NULL),
            OK);
        residency_defaults(&e->u.router.settings.residency);
        e->u.router.settings.target.engine = RESIDENCY_ENGINE_VLLM;
        e->u.router.settings.target.replicas_n = 1;
        strcpy(e->u.router.settings.target.replicas[0], "http://127.0.0.1:8000");
        assert_int_equal(sources_put(&e->u.router.settings.sources, (struct slice){"judge", 5},
                                     (struct slice){"log_only max_per_s=9", 20}, NULL),
                         OK);
        return;
    case EVENT_ROUTER_UPDATE:
        settings_defaults(&e->u.router, "r");
        struct router_settings s = e->u.router.settings;
        memset(&e->u, 0, sizeof e->u);
        e->u.update.router_uid = 4;
        e->u.update.settings = s;
        e->u.update.metrics_n = 3;
        e->u.update.weights[2] = 1e6;
        return;
    case EVENT_ROUTER_REMOVE:
        e->u.router_uid = 9;
        return;
    case EVENT_LABEL_ADD:
        e->u.label.router_uid = 2;
        strcpy(e->u.label.label, "code/review");
        return;
    case EVENT_ARM_ADD:
    case EVENT_ARM_UPDATE:
        e->u.arm.router_uid = 6;
        fill_arm(&e->u.arm.config);
        if (kind == EVENT_ARM_ADD) {
            e->u.arm.like_uid = 3;
            e->u.arm.strength = 12.5;
            e->u.arm.replace = true;
        }
        return;
    case EVENT_ARM_PRICE:
        e->u.price = (struct event_arm_price){6, 7, 2, .5, .5, -.125};
        return;
    case EVENT_ARM_STATE:
    case EVENT_ARM_REMOVE:
        e->u.state =
            (struct event_arm_state){1, 2, kind == EVENT_ARM_STATE, kind == EVENT_ARM_STATE};
        return;
    case EVENT_KEY_ADD:
        memset(e->u.key, 0xa5, KEY_BYTES);
        return;
    case EVENT_TENANT_SET:
        e->u.tenant.router_uid = 3;
        strcpy(e->u.tenant.tenant.name, "acme/eu");
        e->u.tenant.tenant.metric = 2;
        e->u.tenant.tenant.per_request = 1e-3;
        e->u.tenant.tenant.ceiling = 1.5;
        return;
    case EVENT_ACCOUNTS:
        fill_accounts(&e->u.accounts);
        return;
    case EVENT_SESSION:
        e->u.session.router_uid = 3;
        strcpy(e->u.session.name, "run-17");
        e->u.session.metric = 2;
        e->u.session.budget = 50000000;
        e->u.session.ttl_us = 3600000000;
        e->u.session.amount = 1200000;
        memset(e->u.session.id, 0x5a, ID_BYTES);
        return;
    case EVENT_SWEEP:
        e->u.sweep = (struct event_sweep){3, 1700000000000000, 77, UINT64_MAX};
        return;
    case EVENT_RESIDENCY:
        put_residency(&e->u.residency);
        return;
    case EVENT_SESSION_END:
        e->u.session_end.router_uid = 3;
        strcpy(e->u.session_end.name, "run-17");
        return;
    case EVENT_FORGET:
        e->u.forget.router_uid = 3;
        strcpy(e->u.forget.source, "judge/1");
        return;
    case EVENT_ACTIVATE:
        fill_decision(&e->u.activate.decision, 26);
        e->u.activate.decision.deferred = 1;
        return;
    }
}

static bool same_event(const struct event *a, const struct event *b)
{
    if (a->kind != b->kind || a->at_us != b->at_us)
        return false;
    if (a->kind == EVENT_TALLY) /* Holds a pointer: compare what it points at. */
        return a->u.tally.router_uid == b->u.tally.router_uid &&
               a->u.tally.requests == b->u.tally.requests &&
               memcmp(a->u.tally.sides, b->u.tally.sides, sizeof a->u.tally.sides) == 0 &&
               a->u.tally.logged == b->u.tally.logged && a->u.tally.n == b->u.tally.n &&
               memcmp(a->u.tally.pairs, b->u.tally.pairs, 12 * (size_t)a->u.tally.n) == 0;
    if (a->kind == EVENT_RESIDENCY)
        return a->u.residency.router_uid == b->u.residency.router_uid &&
               a->u.residency.update.len == b->u.residency.update.len &&
               memcmp(a->u.residency.update.data, b->u.residency.update.data,
                      a->u.residency.update.len) == 0;
    return memcmp(&a->u, &b->u, sizeof a->u) == 0;
}

static void every_kind_comes_back_as_it_went(void **unused)
{
    (void)unused;
    static struct event e, again;
    for (int kind = EVENT_OUTCOME; kind <= EVENT_ACTIVATE; kind++) {
        struct buf b, c;
        buf_init(&b);
        buf_init(&c);
        fill_event(&e, (enum event_kind)kind);
        event_encode(&e, &b);
        assert_int_equal(buf_error(&b), OK);
        memset(&again, 0, sizeof again);
        assert_int_equal(event_decode((struct slice){b.data, b.len}, &again), OK);
        assert_true(same_event(&e, &again));
        assert_int_equal(event_peek((struct slice){b.data, b.len}), kind);
        event_encode(&again, &c);
        assert_int_equal(b.len, c.len);
        assert_memory_equal(b.data, c.data, b.len);
        buf_done(&b);
        buf_done(&c);
    }
}

static void an_arm_that_begins_with_statistics_comes_back(void **unused)
{
    (void)unused;
    static struct event e, again;
    static const uint8_t seed[] = {1, 2, 3, 0, 5};
    for (int exact = 0; exact < 2; exact++) {
        struct buf b;
        buf_init(&b);
        fill_event(&e, EVENT_ARM_ADD);
        e.u.arm.like_uid = 0;
        e.u.arm.strength = exact ? 0 : 10;
        e.u.arm.seed = (struct slice){seed, sizeof seed};
        event_encode(&e, &b);
        assert_int_equal(event_decode((struct slice){b.data, b.len}, &again), OK);
        assert_int_equal(again.u.arm.seed.len, sizeof seed);
        assert_memory_equal(again.u.arm.seed.data, seed, sizeof seed);
        assert_true(again.u.arm.strength == e.u.arm.strength && again.u.arm.replace);
        assert_int_equal(event_decode((struct slice){b.data, b.len - 1}, &again), ERR_CORRUPT);
        buf_done(&b);
    }
}

/* Decodes from a block of exactly `len` bytes, so that the address sanitizer sees one byte too far.
 */
static enum err decode_exact(const uint8_t *data, size_t len)
{
    static struct event e;
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    enum err err = event_decode((struct slice){copy, len}, &e);
    free(copy);
    return err;
}

static void a_record_cut_anywhere_or_too_long_is_corrupt(void **unused)
{
    (void)unused;
    static struct event e;
    for (int kind = EVENT_OUTCOME; kind <= EVENT_ACTIVATE; kind++) {
        struct buf b;
        buf_init(&b);
        fill_event(&e, (enum event_kind)kind);
        event_encode(&e, &b);
        for (size_t len = 0; len < b.len; len++)
            assert_int_equal(decode_exact(b.data, len), ERR_CORRUPT);
        buf_put_u8(&b, 0);
        assert_int_equal(decode_exact(b.data, b.len), ERR_CORRUPT);
        buf_done(&b);
    }
}

static void a_record_with_any_byte_changed_never_crashes_and_stays_canonical(void **unused)
{
    (void)unused;
    static struct event e, again;
    for (int kind = EVENT_OUTCOME; kind <= EVENT_ACTIVATE; kind++) {
        struct buf b, c;
        buf_init(&b);
        buf_init(&c);
        fill_event(&e, (enum event_kind)kind);
        event_encode(&e, &b);
        for (size_t at = 0; at < b.len; at++) {
            uint8_t was = b.data[at];
            for (int v = 0; v < 256; v += 5) {
                b.data[at] = (uint8_t)v;
                if (event_decode((struct slice){b.data, b.len}, &again) != OK)
                    continue;
                buf_reset(&c);
                event_encode(&again, &c);
                assert_int_equal(b.len, c.len);
                assert_memory_equal(b.data, c.data, b.len);
            }
            b.data[at] = was;
        }
        buf_done(&b);
        buf_done(&c);
    }
}

static enum err decode_again(const struct event *e)
{
    struct buf b;
    buf_init(&b);
    event_encode(e, &b);
    enum err err = decode_exact(b.data, b.len);
    buf_done(&b);
    return err;
}

static void an_outcome_with_values_that_fold_cannot_take_is_corrupt(void **unused)
{
    (void)unused;
    static struct event e;
#define CORRUPT_WITH(change)                                                                       \
    do {                                                                                           \
        fill_event(&e, EVENT_OUTCOME);                                                             \
        assert_int_equal(decode_again(&e), OK);                                                    \
        change;                                                                                    \
        assert_int_equal(decode_again(&e), ERR_CORRUPT);                                           \
    } while (0)
    CORRUPT_WITH(e.u.outcome.decision.x[7] = NAN);
    CORRUPT_WITH(e.u.outcome.decision.x[25] = -INFINITY);
    CORRUPT_WITH(e.u.outcome.decision.propensity = 0);
    CORRUPT_WITH(e.u.outcome.decision.propensity = 1.5F);
    CORRUPT_WITH(e.u.outcome.decision.propensity = NAN);
    CORRUPT_WITH(e.u.outcome.status = (enum outcome_status)OUTCOME_STATUS_N);
    CORRUPT_WITH(e.u.outcome.metrics[0].index = MAX_METRICS);
    CORRUPT_WITH(e.u.outcome.metrics[0].index = e.u.outcome.metrics[1].index);
    CORRUPT_WITH(e.u.outcome.metrics[0].raw = (double)NAN);
    CORRUPT_WITH(e.u.outcome.metrics[1].z = (double)NAN);
    CORRUPT_WITH(e.u.outcome.metrics[1].z = 1.0000001);
    CORRUPT_WITH(e.u.outcome.metrics[1].z = -1e-9);
    CORRUPT_WITH(strcpy(e.u.outcome.source, "no name"));
}

static void a_spec_that_no_router_can_have_is_corrupt(void **unused)
{
    (void)unused;
    static struct event e;
#define CORRUPT_SPEC(change)                                                                       \
    do {                                                                                           \
        fill_event(&e, EVENT_ROUTER_CREATE);                                                       \
        assert_int_equal(decode_again(&e), OK);                                                    \
        change;                                                                                    \
        assert_int_equal(decode_again(&e), ERR_CORRUPT);                                           \
    } while (0)
    CORRUPT_SPEC(e.u.router.spec.version = SPEC_VERSIONS);
    /* Blocks that ctx.v0 does not have, and two blocks in one place. */
    CORRUPT_SPEC((e.u.router.spec.version = 0, e.u.router.spec.agent = false));
    CORRUPT_SPEC((e.u.router.spec.version = 0, e.u.router.spec.text_block = false));
    CORRUPT_SPEC(e.u.router.spec.embedding_n = 3);
    CORRUPT_SPEC(e.u.router.spec.features_n = MAX_D);
}

static void a_projection_is_kept_with_its_hash(void **unused)
{
    (void)unused;
    static struct event e, again;
    struct buf b;
    buf_init(&b);
    fill_event(&e, EVENT_ROUTER_CREATE);
    e.u.router.spec.text_block = false;
    e.u.router.spec.embedding_n = 384;
    assert_int_equal(decode_again(&e), OK); /* The seeded signs. */
    memcpy(e.u.router.spec.projection, "minilm", 7);
    e.u.router.spec.projection_hash = UINT64_C(0x0123456789abcdef);
    event_encode(&e, &b);
    assert_int_equal(event_decode((struct slice){b.data, b.len}, &again), OK);
    assert_string_equal(again.u.router.spec.projection, "minilm");
    assert_true(again.u.router.spec.projection_hash == UINT64_C(0x0123456789abcdef));
    assert_true(spec_hash(&again.u.router.spec) == spec_hash(&e.u.router.spec));
    buf_done(&b);
    e.u.router.spec.projection[0] = ' ';
    assert_int_equal(decode_again(&e), ERR_CORRUPT);
}

static void counts_past_their_arrays_are_corrupt(void **unused)
{
    (void)unused;
    struct buf b;
    buf_init(&b);
    static struct event e;
    fill_event(&e, EVENT_OUTCOME);
    event_encode(&e, &b);
    /* Head 10, decision 50 + epoch 4 + charge 14 + 4 d: d stands at 76, metrics_n after x and the
     * status. */
    const size_t d_at = 76, metrics_at = 10 + 68 + 4 * 26 + 1;
    assert_int_equal(b.data[d_at], 26);
    assert_int_equal(b.data[metrics_at], 2);
    struct buf longer;
    buf_init(&longer);
    buf_put(&longer, b.data, b.len);
    uint8_t zeros[4 * (MAX_D + 1)] = {0};
    buf_put(&longer, zeros, sizeof zeros); /* Long enough for what the count claims. */
    longer.data[d_at] = (MAX_D + 1) & 255;
    longer.data[d_at + 1] = (MAX_D + 1) >> 8;
    assert_int_equal(decode_exact(longer.data, longer.len), ERR_CORRUPT);
    b.data[metrics_at] = MAX_METRICS + 1;
    assert_int_equal(decode_exact(b.data, b.len), ERR_CORRUPT);
    buf_done(&longer);
    buf_done(&b);
}

/* What a decision says of its trial: one form, and nothing that no server would say. */
static void flags_of_a_decision_come_back_or_are_corrupt(void **unused)
{
    (void)unused;
    static struct event e, again;
    const size_t flags_at = 10 + 46;
    for (int mode = 0; mode < 3; mode++)
        for (int side = 0; side < 3; side++)
            for (int fields = 0; fields < 4; fields++) {
                struct buf b;
                buf_init(&b);
                fill_event(&e, EVENT_OUTCOME);
                struct decision *d = &e.u.outcome.decision;
                d->mode = (uint8_t)mode;
                d->side = (uint8_t)side;
                d->epoch = fields & 1 ? UINT32_MAX : 0;
                d->policy_arm_uid = fields & 2 ? 5 : 0;
                d->deferred = fields & 1;
                d->paced = 0;
                d->budget_metric = 0;
                d->charge = 0;
                memset(d->tenant, 0, sizeof d->tenant);
                event_encode(&e, &b);
                memset(&again, 0, sizeof again);
                assert_int_equal(decode_exact(b.data, b.len), OK);
                assert_int_equal(event_decode((struct slice){b.data, b.len}, &again), OK);
                assert_true(same_event(&e, &again));
                uint8_t was = b.data[flags_at];
                b.data[flags_at] = was | 6; /* Side 3. */
                assert_int_equal(decode_exact(b.data, b.len), ERR_CORRUPT);
                b.data[flags_at] = was | 24; /* Mode 3. */
                assert_int_equal(decode_exact(b.data, b.len), ERR_CORRUPT);
                b.data[flags_at] = was;
                assert_int_equal(b.data[flags_at + 1], fields & 1); /* Deferred. */
                b.data[flags_at + 1] |= 2;                          /* A flag of nothing. */
                assert_int_equal(decode_exact(b.data, b.len), ERR_CORRUPT);
                b.data[flags_at + 1] &= 1;
                memset(b.data + flags_at + 2, 0, fields ? 4 : 0); /* A 0 that is spelled out. */
                assert_int_equal(decode_exact(b.data, b.len), fields ? ERR_CORRUPT : OK);
                buf_done(&b);
            }
}

static void a_charge_that_no_account_could_take_is_corrupt(void **unused)
{
    (void)unused;
    static struct event e;
    const float charges[] = {-1, (float)NAN, (float)INFINITY, 0};
    for (size_t i = 0; i < 4; i++) {
        fill_event(&e, EVENT_OUTCOME);
        e.u.outcome.decision.charge = charges[i];
        assert_int_equal(decode_again(&e), i < 3 ? ERR_CORRUPT : OK);
    }
    fill_event(&e, EVENT_OUTCOME);
    strcpy(e.u.outcome.decision.tenant, "no name");
    assert_int_equal(decode_again(&e), ERR_CORRUPT);
    e.u.outcome.decision.tenant[0] = '\0'; /* The router's own. */
    assert_int_equal(decode_again(&e), OK);
    e.u.outcome.decision.budget_metric = MAX_METRICS;
    assert_int_equal(decode_again(&e), ERR_CORRUPT);
}

static void an_account_with_amounts_that_cannot_be_is_corrupt(void **unused)
{
    (void)unused;
    static struct event e;
    const double wrong[] = {-1, (double)NAN, (double)INFINITY, -0.};
    for (size_t i = 0; i < 4; i++) {
        fill_event(&e, EVENT_ACCOUNTS);
        e.u.accounts.rows[1].account.spend = wrong[i];
        assert_int_equal(decode_again(&e), ERR_CORRUPT);
        fill_event(&e, EVENT_ACCOUNTS);
        e.u.accounts.rows[0].account.bank = wrong[i];
        assert_int_equal(decode_again(&e), isfinite(wrong[i]) ? OK : ERR_CORRUPT);
        fill_event(&e, EVENT_TENANT_SET);
        e.u.tenant.tenant.per_request = wrong[i];
        assert_int_equal(decode_again(&e), ERR_CORRUPT);
    }
    fill_event(&e, EVENT_TENANT_SET);
    e.u.tenant.tenant.name[0] = '\0';
    assert_int_equal(decode_again(&e), ERR_CORRUPT);
}

/* Labels stand as key, NUL, value, NUL in order of key: the same ones in another order, or one
 * twice, would be a second form. */
static void labels_and_stages_out_of_order_are_corrupt(void **unused)
{
    (void)unused;
    static const char *const wrong[] = {"b\0\0a\0\0", "a\0\0a\0\0", "a\0001\0b\0-", "-\0\0a\0\0",
                                        "a\0-\0b\0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t bytes[8] = {6, 0};
        memcpy(bytes + 2, wrong[i], 6);
        struct reader r;
        struct labels l;
        reader_init(&r, (struct slice){bytes, sizeof bytes});
        labels_decode(&r, &l);
        assert_true(r.failed);
    }
    struct stages s = {0}, again;
    put_stages(&s);
    assert_string_equal(s.all[0].name, "act/1");
    struct stage first = s.all[0];
    s.all[0] = s.all[1];
    s.all[1] = first;
    struct buf b;
    buf_init(&b);
    stages_encode(&s, &b);
    struct reader r;
    reader_init(&r, (struct slice){b.data, b.len});
    stages_decode(&r, &again);
    assert_true(r.failed);
    buf_done(&b);
}

static void the_widest_context_fits_a_decision(void **unused)
{
    (void)unused;
    struct decision d, again;
    memset(&d, 0, sizeof d);
    memset(&again, 0, sizeof again);
    fill_decision(&d, MAX_D);
    struct buf b;
    buf_init(&b);
    decision_encode(&d, &b);
    assert_in_range(b.len, 1, DECISION_BYTES_MAX);
    struct reader r;
    reader_init(&r, (struct slice){b.data, b.len});
    assert_int_equal(decision_decode(&r, &again), OK);
    assert_int_equal(reader_left(&r), 0);
    assert_memory_equal(&d, &again, sizeof d);
    buf_done(&b);
}

static void a_failed_allocation_is_told_at_the_end(void **unused)
{
    (void)unused;
    static struct event e;
    fill_event(&e, EVENT_ROUTER_CREATE);
    struct buf b;
    bool finished = false;
    for (long n = 1; n < 100 && !finished; n++) {
        buf_init(&b);
        mem_fail_nth(n);
        event_encode(&e, &b);
        finished = buf_error(&b) == OK;
        mem_fail_nth(0);
        buf_done(&b);
    }
    assert_true(finished);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back_as_it_went),
        cmocka_unit_test(an_arm_that_begins_with_statistics_comes_back),
        cmocka_unit_test(a_record_cut_anywhere_or_too_long_is_corrupt),
        cmocka_unit_test(a_record_with_any_byte_changed_never_crashes_and_stays_canonical),
        cmocka_unit_test(an_outcome_with_values_that_fold_cannot_take_is_corrupt),
        cmocka_unit_test(a_spec_that_no_router_can_have_is_corrupt),
        cmocka_unit_test(a_projection_is_kept_with_its_hash),
        cmocka_unit_test(counts_past_their_arrays_are_corrupt),
        cmocka_unit_test(flags_of_a_decision_come_back_or_are_corrupt),
        cmocka_unit_test(a_charge_that_no_account_could_take_is_corrupt),
        cmocka_unit_test(an_account_with_amounts_that_cannot_be_is_corrupt),
        cmocka_unit_test(labels_and_stages_out_of_order_are_corrupt),
        cmocka_unit_test(the_widest_context_fits_a_decision),
        cmocka_unit_test(a_failed_allocation_is_told_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
