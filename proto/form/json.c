#include "proto/form/json.h"
#include "proto/form/number.h"
#include "proto/form/tree.h"

#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- message -> JSON ---- */

/* Text from elsewhere may not be UTF-8, which JSON cannot hold: then every byte outside ASCII
 * becomes '?'. */
static json_t *json_text(const char *text)
{
    json_t *json = json_string(text);
    if (json)
        return json;
    char *copy = strdup(text);
    if (!copy)
        return NULL;
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    json = json_string(copy);
    free(copy);
    return json;
}

static json_t *json_bytes(const ProtobufCBinaryData *data)
{
    size_t cap = sodium_base64_encoded_len(data->len, sodium_base64_VARIANT_ORIGINAL);
    char *text = malloc(cap);
    if (!text)
        return NULL;
    sodium_bin2base64(text, cap, data->data, data->len, sodium_base64_VARIANT_ORIGINAL);
    json_t *json = json_string(text);
    free(text);
    return json;
}

static json_t *json_u64(uint64_t v)
{
    char text[24];
    if (v <= INT64_MAX)
        return json_integer((json_int_t)v);
    (void)snprintf(text, sizeof text, "%" PRIu64, v);
    return json_string(text);
}

/* Messages in memory may hold what we would refuse: JSON has no NaN, so it becomes null. */
static json_t *json_double(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

/* A number that this build has no name for is shown as the number. */
static json_t *json_enum(const ProtobufCEnumDescriptor *type, int32_t v)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, v);
    return value ? json_string(value->name) : json_integer(v);
}

static enum form_result from_message(const ProtobufCMessage *message, unsigned flags, json_t **ret);

/* NULL: out of memory. element points at the value, aligned for it. */
static json_t *json_element(const ProtobufCFieldDescriptor *field, const void *element,
                            unsigned flags)
{
    json_t *json = NULL;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_integer(*(const int32_t *)element);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)element);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return json_integer(*(const int64_t *)element);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_u64(*(const uint64_t *)element);
    case PROTOBUF_C_TYPE_FLOAT:
        return isfinite(*(const float *)element)
                   ? json_real(form_number_widen(*(const float *)element))
                   : json_null();
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_double(*(const double *)element);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)element);
    case PROTOBUF_C_TYPE_ENUM:
        return json_enum(field->descriptor, *(const int32_t *)element);
    case PROTOBUF_C_TYPE_STRING:
        return json_text(*(char *const *)element ? *(char *const *)element : "");
    case PROTOBUF_C_TYPE_BYTES:
        return json_bytes(element);
    case PROTOBUF_C_TYPE_MESSAGE:
        return from_message(*(ProtobufCMessage *const *)element, flags, &json) == FORM_OK ? json
                                                                                          : NULL;
    }
    return NULL;
}

static json_t *json_list(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                         unsigned flags)
{
    size_t n = form_field_count(message, field), size = form_field_element_size(field);
    const char *array;
    memcpy(&array, form_field_member_const(message, field), sizeof(void *));
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, json_element(field, array + i * size, flags)) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* The text of a map's key; numbers in decimal. */
static void key_text(const ProtobufCMessage *entry, char *number, size_t cap, const char **ret)
{
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
    const void *p = form_field_member_const(entry, key);
    *ret = number;
    if (key->type == PROTOBUF_C_TYPE_STRING)
        *ret = *(char *const *)p ? *(char *const *)p : "";
    else if (key->type == PROTOBUF_C_TYPE_BOOL)
        *ret = *(const protobuf_c_boolean *)p ? "true" : "false";
    else if (key->type == PROTOBUF_C_TYPE_UINT64 || key->type == PROTOBUF_C_TYPE_FIXED64)
        (void)snprintf(number, cap, "%" PRIu64, *(const uint64_t *)p);
    else if (form_field_element_size(key) == 8)
        (void)snprintf(number, cap, "%" PRId64, *(const int64_t *)p);
    else if (key->type == PROTOBUF_C_TYPE_UINT32 || key->type == PROTOBUF_C_TYPE_FIXED32)
        (void)snprintf(number, cap, "%" PRIu32, *(const uint32_t *)p);
    else
        (void)snprintf(number, cap, "%" PRId32, *(const int32_t *)p);
}

