#include "server/gauges.h"

#include "server/engine/engine_adapters.h"
#include "state/base/mem.h"

#include <stdio.h>

enum { GAUGES_BUDGETS_MAX = 1000 };
enum budget_gauge {
    GAUGE_BANK,
    GAUGE_PRICE,
    GAUGE_RATE,
    GAUGE_RECENT,
    GAUGE_SPENT,
    GAUGE_ALLOWED,
    GAUGE_BREAKER
};

#define READER(name, value)                                                                        \
    static double read_##name(void *arg)                                                           \
    {                                                                                              \
        const struct gauges *g = arg;                                                              \
        return (double)(value);                                                                    \
    }
READER(inbox_depth, engine_gauges(g->engine).inbox_depth)
READER(fold_lag, engine_gauges(g->engine).fold_lag)
READER(audit_dropped, engine_gauges(g->engine).audit_dropped)
READER(journal_bytes, engine_gauges(g->engine).journal_bytes)
READER(journal_position, engine_positions(g->engine).journal)
READER(checkpoint_position, engine_positions(g->engine).checkpoint)
READER(log_dropped, log_dropped(g->log))
READER(accounts_evicted, engine_accounts(g->engine).evicted)

static void build_info(struct metrics_sink *sink, void *arg)
{
    struct metrics_label label = {"version", SHUNT_VERSION};
    (void)arg;
    metrics_emit(sink, &label, 1, 1);
}

typedef void emit_router(struct metrics_sink *sink, struct engine *e, const struct router_view *r,
                         uint32_t arms_n);

static void emit_shares(struct metrics_sink *sink, struct engine *e, const struct router_view *r,
                        uint32_t arms_n)
{
    double all = 0;
    for (uint32_t i = 0; i < r->arms_n; i++)
        all += (double)engine_issued(e, r->arms[i]->uid);
    for (uint32_t i = 0; i < arms_n; i++) {
        const struct arm_view *arm = r->arms[i];
        struct metrics_label labels[] = {{"router", r->config->name}, {"arm", arm->config->name}};
        metrics_emit(sink, labels, 2, all > 0 ? (double)engine_issued(e, arm->uid) / all : 0);
    }
}

static void emit_outcomes(struct metrics_sink *sink, struct engine *e, const struct router_view *r,
                          uint32_t arms_n)
{
    (void)e;
    for (uint32_t i = 0; i < arms_n; i++) {
        const struct arm_view *arm = r->arms[i];
        struct metrics_label labels[] = {{"router", r->config->name}, {"arm", arm->config->name}};
        metrics_emit(sink, labels, 2, (double)arm->answered);
    }
}

/* A worker of its own for one page: the rendering thread is not ours, and may be another each time.
 */
static void emit_routers(struct metrics_sink *sink, struct engine *e, emit_router *emit)
{
    struct engine_worker *w = NULL;
    uint32_t left = GAUGES_ARMS_MAX;
    if (engine_worker_new(e, &w) != OK)
        return;
    const struct snapshot *s = engine_snapshot_acquire(w);
    for (uint32_t i = 0; i < s->routers_n && left; i++) {
        const struct router_view *r = s->routers[i];
        uint32_t n = r->arms_n < left ? r->arms_n : left;
        emit(sink, e, r, n);
        left -= n;
    }
    engine_snapshot_release(w);
    engine_worker_free(w);
}

static void arm_share(struct metrics_sink *sink, void *arg)
{
    emit_routers(sink, ((struct gauges *)arg)->engine, emit_shares);
}

static void arm_outcomes(struct metrics_sink *sink, void *arg)
{
    emit_routers(sink, ((struct gauges *)arg)->engine, emit_outcomes);
}

