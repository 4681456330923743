#include "client/ctl/apply.h"

#include "proto/form/field.h"
#include "proto/form/json.h"
#include "proto/form/set.h"
#include "proto/form/yaml.h"
#include "shunt/v1/admin.pb-c.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define YAML_MAX (16UL * 1024 * 1024)
#define DETAIL_CAP 256
#define LIST_CAP 8192 /* All replicas of a router. */

typedef Shunt__V1__RouterSpec spec_t;

struct line {
    const char *action; /* "add", "change", "remove", "fixed", "keep" */
    char *router, *arm; /* arm may be NULL. */
    char detail[DETAIL_CAP];
    const char *method;        /* NULL: nothing to call. */
    ProtobufCMessage *request; /* Owned. */
    const ProtobufCMessageDescriptor *response;
};

struct apply_plan {
    struct line *lines;
    size_t n, cap;
    bool failed;
};

/* Takes request. detail is cut to what a line shows. */
static struct line *line_add(struct apply_plan *plan, const char *action, const char *router,
                             const char *arm, const char *detail)
{
    if (plan->n == plan->cap) {
        size_t cap = plan->cap ? plan->cap * 2 : 16;
        struct line *lines = realloc(plan->lines, cap * sizeof *lines);
        if (!lines) {
            plan->failed = true;
            return NULL;
        }
        plan->lines = lines;
        plan->cap = cap;
    }
    struct line *line = &plan->lines[plan->n];
    *line =
        (struct line){.action = action, .router = strdup(router), .arm = arm ? strdup(arm) : NULL};
    if (!line->router || (arm && !line->arm)) {
        free(line->router);
        free(line->arm);
        plan->failed = true;
        return NULL;
    }
    snprintf(line->detail, sizeof line->detail, "%s", detail);
    plan->n++;
    return line;
}

/* Gives a line its call; takes request, which may be NULL when memory ran out. */
static void line_call(struct apply_plan *plan, struct line *line, const char *method,
                      ProtobufCMessage *request, const ProtobufCMessageDescriptor *response)
{
    if (!line || !request) {
        plan->failed = true;
        protobuf_c_message_free_unpacked(request, NULL);
        return;
    }
    line->method = method;
    line->request = request;
    line->response = response;
}

void apply_plan_free(struct apply_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->n; i++) {
        free(plan->lines[i].router);
        free(plan->lines[i].arm);
        protobuf_c_message_free_unpacked(plan->lines[i].request, NULL);
    }
    free(plan->lines);
    free(plan);
}

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return !(json_number_value(a) < json_number_value(b)) &&
               !(json_number_value(a) > json_number_value(b));
    return json_equal(a, b) != 0;
}

/* "alpha 1.5 -> 2" */
static void change_text(char ret[DETAIL_CAP], const char *key, const json_t *from, const json_t *to)
{
    char *a = from ? form_json_print(from, 0) : NULL, *b = form_json_print(to, 0);
    snprintf(ret, DETAIL_CAP, "%.100s %.60s -> %.60s", key, a ? a : "absent", b ? b : "?");
    free(a);
    free(b);
}

static json_t *json_of(const ProtobufCMessage *message, unsigned flags)
{
    json_t *json = NULL;
    struct form_error error;
    return form_json_from_message(message, flags, &json, &error) == FORM_OK ? json : NULL;
}

static bool listed(const char *key, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(*list, key) == 0)
            return true;
    return false;
}

static void table_set(struct apply_plan *plan, const char *table, json_t *want, json_t *have,
                      Shunt__V1__UpdateRouterRequest *update, char ***ret_remove,
                      size_t *ret_remove_n)
{
    const char *name;
    json_t *value;
    struct form_error error;
    char path[128];
    json_object_foreach(want, name, value)
    {
        snprintf(path, sizeof path, "settings.%s.%.80s", table, name);
        char *number = json_is_number(value) ? form_json_print(value, 0) : NULL;
        const char *text = number ? number : json_string_value(value);
        if (!text || form_set_field(&update->base, path, text, &error) != FORM_OK)
            plan->failed = true;
        free(number);
    }
    size_t most = json_object_size(have);
    char **remove = *ret_remove = calloc(most ? most : 1, sizeof *remove);
    if (!remove) {
        plan->failed = true;
        return;
    }
    json_object_foreach(have, name, value)
    {
        if (json_object_get(want, name))
            continue;
        remove[*ret_remove_n] = strdup(name);
        if (remove[*ret_remove_n])
            ++*ret_remove_n;
        else
            plan->failed = true;
    }
}

