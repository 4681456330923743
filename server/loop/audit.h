/* audit.h - the decision log: what was decided, with what, kept for a while on its own terms.
 * Why: explain, evaluate and join-without-token need it; an acknowledgement must never wait for it.
 * So: a bounded byte ring, its own thread, one LMDB environment per hour, no fsync, dropped whole.
 * The ring is two halves: rpc threads fill one while the thread writes the other. What is in either
 * half is found at once, so a record is visible from the moment audit_put returned true.
 * Owns: the ring, the thread, the environments (state/store/hours).
 * Threads: audit_put from any rpc thread: a short lock and a copy, never the disk; when the half is
 * full the record is dropped and counted. audit_find from any. Open before the first thread
 * (hours_open forks), close after the last put or find.
 * Invariant: every record that audit_put took is written, or counted as dropped. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/event.h"

struct audit;

struct audit_options {
    const char *dir;     /* Created when absent; its parent must exist. */
    uint64_t ring_bytes; /* [64 KiB, 1 GiB]. */
    int64_t keep_us;     /* Age at which an hour goes; 0: never. */
    uint64_t max_bytes;  /* On disk, overshot by at most half a ring; 0: no limit. The oldest hours
                          * go; when the running hour alone is too large, the new records do. */
    int64_t expire_every_us; /* 0: a minute. */
};

/* One eligible arm of a decision. */
struct audit_arm {
    uint32_t arm_uid;
    float propensity, mean, width;
    uint32_t pending;
};

/* What the mean of one eligible arm was the sum of (server/route/score.h). */
struct audit_terms {
    uint32_t arm;                  /* Into the record's arms. */
    float silence, charge, pacing; /* pacing: 0 without a budget. */
    float predicted[MAX_METRICS];  /* Of the metrics with weight. */
};
enum { AUDIT_TERMS_MAX = 64 }; /* Arms that have them: the chosen one, and the best scores. */

/* An arm that the budget ruled out. */
struct audit_refused {
    uint32_t arm_uid;
    float cost; /* Predicted, raw unit. */
};
enum { AUDIT_REFUSED_MAX = 64 };

/* The budget that bore on a decision; all zero: none did. */
struct audit_budget {
    bool paced;
    uint8_t metric;
    char tenant[NAME_CAP]; /* Empty: the router's own. */
    double per_request, lambda, affordable;
    bool breaker;
    uint32_t refused_n; /* In all; the first AUDIT_REFUSED_MAX are here. */
    struct audit_refused refused[AUDIT_REFUSED_MAX];
};

/* A whole decision record. */
struct audit_record {
    struct decision decision;
    uint64_t position;     /* Of the snapshot. */
    uint64_t seed;         /* Of the draw. */
    float kept;            /* Share of exploiting decisions that the log kept then, [0, 1]; it kept
                              this one for that share if rng_uniform(seed, 3) < kept. */
    char policy[NAME_CAP]; /* Whose pmf was mixed. */
    bool fallback;         /* The arm that the policy names was not eligible. */
    uint32_t weights_n;
    double weights[MAX_METRICS]; /* As used. */
    uint16_t lower_mask;         /* Bit m: metric m counts negative. */
    uint32_t baseline_uid;       /* The arm that answers without a policy; 0: none was named. */
    struct audit_budget budget;
    uint32_t terms_n;
    struct audit_terms terms[AUDIT_TERMS_MAX]; /* In the order of the arms. */
    uint32_t arms_n;
    struct audit_arm *arms; /* arms_n; owned by whoever filled it. */
};

/* Byte forms; a record that does not decode is ERR_CORRUPT. ret->arms is allocated (NULL for none):
 * mem_free it. On failure nothing is. */
void audit_encode(const struct audit_record *r, struct buf *out);
MUST_USE enum err audit_decode(struct slice bytes, struct audit_record *ret_record);

MUST_USE enum err audit_open(const struct audit_options *o, struct audit **ret_audit,
                             struct err_detail *detail);
/* Writes what waits, then stops the thread. */
void audit_close(struct audit *a);
/* `bytes` is an encoded record, copied. False: dropped, and counted. */
bool audit_put(struct audit *a, const uint8_t id[ID_BYTES], int64_t issued_us, struct slice bytes);
/* ERR_NOT_FOUND when the log does not have it (any more), or it is damaged. ret->arms as above. */
MUST_USE enum err audit_find(struct audit *a, const uint8_t id[ID_BYTES],
                             struct audit_record *ret_record);
/* The same for records that audit_iterate has visited and that are therefore on disk; the time is
 * known there, which ids of callers do not tell. Takes no lock that audit_put takes: a thread that
 * gives way to all others must not hold one when it is put aside. */
MUST_USE enum err audit_read(struct audit *a, const uint8_t id[ID_BYTES], int64_t issued_us,
                             struct audit_record *ret_record);

/* Every record of decisions issued in [from_us, to_us), hour by hour, inside an hour by id; those
 * put before the call are among them. Waits for the log's thread, a second at most. The record is
 * the log's, valid during the call; what visit returns other than OK ends the walk. ret_damaged
 * counts those that cannot be read. From any thread but the log's. */
typedef enum err audit_visit(void *ctx, const struct audit_record *record);
MUST_USE enum err audit_iterate(struct audit *a, int64_t from_us, int64_t to_us, audit_visit *visit,
                                void *ctx, uint64_t *ret_damaged, struct err_detail *detail);
/* Records not kept since open: the ring was full, the disk was, or max_bytes was reached. */
uint64_t audit_dropped(struct audit *a);

struct audit_counts {
    uint64_t written, dropped;
    uint64_t hours, bytes;                   /* On disk now. */
    uint64_t damaged_hours, damaged_records; /* Since open. */
    struct err_detail last_error;            /* Why a batch was not kept; empty: every one was. */
};
void audit_counts(struct audit *a, struct audit_counts *ret_counts);
