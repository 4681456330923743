#include "proto/form/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The widest type we read; wider ones would need a larger set of seen fields. */
#define FIELDS_MAX 256

static enum form_result read_message(struct form_tree *tree, void *node,
                                     const ProtobufCMessageDescriptor *type,
                                     ProtobufCMessage **ret);

__attribute__((format(printf, 3, 4))) static void say_where(struct form_tree *tree, void *node,
                                                            const char *fmt, ...)
{
    char place[320] = "", what[900];
    tree->ops->place(tree, node, place, sizeof place);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    (void)form_say(tree->error, FORM_BAD, "%s%s%s%s", place, tree->path, tree->path[0] ? ": " : "",
                   what);
}

/* A macro, so that compilers see that the result is never OK. */
#define refuse(tree, node, ...) (say_where((tree), (node), __VA_ARGS__), FORM_BAD)

/* Returns the length to give to path_pop. A key that is no plain word is shown as "?": it may hold
 * anything, and the message goes to logs. */
static size_t path_push(struct form_tree *tree, const char *text, size_t len)
{
    size_t old = strlen(tree->path);
    bool plain = len <= 64;
    for (size_t i = 0; i < len && plain; i++)
        plain = text[i] > ' ' && text[i] < 0x7f;
    (void)snprintf(tree->path + old, sizeof tree->path - old, "%s%.*s", old > 0 ? "." : "",
                   plain ? (int)len : 1, plain ? text : "?");
    return old;
}

static size_t path_push_index(struct form_tree *tree, size_t i)
{
    size_t old = strlen(tree->path);
    (void)snprintf(tree->path + old, sizeof tree->path - old, "[%zu]", i);
    return old;
}

static void path_pop(struct form_tree *tree, size_t old)
{
    tree->path[old] = '\0';
}

static enum form_result read_element(struct form_tree *tree, void *node,
                                     const ProtobufCFieldDescriptor *field, void *element)
{
    if (++tree->visited > FORM_NODES_MAX)
        return refuse(tree, node, "more than %d values", FORM_NODES_MAX);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage *inner;
        enum form_result r = read_message(tree, node, form_field_message(field), &inner);
        if (r == FORM_OK)
            memcpy(element, &inner, sizeof(void *));
        return r;
    }
    struct form_scalar scalar = {.kind = tree->ops->kind(tree, node)};
    if (scalar.kind != FORM_LIST && scalar.kind != FORM_MAP && scalar.kind != FORM_NULL)
        tree->ops->scalar(tree, node, &scalar);
    struct form_error what;
    enum form_result r = form_field_store(field, &scalar, element, &what);
    if (r == FORM_BAD)
        return refuse(tree, node, "%s", what.text);
    return r == FORM_NOMEM ? form_nomem(tree->error) : FORM_OK;
}

static enum form_result read_list(struct form_tree *tree, void *node, ProtobufCMessage *message,
                                  const ProtobufCFieldDescriptor *field)
{
    if (tree->ops->kind(tree, node) != FORM_LIST)
        return refuse(tree, node, "expected a list");
    size_t n = tree->ops->count(tree, node), size = form_field_element_size(field);
    if (n > FORM_NODES_MAX)
        return refuse(tree, node, "more than %d values", FORM_NODES_MAX);
    if (!form_field_reserve(message, field, n))
        return form_nomem(tree->error);
    char *array;
    memcpy(&array, form_field_member(message, field), sizeof(void *));
    for (size_t i = 0; i < n; i++) {
        size_t old = path_push_index(tree, i);
        enum form_result r =
            read_element(tree, tree->ops->item(tree, node, i), field, array + i * size);
        path_pop(tree, old);
        if (r != FORM_OK)
            return r;
        form_field_set_count(message, field, i + 1);
    }
    return FORM_OK;
}

/* Reads one pair into a new entry message. */
static enum form_result read_pair(struct form_tree *tree, void *iter,
                                  const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
    const ProtobufCFieldDescriptor *key = &type->fields[0], *value = &type->fields[1];
    struct form_scalar text = {.kind = FORM_PLAIN};
    void *key_node;
    if (!tree->ops->key(tree, iter, &text.text, &text.len, &key_node))
        return refuse(tree, key_node, "expected a plain key");
    ProtobufCMessage *entry = form_message_new(type);
    if (!entry)
        return form_nomem(tree->error);
    struct form_error what;
    enum form_result r = form_field_store(key, &text, form_field_member(entry, key), &what);
    if (r == FORM_BAD)
        r = refuse(tree, key_node, "key: %s", what.text);
    if (r == FORM_OK) {
        form_field_mark(entry, key);
        size_t old = path_push(tree, text.text, text.len);
        r = read_element(tree, tree->ops->value(tree, iter), value,
                         form_field_member(entry, value));
        path_pop(tree, old);
    }
    if (r != FORM_OK) {
        protobuf_c_message_free_unpacked(entry, NULL);
        return r;
    }
    form_field_mark(entry, value);
    *ret = entry;
    return FORM_OK;
}

