/* adapters_parts.h - what the files of the slow loop share. Private to this room. */
#pragma once

#include "server/adapters/controller.h"
#include "server/adapters/pulls.h"
#include "server/engine/engine_adapters.h"
#include "server/engine/engine_parts.h"
#include "server/engine/replicas.h"

/* What can fail of a row in a round. */
enum resident_step { RESIDENT_SYNC, RESIDENT_ROUND, RESIDENT_JOURNAL, RESIDENT_STEPS };

/* One router whose arms are adapters. */
struct resident {
    uint32_t uid; /* The router's. */
    /* Requests read and write these, while they hold a snapshot. */
    _Atomic(struct board *) board;
    struct pulls *pulls;
    _Atomic uint32_t forced; /* Arm that the next request should try; 0: none. */
    /* The slow loop's, under adapters.lock. */
    struct router_view *view; /* Held. */
    bool synced;              /* Settings, arms and replicas are up to `view`. */
    struct controller *controller;
    struct residency_settings settings; /* In force: slots and bytes of all replicas together. */
    struct residency_target target;
    uint32_t slots; /* Of one replica, as `replicas` was told. */
    uint64_t bytes;
    struct replicas *replicas; /* NULL: nobody's engine is driven. */
    struct err_detail error;   /* Why not, or what it would not take; empty: nothing is wrong. */
    uint64_t seen;             /* reconciler_version, as the board shows it. */
    uint64_t pulled, missed;   /* Of adapters, since this row is there; never fewer. */
    uint64_t loads, failed;    /* The same of loads: what replicas_take_counts said so far. */
    struct engine_row *rows;   /* (rows_cap) */
    size_t rows_cap;
    uint64_t wish;                 /* Hash of what the replicas were last told. */
    struct buf update;             /* Of the last plan, or of loads, until it is durable. */
    bool to_journal;               /* update is not. */
    int64_t loads_at_us;           /* No record of loads before this; monotonic. */
    int64_t journal_at_us;         /* Not before this; monotonic. The slow loop's thread's alone. */
    enum err said[RESIDENT_STEPS]; /* The errors that the log has; OK: none. */
    bool planned;
    struct controller_plan plan; /* Without its update, which the controller's next call takes. */
    uint64_t shown;              /* Hash of what is desired and resident, as of the last board. */
    bool stale;                  /* The board may be. */
    bool kept;                   /* In this round: its router still has adapters. */
};

struct residents {
    uint32_t n;
    struct resident *rows[]; /* In order of uid. */
};

struct adapters {
    struct engine *engine;
    struct engine_worker *worker;
    struct flights *flights;
    _Atomic(struct residents *) table; /* Requests read it while they hold a snapshot. */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
    _Atomic uint64_t version;
    pthread_mutex_t hook; /* Held while it is called. */
    void (*on_change)(void *ctx, struct engine_worker *w);
    void *on_change_ctx;
    struct board *retired; /* Waiting for their readers. */
    struct resident *retired_rows[MAX_ROUTERS];
    uint32_t retired_n;
    int64_t expired_us;
    enum err said; /* Of the table, as in struct resident. */
};

/* NULL: the router has none. The caller holds a snapshot, or adapters.lock. */
struct resident *adapters_find(struct adapters *a, uint32_t router_uid);
/* Where an arm's weights are, and which of the replicas that hold them a request should use: drawn
 * by the decision's id, so that it can be told again when a deferred one is served. board may be
 * NULL. */
void adapters_show(const struct board *board, uint32_t arm_uid, const uint8_t id[ID_BYTES],
                   struct shown_adapter *ret_shown);
/* A decision is being served: the slow loop plans by what was asked, and engines are drained by
 * what is in flight. overrides: weights of the request, or NULL. The caller holds a snapshot. */
void adapters_tell(struct engine *e, struct resident *resident, const struct router_view *router,
                   const struct decision *decision, const double *overrides,
                   const struct shown_adapter *shown);
/* state: as folded so far; NULL: none yet. */
MUST_USE enum err resident_new(const struct router_config *config, uint32_t router_uid, uint32_t d,
                               const struct residency *state, struct resident **ret_resident);
void resident_free(struct resident *r);
/* Brings it up to the router's settings and arms. Takes the view, on an error too; then the next
 * call, with the same view or another, tries again what failed. */
MUST_USE enum err resident_sync(struct adapters *a, struct resident *r, struct router_view *view);
/* One round: loads, facts, pulls, the epoch's end, what the engine is told. The board that requests
 * should now see, when it is another one: *ret_board, else NULL. Unix time, and monotonic. */
MUST_USE enum err resident_round(struct resident *r, int64_t now_us, int64_t mono_us,
                                 struct board **ret_board);
/* Has the loads that were measured, and nobody was told of, journalled next. */
void resident_tell_loads(struct resident *r);
/* What the last plan changed and the loads that were measured are all durable. */
bool resident_durable(const struct resident *r);
