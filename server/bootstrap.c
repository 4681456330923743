#include "server/bootstrap.h"

#include "proto/form/yaml.h"
#include "server/rpc/handlers.h"

#include <string.h>
#include <yaml.h>

/* ---- Ephemeral routers ---- */

/* Names an ephemeral router; false when there is none left. */
static bool find_ephemeral(struct engine_worker *w, char ret_name[NAME_CAP])
{
    const struct snapshot *s = engine_snapshot_acquire(w);
    bool found = false;
    for (uint32_t i = 0; !found && i < s->routers_n; i++) {
        const struct router_config *c = s->routers[i]->config;
        if (c->ephemeral) {
            memcpy(ret_name, c->name, NAME_CAP);
            found = true;
        }
    }
    engine_snapshot_release(w);
    return found;
}

static enum err remove_ephemeral(struct engine_worker *w, struct log *log,
                                 struct err_detail *detail)
{
    char name[NAME_CAP];
    while (find_ephemeral(w, name)) {
        TRY(engine_router_remove(w, slice_text(name), detail));
        log_event(log, LOG_INFO, "router_removed", LOG_STR("router", name),
                  LOG_STR("why", "ephemeral, of an earlier run"), LOG_END);
    }
    return OK;
}

/* ---- Declared routers ---- */

static bool router_exists(struct engine_worker *w, const char *name)
{
    const struct snapshot *s = engine_snapshot_acquire(w);
    bool exists = snapshot_router(s, name, strlen(name)) != NULL;
    engine_snapshot_release(w);
    return exists;
}

static bool arm_exists(struct engine_worker *w, const char *router, const char *arm)
{
    const struct snapshot *s = engine_snapshot_acquire(w);
    const struct router_view *r = snapshot_router(s, router, strlen(router));
    bool exists = r && router_view_arm(r, arm, strlen(arm)) >= 0;
    engine_snapshot_release(w);
    return exists;
}

static enum err create_absent(struct engine_worker *w, const Shunt__V1__RouterSpec *spec,
                              struct log *log, struct err_detail *detail)
{
    if (!router_exists(w, spec->name)) {
        TRY(create_router(w, spec, detail));
        log_event(log, LOG_INFO, "router_created", LOG_STR("router", spec->name),
                  LOG_UINT("arms", spec->n_arms), LOG_STR("why", "bootstrap"), LOG_END);
        return OK;
    }
    for (size_t i = 0; i < spec->n_arms; i++) {
        const char *arm = spec->arms[i]->name;
        if (arm_exists(w, spec->name, arm))
            continue;
        TRY(create_arm(w, slice_text(spec->name), spec->arms[i], detail));
        log_event(log, LOG_INFO, "arm_created", LOG_STR("router", spec->name), LOG_STR("arm", arm),
                  LOG_STR("why", "bootstrap"), LOG_END);
    }
    return OK;
}

static enum err create_from_node(const struct config *config, yaml_document_t *document,
                                 yaml_node_t *node, struct engine_worker *w, struct log *log,
                                 struct err_detail *detail)
{
    struct form_error error;
    ProtobufCMessage *m = NULL;
    enum form_result r = form_message_from_yaml(&shunt__v1__router_spec__descriptor, document, node,
                                                config->file, &m, &error);
    if (r != FORM_OK)
        return err_say(detail, r == FORM_NOMEM ? ERR_NOMEM : ERR_PARSE, "%s", error.text);
    struct err_detail why = {{'\0'}};
    enum err e = create_absent(w, (const Shunt__V1__RouterSpec *)m, log, &why);
    if (e != OK)
        (void)err_say(detail, e, "%s:%zu: bootstrap: router %s: %s", config->file,
                      node->start_mark.line + 1, ((Shunt__V1__RouterSpec *)m)->name, why.text);
    protobuf_c_message_free_unpacked(m, NULL);
    return e;
}

