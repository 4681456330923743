/* engine_session.c - what a session changes about a decision: which arms its budget can still pay
 * in the worst case, the reservation of that worst case, and the wait until it is durable. */
#include "server/engine/engine_session.h"
#include "server/engine/engine_parts.h"

#include "state/base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double nano = 1e-9;

static double raw_of(uint64_t amount)
{
    return (double)amount * nano;
}

/* ---- whose session, and under which budget ---- */

static enum err read_budget(const struct router_config *c, struct slice metric, double amount,
                            struct session_ask *ask, struct err_detail *detail)
{
    char name[NAME_CAP];
    TRY(engine_name(metric, "session_budget.metric", name, detail));
    int m = settings_metric_index(c, metric.data, metric.len);
    if (m < 0)
        return err_say(detail, ERR_METRIC_NOT_FOUND,
                       "session_budget: router `%s` has no metric `%s`", c->name, name);
    if (c->metrics[m].group != METRIC_SERVED || !c->metrics[m].lower_is_better)
        return err_say(detail, ERR_INVALID,
                       "session_budget: metric `%s` is not spent; name a served one where lower is "
                       "better",
                       name);
    if (!isfinite(amount))
        return err_say(detail, ERR_NOT_FINITE, "session_budget.amount is not finite");
    if (!(amount >= nano) || amount > 4e9)
        return err_say(detail, ERR_OUT_OF_RANGE, "session_budget.amount is not in [1e-9, 4e9]");
    ask->strict = true;
    ask->metric = (uint8_t)m;
    ask->budget = session_nano_down(amount);
    return OK;
}

static enum err other_budget(const struct session_ask *ask, const struct session_view *v,
                             const struct router_config *c, struct err_detail *detail)
{
    if (!v->strict)
        return err_say(detail, ERR_SESSION_BUDGET, "session `%s` is open without a budget",
                       ask->key.name);
    return err_say(detail, ERR_SESSION_BUDGET, "session `%s` is open with a budget of %.9g %s",
                   ask->key.name, raw_of(v->budget), c->metrics[v->metric].name);
}

static enum err fill_ask(const struct router_view *r, struct slice session, struct slice metric,
                         double amount, int64_t now_us, struct session_ask *ret,
                         struct err_detail *detail)
{
    memset(ret, 0, sizeof *ret);
    TRY(engine_name(session, "session_id", ret->key.name, detail));
    ret->key.router_uid = r->uid;
    ret->now_us = now_us;
    ret->ttl_us = (int64_t)(r->config->settings.session_ttl_s * 1e6);
    /* A budget whose metric is empty is a mistake, never no budget: it would let everything pass.
     */
    return metric.data ? read_budget(r->config, metric, amount, ret, detail) : OK;
}

static enum err say_enter(enum err e, const struct session_ask *ask, const struct session_view *v,
                          const struct router_config *c, struct err_detail *detail)
{
    if (e == ERR_SESSION_BUDGET)
        return other_budget(ask, v, c, detail);
    if (e == ERR_LIMIT)
        return err_say(detail, e, "%d sessions are open", MAX_SESSIONS);
    return e;
}

enum err engine_session_expect(struct engine_worker *w, const struct router_view *r,
                               const struct route_in *in, int64_t now_us, struct err_detail *detail)
{
    struct session_step *s = &w->session;
    s->named = in->session.len > 0;
    s->view.strict = false;
    s->reserved = 0;
    s->left_out = 0;
    if (!s->named)
        return !in->session_metric.data
                   ? OK
                   : err_say(detail, ERR_INVALID, "session_budget needs a session_id");
    TRY(fill_ask(r, in->session, in->session_metric, in->session_amount, now_us, &s->ask, detail));
    session_table_expect(w->engine->sessions, &s->ask);
    return OK;
}

void engine_session_fetch(struct engine_worker *w)
{
    if (w->session.named)
        session_table_fetch(w->engine->sessions, &w->session.ask);
}

