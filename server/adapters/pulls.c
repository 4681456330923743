#include "server/adapters/pulls.h"

#include "state/base/mem.h"

#include <stdatomic.h>
#include <string.h>

enum { CELLS_MOST = 4096, CELLS_LEAST = 256, BYTES_MOST = 2 << 20 };

/* A cell's turn is its index when it may be written, index + 1 when it may be read, and index +
 * cells after that. */
struct cell {
    _Atomic uint64_t turn;
    uint32_t uid;
    bool resident;
};

struct pulls {
    _Atomic uint64_t head; /* Next to write. */
    uint8_t apart[56];     /* Those who write and the one who reads: a cache line each. */
    uint64_t tail;         /* Next to read. */
    uint32_t row_n;
    uint64_t cells_n; /* A power of two. */
    struct cell *cells;
    float *rows; /* (cells_n, row_n) */
    float *taken;
    _Atomic uint64_t dropped;
};

enum err pulls_new(uint32_t row_n, struct pulls **ret_pulls)
{
    struct pulls *p = mem_calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    p->row_n = row_n;
    p->cells_n = CELLS_MOST;
    while (p->cells_n > CELLS_LEAST && p->cells_n * row_n * sizeof *p->rows > BYTES_MOST)
        p->cells_n /= 2;
    p->cells = mem_calloc(p->cells_n, sizeof *p->cells);
    p->rows = mem_calloc(p->cells_n * row_n + 1, sizeof *p->rows);
    p->taken = mem_calloc((size_t)row_n + 1, sizeof *p->taken);
    if (!p->cells || !p->rows || !p->taken) {
        pulls_free(p);
        return ERR_NOMEM;
    }
    for (uint64_t i = 0; i < p->cells_n; i++)
        atomic_init(&p->cells[i].turn, i);
    *ret_pulls = p;
    return OK;
}

void pulls_free(struct pulls *p)
{
    if (!p)
        return;
    mem_free(p->cells);
    mem_free(p->rows);
    mem_free(p->taken);
    mem_free(p);
}

/* The next cell to write, taken; NULL when all are full. */
static struct cell *claim(struct pulls *p, uint64_t *ret_at)
{
    uint64_t at = atomic_load_explicit(&p->head, memory_order_relaxed);
    for (;;) {
        struct cell *c = &p->cells[at & (p->cells_n - 1)];
        uint64_t turn = atomic_load_explicit(&c->turn, memory_order_acquire);
        if (turn < at)
            return NULL;
        if (turn > at)
            at = atomic_load_explicit(&p->head, memory_order_relaxed);
        else if (atomic_compare_exchange_weak_explicit(&p->head, &at, at + 1, memory_order_relaxed,
                                                       memory_order_relaxed)) {
            *ret_at = at;
            return c;
        }
    }
}

bool pulls_put(struct pulls *p, uint32_t uid, bool resident, const float *x, uint32_t x_n,
               const double *weights)
{
    uint64_t at;
    struct cell *c = claim(p, &at);
    if (!c) {
        atomic_fetch_add_explicit(&p->dropped, 1, memory_order_relaxed);
        return false;
    }
    float *row = p->rows + (at & (p->cells_n - 1)) * p->row_n;
    c->uid = uid;
    c->resident = resident;
    memcpy(row, x, x_n * sizeof *row);
    for (uint32_t i = x_n; i < p->row_n; i++)
        row[i] = (float)weights[i - x_n];
    atomic_store_explicit(&c->turn, at + 1, memory_order_release);
    return true;
}

bool pulls_take(struct pulls *p, struct pull *ret)
{
    struct cell *c = &p->cells[p->tail & (p->cells_n - 1)];
    if (atomic_load_explicit(&c->turn, memory_order_acquire) != p->tail + 1)
        return false;
    memcpy(p->taken, p->rows + (p->tail & (p->cells_n - 1)) * p->row_n,
           p->row_n * sizeof *p->taken);
    *ret = (struct pull){c->uid, c->resident, p->taken};
    atomic_store_explicit(&c->turn, p->tail + p->cells_n, memory_order_release);
    p->tail++;
    return true;
}

uint64_t pulls_dropped(const struct pulls *p)
{
    return atomic_load_explicit(&p->dropped, memory_order_relaxed);
}
