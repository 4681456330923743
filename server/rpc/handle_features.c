#include "server/route/features.h"
#include "server/rpc/handlers.h"
#include "server/rpc/message.h"

#include <string.h>

enum { REQUEST_FIELD = 1, EXAMPLES_FIELD = 1 };

static char *copy(struct arena *arena, const char *text)
{
    return arena_text(arena, text, strlen(text));
}

static Shunt__V1__FeatureBlock *block_out(const struct features_out *f,
                                          const struct spec_block *block, struct arena *arena)
{
    Shunt__V1__FeatureBlock *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__feature_block__init(m);
    m->name = copy(arena, block->name);
    m->names = arena_array(arena, block->n, sizeof *m->names);
    m->values = arena_array(arena, block->n, sizeof *m->values);
    if (!m->name || !m->names || !m->values)
        return NULL;
    memcpy(m->values, f->x + block->at, block->n * sizeof *m->values);
    m->n_names = m->n_values = block->n;
    for (uint32_t i = 0; i < block->n; i++) {
        char name[2 * NAME_CAP];
        features_name(&f->config, block->at + i, name, sizeof name);
        m->names[i] = copy(arena, name);
        if (!m->names[i])
            return NULL;
    }
    return m;
}

static bool router_has(const struct router_config *c, const char *label)
{
    for (uint32_t i = 0; i < c->tasks_n; i++)
        if (strcmp(c->tasks[i], label) == 0)
            return true;
    return false;
}

static bool labels_out(const struct features_out *f, struct arena *arena,
                       Shunt__V1__FeaturesResponse *m)
{
    Shunt__V1__TaskProbability *rows = arena_array(arena, f->labels_n, sizeof *rows);
    m->classifier = arena_array(arena, f->labels_n, sizeof *m->classifier);
    if (!rows || !m->classifier)
        return false;
    for (uint32_t l = 0; l < f->labels_n; l++) {
        shunt__v1__task_probability__init(&rows[l]);
        rows[l].label = copy(arena, f->labels[l]);
        rows[l].has_probability = rows[l].has_in_router = true;
        rows[l].probability = (double)f->label_p[l];
        rows[l].in_router = router_has(&f->config, f->labels[l]);
        m->classifier[l] = &rows[l];
        if (!rows[l].label)
            return false;
    }
    m->n_classifier = f->labels_n;
    return true;
}

static Shunt__V1__FeaturesResponse *features_out(const struct features_out *f, struct arena *arena)
{
    char words[256];
    struct spec_block blocks[SPEC_BLOCKS_MAX];
    uint32_t n = spec_blocks(&f->config.spec, blocks);
    Shunt__V1__FeaturesResponse *m = arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    shunt__v1__features_response__init(m);
    spec_describe(&f->config.spec, words, sizeof words);
    m->router = copy(arena, f->config.name);
    m->feature_spec = copy(arena, words);
    m->has_feature_spec_hash = m->has_d = true;
    m->feature_spec_hash = spec_hash(&f->config.spec);
    m->d = spec_d(&f->config.spec);
    m->blocks = arena_array(arena, n, sizeof *m->blocks);
    if (!m->router || !m->feature_spec || !m->blocks || !labels_out(f, arena, m))
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        m->blocks[i] = block_out(f, &blocks[i], arena);
        if (!m->blocks[i])
            return NULL;
    }
    m->n_blocks = n;
    return m;
}

enum err handle_features(struct handler *h, const ProtobufCMessage *request,
                         ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__FeaturesRequest *m = (const Shunt__V1__FeaturesRequest *)request;
    struct route_in in;
    /* Of the arena: a router's declaration is too large for every stack. */
    struct features_out *f = arena_alloc(&h->arena, sizeof *f);
    if (!f)
        return arena_error(&h->arena, detail);
    TRY(codec_route_in(m->request, message_field(h->body, REQUEST_FIELD), &h->route_lists, &in,
                       detail));
    TRY(engine_features(h->worker, &in, f, detail));
    Shunt__V1__FeaturesResponse *response = features_out(f, &h->arena);
    if (!response)
        return arena_error(&h->arena, detail);
    *ret_response = &response->base;
    return OK;
}

enum err handle_train_classifier(struct handler *h, const ProtobufCMessage *request,
                                 ProtobufCMessage **ret_response, struct err_detail *detail)
{
    (void)request; /* Its bytes are read in place: they may be megabytes. */
    Shunt__V1__TrainClassifierResponse *r = arena_alloc(&h->arena, sizeof *r);
    char(*labels)[NAME_CAP] = arena_array(&h->arena, MAX_TASKS, sizeof *labels);
    uint32_t n = 0;
    if (!r || !labels)
        return arena_error(&h->arena, detail);
    shunt__v1__train_classifier_response__init(r);
    r->labels = arena_array(&h->arena, MAX_TASKS, sizeof *r->labels);
    if (!r->labels)
        return arena_error(&h->arena, detail);
    TRY(engine_classifier_train(h->worker, message_field(h->body, EXAMPLES_FIELD), &r->examples, &n,
                                labels, detail));
    for (uint32_t l = 0; l < n; l++)
        r->labels[l] = labels[l];
    r->n_labels = n;
    r->has_examples = true;
    *ret_response = &r->base;
    return OK;
}