static json_t *json_map(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                        unsigned flags)
{
    ProtobufCMessage *const *entries;
    memcpy(&entries, form_field_member_const(message, field), sizeof(void *));
    json_t *map = json_object();
    size_t n = form_field_count(message, field);
    for (size_t i = 0; map && i < n; i++) {
        const ProtobufCFieldDescriptor *value = &entries[i]->descriptor->fields[1];
        const void *element = form_field_member_const(entries[i], value);
        char number[24];
        const char *key;
        key_text(entries[i], number, sizeof number, &key);
        bool empty =
            value->type == PROTOBUF_C_TYPE_MESSAGE && *(ProtobufCMessage *const *)element == NULL;
        json_t *json = empty ? json_object() : json_element(value, element, flags);
        json_t *name = json_text(key); /* Valid UTF-8, whatever the key was. */
        if (!name || json_object_set_new(map, json_string_value(name), json) != 0) {
            if (!name)
                json_decref(json);
            json_decref(map);
            map = NULL;
        }
        json_decref(name);
    }
    return map;
}

/* JSON_NULL stands for "leave it out". */
static json_t *json_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          unsigned flags)
{
    bool present = form_field_present(message, field);
    unsigned shown = field->label == PROTOBUF_C_LABEL_REPEATED ? FORM_LISTS : FORM_DEFAULTS;
    if (!present && !(flags & shown))
        return json_null();
    if (form_field_is_map(field))
        return json_map(message, field, flags);
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return json_list(message, field, flags);
    bool choice = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    if (!present && (field->type == PROTOBUF_C_TYPE_MESSAGE || choice))
        return json_null();
    return json_element(field, form_field_member_const(message, field), flags);
}

static enum form_result from_message(const ProtobufCMessage *message, unsigned flags, json_t **ret)
{
    json_t *object = json_object();
    if (!object)
        return FORM_NOMEM;
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        json_t *json = json_field(message, field, flags);
        if (json_is_null(json))
            continue;
        if (json_object_set_new(object, field->name, json) != 0) {
            json_decref(object);
            return FORM_NOMEM;
        }
    }
    *ret = object;
    return FORM_OK;
}

enum form_result form_json_from_message(const ProtobufCMessage *message, unsigned flags,
                                        json_t **ret, struct form_error *error)
{
    enum form_result r = from_message(message, flags, ret);
    return r == FORM_OK ? r : form_nomem(error);
}

/* ---- JSON -> message ---- */

static enum form_kind tree_kind(const struct form_tree *tree, void *node)
{
    (void)tree;
    switch (json_typeof((json_t *)node)) {
    case JSON_OBJECT:
        return FORM_MAP;
    case JSON_ARRAY:
        return FORM_LIST;
    case JSON_STRING:
        return FORM_STRING;
    case JSON_INTEGER:
        return FORM_INTEGER;
    case JSON_REAL:
        return FORM_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return FORM_BOOL;
    case JSON_NULL:
        return FORM_NULL;
    }
    return FORM_NULL;
}

static void tree_scalar(const struct form_tree *tree, void *node, struct form_scalar *ret)
{
    const json_t *json = node;
    *ret = (struct form_scalar){.kind = tree_kind(tree, node)};
    if (ret->kind == FORM_STRING) {
        ret->text = json_string_value(json);
        ret->len = json_string_length(json);
    } else if (ret->kind == FORM_INTEGER) {
        ret->integer = json_integer_value(json);
    } else if (ret->kind == FORM_REAL) {
        ret->real = json_real_value(json);
    } else {
        ret->boolean = json_is_true(json);
    }
}

static size_t tree_count(const struct form_tree *tree, void *node)
{
    (void)tree;
    return json_is_array((json_t *)node) ? json_array_size(node) : json_object_size(node);
}

static void *tree_item(const struct form_tree *tree, void *list, size_t i)
{
    (void)tree;
    return json_array_get(list, i);
}

static void *tree_first(const struct form_tree *tree, void *map)
{
    (void)tree;
    return json_object_iter(map);
}

static void *tree_next(const struct form_tree *tree, void *map, void *iter)
{
    (void)tree;
    return json_object_iter_next(map, iter);
}