/* The list under `routers:`, the only key that bootstrap knows. */
static enum err find_list(const struct config *config, yaml_document_t *document, yaml_node_t *node,
                          yaml_node_t **ret_list, struct err_detail *detail)
{
    yaml_node_pair_t *pair = NULL;
    if (node->type == YAML_MAPPING_NODE &&
        node->data.mapping.pairs.top - node->data.mapping.pairs.start == 1)
        pair = node->data.mapping.pairs.start;
    yaml_node_t *key = pair ? yaml_document_get_node(document, pair->key) : NULL;
    yaml_node_t *list = pair ? yaml_document_get_node(document, pair->value) : NULL;
    if (!key || !list || key->type != YAML_SCALAR_NODE ||
        strcmp((const char *)key->data.scalar.value, "routers") != 0 ||
        list->type != YAML_SEQUENCE_NODE)
        return err_say(detail, ERR_PARSE, "%s:%zu:%zu: bootstrap: expected `routers:` and a list",
                       config->file, node->start_mark.line + 1, node->start_mark.column + 1);
    *ret_list = list;
    return OK;
}

/* What the node says under `name`; NULL: nothing that can be read. */
static const char *declared_name(yaml_document_t *document, int item)
{
    const yaml_node_t *node = yaml_document_get_node(document, item);
    const yaml_node_pair_t *pair = NULL;
    if (node->type == YAML_MAPPING_NODE)
        for (pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
            const yaml_node_t *key = yaml_document_get_node(document, pair->key);
            const yaml_node_t *value = yaml_document_get_node(document, pair->value);
            if (key->type == YAML_SCALAR_NODE && value->type == YAML_SCALAR_NODE &&
                strcmp((const char *)key->data.scalar.value, "name") == 0)
                return (const char *)value->data.scalar.value;
        }
    return NULL;
}

/* The second of a name would be taken for one that was there before, and all but its arms be passed
 * over in silence. */
static enum err check_names(const struct config *config, yaml_document_t *document,
                            const yaml_node_t *list, struct err_detail *detail)
{
    const yaml_node_item_t *first = list->data.sequence.items.start;
    for (const yaml_node_item_t *i = first; i < list->data.sequence.items.top; i++) {
        const char *name = declared_name(document, *i);
        for (const yaml_node_item_t *k = first; name && k < i; k++) {
            const char *other = declared_name(document, *k);
            if (other && strcmp(other, name) == 0)
                return err_say(detail, ERR_PARSE,
                               "%s:%zu: bootstrap: router %.64s is declared twice; make one of "
                               "the two",
                               config->file,
                               yaml_document_get_node(document, *i)->start_mark.line + 1, name);
        }
    }
    return OK;
}

static enum err create_declared(const struct config *config, yaml_document_t *document,
                                yaml_node_t *node, struct engine_worker *w, struct log *log,
                                struct err_detail *detail)
{
    yaml_node_t *list = NULL;
    enum err e = find_list(config, document, node, &list, detail);
    if (!list)
        return e;
    TRY(check_names(config, document, list, detail));
    for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top;
         i++)
        TRY(create_from_node(config, document, yaml_document_get_node(document, *i), w, log,
                             detail));
    return OK;
}

/* Fresh: the journal holds at most the first key, so nobody can have removed a router. */
static enum err create_default(struct engine *engine, struct engine_worker *w, struct log *log,
                               struct err_detail *detail)
{
    if (engine_positions(engine).journal > 1 || router_exists(w, "default"))
        return OK;
    Shunt__V1__RouterSpec spec;
    char name[] = "default";
    shunt__v1__router_spec__init(&spec);
    spec.name = name;
    TRY(create_router(w, &spec, detail));
    log_event(log, LOG_INFO, "router_created", LOG_STR("router", name),
              LOG_STR("why", "fresh data directory"), LOG_END);
    return OK;
}

enum err bootstrap(const struct config *config, struct engine *engine, struct engine_worker *worker,
                   struct log *log, struct err_detail *detail)
{
    yaml_document_t *document = NULL;
    yaml_node_t *node = NULL;
    TRY(remove_ephemeral(worker, log, detail));
    if (config_bootstrap(config, &document, &node))
        return create_declared(config, document, node, worker, log, detail);
    return create_default(engine, worker, log, detail);
}