/* The file's table (stages, sources, default_rewards) is the whole table: what it lacks is taken
 * away. False: `key` is no table. */
static bool table_compare(struct apply_plan *plan, const char *table, json_t *want, json_t *have,
                          Shunt__V1__UpdateRouterRequest *update)
{
    const struct {
        const char *key;
        char ***remove;
        size_t *n;
    } tables[] = {
        {"stages", &update->remove_stages, &update->n_remove_stages},
        {"sources", &update->remove_sources, &update->n_remove_sources},
        {"default_rewards", &update->remove_default_rewards, &update->n_remove_default_rewards},
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (strcmp(table, tables[i].key) != 0)
            continue;
        table_set(plan, table, want, have, update, tables[i].remove, tables[i].n);
        return true;
    }
    return false;
}

/* Sets `path` of the update to a scalar or a list of strings. */
static void setting_set(struct apply_plan *plan, Shunt__V1__UpdateRouterRequest *update,
                        const char *path, const json_t *value)
{
    struct form_error error;
    char list[LIST_CAP] = "", *text = NULL;
    size_t i, len = 0;
    const json_t *item;
    json_array_foreach(value, i, item)
    {
        int n = snprintf(list + len, sizeof list - len, "%s%s", i ? "," : "",
                         json_is_string(item) ? json_string_value(item) : "");
        if (n < 0 || (size_t)n >= sizeof list - len) {
            plan->failed = true;
            return;
        }
        len += (size_t)n;
    }
    if (!json_is_array(value) && !json_is_string(value))
        text = form_json_print(value, 0);
    const char *shown = json_is_array(value) ? list : text ? text : json_string_value(value);
    if (!shown || form_set_field(&update->base, path, shown, &error) != FORM_OK)
        plan->failed = true;
    free(text);
}

/* Only what the file names: the rest of a residency keeps what it has. */
static void residency_compare(struct apply_plan *plan, const char *router, json_t *want,
                              const json_t *have, Shunt__V1__UpdateRouterRequest *update)
{
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value)
    {
        char detail[DETAIL_CAP], path[128];
        json_t *now = json_object_get(have, key);
        if (now && same(value, now))
            continue;
        snprintf(path, sizeof path, "settings.residency.%.80s", key);
        change_text(detail, path + strlen("settings."), now, value);
        setting_set(plan, update, path, value);
        line_add(plan, "change", router, NULL, detail);
    }
}

/* Settings that are there and differ go into one UpdateRouter; the ridges are part of the
 * statistics. */
static void settings_compare(struct apply_plan *plan, const char *router, json_t *want,
                             const json_t *have, Shunt__V1__UpdateRouterRequest *update)
{
    static const char *const fixed[] = {"ridge_bias",        "ridge_context",
                                        "served_ridge_bias", "served_ridge_context",
                                        "aggregation",       NULL};
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value)
    {
        char detail[DETAIL_CAP], path[128];
        json_t *now = json_object_get(have, key);
        if (now && same(value, now))
            continue;
        if (strcmp(key, "residency") == 0) {
            residency_compare(plan, router, value, now, update);
            continue;
        }
        change_text(detail, key, now, value);
        if (listed(key, fixed)) {
            line_add(plan, "fixed", router, NULL, detail);
            continue;
        }
        if (table_compare(plan, key, value, now, update)) {
            line_add(plan, "change", router, NULL, detail);
            continue;
        }
        snprintf(path, sizeof path, "settings.%s", key);
        setting_set(plan, update, path, value);
        line_add(plan, "change", router, NULL, detail);
    }
}

