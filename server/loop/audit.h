/* audit.h - the decision log: what was decided, with what, kept for a while on its own terms.
 * Why: explain, evaluate and join-without-token need it; an acknowledgement must never wait for it.
 * So: a bounded byte ring, its own thread, one LMDB environment per hour, no fsync, dropped whole.
 * Owns: the ring, the thread, the environments (state/store/hours).
 * Threads: audit_put from any rpc thread, never blocks: when the ring is full the record is dropped
 * and counted. audit_find from any. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/event.h"

struct audit;

struct audit_options {
    const char *dir;
    uint64_t ring_bytes;
    int64_t keep_us;
    uint64_t max_bytes;
};

/* One eligible arm of a decision. */
struct audit_arm {
    uint32_t arm_uid;
    float propensity, mean, width;
    uint32_t pending;
};

/* A whole decision record. */
struct audit_record {
    struct decision decision;
    uint64_t position; /* Of the snapshot. */
    uint64_t seed;     /* Of the draw. */
    uint32_t weights_n;
    double weights[MAX_METRICS]; /* As used. */
    uint32_t arms_n;
    struct audit_arm *arms; /* arms_n; owned by whoever filled it. */
};

/* Byte forms; a record that does not decode is ERR_CORRUPT. ret->arms is allocated: mem_free it. */
void audit_encode(const struct audit_record *r, struct buf *out);
MUST_USE enum err audit_decode(struct slice bytes, struct audit_record *ret_record);

MUST_USE enum err audit_open(const struct audit_options *o, struct audit **ret_audit,
                             struct err_detail *detail);
/* Writes what waits, then stops the thread. */
void audit_close(struct audit *a);
/* `bytes` is an encoded record, copied. False: dropped, and counted. */
bool audit_put(struct audit *a, const uint8_t id[ID_BYTES], int64_t issued_us, struct slice bytes);
/* ERR_NOT_FOUND when the log does not have it (any more). Waits briefly for what is in the ring. */
MUST_USE enum err audit_find(struct audit *a, const uint8_t id[ID_BYTES],
                             struct audit_record *ret_record);
uint64_t audit_dropped(struct audit *a);
