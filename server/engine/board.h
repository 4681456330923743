/* board.h - how the adapters of one router stand, as requests see it.
 * Why: the slow loop knows, and requests must not ask it: what they read is a table that never
 * changes, replaced whole.
 * Owns: its one block. Threads: built by the slow loop; read by any that holds a snapshot, until
 * readers were waited for (published.h). */
#pragma once

#include "state/base/err.h"
#include "state/model/residency.h"

/* The numbers of shunt.v1.Residence. */
enum residence {
    RESIDENCE_COLD = 0,     /* A request for it pages its weights first. */
    RESIDENCE_LOADING = 1,  /* The same, and it is on its way. */
    RESIDENCE_RESIDENT = 2, /* In fast memory of one replica at least; or a base model. */
};

struct board_arm {
    uint32_t uid;
    bool adapter;      /* Else a base model: resident, everywhere, free. */
    uint8_t residence; /* enum residence. */
    uint16_t held;     /* Bit r: resident on replica r. */
    float charge;      /* Utility of choosing it now; 0 when resident or when nobody asks. */
    float load_ms;     /* Expected of a load. */
};

struct board {
    uint32_t n, replicas_n;        /* replicas_n 0: nobody's engine is known. */
    uint16_t up;                   /* Bit r: replica r answered when it was last asked. */
    int16_t scratch[REPLICAS_MAX]; /* Engine slot for what is not resident; -1: it needs none. */
    char url[REPLICAS_MAX][REPLICA_URL_CAP];
    struct board_arm *arms; /* (n), in order of uid. */
    int16_t *slots;         /* (n, replicas_n): engine slot of a resident; -1: it needs none. */
    struct board *next;     /* The slow loop's list of those that wait for their readers. */
};

/* Room for n arms; everything zero, slots and scratch -1. */
MUST_USE enum err board_new(uint32_t n, uint32_t replicas_n, struct board **ret_board);
void board_free(struct board *b);
bool board_equal(const struct board *a, const struct board *b);

/* NULL: the arm is newer than the board. */
const struct board_arm *board_find(const struct board *b, uint32_t uid);
/* Which replica a request should use: one of those that hold the arm, drawn by the seed. For one
 * that none holds, always the same one of those that are up: its scratch slot may still have it.
 * -1: no replicas are known. ret_slot: as slots and scratch say. */
int board_replica(const struct board *b, const struct board_arm *arm, uint64_t seed, int *ret_slot);