static const json_t *by_name(const json_t *list, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *other = json_string_value(json_object_get(item, "name"));
        if (other && strcmp(other, name) == 0)
            return item;
    }
    return NULL;
}

static void metric_compare(struct apply_plan *plan, const char *router, json_t *want,
                           const json_t *have, Shunt__V1__UpdateRouterRequest *update)
{
    const char *name = json_string_value(json_object_get(want, "name")), *key;
    json_t *value;
    json_object_foreach(want, key, value)
    {
        char detail[DETAIL_CAP], path[256], label[192];
        struct form_error error;
        const json_t *now = json_object_get(have, key);
        if (now && same(value, now))
            continue;
        snprintf(label, sizeof label, "metric %.80s: %.80s", name, key);
        change_text(detail, label, now, value);
        if (strcmp(key, "weight") != 0) {
            line_add(plan, "fixed", router, NULL, detail);
            continue;
        }
        char *text = form_json_print(value, 0);
        snprintf(path, sizeof path, "weights.%.80s", name);
        if (!text || form_set_field(&update->base, path, text, &error) != FORM_OK)
            plan->failed = true;
        line_add(plan, "change", router, NULL, detail);
        free(text);
    }
}

static void metrics_compare(struct apply_plan *plan, const char *router, const json_t *want,
                            const json_t *have, Shunt__V1__UpdateRouterRequest *update)
{
    size_t i;
    json_t *item;
    char detail[DETAIL_CAP];
    if (json_array_size(want) == 0)
        return;
    json_array_foreach(want, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        const json_t *now = by_name(have, name);
        if (now) {
            metric_compare(plan, router, item, now, update);
            continue;
        }
        snprintf(detail, sizeof detail, "metric %.100s is not there", name);
        line_add(plan, "fixed", router, NULL, detail);
    }
    json_array_foreach(have, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (!name || by_name(want, name))
            continue;
        snprintf(detail, sizeof detail, "metric %.100s is there and not in the file", name);
        line_add(plan, "fixed", router, NULL, detail);
    }
}

/* The labels declared must be the first of those there: the others came with requests. */
static bool tasks_same(const json_t *want, const json_t *have)
{
    if (json_array_size(want) > json_array_size(have))
        return false;
    for (size_t i = 0; i < json_array_size(want); i++)
        if (!json_equal(json_array_get(want, i), json_array_get(have, i)))
            return false;
    return true;
}

static void fixed_compare(struct apply_plan *plan, const char *router, json_t *want,
                          const json_t *have)
{
    static const char *const apart[] = {"name", "settings", "metrics", "arms", NULL};
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value)
    {
        char detail[DETAIL_CAP];
        const json_t *now = json_object_get(have, key);
        if (listed(key, apart) ||
            (strcmp(key, "tasks") == 0 ? tasks_same(value, now) : now && same(value, now)))
            continue;
        change_text(detail, key, now, value);
        line_add(plan, "fixed", router, NULL, detail);
    }
}

/* A deep copy of a message, by way of its bytes. */
static ProtobufCMessage *copy_of(const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(len ? len : 1);
    ProtobufCMessage *copy = NULL;
    if (bytes) {
        protobuf_c_message_pack(message, bytes);
        copy = protobuf_c_message_unpack(message->descriptor, NULL, len, bytes);
    }
    free(bytes);
    return copy;
}

static void arm_add_line(struct apply_plan *plan, const char *router,
                         const Shunt__V1__ArmSpec *want)
{
    Shunt__V1__AddArmRequest *request =
        (Shunt__V1__AddArmRequest *)form_message_new(&shunt__v1__add_arm_request__descriptor);
    struct line *line = line_add(plan, "add", router, want->name, "");
    if (request) {
        request->router = strdup(router);
        request->spec = (Shunt__V1__ArmSpec *)copy_of(&want->base);
        if (!request->router || !request->spec)
            plan->failed = true;
    }
    line_call(plan, line, "AddArm", request ? &request->base : NULL,
              &shunt__v1__arm_info__descriptor);
}