enum err engine_session_enter(struct engine_worker *w, const struct router_view *r, bool dry_run,
                              struct err_detail *detail)
{
    struct session_step *s = &w->session;
    if (!s->named)
        return OK;
    enum err e = dry_run ? session_table_look(w->engine->sessions, &s->ask, &s->view)
                         : session_table_enter(w->engine->sessions, &s->ask, &s->view);
    return e == OK ? OK : say_enter(e, &s->ask, &s->view, r->config, detail);
}

/* ---- what a request can cost at most ---- */

/* Prices times tokens. Tokens that were not counted have no bound: a client may send a part of the
 * prompt only, and images are not in the text. */
static bool price_bound(const struct demand *d, bool counted, const struct arm_config *arm,
                        double *ret)
{
    const int both = ARM_KNOWS_PRICE_IN | ARM_KNOWS_PRICE_OUT;
    uint64_t out = d->max_output_tokens ? d->max_output_tokens : arm->can.max_output_tokens;
    if ((arm->known & both) != both || (!counted && arm->price_in_usd > 0) ||
        (!out && arm->price_out_usd > 0))
        return false;
    *ret = ((double)d->input_tokens * arm->price_in_usd + (double)out * arm->price_out_usd) / 1e6;
    return true;
}

/* In nano-units, at least 1. False: the arm declares none. */
static bool bound_of(const struct engine_worker *w, const struct router_view *r, uint32_t index,
                     uint64_t *ret)
{
    const struct session_step *s = &w->session;
    const struct arm_config *arm = r->arms[index]->config;
    bool capped = arm->cap_mask >> s->view.metric & 1, priced = false;
    double price = 0, most = capped ? arm->cap_raw[s->view.metric] : 0;
    if (strcmp(r->config->metrics[s->view.metric].name, "cost_usd") == 0)
        priced = price_bound(&w->demand, s->counted, arm, &price);
    if (priced && (!capped || price < most))
        most = price;
    if (!capped && !priced)
        return false;
    *ret = session_nano_up(most);
    *ret += *ret == 0;
    return true;
}

static uint64_t left_of(const struct session_view *v)
{
    return v->used < v->budget ? v->budget - v->used : 0;
}

void engine_session_constrain(struct engine_worker *w, const struct router_view *r,
                              const struct route_in *in)
{
    struct session_step *s = &w->session;
    if (!s->view.strict)
        return;
    uint64_t left = left_of(&s->view), most = 0;
    s->counted = in->input_tokens > 0;
    s->left_out = 0;
    for (uint32_t i = 0; i < r->arms_n; i++) {
        if (w->marks[i] != ELIGIBLE || r->arms[i]->paused)
            continue;
        if (!bound_of(w, r, i, &most))
            w->marks[i] = NO_BOUND;
        else if (most > left)
            w->marks[i] = OVER_BUDGET;
        s->left_out += w->marks[i] != ELIGIBLE;
    }
}

void engine_session_say_arm(const struct engine_worker *w, const struct router_view *r,
                            uint32_t index, char *ret_text, size_t cap)
{
    uint64_t most = 0;
    const char *metric = r->config->metrics[w->session.view.metric].name;
    if (bound_of(w, r, index, &most))
        (void)snprintf(ret_text, cap, "up to %.9g %s, %.9g left", raw_of(most), metric,
                       raw_of(left_of(&w->session.view)));
    else
        (void)snprintf(ret_text, cap,
                       "declare caps[%s], or both prices and max_output_tokens, and send "
                       "input_tokens",
                       metric);
}

enum err engine_session_exhausted(const struct engine_worker *w, const struct router_view *r,
                                  struct err_detail *detail)
{
    const struct session_step *s = &w->session;
    uint64_t least = 0, one;
    for (uint32_t i = 0; i < r->arms_n; i++)
        if (w->marks[i] == OVER_BUDGET && bound_of(w, r, i, &one) && (!least || one < least))
            least = one;
    return err_say(detail, ERR_BUDGET_EXHAUSTED,
                   "session `%s` has %.9g of its %.9g %s left, and the cheapest arm can cost %.9g",
                   s->ask.key.name, raw_of(left_of(&s->view)), raw_of(s->view.budget),
                   r->config->metrics[s->view.metric].name, raw_of(least));
}

