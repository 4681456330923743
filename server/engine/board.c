#include "server/engine/board.h"

#include "state/base/mem.h"
#include "state/base/rng.h"
#include "state/base/search.h"

#include <stddef.h>
#include <string.h>

enum { SEED_REPLICA = 0x7e91 }; /* Apart from a seed's other uses. */

enum err board_new(uint32_t n, uint32_t replicas_n, struct board **ret_board)
{
    size_t slots = (size_t)n * replicas_n;
    struct board *b = mem_calloc(1, sizeof *b + n * sizeof *b->arms + slots * sizeof *b->slots + 1);
    if (!b)
        return ERR_NOMEM;
    b->n = n;
    b->replicas_n = replicas_n;
    b->arms = (struct board_arm *)(b + 1);
    b->slots = (int16_t *)(b->arms + n);
    memset(b->slots, 0xff, slots * sizeof *b->slots);
    memset(b->scratch, 0xff, sizeof b->scratch);
    *ret_board = b;
    return OK;
}

void board_free(struct board *b)
{
    mem_free(b);
}

static bool same_arm(const struct board_arm *a, const struct board_arm *b)
{
    return a->uid == b->uid && a->adapter == b->adapter && a->residence == b->residence &&
           a->held == b->held && a->charge == b->charge && a->load_ms == b->load_ms;
}

bool board_equal(const struct board *a, const struct board *b)
{
    if (a->n != b->n || a->replicas_n != b->replicas_n || a->up != b->up ||
        memcmp(a->scratch, b->scratch, sizeof a->scratch) != 0 ||
        memcmp(a->url, b->url, sizeof a->url) != 0 ||
        memcmp(a->slots, b->slots, (size_t)a->n * a->replicas_n * sizeof *a->slots) != 0)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!same_arm(&a->arms[i], &b->arms[i]))
            return false;
    return true;
}

const struct board_arm *board_find(const struct board *b, uint32_t uid)
{
    uint32_t at =
        search_records(b->arms, b->n, sizeof *b->arms, offsetof(struct board_arm, uid), uid);
    return at < b->n && b->arms[at].uid == uid ? &b->arms[at] : NULL;
}

/* The k-th bit that is set. */
static int nth_bit(uint32_t mask, uint32_t k)
{
    for (; k > 0; k--)
        mask &= mask - 1;
    return __builtin_ctz(mask);
}

/* [Thaler98], "Using Name-Based Mappings to Increase Hit Rates": highest random weight, so that a
 * replica that goes down moves only what it had. */
static int affine(uint32_t mask, uint32_t uid)
{
    int best = -1;
    uint64_t most = 0;
    for (uint32_t r = 0; r < REPLICAS_MAX; r++) {
        uint64_t weight = rng_mix(uid, SEED_REPLICA + r);
        if (mask >> r & 1 && (best < 0 || weight > most)) {
            best = (int)r;
            most = weight;
        }
    }
    return best;
}

int board_replica(const struct board *b, const struct board_arm *arm, uint64_t seed, int *ret_slot)
{
    *ret_slot = -1;
    if (b->replicas_n == 0)
        return -1;
    uint32_t all = (1u << b->replicas_n) - 1, up = b->up & all ? b->up & all : all;
    uint32_t from = arm->adapter ? arm->held & up : up;
    int r;
    if (from) {
        r = nth_bit(from,
                    (uint32_t)rng_below(seed, SEED_REPLICA, (uint64_t)__builtin_popcount(from)));
        *ret_slot = arm->adapter ? b->slots[(size_t)(arm - b->arms) * b->replicas_n + (uint32_t)r]
                                 : b->scratch[r]; /* Anywhere else it would take a resident's. */
        return r;
    }
    r = affine(up, arm->uid);
    *ret_slot = b->scratch[r];
    return r;
}