/* UpdateArm replaces all that is declared: what the file leaves out
 * is sent as it is. */
static void arm_change_line(struct apply_plan *plan, const char *router,
                            const Shunt__V1__ArmSpec *want, const json_t *have, const char *detail)
{
    json_t *merged = json_deep_copy(have), *wanted = json_of(&want->base, 0);
    ProtobufCMessage *spec = NULL;
    struct form_error error;
    Shunt__V1__UpdateArmRequest *request =
        (Shunt__V1__UpdateArmRequest *)form_message_new(&shunt__v1__update_arm_request__descriptor);
    if (merged && wanted && request && json_object_update(merged, wanted) == 0 &&
        form_message_from_json(&shunt__v1__arm_spec__descriptor, merged, &spec, &error) ==
            FORM_OK) {
        request->router = strdup(router);
        request->spec = (Shunt__V1__ArmSpec *)spec;
    }
    if (!request || !request->router || !request->spec)
        plan->failed = true;
    json_decref(merged);
    json_decref(wanted);
    line_call(plan, line_add(plan, "change", router, want->name, detail), "UpdateArm",
              request ? &request->base : NULL, &shunt__v1__arm_info__descriptor);
}

/* The server shows every number of an adapter, the file those that it declares. */
static bool adapter_same(json_t *want, json_t *have)
{
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value)
    {
        if (!same(value, json_object_get(have, key)))
            return false;
    }
    json_object_foreach(have, key, value)
    {
        bool nothing = json_is_false(value) ||
                       (json_is_number(value) && !(json_number_value(value) > 0)) ||
                       (json_is_string(value) && json_string_length(value) == 0);
        if (!nothing && !json_object_get(want, key))
            return false;
    }
    return true;
}

static void arm_compare(struct apply_plan *plan, const char *router, const Shunt__V1__ArmSpec *want,
                        const json_t *have)
{
    json_t *wanted = json_of(&want->base, 0), *value;
    const char *key;
    char detail[DETAIL_CAP] = "";
    if (!wanted) {
        plan->failed = true;
        return;
    }
    json_object_foreach(wanted, key, value)
    {
        json_t *now = json_object_get(have, key);
        char one[DETAIL_CAP];
        if (now && (strcmp(key, "adapter") == 0 ? adapter_same(value, now) : same(value, now)))
            continue;
        change_text(one, key, now, value);
        size_t len = strlen(detail);
        snprintf(detail + len, sizeof detail - len, "%s%.120s", len ? "; " : "", one);
    }
    if (*detail)
        arm_change_line(plan, router, want, have, detail);
    json_decref(wanted);
}

static void arm_remove_line(struct apply_plan *plan, const char *router, const char *arm)
{
    ProtobufCMessage *request = form_message_new(&shunt__v1__remove_arm_request__descriptor);
    struct form_error error;
    if (request && (form_set_field(request, "router", router, &error) != FORM_OK ||
                    form_set_field(request, "name", arm, &error) != FORM_OK))
        plan->failed = true;
    line_call(plan, line_add(plan, "remove", router, arm, ""), "RemoveArm", request,
              &shunt__v1__remove_arm_response__descriptor);
}

static bool spec_has_arm(const spec_t *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_arms; i++)
        if (strcmp(spec->arms[i]->name, name) == 0)
            return true;
    return false;
}

static const Shunt__V1__ArmSpec *arm_there(const Shunt__V1__RouterInfo *have, const char *name)
{
    for (size_t i = 0; i < have->n_arms; i++)
        if (have->arms[i]->spec && strcmp(have->arms[i]->spec->name, name) == 0)
            return have->arms[i]->spec;
    return NULL;
}

static void arms_that_come(struct apply_plan *plan, const spec_t *want,
                           const Shunt__V1__RouterInfo *have)
{
    for (size_t i = 0; i < want->n_arms; i++) {
        const Shunt__V1__ArmSpec *there = arm_there(have, want->arms[i]->name);
        /* Without defaults: of a size or of tools, "not declared" is neither 0 nor false. */
        json_t *now = there ? json_of(&there->base, 0) : NULL;
        if (now)
            arm_compare(plan, want->name, want->arms[i], now);
        else
            arm_add_line(plan, want->name, want->arms[i]);
        json_decref(now);
    }
}

