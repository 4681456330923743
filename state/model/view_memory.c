#include "state/model/view_memory.h"

#include "state/base/mem.h"
#include "state/base/slots.h"
#include "state/math/packed.h"

#include <assert.h>
#include <string.h>

struct view_memory {
    _Atomic uint32_t refs;
    uint32_t d, metrics_n;
    struct slots *head; /* All of a view but its matrices. */
    struct slots *matrix[METRIC_GROUPS];
};

static size_t whole_lines(size_t bytes)
{
    return (bytes + VIEW_ALIGN - 1) / VIEW_ALIGN * VIEW_ALIGN;
}

/* Where the parts stand, in bytes from the view. Its head: the view, thetas, share, config. */
struct shape {
    uint32_t stride;
    size_t theta, share, config, head;
    size_t matrix; /* Of one group. In the heap they come after the head. */
};

static struct shape shape_of(uint32_t d, uint32_t metrics_n)
{
    struct shape s = {.stride = (d + VIEW_PAD - 1) / VIEW_PAD * VIEW_PAD};
    s.theta = whole_lines(sizeof(struct arm_view));
    s.share = s.theta + whole_lines((size_t)s.stride * metrics_n * sizeof(float));
    s.config = s.share + whole_lines(d * sizeof(float));
    s.head = s.config + whole_lines(sizeof(struct arm_config));
    s.matrix = whole_lines(packed_n(d) * sizeof(float));
    return s;
}

static_assert((int)SLOTS_ALIGN == (int)VIEW_ALIGN, "rows stand where vectors load them whole");

static void free_memory(struct view_memory *m)
{
    slots_release(m->head);
    for (int g = 0; g < METRIC_GROUPS; g++)
        slots_release(m->matrix[g]);
    mem_free(m);
}

enum err view_memory_new(uint32_t d, uint32_t metrics_n, struct view_memory **ret_memory)
{
    struct shape s = shape_of(d, metrics_n);
    *ret_memory = NULL;
    if (s.matrix > SLOTS_PLACE_MAX || s.head > SLOTS_PLACE_MAX)
        return OK;
    struct view_memory *m = mem_calloc(1, sizeof *m);
    if (!m)
        return ERR_NOMEM;
    m->d = d;
    m->metrics_n = metrics_n;
    atomic_init(&m->refs, 1);
    m->head = slots_new(s.head);
    bool made = m->head != NULL;
    for (int g = 0; g < METRIC_GROUPS; g++) {
        m->matrix[g] = slots_new(s.matrix);
        made = made && m->matrix[g];
    }
    if (!made) {
        free_memory(m);
        return ERR_NOMEM;
    }
    *ret_memory = m;
    return OK;
}

struct view_memory *view_memory_acquire(struct view_memory *m)
{
    if (m)
        atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void view_memory_release(struct view_memory *m)
{
    if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
        free_memory(m);
}

bool view_memory_fits(const struct view_memory *m, uint32_t d, uint32_t metrics_n)
{
    return m->d == d && m->metrics_n == metrics_n;
}

/* Its parts side by side. */
static struct arm_view *from_heap(const struct shape *s, float **ret_matrix)
{
    void *storage = mem_alloc(s->head + METRIC_GROUPS * s->matrix + VIEW_ALIGN - 1);
    if (!storage)
        return NULL;
    uint8_t *base = (uint8_t *)storage + (-(uintptr_t)storage & (VIEW_ALIGN - 1));
    struct arm_view *v = (void *)base;
    for (int g = 0; g < METRIC_GROUPS; g++)
        ret_matrix[g] = (void *)(base + s->head + (size_t)g * s->matrix);
    v->storage = storage;
    return v;
}

static struct arm_view *from_slots(struct view_memory *m, float **ret_matrix)
{
    struct arm_view *v = slots_take(m->head);
    bool all = v != NULL;
    for (int g = 0; g < METRIC_GROUPS; g++) {
        ret_matrix[g] = slots_take(m->matrix[g]);
        all = all && ret_matrix[g];
    }
    if (all) {
        v->storage = NULL;
        return v;
    }
    slots_give(v);
    for (int g = 0; g < METRIC_GROUPS; g++)
        slots_give(ret_matrix[g]);
    return NULL;
}

/* Memory of that shape: all of it is to be written, but `storage`. */
static struct arm_view *take(struct view_memory *m, const struct shape *s, float **ret_matrix)
{
    return m ? from_slots(m, ret_matrix) : from_heap(s, ret_matrix);
}

static void point(struct arm_view *v, const struct shape *s, float *const *matrix)
{
    uint8_t *base = (void *)v;
    v->theta = (void *)(base + s->theta);
    v->prior_share = (void *)(base + s->share);
    v->config = (void *)(base + s->config);
    for (int g = 0; g < METRIC_GROUPS; g++)
        v->P[g] = matrix[g];
    atomic_init(&v->refs, 1);
}

struct arm_view *arm_view_new(struct view_memory *memory, uint32_t d, uint32_t metrics_n,
                              const struct arm_config *config)
{
    struct shape s = shape_of(d, metrics_n);
    float *matrix[METRIC_GROUPS];
    struct arm_view *v = take(memory, &s, matrix);
    if (!v)
        return NULL;
    void *storage = v->storage;
    memset(v, 0, s.head);
    for (int g = 0; g < METRIC_GROUPS; g++)
        memset(matrix[g], 0, s.matrix);
    memcpy((uint8_t *)v + s.config, config, sizeof *config);
    v->storage = storage;
    v->d = d;
    v->stride = s.stride;
    v->metrics_n = metrics_n;
    point(v, &s, matrix);
    return v;
}

struct arm_view *arm_view_copy(struct view_memory *memory, const struct arm_view *like)
{
    struct shape s = shape_of(like->d, like->metrics_n);
    float *matrix[METRIC_GROUPS];
    struct arm_view *v = take(memory, &s, matrix);
    if (!v)
        return NULL;
    void *storage = v->storage;
    /* The count stands first: others count it down meanwhile. */
    const size_t counted = sizeof like->refs;
    memcpy((uint8_t *)v + counted, (const uint8_t *)like + counted, s.head - counted);
    for (int g = 0; g < METRIC_GROUPS; g++)
        memcpy(matrix[g], like->P[g], s.matrix);
    v->storage = storage;
    point(v, &s, matrix);
    return v;
}

void arm_view_free(struct arm_view *v)
{
    if (v->storage) {
        mem_free(v->storage);
        return;
    }
    for (int g = 0; g < METRIC_GROUPS; g++)
        slots_give(v->P[g]);
    slots_give(v);
}