/* A number of each router. */
#define ROUTER_COLLECTOR(field)                                                                    \
    static void emit_##field(struct metrics_sink *sink, struct engine *e,                          \
                             const struct router_view *r, uint32_t arms_n)                         \
    {                                                                                              \
        struct metrics_label label = {"router", r->config->name};                                  \
        (void)e;                                                                                   \
        (void)arms_n;                                                                              \
        metrics_emit(sink, &label, 1, (double)r->field);                                           \
    }                                                                                              \
    static void router_##field(struct metrics_sink *sink, void *arg)                               \
    {                                                                                              \
        emit_routers(sink, ((struct gauges *)arg)->engine, emit_##field);                          \
    }
ROUTER_COLLECTOR(alarms_raised)
ROUTER_COLLECTOR(defaulted)
ROUTER_COLLECTOR(unaccounted)
ROUTER_COLLECTOR(gated)

static double number_of_budget(const struct budget_info *b, enum budget_gauge gauge)
{
    const struct pacer_report *a = &b->account;
    switch (gauge) {
    case GAUGE_BANK:
        return a->saved.kept.bank;
    case GAUGE_PRICE:
        return a->terms.lambda;
    case GAUGE_RATE:
        return a->rate / b->per_request;
    case GAUGE_RECENT:
        return a->saved.kept.spend;
    case GAUGE_SPENT:
        return a->saved.totals.paid;
    case GAUGE_ALLOWED:
        return a->saved.totals.allowed;
    case GAUGE_BREAKER:
        return a->saved.kept.tripped;
    }
    return 0;
}

static void emit_budgets(struct metrics_sink *sink, struct engine *e, enum budget_gauge gauge)
{
    struct engine_worker *w = NULL;
    struct err_detail detail;
    uint32_t n = 0, total;
    const struct slice all = {"", 0};
    struct budget_info *b = mem_calloc(GAUGES_BUDGETS_MAX, sizeof *b);
    if (!b || engine_worker_new(e, &w) != OK) {
        mem_free(b);
        return;
    }
    if (engine_budgets(w, all, all, b, GAUGES_BUDGETS_MAX, &n, &total, &detail) == OK)
        for (uint32_t i = 0; i < n; i++) {
            struct metrics_label labels[] = {
                {"router", b[i].router}, {"tenant", b[i].tenant}, {"metric", b[i].metric}};
            if (b[i].has_account)
                metrics_emit(sink, labels, 3, number_of_budget(&b[i], gauge));
        }
    engine_worker_free(w);
    mem_free(b);
}

#define BUDGET_COLLECTOR(name, gauge)                                                              \
    static void name(struct metrics_sink *sink, void *arg)                                         \
    {                                                                                              \
        emit_budgets(sink, ((struct gauges *)arg)->engine, gauge);                                 \
    }
BUDGET_COLLECTOR(budget_bank, GAUGE_BANK)
BUDGET_COLLECTOR(budget_price, GAUGE_PRICE)
BUDGET_COLLECTOR(budget_rate, GAUGE_RATE)
BUDGET_COLLECTOR(budget_recent, GAUGE_RECENT)
BUDGET_COLLECTOR(budget_spent, GAUGE_SPENT)
BUDGET_COLLECTOR(budget_allowed, GAUGE_ALLOWED)
BUDGET_COLLECTOR(budget_breaker, GAUGE_BREAKER)

static void sessions_open(struct metrics_sink *sink, void *arg)
{
    uint32_t strict, all = engine_sessions_count(((struct gauges *)arg)->engine, &strict);
    struct metrics_label with = {"budget", "strict"}, without = {"budget", "none"};
    metrics_emit(sink, &with, 1, strict);
    metrics_emit(sink, &without, 1, all - strict);
}

static enum err add_budgets(struct gauges *g, struct metrics *m)
{
    const struct {
        const char *name, *help;
        enum metrics_type type;
        void (*collect)(struct metrics_sink *sink, void *arg);
    } rows[] = {
        {"shunt_budget_bank",
         "Saved, or owed when negative, in budgets. At most 1000 budgets are "
         "shown; tenant is empty for a router's own.",
         METRICS_GAUGE, budget_bank},
        {"shunt_budget_price", "Utility that one unit of the metric costs now.", METRICS_GAUGE,
         budget_price},
        {"shunt_budget_rate", "What a request may cost now on average, in budgets.", METRICS_GAUGE,
         budget_rate},
        {"shunt_budget_recent", "Recent mean cost of a request, in budgets.", METRICS_GAUGE,
         budget_recent},
        {"shunt_budget_spent",
         "Spent, in the metric's unit: predicted, and put right where "
         "the true cost was reported (it may fall then).",
         METRICS_GAUGE, budget_spent},
        {"shunt_budget_allowed", "A budget for each request charged, in the metric's unit.",
         METRICS_GAUGE, budget_allowed},
        {"shunt_budget_breaker", "1 while only the cheapest arm may serve.", METRICS_GAUGE,
         budget_breaker},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        TRY(metrics_add_collector(m, rows[i].name, rows[i].help, rows[i].type, rows[i].collect, g));
    return metrics_add_reader(m, "shunt_accounts_evicted_total",
                              "Accounts that made room for others; what they owed is forgotten.",
                              METRICS_COUNTER, read_accounts_evicted, g);
}

/* ---- adapters ---- */

typedef void emit_adapters(struct metrics_sink *sink, const struct adapter_counts *c);

static void each_residency(struct metrics_sink *sink, void *arg, emit_adapters *emit)
{
    struct adapter_counts c = {0};
    for (int i = 0; i < GAUGES_ADAPTERS_MAX &&
                    engine_adapter_counts(((struct gauges *)arg)->engine, c.router_uid, &c);
         i++)
        emit(sink, &c);
}

#define ADAPTERS_COLLECTOR(field)                                                                  \
    static void emit_adapters_##field(struct metrics_sink *sink, const struct adapter_counts *c)   \
    {                                                                                              \
        struct metrics_label label = {"router", c->router};                                        \
        metrics_emit(sink, &label, 1, (double)c->field);                                           \
    }                                                                                              \
    static void adapters_##field(struct metrics_sink *sink, void *arg)                             \
    {                                                                                              \
        each_residency(sink, arg, emit_adapters_##field);                                          \
    }
ADAPTERS_COLLECTOR(resident)
ADAPTERS_COLLECTOR(epoch)
ADAPTERS_COLLECTOR(pulls)
ADAPTERS_COLLECTOR(misses)
ADAPTERS_COLLECTOR(loads)
ADAPTERS_COLLECTOR(failed)

/* By number, too: one URL may be declared twice. */
static void emit_replicas(struct metrics_sink *sink, const struct adapter_counts *c)
{
    for (uint32_t i = 0; i < c->replicas_n; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%u", i);
        struct metrics_label labels[] = {
            {"router", c->router}, {"replica", number}, {"url", c->url[i]}};
        metrics_emit(sink, labels, 3, c->up >> i & 1);
    }
}

static void replicas_up(struct metrics_sink *sink, void *arg)
{
    each_residency(sink, arg, emit_replicas);
}

static enum err add_adapters(struct gauges *g, struct metrics *m)
{
    const struct {
        const char *name, *help;
        enum metrics_type type;
        void (*collect)(struct metrics_sink *sink, void *arg);
    } rows[] = {
        {"shunt_adapters_resident",
         "Adapters in fast memory of one replica at least. At most 200 routers with adapters are "
         "shown, in order of creation.",
         METRICS_GAUGE, adapters_resident},
        {"shunt_adapters_epoch", "Plans made of which adapters are to be resident.", METRICS_GAUGE,
         adapters_epoch},
        {"shunt_adapter_pulls_total", "Requests that were routed to an adapter.", METRICS_COUNTER,
         adapters_pulls},
        {"shunt_adapter_misses_total",
         "Requests that were routed to an adapter that was not resident.", METRICS_COUNTER,
         adapters_misses},
        {"shunt_adapter_loads_total", "Loads that the router's engine carried out.",
         METRICS_COUNTER, adapters_loads},
        {"shunt_adapter_loads_failed_total", "Loads that the router's engine failed or refused.",
         METRICS_COUNTER, adapters_failed},
        {"shunt_replica_up", "1 when the engine's replica answered the last time it was asked.",
         METRICS_GAUGE, replicas_up},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        TRY(metrics_add_collector(m, rows[i].name, rows[i].help, rows[i].type, rows[i].collect, g));
    return OK;
}

static void on_commit(void *ctx, double seconds, uint32_t records)
{
    struct gauges *g = ctx;
    metrics_histogram_observe(g->commit_seconds, seconds);
    metrics_histogram_observe(g->batch_records, (double)records);
}

static enum err add_readers(struct gauges *g, struct metrics *m)
{
    const struct {
        const char *name, *help;
        enum metrics_type type;
        double (*read)(void *arg);
    } rows[] = {
        {"shunt_inbox_depth", "Outcomes waiting for the writer.", METRICS_GAUGE, read_inbox_depth},
        {"shunt_fold_lag", "Events durable but not yet published.", METRICS_GAUGE, read_fold_lag},
        {"shunt_journal_position", "Position of the last durable event.", METRICS_GAUGE,
         read_journal_position},
        {"shunt_checkpoint_position", "Position of the current checkpoint; 0: none yet.",
         METRICS_GAUGE, read_checkpoint_position},
        {"shunt_journal_bytes", "Size of the journal on disk.", METRICS_GAUGE, read_journal_bytes},
        {"shunt_audit_dropped_total", "Decision records dropped because the log could not keep up.",
         METRICS_COUNTER, read_audit_dropped},
        {"shunt_log_dropped_total", "Log lines dropped because their reader did not keep up.",
         METRICS_COUNTER, read_log_dropped},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        TRY(metrics_add_reader(m, rows[i].name, rows[i].help, rows[i].type, rows[i].read, g));
    return OK;
}

static enum err add_outcome_counts(struct gauges *g, struct metrics *m)
{
    TRY(metrics_add_collector(m, "shunt_defaulted_total",
                              "Decisions that nobody rated in time and that were given the "
                              "router's default reward.",
                              METRICS_COUNTER, router_defaulted, g));
    TRY(metrics_add_collector(m, "shunt_unaccounted_total",
                              "Decisions without a report that got no default reward, since the "
                              "decision log does not have them. Counted at each start.",
                              METRICS_COUNTER, router_unaccounted, g));
    TRY(metrics_add_collector(m, "shunt_gated_total",
                              "Outcomes of sources that the router does not trust: journalled, "
                              "taught nobody.",
                              METRICS_COUNTER, router_gated, g));
    return OK;
}

enum err gauges_init(struct gauges *g, struct engine *engine, struct log *log, struct metrics *m)
{
    *g = (struct gauges){.engine = engine, .log = log};
    TRY(add_readers(g, m));
    TRY(metrics_add_histogram(m, "shunt_commit_seconds", "Time of one durable commit, in seconds.",
                              NULL, 0, &metrics_seconds, &g->commit_seconds));
    TRY(metrics_add_histogram(m, "shunt_batch_records", "Events in one commit.", NULL, 0,
                              &metrics_powers, &g->batch_records));
    TRY(metrics_add_collector(m, "shunt_build_info", "1, with the version as a label.",
                              METRICS_GAUGE, build_info, g));
    TRY(metrics_add_collector(m, "shunt_alarms_total",
                              "Arms that were noticed to have changed, by router.", METRICS_COUNTER,
                              router_alarms_raised, g));
    TRY(add_outcome_counts(g, m));
    TRY(metrics_add_collector(m, "shunt_arm_share",
                              "Share of a router's decisions that went to the arm. At most 2000 "
                              "arms are shown, in order of creation.",
                              METRICS_GAUGE, arm_share, g));
    TRY(metrics_add_collector(m, "shunt_arm_outcomes",
                              "Decisions of the arm with at least one report. At most 2000 arms "
                              "are shown, in order of creation.",
                              METRICS_GAUGE, arm_outcomes, g));
    TRY(add_budgets(g, m));
    TRY(add_adapters(g, m));
    TRY(metrics_add_collector(m, "shunt_sessions_open",
                              "Sessions that are neither ended nor expired, by whether they have "
                              "a strict budget.",
                              METRICS_GAUGE, sessions_open, g));
    engine_on_commit(engine, on_commit, g);
    return OK;
}