static bool same_key(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    const ProtobufCFieldDescriptor *key = &a->descriptor->fields[0];
    const void *pa = form_field_member_const(a, key), *pb = form_field_member_const(b, key);
    if (key->type != PROTOBUF_C_TYPE_STRING)
        return memcmp(pa, pb, form_field_element_size(key)) == 0;
    const char *sa, *sb;
    memcpy(&sa, pa, sizeof(void *));
    memcpy(&sb, pb, sizeof(void *));
    return sa && sb && strcmp(sa, sb) == 0;
}

/* Map fields are small in every type of ours; past this the pairwise search for a duplicate key
 * would be felt. */
#define PAIRS_MAX 4096

static enum form_result read_map(struct form_tree *tree, void *node, ProtobufCMessage *message,
                                 const ProtobufCFieldDescriptor *field)
{
    if (tree->ops->kind(tree, node) != FORM_MAP)
        return refuse(tree, node, "expected a mapping");
    if (tree->ops->count(tree, node) > PAIRS_MAX)
        return refuse(tree, node, "more than %d keys", PAIRS_MAX);
    if (!form_field_reserve(message, field, tree->ops->count(tree, node)))
        return form_nomem(tree->error);
    ProtobufCMessage **array;
    memcpy(&array, form_field_member(message, field), sizeof(void *));
    size_t n = 0;
    for (void *it = tree->ops->first(tree, node); it; it = tree->ops->next(tree, node, it)) {
        ProtobufCMessage *entry;
        enum form_result r = read_pair(tree, it, form_field_message(field), &entry);
        if (r != FORM_OK)
            return r;
        array[n] = entry;
        form_field_set_count(message, field, n + 1);
        for (size_t i = 0; i < n; i++)
            if (same_key(array[i], entry))
                return refuse(tree, tree->ops->value(tree, it), "a key is given twice");
        n++;
    }
    return FORM_OK;
}

/* *ret_set: whether there was a value at all. */
static enum form_result read_field(struct form_tree *tree, void *node, ProtobufCMessage *message,
                                   const ProtobufCFieldDescriptor *field, bool *ret_set)
{
    *ret_set = tree->ops->kind(tree, node) != FORM_NULL;
    if (!*ret_set)
        return FORM_OK;
    if (form_field_is_map(field))
        return read_map(tree, node, message, field);
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return read_list(tree, node, message, field);
    if (form_field_oneof_taken(message, field))
        return refuse(tree, node, "another choice of the same group is given");
    enum form_result r = read_element(tree, node, field, form_field_member(message, field));
    if (r == FORM_OK)
        form_field_mark(message, field);
    return r;
}

static enum form_result read_key(struct form_tree *tree, void *iter,
                                 const ProtobufCMessageDescriptor *type,
                                 const ProtobufCFieldDescriptor **ret)
{
    const char *text;
    size_t len;
    void *node;
    if (!tree->ops->key(tree, iter, &text, &len, &node))
        return refuse(tree, node, "expected a plain key");
    *ret = form_field_find(type, text, len);
    if (*ret)
        return FORM_OK;
    char known[600], shown[64];
    form_field_list(type, known, sizeof known);
    form_scalar_describe(&(struct form_scalar){.kind = FORM_STRING, .text = text, .len = len},
                         shown, sizeof shown);
    return refuse(tree, node, "unknown key %s; known are %s", shown, known);
}

static enum form_result read_fields(struct form_tree *tree, void *node, ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    bool seen[FIELDS_MAX] = {false}, set[FIELDS_MAX] = {false};
    for (void *it = tree->ops->first(tree, node); it; it = tree->ops->next(tree, node, it)) {
        const ProtobufCFieldDescriptor *field;
        enum form_result r = read_key(tree, it, type, &field);
        if (r != FORM_OK)
            return r;
        size_t i = (size_t)(field - type->fields);
        size_t old = path_push(tree, field->name, strlen(field->name));
        if (seen[i])
            return refuse(tree, tree->ops->value(tree, it), "the key is given twice");
        seen[i] = true;
        r = read_field(tree, tree->ops->value(tree, it), message, field, &set[i]);
        path_pop(tree, old);
        if (r != FORM_OK)
            return r;
    }
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && !set[i])
            return refuse(tree, node, "the required key \"%s\" is missing", type->fields[i].name);
    return FORM_OK;
}

static enum form_result read_message(struct form_tree *tree, void *node,
                                     const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
    if (type->n_fields > FIELDS_MAX)
        return refuse(tree, node, "a message type of %u fields is too wide", type->n_fields);
    if (tree->ops->kind(tree, node) != FORM_MAP) {
        char known[600];
        form_field_list(type, known, sizeof known);
        return refuse(tree, node, "expected a mapping with keys of %s", known);
    }
    ProtobufCMessage *message = form_message_new(type);
    if (!message)
        return form_nomem(tree->error);
    enum form_result r = read_fields(tree, node, message);
    if (r != FORM_OK) {
        protobuf_c_message_free_unpacked(message, NULL);
        return r;
    }
    *ret = message;
    return FORM_OK;
}

enum form_result form_tree_read(struct form_tree *tree, void *node,
                                const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
    tree->path[0] = '\0';
    tree->visited = 0;
    return read_message(tree, node, type, ret);
}
