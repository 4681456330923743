/* engine_parts.h - what the files of server/engine share. Private to this room. */
#pragma once

#include "server/engine/engine.h"
#include "server/live/live.h"
#include "server/live/newcomer_quota.h"
#include "server/live/session_table.h"
#include "server/live/source_caps.h"
#include "server/loop/audit.h"
#include "server/loop/writer.h"
#include "server/ops/clock.h"
#include "server/ops/log.h"
#include "server/route/classify.h"
#include "server/route/decide.h"
#include "server/route/eligible.h"
#include "server/route/projection.h"
#include "server/seal/seal.h"
#include "state/ledger.h"
#include "state/published.h"

#include <pthread.h>

struct engine {
    struct engine_options o;
    struct ledger *ledger;
    struct published *published;
    struct live *live;
    struct session_table *sessions;
    struct pacers *pacers;
    struct source_caps *source_caps;
    struct newcomer_quota *newcomers;
    struct defaults *defaults;
    struct inbox *inbox;
    struct audit *audit;
    struct writer *writer;
    struct jobs *jobs;
    struct adapters *adapters;
    void (*on_commit)(void *ctx, double seconds, uint32_t records);
    void *on_commit_ctx;
    _Atomic uint32_t labels_in_flight;
    _Atomic(struct classifier *) classifier; /* NULL: none. Reclaimed like a snapshot. */
};

/* What the session of the request in hand means for it. */
struct session_step {
    bool named; /* Else nothing below but view.strict is set. */
    struct session_ask ask;
    struct session_view view;
    bool counted;      /* The request says its input_tokens. */
    uint32_t left_out; /* Arms that its budget left out. */
    uint64_t reserved; /* Nano-units, on their way to the journal. */
};

/* What engine_route_ahead made. */
struct ahead {
    struct router_view *router; /* Held; NULL: nothing was made. */
    struct score_sheet *sheet;
    bool filled;                   /* The sheet is, */
    uint32_t column[ENGINE_AHEAD]; /* with this context of each; UINT32_MAX: not there. */
    bool made[ENGINE_AHEAD];       /* x is there. */
    float x[ENGINE_AHEAD][MAX_D];
    char new_label[ENGINE_AHEAD][NAME_CAP]; /* As the worker's. */
};

enum { ENGINE_GUESSES = 32 }; /* Arms whose limits are judged together. */

/* Everything a call needs beyond the stack; one a thread. */
struct engine_worker {
    struct engine *engine;
    struct sealer *sealer;
    struct decide_scratch decide;
    struct eligible arms[MAX_ARMS];
    uint8_t marks[MAX_ARMS]; /* enum ineligible of every arm, until a ranking uses it. */
    struct demand demand;    /* Of the request in hand, and what it points to: */
    struct selector selector, stage;
    struct session_step session;
    struct ahead ahead;
    uint8_t broken[MAX_ARMS]; /* Of an arm OVER_LIMIT: into demand.limits. */
    uint32_t limited[ENGINE_GUESSES];
    struct guess guesses[ENGINE_GUESSES];
    float pmf[MAX_ARMS];
    float costs[MAX_ARMS];        /* Of arms, predicted, under a budget. */
    float refused_cost[MAX_ARMS]; /* Of an arm UNAFFORDABLE, as the marks stand. */
    uint32_t refused_n;           /* In all; the first are in: */
    struct audit_refused refused[AUDIT_REFUSED_MAX];
    struct audit_arm audit_arms[MAX_ARMS];
    struct audit_record record;
    struct score_terms terms[MAX_RANKED]; /* At least AUDIT_TERMS_MAX. */
    struct eligible shown[MAX_RANKED];    /* Whose terms they are. */
    struct decision decision;
    char new_label[NAME_CAP]; /* Of this request's task, not in its router's table; "": none. */
    struct buf audit_bytes, answer;
    struct event event;
};

/* Fills w->decision.x of a request to this router, and w->new_label if it learns. The snapshot must
 * be held: it keeps the classifier too. */
MUST_USE enum err engine_fill_context(struct engine_worker *w, const struct router_view *router,
                                      const struct route_in *in, bool learn,
                                      struct err_detail *detail);

/* The same, taken from what engine_route_ahead made where that is of this request and router. */
MUST_USE enum err engine_take_context(struct engine_worker *w, const struct router_view *router,
                                      const struct route_in *in, struct err_detail *detail);

/* The budget that a request spends from. */
struct budget {
    bool paced; /* Else nothing else holds. */
    struct pacer_id id;
    struct pacer_budget limits;
    struct pacing_terms terms;
};
/* `tenant` may be empty. The tenant's own budget, else the router's, else none. */
MUST_USE enum err engine_find_budget(struct engine_worker *w, const struct router_view *router,
                                     const char *tenant, int64_t now_us, struct budget *ret_budget,
                                     struct err_detail *detail);