static void arms_that_go(struct apply_plan *plan, const spec_t *want,
                         const Shunt__V1__RouterInfo *have, bool prune)
{
    for (size_t i = 0; i < have->n_arms; i++) {
        const Shunt__V1__ArmSpec *spec = have->arms[i]->spec;
        if (!spec || spec_has_arm(want, spec->name))
            continue;
        if (prune)
            arm_remove_line(plan, want->name, spec->name);
        else
            line_add(plan, "keep", want->name, spec->name, "not in the file");
    }
}

static void router_compare(struct apply_plan *plan, const spec_t *want,
                           const Shunt__V1__RouterInfo *have, bool prune)
{
    json_t *wanted = json_of(&want->base, 0);
    json_t *now = have->spec ? json_of(&have->spec->base, FORM_LISTS | FORM_DEFAULTS) : NULL;
    Shunt__V1__UpdateRouterRequest *update = (Shunt__V1__UpdateRouterRequest *)form_message_new(
        &shunt__v1__update_router_request__descriptor);
    if (!wanted || !now || !update || !(update->name = strdup(want->name))) {
        plan->failed = true;
    } else {
        fixed_compare(plan, want->name, wanted, now);
        arms_that_come(plan, want, have); /* Settings may name them. */
        size_t before = plan->n;
        settings_compare(plan, want->name, json_object_get(wanted, "settings"),
                         json_object_get(now, "settings"), update);
        metrics_compare(plan, want->name, json_object_get(wanted, "metrics"),
                        json_object_get(now, "metrics"), update);
        /* One call carries all of them: it goes with the first line that is a change. */
        while (before < plan->n && strcmp(plan->lines[before].action, "change") != 0)
            before++;
        if (before < plan->n) {
            line_call(plan, &plan->lines[before], "UpdateRouter", &update->base,
                      &shunt__v1__router_info__descriptor);
            update = NULL;
        }
        arms_that_go(plan, want, have, prune);
    }
    json_decref(wanted);
    json_decref(now);
    if (update)
        protobuf_c_message_free_unpacked(&update->base, NULL);
}

static void router_add_line(struct apply_plan *plan, const spec_t *want)
{
    char detail[DETAIL_CAP];
    Shunt__V1__CreateRouterRequest *request = (Shunt__V1__CreateRouterRequest *)form_message_new(
        &shunt__v1__create_router_request__descriptor);
    snprintf(detail, sizeof detail, "%zu arm%s", want->n_arms, want->n_arms == 1 ? "" : "s");
    if (request && !(request->spec = (spec_t *)copy_of(&want->base)))
        plan->failed = true;
    line_call(plan, line_add(plan, "add", want->name, NULL, detail), "CreateRouter",
              request ? &request->base : NULL, &shunt__v1__router_info__descriptor);
}

static void router_remove_line(struct apply_plan *plan, const char *name)
{
    ProtobufCMessage *request = form_message_new(&shunt__v1__remove_router_request__descriptor);
    struct form_error error;
    if (request && form_set_field(request, "name", name, &error) != FORM_OK)
        plan->failed = true;
    line_call(plan, line_add(plan, "remove", name, NULL, "and what it learned"), "RemoveRouter",
              request, &shunt__v1__remove_router_response__descriptor);
}

struct specs {
    spec_t **items;
    size_t n;
};

static const spec_t *spec_find(const struct specs *specs, const char *name)
{
    for (size_t i = 0; i < specs->n; i++)
        if (strcmp(specs->items[i]->name, name) == 0)
            return specs->items[i];
    return NULL;
}