bool engine_session_over(const struct engine_worker *w, const struct router_view *r)
{
    if (!w->session.view.strict)
        return false;
    for (uint32_t i = 0; i < r->arms_n; i++)
        if (w->marks[i] == OVER_BUDGET)
            return true;
    return false;
}

/* ---- reserved, and on its way ---- */

bool engine_session_reserve(struct engine_worker *w, const struct router_view *r, uint32_t index,
                            bool dry_run)
{
    struct session_step *s = &w->session;
    uint64_t most;
    if (!s->view.strict)
        return true;
    if (!bound_of(w, r, index, &most))
        return false;
    if (dry_run)
        return most <= left_of(&s->view);
    struct session_view now;
    bool fits = session_table_reserve(w->engine->sessions, &s->ask.key, most, &now);
    if (now.strict)
        s->view = now;
    else /* It was ended a moment ago: nothing of its budget is left. */
        s->view.used = s->view.budget;
    s->reserved = fits ? most : 0;
    return fits;
}

void engine_session_give_back(struct engine_worker *w)
{
    struct session_step *s = &w->session;
    if (s->reserved)
        session_table_arrived(w->engine->sessions, &s->ask.key, s->reserved);
    s->reserved = 0;
}

void route_wait_done(struct route_wait *wait)
{
    buf_done(&wait->record);
    buf_done(&wait->answer);
}

static void say_refused(const struct route_wait *wait, enum err e, const struct session_account *a,
                        struct err_detail *detail)
{
    if (e == ERR_BUDGET_EXHAUSTED || e == ERR_SESSION_BUDGET)
        (void)err_say(
            detail, e, "session `%s`: %.9g of %.9g are spent or reserved, %.9g were asked",
            wait->session, raw_of(a->spent + a->reserved), raw_of(a->budget), raw_of(wait->amount));
    else if (e == ERR_ID_REUSED)
        (void)err_say(detail, e, "this decision_id has a reservation already");
    else if (e == ERR_LIMIT)
        (void)err_say(detail, e, "session `%s` has too many decisions without a reported cost",
                      wait->session);
    else
        (void)err_say(detail, e, "the reservation was not taken");
}

/* Fold has told session_table what it made of it by now. */
static void reservation_answered(struct inbox_item *item, enum err e,
                                 const struct fold_result *result, uint64_t position)
{
    (void)position;
    void *at = item;
    struct route_wait *wait = at;
    struct err_detail detail = {""};
    struct session_key key = {wait->router_uid, ""};
    memcpy(key.name, wait->session, sizeof key.name);
    session_table_arrived(wait->engine->sessions, &key, wait->amount);
    if (e == OK) {
        session_table_step(wait->engine->sessions, &key, 0, wait->id, wait->arm_uid);
        engine_learn_label(wait->engine, wait->router_uid, wait->new_label);
    } else {
        say_refused(wait, e, &result->session, &detail);
    }
    if (wait->own_id && e == OK && wait->answer.len)
        live_recent_put(wait->engine->live, wait->id,
                        (struct slice){wait->answer.data, wait->answer.len});
    else if (wait->own_id)
        live_recent_drop(wait->engine->live, wait->id);
    wait->done(wait, e, &detail);
}

static void fill_event(const struct engine_worker *w, struct event *ev)
{
    const struct session_step *s = &w->session;
    memset(ev, 0, sizeof *ev);
    ev->kind = EVENT_SESSION;
    ev->at_us = s->ask.now_us;
    ev->u.session = (struct event_session){
        .router_uid = s->ask.key.router_uid,
        .metric = s->view.metric,
        .budget = s->view.budget,
        .ttl_us = s->ask.ttl_us,
        .amount = s->reserved,
    };
    memcpy(ev->u.session.name, s->ask.key.name, NAME_CAP);
    memcpy(ev->u.session.id, w->decision.id, ID_BYTES);
}

