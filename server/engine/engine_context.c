#include "server/engine/engine_parts.h"

#include "server/route/features.h"

#include <string.h>

/* ---- task labels ---- */

/* The slot of a label, or -1. */
static int label_slot(const struct router_config *c, const char *label, size_t len)
{
    for (uint32_t i = 0; i < c->tasks_n; i++)
        if (strlen(c->tasks[i]) == len && memcmp(c->tasks[i], label, len) == 0)
            return (int)i;
    return -1;
}

static bool has_free_slot(const struct router_config *c)
{
    return c->tasks_n + 1 < c->spec.task_slots; /* The last one is `other`. */
}

/* It is proposed once the request is answered: one that is refused leaves no trace. */
static void note_label(struct engine_worker *w, const char *label, size_t len)
{
    memset(w->new_label, 0, sizeof w->new_label);
    memcpy(w->new_label, label, len < NAME_CAP ? len : NAME_CAP - 1);
}

static int task_slot(struct engine_worker *w, const struct router_view *r, struct slice task,
                     bool learn)
{
    const struct router_config *c = r->config;
    if (task.len == 0 || c->spec.task_slots == 0)
        return -1;
    int slot = label_slot(c, task.data, task.len);
    if (slot >= 0)
        return slot;
    if (!has_free_slot(c))
        return c->spec.task_slots - 1;
    if (learn)
        note_label(w, task.data, task.len);
    return -1;
}

/* Probabilities of the classifier's labels in the slots of their names. A label that the router
 * does not have counts as `other` when its table is full; else, if it is the likeliest, it is
 * learned like a caller's. */
static void spread_labels(struct engine_worker *w, const struct router_view *r,
                          const struct classifier *classifier, const float *p, bool learn,
                          float *ret_slots)
{
    const struct router_config *c = r->config;
    uint32_t best = 0, n = classify_labels_n(classifier);
    for (uint32_t l = 0; l < n; l++) {
        const char *label = classify_label(classifier, l);
        int slot = label_slot(c, label, strlen(label));
        if (slot < 0 && !has_free_slot(c))
            slot = c->spec.task_slots - 1;
        if (slot >= 0)
            ret_slots[slot] += p[l];
        best = p[l] > p[best] ? l : best;
    }
    const char *likeliest = classify_label(classifier, best);
    size_t len = strlen(likeliest);
    if (learn && has_free_slot(c) && label_slot(c, likeliest, len) < 0)
        note_label(w, likeliest, len);
}

/* False: nothing is known, and the slots are zero. */
static bool guess_task(struct engine_worker *w, const struct router_view *r, struct slice text,
                       bool learn, float *ret_slots)
{
    float p[MAX_TASKS];
    const struct classifier *c = atomic_load_explicit(&w->engine->classifier, memory_order_acquire);
    memset(ret_slots, 0, MAX_TASKS * sizeof *ret_slots);
    if (!classify_text(c, text, p))
        return false;
    spread_labels(w, r, c, p, learn, ret_slots);
    return true;
}

/* ---- the context ---- */

static enum err check_context(struct engine_worker *w, const struct route_in *in,
                              struct err_detail *detail)
{
    if (in->text.len > w->engine->o.max_text_bytes)
        return err_say(detail, ERR_TOO_LARGE, "text has %zu bytes, at most %u are taken",
                       in->text.len, w->engine->o.max_text_bytes);
    char name[NAME_CAP];
    return in->task.len ? engine_name(in->task, "the task", name, detail) : OK;
}

enum err engine_fill_context(struct engine_worker *w, const struct router_view *router,
                             const struct route_in *in, bool learn, struct err_detail *detail)
{
    const struct feature_spec *spec = &router->config->spec;
    float slots[MAX_TASKS];
    w->new_label[0] = '\0';
    TRY(check_context(w, in, detail));
    struct feature_input fi = {
        .text = in->text,
        .task_slot = task_slot(w, router, in->task, learn),
        .features = in->features,
        .features_n = in->features_n,
        .embedding = in->embedding,
        .embedding_n = in->embedding_n,
        .projection = projections_find(w->engine->o.projections, spec->projection),
        .agent = in->agent,
    };
    /* A label of the caller's that is still on its way into the table is not second-guessed. */
    bool guess = spec->version == 1 && spec->task_slots > 0 && in->task.len == 0;
    if (guess && guess_task(w, router, in->text, learn, slots))
        fi.task_p = slots;
    return features_fill(spec, &fi, w->decision.x, detail);
}

enum err engine_features(struct engine_worker *w, const struct route_in *in,
                         struct features_out *ret_out, struct err_detail *detail)
{
    const struct router_view *r;
    const struct snapshot *s = engine_snapshot_acquire(w);
    enum err e = engine_find_router(s, in->router, &r, detail);
    if (e == OK)
        e = engine_fill_context(w, r, in, false, detail);
    if (e == OK) {
        const struct classifier *c =
            atomic_load_explicit(&w->engine->classifier, memory_order_acquire);
        ret_out->config = *r->config;
        memcpy(ret_out->x, w->decision.x, r->d * sizeof *ret_out->x);
        ret_out->labels_n = classify_text(c, in->text, ret_out->label_p) ? classify_labels_n(c) : 0;
        for (uint32_t l = 0; l < ret_out->labels_n; l++)
            memcpy(ret_out->labels[l], classify_label(c, l), strlen(classify_label(c, l)) + 1);
    }
    engine_snapshot_release(w);
    return e;
}

/* ---- training ---- */

enum err engine_classifier_train(struct engine_worker *w, struct slice examples,
                                 uint32_t *ret_examples_n, uint32_t *ret_labels_n,
                                 char ret_labels[][NAME_CAP], struct err_detail *detail)
{
    struct classifier *c = NULL;
    TRY(classify_train(examples, &c, detail));
    if (ret_examples_n)
        *ret_examples_n = classify_examples_n(c);
    if (ret_labels_n)
        *ret_labels_n = classify_labels_n(c);
    for (uint32_t l = 0; ret_labels && l < classify_labels_n(c); l++)
        memcpy(ret_labels[l], classify_label(c, l), strlen(classify_label(c, l)) + 1);
    struct classifier *old =
        atomic_exchange_explicit(&w->engine->classifier, c, memory_order_acq_rel);
    /* Whoever read the old pointer holds a snapshot until it is through. */
    published_wait_for_readers(w->engine->published);
    classify_free(old);
    return OK;
}