/* pass: of w->decision.x. Fills w->costs of w->arms[0..n) and keeps those that may be chosen;
 * returns how many; behind them stand *ret_trials that are on trial (NULL: none may be). The others
 * are marked UNAFFORDABLE and stand in w->refused.
 */
uint32_t engine_afford(struct engine_worker *w, const struct router_view *router,
                       const struct budget *budget, const struct score_pass *pass, uint32_t n,
                       uint32_t *ret_trials);
void engine_show_budget(const struct budget *budget, const struct router_view *router,
                        struct shown_budget *ret_shown);
/* ---- what new arms may spend (engine_newcomers.c) ---- */

/* Of one request: what was taken of the router's quota, and what was left of it before. */
struct newcomer_ask {
    int metric; /* -1: the router has no such quota. */
    int64_t now_us;
    double left;
    uint32_t refused;
    bool all_stay; /* What is left pays none of them: they serve all the same, and pay nothing. */
};
/* Leaves out of w->arms[0..n) the new arms that what is left cannot pay, if others stay; returns
 * how many stay. Those left out are marked NEWCOMERS_SPENT. */
uint32_t engine_newcomers_filter(struct engine_worker *w, const struct router_view *router,
                                 int64_t now_us, uint32_t n, struct newcomer_ask *ret_ask);
/* Whether this arm, on probe and so beside w->arms, is known well or can be paid. */
bool engine_newcomers_may_pay(const struct engine_worker *w, const struct router_view *router,
                              const struct newcomer_ask *ask, uint32_t index);
/* Takes what the chosen arm (index into router->arms) is predicted to cost, unless that is known
 * well, or nobody else was left. False: others took it meanwhile; choose again. */
bool engine_newcomers_take(struct engine_worker *w, const struct router_view *router,
                           const struct newcomer_ask *ask, uint32_t index, bool dry_run);
/* It was not served after all. */
void engine_newcomers_give(struct engine_worker *w, const struct router_view *router,
                           const struct newcomer_ask *ask, uint32_t index);
/* "cost_usd 0.02 predicted, 0.004 left of 0.1 an hour". */
void engine_newcomers_say(struct engine_worker *w, const struct router_view *router, uint32_t index,
                          char *ret_text, size_t cap);
/* "cost_usd 0.02 predicted, 0.004 affordable now". */
void engine_say_unaffordable(const char *metric, double cost, double affordable, bool breaker,
                             char *ret_text, size_t cap);
/* The true cost of a decision, counted now. */
void engine_correct(struct engine *e, const struct report_charge *charge);

/* Reads what the request asks of an arm into w->demand. */
MUST_USE enum err engine_demand(struct engine_worker *w, const struct router_view *router,
                                const struct route_in *in, struct err_detail *detail);
/* Gives arms of w->marks that are ELIGIBLE their reason, when w->demand has one; not COOLING. Reads
 * w->decision.x. */
void engine_constrain(struct engine_worker *w, const struct router_view *router);
/* Reads the request's session into w->session, and has what is known of it fetched from memory in
 * two steps (session_table_expect), between which and the look-up other work comes. */
MUST_USE enum err engine_session_expect(struct engine_worker *w, const struct router_view *router,
                                        const struct route_in *in, int64_t now_us,
                                        struct err_detail *detail);
void engine_session_fetch(struct engine_worker *w);
/* Looks the session up, and opens it unless the request is a dry run. */
MUST_USE enum err engine_session_enter(struct engine_worker *w, const struct router_view *router,
                                       bool dry_run, struct err_detail *detail);
/* Gives arms of w->marks that are ELIGIBLE their reason when the session's budget could not pay
 * what they may cost. After engine_demand. */
void engine_session_constrain(struct engine_worker *w, const struct router_view *router,
                              const struct route_in *in);
/* The figures behind NO_BOUND and OVER_BUDGET. */
void engine_session_say_arm(const struct engine_worker *w, const struct router_view *router,
                            uint32_t index, char *ret_text, size_t cap);
/* Whether an arm is OVER_BUDGET, and the error to give when no other is left. */
bool engine_session_over(const struct engine_worker *w, const struct router_view *router);
enum err engine_session_exhausted(const struct engine_worker *w, const struct router_view *router,
                                  struct err_detail *detail);
/* Counts what the arm may cost in the session's account. False: another request was faster, the
 * arm does not fit any more. */
bool engine_session_reserve(struct engine_worker *w, const struct router_view *router,
                            uint32_t index, bool dry_run);
/* The decision does not leave: its amount is free again. */
void engine_session_give_back(struct engine_worker *w);
/* Makes e->sessions as the journal has them; before the writer starts. */
MUST_USE enum err engine_sessions_open(struct engine *e);
/* The error of a request that no arm can serve: the reason of every arm, as many as fit. */
enum err engine_say_no_arm(struct engine_worker *w, const struct router_view *router,
                           struct err_detail *detail);