static enum err put_reservation(struct engine_worker *w, struct route_wait *wait,
                                struct err_detail *detail)
{
    fill_event(w, &w->event);
    buf_reset(&wait->record);
    event_encode(&w->event, &wait->record);
    if (buf_error(&wait->record) != OK)
        return err_say(detail, ERR_NOMEM, "no memory for the reservation");
    wait->item.record = (struct slice){wait->record.data, wait->record.len};
    wait->item.done = reservation_answered;
    enum err e = inbox_put(w->engine->inbox, &wait->item);
    if (e == OK)
        return OK;
    return err_say(detail, e, "%s",
                   e == ERR_QUEUE_FULL ? "the writer's queue is full"
                                       : "the server is shutting down");
}

void engine_route_give_back(struct engine_worker *w, const struct route_out *out)
{
    engine_session_give_back(w);
    if (out->own_id)
        live_recent_drop(w->engine->live, w->decision.id);
}

enum err engine_route_wait(struct engine_worker *w, const struct route_out *out,
                           struct route_wait *wait, struct err_detail *detail)
{
    const struct session_step *s = &w->session;
    wait->engine = w->engine;
    wait->router_uid = s->ask.key.router_uid;
    wait->arm_uid = w->decision.arm_uid;
    memcpy(wait->session, s->ask.key.name, NAME_CAP);
    memcpy(wait->new_label, w->new_label, NAME_CAP);
    wait->amount = s->reserved;
    memcpy(wait->id, w->decision.id, ID_BYTES);
    wait->own_id = out->own_id;
    buf_reset(&wait->answer);
    if (out->own_id && buf_error(&w->answer) == OK)
        buf_put(&wait->answer, w->answer.data, w->answer.len);
    enum err e = put_reservation(w, wait, detail);
    if (e == OK) /* The writer has it, and may be done with it. */
        return OK;
    engine_route_give_back(w, out);
    return e;
}

enum err engine_sessions_open(struct engine *e)
{
    uint32_t cursor = 0;
    struct session_account a;
    TRY(session_table_new(MAX_SESSIONS, &e->sessions));
    const struct sessions *all = ledger_model(e->ledger)->sessions;
    while (sessions_next(all, &cursor, &a))
        TRY(session_table_restore(e->sessions, &a));
    return OK;
}

/* ---- opened by name, and shown ---- */

static void show(const struct router_view *r, const struct session_key *key,
                 const struct session_view *v, int64_t now_us, struct session_info *ret)
{
    memset(ret, 0, sizeof *ret);
    memcpy(ret->name, key->name, NAME_CAP);
    ret->strict = v->strict;
    if (v->strict && v->metric < r->config->metrics_n)
        memcpy(ret->metric, r->config->metrics[v->metric].name, NAME_CAP);
    ret->budget = raw_of(v->budget);
    ret->used = raw_of(v->used);
    int held = v->held_arm ? router_view_arm_uid(r, v->held_arm) : -1;
    if (held >= 0)
        memcpy(ret->held_arm, r->arms[held]->config->name, NAME_CAP);
    ret->steps = v->steps;
    ret->expires_s = (double)(v->expires_us - now_us) * 1e-6;
}

static enum err enter_by_name(struct engine_worker *w, const struct session_in *in,
                              struct session_info *ret_info, struct err_detail *detail)
{
    const struct router_view *r;
    struct session_step *s = &w->session;
    const struct snapshot *snapshot = engine_snapshot_acquire(w);
    enum err e = engine_find_router(snapshot, in->router, &r, detail);
    if (e == OK)
        e = fill_ask(r, in->session, in->metric, in->amount, clock_unix_us(), &s->ask, detail);
    if (e == OK) {
        e = session_table_enter(w->engine->sessions, &s->ask, &s->view);
        if (e == OK)
            show(r, &s->ask.key, &s->view, s->ask.now_us, ret_info);
        else
            e = say_enter(e, &s->ask, &s->view, r->config, detail);
    }
    engine_snapshot_release(w);
    return e;
}