static void compare(struct apply_plan *plan, const struct specs *specs,
                    const Shunt__V1__ListRoutersResponse *list, bool prune)
{
    for (size_t i = 0; i < specs->n; i++) {
        const Shunt__V1__RouterInfo *have = NULL;
        for (size_t r = 0; r < list->n_routers && !have; r++)
            if (list->routers[r]->spec &&
                strcmp(list->routers[r]->spec->name, specs->items[i]->name) == 0)
                have = list->routers[r];
        if (have)
            router_compare(plan, specs->items[i], have, prune);
        else
            router_add_line(plan, specs->items[i]);
    }
    for (size_t r = 0; r < list->n_routers && prune; r++) {
        const spec_t *spec = list->routers[r]->spec;
        /* Ephemeral routers belong to a replay that is running. */
        if (spec && !spec_find(specs, spec->name) && !(spec->has_ephemeral && spec->ephemeral))
            router_remove_line(plan, spec->name);
    }
}

static enum ctl_exit yaml_fail(const char *path, const yaml_node_t *node, const char *what)
{
    return ctl_fail(CTL_USAGE, "%s:%zu:%zu: %s", path, node->start_mark.line + 1,
                    node->start_mark.column + 1, what);
}

/* Of an arm that is there already the first line would be applied and the second refused. */
static const char *arm_twice(const spec_t *spec)
{
    for (size_t i = 0; i < spec->n_arms; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(spec->arms[i]->name, spec->arms[k]->name) == 0)
                return spec->arms[i]->name;
    return NULL;
}

static enum ctl_exit spec_read(const char *path, yaml_document_t *document, yaml_node_t *node,
                               struct specs *specs)
{
    ProtobufCMessage *message = NULL;
    struct form_error error;
    if (form_message_from_yaml(&shunt__v1__router_spec__descriptor, document, node, path, &message,
                               &error) != FORM_OK)
        return ctl_fail(CTL_USAGE, "%s", error.text);
    spec_t *spec = (spec_t *)message;
    if (spec_find(specs, spec->name)) {
        protobuf_c_message_free_unpacked(message, NULL);
        return yaml_fail(path, node, "this router is declared twice");
    }
    const char *arm = arm_twice(spec);
    if (arm) {
        char what[DETAIL_CAP];
        snprintf(what, sizeof what, "arm %.100s of this router is declared twice", arm);
        protobuf_c_message_free_unpacked(message, NULL);
        return yaml_fail(path, node, what);
    }
    specs->items[specs->n++] = spec;
    return CTL_OK;
}

static enum ctl_exit specs_read(const char *path, yaml_document_t *document, struct specs *specs)
{
    yaml_node_t *root = yaml_document_get_root_node(document), *list = NULL;
    if (root->type != YAML_MAPPING_NODE)
        return yaml_fail(path, root, "expected a mapping with the key routers");
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
         p++) {
        yaml_node_t *key = yaml_document_get_node(document, p->key);
        if (key->type != YAML_SCALAR_NODE ||
            strcmp((const char *)key->data.scalar.value, "routers") != 0)
            return yaml_fail(path, key, "unknown key; known: routers");
        if (list)
            return yaml_fail(path, key, "routers is given twice");
        list = yaml_document_get_node(document, p->value);
    }
    if (!list || list->type != YAML_SEQUENCE_NODE)
        return yaml_fail(path, list ? list : root, "expected routers: with a list of routers");
    size_t n = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
    specs->items = calloc(n + 1, sizeof(spec_t *));
    if (!specs->items)
        return ctl_fail(CTL_REFUSED, "out of memory");
    enum ctl_exit code = CTL_OK;
    for (size_t i = 0; i < n && code == CTL_OK; i++)
        code =
            spec_read(path, document,
                      yaml_document_get_node(document, list->data.sequence.items.start[i]), specs);
    return code;
}

static void specs_done(struct specs *specs)
{
    for (size_t i = 0; i < specs->n; i++)
        protobuf_c_message_free_unpacked(&specs->items[i]->base, NULL);
    free(specs->items);
}