static bool tree_key(const struct form_tree *tree, void *iter, const char **ret_text,
                     size_t *ret_len, void **ret_node)
{
    (void)tree;
    *ret_text = json_object_iter_key(iter);
    *ret_len = strlen(*ret_text);
    *ret_node = json_object_iter_value(iter);
    return true;
}

static void *tree_value(const struct form_tree *tree, void *iter)
{
    (void)tree;
    return json_object_iter_value(iter);
}

static void tree_place(const struct form_tree *tree, void *node, char *ret, size_t cap)
{
    (void)tree;
    (void)node;
    if (cap > 0)
        ret[0] = '\0';
}

enum form_result form_message_from_json(const ProtobufCMessageDescriptor *type, json_t *json,
                                        ProtobufCMessage **ret, struct form_error *error)
{
    static const struct form_tree_ops ops = {tree_kind, tree_scalar, tree_count,
                                             tree_item, tree_first,  tree_next,
                                             tree_key,  tree_value,  tree_place};
    struct form_tree tree = {.ops = &ops, .error = error};
    return form_tree_read(&tree, json, type, ret);
}

enum form_result form_json_parse(const char *text, size_t len, json_t **ret,
                                 struct form_error *error)
{
    json_error_t where;
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (!json && json_error_code(&where) == json_error_out_of_memory)
        return form_nomem(error);
    if (!json) {
        /* jansson's sentence quotes what is near; a prompt must not get into a message. */
        char *near = strstr(where.text, " near ");
        if (near)
            *near = '\0';
        return form_say(error, FORM_BAD, "line %d, column %d: %s", where.line, where.column,
                        json_error_code(&where) == json_error_duplicate_key ? "a key is given twice"
                                                                            : where.text);
    }
    *ret = json;
    return FORM_OK;
}

/* ---- JSON -> text ---- */

static bool print_value(FILE *out, const json_t *json, unsigned indent, unsigned level);

static void print_break(FILE *out, unsigned indent, unsigned level)
{
    if (indent > 0)
        (void)fprintf(out, "\n%*s", (int)(indent * level), "");
}

static bool print_string(FILE *out, const char *text)
{
    json_t *json = json_string(text);
    char *quoted = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
    if (quoted)
        (void)fputs(quoted, out);
    bool done = quoted != NULL;
    free(quoted);
    json_decref(json);
    return done;
}

static bool print_object(FILE *out, const json_t *json, unsigned indent, unsigned level)
{
    const char *key, *comma = "";
    json_t *value;
    json_t *object = (json_t *)(uintptr_t)json; /* jansson's iterators take no const. */
    (void)fputc('{', out);
    json_object_foreach(object, key, value)
    {
        (void)fputs(comma, out);
        print_break(out, indent, level + 1);
        if (!print_string(out, key))
            return false;
        (void)fputs(indent > 0 ? ": " : ":", out);
        if (!print_value(out, value, indent, level + 1))
            return false;
        comma = ",";
    }
    if (*comma)
        print_break(out, indent, level);
    (void)fputc('}', out);
    return true;
}

static bool print_array(FILE *out, const json_t *json, unsigned indent, unsigned level)
{
    size_t n = json_array_size(json);
    (void)fputc('[', out);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            (void)fputc(',', out);
        print_break(out, indent, level + 1);
        if (!print_value(out, json_array_get(json, i), indent, level + 1))
            return false;
    }
    if (n > 0)
        print_break(out, indent, level);
    (void)fputc(']', out);
    return true;
}

static bool print_value(FILE *out, const json_t *json, unsigned indent, unsigned level)
{
    char number[FORM_NUMBER_CAP];
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return print_object(out, json, indent, level);
    case JSON_ARRAY:
        return print_array(out, json, indent, level);
    case JSON_STRING:
        return print_string(out, json_string_value(json));
    case JSON_INTEGER:
        (void)fprintf(out, "%lld", (long long)json_integer_value(json));
        return true;
    case JSON_REAL:
        form_number_print(json_real_value(json), number);
        (void)fputs(number, out);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        (void)fputs(json_is_true(json) ? "true" : "false", out);
        return true;
    case JSON_NULL:
        (void)fputs("null", out);
        return true;
    }
    return false;
}

char *form_json_print(const json_t *json, unsigned indent)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return NULL;
    bool done = print_value(out, json, indent, 0);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed || !done) {
        free(text);
        return NULL;
    }
    return text;
}