enum err engine_session_start(struct engine_worker *w, const struct session_in *in,
                              struct session_info *ret_info, struct err_detail *detail)
{
    TRY(enter_by_name(w, in, ret_info, detail));
    if (!w->session.view.strict)
        return OK;
    w->session.reserved = 0;
    memset(w->decision.id, 0, ID_BYTES);
    fill_event(w, &w->event);
    enum err e = engine_submit(w, &w->event, NULL);
    return e == OK ? OK
                   : err_say(detail, e, "session `%s` was not opened", w->session.ask.key.name);
}

enum err engine_session_list(struct engine_worker *w, struct slice router,
                             struct session_info *ret_infos, uint32_t n, uint32_t *ret_n,
                             uint32_t *ret_all, struct err_detail *detail)
{
    const struct router_view *r;
    struct session_row *rows = mem_calloc(n, sizeof *rows);
    if (!rows)
        return err_say(detail, ERR_NOMEM, "no memory for the list");
    const struct snapshot *snapshot = engine_snapshot_acquire(w);
    enum err e = engine_find_router(snapshot, router, &r, detail);
    if (e == OK) {
        int64_t now_us = clock_unix_us();
        *ret_all = session_table_list(w->engine->sessions, r->uid, now_us, rows, n);
        *ret_n = *ret_all < n ? *ret_all : n;
        for (uint32_t i = 0; i < *ret_n; i++)
            show(r, &rows[i].key, &rows[i].view, now_us, &ret_infos[i]);
    }
    engine_snapshot_release(w);
    mem_free(rows);
    return e;
}

/* ---- ended, with a reward for all of it ---- */

/* What is needed to credit steps; too large for a stack. */
struct credit {
    uint8_t ids[SESSION_STEPS_MAX][ID_BYTES];
    char texts[SESSION_STEPS_MAX][ID_TEXT_CAP];
    struct engine_weight metrics[SESSION_STEPS_MAX][MAX_METRICS];
    struct report_in reports[SESSION_STEPS_MAX];
    struct report_result results[SESSION_STEPS_MAX];
    uint32_t steps_n; /* Remembered. */
    struct router_config config;
    struct session_key key;
};

static enum err check_reward(const struct session_end_in *in, const struct router_config *c,
                             struct err_detail *detail)
{
    if (in->metrics_n > MAX_METRICS)
        return err_say(detail, ERR_TOO_LARGE, "a reward holds at most %d metrics", MAX_METRICS);
    for (size_t i = 0; i < in->metrics_n; i++) {
        const struct engine_weight *m = &in->metrics[i];
        char name[NAME_CAP];
        TRY(engine_name(m->name, "a metric", name, detail));
        int index = settings_metric_index(c, m->name.data, m->name.len);
        if (index < 0)
            return err_say(detail, ERR_METRIC_NOT_FOUND, "router `%s` has no metric `%s`", c->name,
                           name);
        if (c->metrics[index].group != METRIC_RATED)
            return err_say(detail, ERR_INVALID,
                           "metric `%s` is known step by step: report it with each decision", name);
        TRY(metric_check_value(&c->metrics[index], m->value, detail));
    }
    return OK;
}

/* The return that a step saw come [Sutton18, eq. 3.8, with one reward at the end]: gamma to the
 * number of steps after it, times the reward; EVEN is gamma 1. Kept within what the metric can
 * hold. */
static void fill_report(struct credit *c, const struct session_end_in *in, uint32_t step,
                        double share, struct report_in *ret)
{
    id_format(c->ids[step], c->texts[step]);
    for (size_t i = 0; i < in->metrics_n; i++) {
        const struct engine_weight *m = &in->metrics[i];
        int index = settings_metric_index(&c->config, m->name.data, m->name.len);
        const struct metric_def *def = &c->config.metrics[index];
        double value = share == 1 ? m->value : share * m->value;
        value = value < def->min ? def->min : value > def->max ? def->max : value;
        c->metrics[step][i] = (struct engine_weight){m->name, value};
    }
    *ret = (struct report_in){
        .decision_id = {c->texts[step], ID_TEXT_CAP - 1},
        .metrics = c->metrics[step],
        .metrics_n = in->metrics_n,
        .status = OUTCOME_OK,
        .piece_key = {c->key.name, strlen(c->key.name)},
    };
}