static enum ctl_exit specs_load(const char *path, struct specs *specs)
{
    char *text = NULL;
    size_t len = 0;
    yaml_document_t document;
    struct form_error error;
    enum ctl_exit code = ctl_read_file(path, YAML_MAX, &text, &len);
    if (code != CTL_OK)
        return code;
    if (form_yaml_parse(text, len, path, &document, &error) == FORM_OK) {
        code = specs_read(path, &document, specs);
        yaml_document_delete(&document);
    } else {
        code = ctl_fail(CTL_USAGE, "%s", error.text);
    }
    free(text);
    return code;
}

enum ctl_exit apply_plan_make(struct ctl *ctl, const char *file, bool prune,
                              struct apply_plan **ret)
{
    struct specs specs = {0};
    ProtobufCMessage *list = NULL;
    Shunt__V1__ListRoutersRequest request = SHUNT__V1__LIST_ROUTERS_REQUEST__INIT;
    struct apply_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return ctl_fail(CTL_REFUSED, "out of memory");
    enum ctl_exit code = specs_load(file, &specs);
    if (code == CTL_OK)
        code = ctl_call(ctl, CTL_ADMIN, "ListRouters", &request.base,
                        &shunt__v1__list_routers_response__descriptor, &list);
    if (code == CTL_OK) {
        compare(plan, &specs, (const Shunt__V1__ListRoutersResponse *)list, prune);
        if (plan->failed)
            code = ctl_fail(CTL_REFUSED, "out of memory");
    }
    specs_done(&specs);
    protobuf_c_message_free_unpacked(list, NULL);
    if (code == CTL_OK)
        *ret = plan;
    else
        apply_plan_free(plan);
    return code;
}

static bool any(const struct apply_plan *plan, const char *action)
{
    for (size_t i = 0; i < plan->n; i++)
        if (strcmp(plan->lines[i].action, action) == 0)
            return true;
    return false;
}

bool apply_blocked(const struct apply_plan *plan)
{
    return any(plan, "fixed");
}

bool apply_pending(const struct apply_plan *plan)
{
    return any(plan, "add") || any(plan, "change") || any(plan, "remove");
}

void apply_print(const struct apply_plan *plan, FILE *out)
{
    static const struct {
        const char *action, *mark;
    } marks[] = {{"add", "+"}, {"change", "~"}, {"remove", "-"}, {"fixed", "!"}, {"keep", " "}};
    if (!apply_pending(plan) && !apply_blocked(plan))
        fputs("nothing to change\n", out);
    for (size_t i = 0; i < plan->n; i++) {
        const struct line *line = &plan->lines[i];
        const char *mark = "?";
        for (size_t m = 0; m < sizeof marks / sizeof *marks; m++)
            if (strcmp(marks[m].action, line->action) == 0)
                mark = marks[m].mark;
        fprintf(out, "%s router %s%s%s%s%s\n", mark, line->router, line->arm ? ", arm " : "",
                line->arm ? line->arm : "", *line->detail ? ": " : "", line->detail);
    }
}

json_t *apply_json(const struct apply_plan *plan, bool applied)
{
    json_t *changes = json_array();
    for (size_t i = 0; i < plan->n; i++) {
        const struct line *line = &plan->lines[i];
        json_t *one = json_pack("{s:s, s:s, s:s*, s:s}", "action", line->action, "router",
                                line->router, "arm", line->arm, "detail", line->detail);
        if (!one || json_array_append_new(changes, one)) {
            json_decref(changes);
            return NULL;
        }
    }
    return json_pack("{s:o, s:b}", "changes", changes, "applied", applied ? 1 : 0);
}

enum ctl_exit apply_run(struct ctl *ctl, const struct apply_plan *plan)
{
    for (size_t i = 0; i < plan->n; i++) {
        const struct line *line = &plan->lines[i];
        ProtobufCMessage *response = NULL;
        if (!line->method)
            continue;
        enum ctl_exit code =
            ctl_call(ctl, CTL_ADMIN, line->method, line->request, line->response, &response);
        protobuf_c_message_free_unpacked(response, NULL);
        if (code != CTL_OK) {
            fprintf(stderr, "  at router %s%s%s; the lines before it were applied\n", line->router,
                    line->arm ? ", arm " : "", line->arm ? line->arm : "");
            return code;
        }
    }
    return CTL_OK;
}