/* Fills ret_out->excluded from w->marks; neither the chosen arm nor, when all of them may serve,
 * the cooling ones are. */
void engine_show_excluded(struct engine_worker *w, const struct router_view *router,
                          bool all_cooling, uint32_t chosen, const struct budget *budget,
                          struct route_out *ret_out);

struct serving engine_serving_of(const struct decision *d);
/* Counts a deferred decision as made; once, when fold said that it is served by this. */
void engine_count_served(struct engine *e, const struct serving *s);
/* The same for the slow loop. departs: an engine will be asked now; else it has answered. From any
 * thread that is registered (published.h). */
void engine_tell_served(struct engine *e, const struct decision *d, bool departs);
/* Fills w->event.u.outcome.decision from the report's token or id. No snapshot may be held. */
MUST_USE enum err engine_find_decision(struct engine_worker *w, const struct report_in *in,
                                       struct err_detail *detail);
/* Makes the event of a report and all of `call` but its queueing. */
MUST_USE enum err engine_prepare_report(struct engine_worker *w, const struct report_in *in,
                                        struct report_call *call, struct err_detail *detail);
/* The sentence for what inbox_put said. */
MUST_USE enum err engine_say_queue(enum err e, struct err_detail *detail);
/* ---- adapters: the slow loop (engine_adapters.c) ---- */
/* What the journal remembers; before the writer starts. */
MUST_USE enum err engine_adapters_open(struct engine *e);
MUST_USE enum err engine_adapters_start(struct engine *e);
/* While the writer still answers. */
void engine_adapters_close(struct engine *e);

/* ---- defaults: a thread that rates what nobody rated (engine_defaults.c) ---- */
MUST_USE enum err engine_defaults_open(struct engine *e);
/* NULL members are fine. No event is in flight afterwards. */
void engine_defaults_close(struct engine *e);

/* Queues the event and waits until the writer answered. *ret_result (may be NULL) is set on error,
 * too: all zero, or what was folded and could not be published, which a retry would not fold again.
 */
MUST_USE enum err engine_submit(struct engine_worker *w, const struct event *event,
                                struct fold_result *ret_result);
/* Runs a command on the writer's thread and waits (_arm: WRITER_TRANSFER). */
MUST_USE enum err engine_command(struct engine_worker *w, enum writer_command_kind kind,
                                 struct buf *out, uint64_t *ret_position);
MUST_USE enum err engine_command_arm(struct engine_worker *w, uint32_t router_uid, uint32_t arm_uid,
                                     struct buf *out);
/* Lets the writer commit what ledger_forget_begin made, and waits; callers of the writer go first.
 * On error nothing was forgotten: ERR_CANCELLED, ERR_SHUTTING_DOWN, or what the commit said. */
MUST_USE enum err engine_forget_command(struct engine_worker *w, struct ledger_forget *forget,
                                        const _Atomic bool *cancelled,
                                        struct ledger_forgotten *ret);
/* Learns a task label in the background: never waited for, at most a few in flight. "": nothing.
 * Any thread. */
void engine_learn_label(struct engine *e, uint32_t router_uid, const char *label);

/* Sets the name into a zeroed NAME_CAP buffer; ERR_BAD_NAME says which. */
MUST_USE enum err engine_name(struct slice s, const char *what, char ret_name[NAME_CAP],
                              struct err_detail *detail);
/* The router of this name ("default" when empty); the sentence names it. Snapshot must be held. */
MUST_USE enum err engine_find_router(const struct snapshot *s, struct slice name,
                                     const struct router_view **ret_router,
                                     struct err_detail *detail);
/* Router and arm by name; ret_arm: its place in the router. Snapshot must be held. */
MUST_USE enum err engine_find_arm(const struct snapshot *s, struct slice router, struct slice arm,
                                  const struct router_view **ret_router, uint32_t *ret_arm,
                                  struct err_detail *detail);
/* The same by the snapshot of now, copied out of it; ret_config may be NULL. */
MUST_USE enum err engine_look_up_router(struct engine_worker *w, struct slice name,
                                        uint32_t *ret_uid, struct router_config *ret_config,
                                        struct err_detail *detail);
MUST_USE enum err engine_look_up_arm(struct engine_worker *w, struct slice router, struct slice arm,
                                     uint32_t *ret_router_uid, uint32_t *ret_arm_uid,
                                     struct err_detail *detail);
/* The writer folded an outcome that raised or ended alarms: budgets look anew, the log says so. */
void engine_alarmed(struct engine *e, uint32_t router_uid, const struct fold_result *result);
/* The one answer to every decision we do not know, whatever is wrong with it. */
enum err engine_unknown_decision(struct err_detail *detail);