static uint32_t fill_reports(struct credit *c, const struct session_end_in *in)
{
    const struct router_settings *s = &c->config.settings;
    bool last = s->session_credit == CREDIT_LAST;
    double share = 1;
    uint32_t n = 0;
    for (uint32_t k = c->steps_n; k-- > 0 && !(last && n == 1);) {
        fill_report(c, in, k, share, &c->reports[n++]);
        if (s->session_credit == CREDIT_DISCOUNTED)
            share *= s->session_gamma;
    }
    return n;
}

static enum err give_credit(struct engine_worker *w, struct credit *c,
                            const struct session_end_in *in, struct session_end_out *ret,
                            struct err_detail *detail)
{
    uint32_t n = in->metrics_n ? fill_reports(c, in) : 0;
    if (n == 0)
        return OK;
    TRY(engine_reports(w, c->reports, n, c->results, detail));
    for (uint32_t i = 0; i < n; i++) {
        const struct report_result *r = &c->results[i];
        if (r->err == ERR_DISK_FULL || r->err == ERR_NOMEM || r->err == ERR_IO)
            return err_say(detail, r->err, "%s", r->detail.text); /* May be tried again. */
        ret->credited += r->err == OK && !r->out.duplicate;
        ret->reported += r->err == OK && r->out.duplicate;
        ret->lost += r->err != OK;
    }
    return OK;
}

static enum err look_up(struct engine_worker *w, const struct session_end_in *in, struct credit *c,
                        struct session_end_out *ret, struct err_detail *detail)
{
    const struct router_view *r;
    struct session_ask ask;
    struct session_view view;
    const struct snapshot *snapshot = engine_snapshot_acquire(w);
    int64_t now_us = clock_unix_us();
    enum err e = engine_find_router(snapshot, in->router, &r, detail);
    if (e == OK)
        e = fill_ask(r, in->session, (struct slice){NULL, 0}, 0, now_us, &ask, detail);
    if (e == OK)
        e = check_reward(in, r->config, detail);
    if (e == OK &&
        !session_table_steps(w->engine->sessions, &ask.key, now_us, &view, c->ids, &c->steps_n))
        e = err_say(detail, ERR_SESSION_NOT_FOUND, "router `%s` has no open session `%s`",
                    r->config->name, ask.key.name);
    if (e == OK) {
        c->key = ask.key;
        c->config = *r->config;
        show(r, &ask.key, &view, now_us, &ret->info);
    }
    engine_snapshot_release(w);
    return e;
}

static enum err end_it(struct engine_worker *w, const struct credit *c, bool strict,
                       struct err_detail *detail)
{
    if (strict) {
        memset(&w->event, 0, sizeof w->event);
        w->event.kind = EVENT_SESSION_END;
        w->event.at_us = clock_unix_us();
        w->event.u.session_end.router_uid = c->key.router_uid;
        memcpy(w->event.u.session_end.name, c->key.name, NAME_CAP);
        enum err e = engine_submit(w, &w->event, NULL);
        if (e != OK)
            return err_say(detail, e, "session `%s` was not ended", c->key.name);
    }
    session_table_end(w->engine->sessions, &c->key);
    return OK;
}

enum err engine_session_end(struct engine_worker *w, const struct session_end_in *in,
                            struct session_end_out *ret_out, struct err_detail *detail)
{
    struct credit *c = mem_calloc(1, sizeof *c);
    if (!c)
        return err_say(detail, ERR_NOMEM, "no memory to end a session");
    memset(ret_out, 0, sizeof *ret_out);
    enum err e = look_up(w, in, c, ret_out, detail);
    if (e == OK)
        e = give_credit(w, c, in, ret_out, detail);
    if (e == OK)
        e = end_it(w, c, ret_out->info.strict, detail);
    mem_free(c);
    return e;
}
