#include "proto/form/set.h"
#include "proto/form/field.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct target {
    const char *path; /* The whole of it, for messages. */
    const char *value;
    struct form_error *error;
};

static enum form_result set_in(const struct target *t, ProtobufCMessage *message, const char *rest);

static enum form_result refuse(const struct target *t, const char *what)
{
    (void)form_say(t->error, FORM_BAD, "%.256s: %s", t->path, what);
    return FORM_BAD;
}

static enum form_result store(const struct target *t, const ProtobufCFieldDescriptor *field,
                              const char *text, size_t len, void *element)
{
    struct form_scalar scalar = {.kind = FORM_PLAIN, .text = text, .len = len};
    struct form_error what;
    enum form_result r = form_field_store(field, &scalar, element, &what);
    if (r == FORM_BAD)
        return refuse(t, what.text);
    return r == FORM_NOMEM ? form_nomem(t->error) : FORM_OK;
}

static void *array_of(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    void *array;
    memcpy(&array, form_field_member(message, field), sizeof array);
    return array;
}

/* Adds a new element of the type to a repeated message field. */
static enum form_result append(const struct target *t, ProtobufCMessage *message,
                               const ProtobufCFieldDescriptor *field, ProtobufCMessage **ret)
{
    size_t n = form_field_count(message, field);
    ProtobufCMessage *element = form_message_new(form_field_message(field));
    if (!element || !form_field_reserve(message, field, 1)) {
        protobuf_c_message_free_unpacked(element, NULL);
        return form_nomem(t->error);
    }
    ProtobufCMessage **array = array_of(message, field);
    array[n] = element;
    form_field_set_count(message, field, n + 1);
    *ret = element;
    return FORM_OK;
}

/* The element whose text field `key` is the name; NULL if there is none. */
static ProtobufCMessage *element_find(ProtobufCMessage *message,
                                      const ProtobufCFieldDescriptor *field,
                                      const ProtobufCFieldDescriptor *key, const char *name,
                                      size_t len)
{
    ProtobufCMessage **array = array_of(message, field);
    size_t n = form_field_count(message, field);
    for (size_t i = 0; i < n; i++) {
        const char *text;
        memcpy(&text, form_field_member(array[i], key), sizeof(void *));
        if (text && strlen(text) == len && memcmp(text, name, len) == 0)
            return array[i];
    }
    return NULL;
}

static enum form_result element_get(const struct target *t, ProtobufCMessage *message,
                                    const ProtobufCFieldDescriptor *field,
                                    const ProtobufCFieldDescriptor *key, const char *name,
                                    size_t len, ProtobufCMessage **ret)
{
    if (len == 0)
        return refuse(t, "a name is missing in the path");
    *ret = element_find(message, field, key, name, len);
    if (*ret)
        return FORM_OK;
    enum form_result r = append(t, message, field, ret);
    if (r != FORM_OK)
        return r;
    r = store(t, key, name, len, form_field_member(*ret, key));
    if (r == FORM_OK)
        form_field_mark(*ret, key);
    return r;
}

/* How much of rest is the name of an element of this type; 0: no split leaves a known field. */
static size_t name_length(const ProtobufCMessageDescriptor *type, const char *rest)
{
    for (const char *dot = strchr(rest, '.'); dot; dot = strchr(dot + 1, '.'))
        if (form_field_find(type, dot + 1, strcspn(dot + 1, ".")))
            return (size_t)(dot - rest);
    return 0;
}

static enum form_result set_in_element(const struct target *t, ProtobufCMessage *message,
                                       const ProtobufCFieldDescriptor *field,
                                       const ProtobufCFieldDescriptor *key,
                                       const ProtobufCMessageDescriptor *type, const char *rest)
{
    size_t len = name_length(type, rest);
    if (len == 0) {
        char known[512], what[640];
        form_field_list(type, known, sizeof known);
        (void)snprintf(what, sizeof what, "expected NAME.FIELD here; fields are %s", known);
        return refuse(t, what);
    }
    ProtobufCMessage *element;
    enum form_result r = element_get(t, message, field, key, rest, len, &element);
    if (r != FORM_OK || element->descriptor == type)
        return r != FORM_OK ? r : set_in(t, element, rest + len + 1);
    /* A map's entry: the message is its value. */
    ProtobufCMessage **value = form_field_member(element, &element->descriptor->fields[1]);
    if (!*value && !(*value = form_message_new(type)))
        return form_nomem(t->error);
    return set_in(t, *value, rest + len + 1);
}

static enum form_result set_in_map(const struct target *t, ProtobufCMessage *message,
                                   const ProtobufCFieldDescriptor *field, const char *rest)
{
    const ProtobufCMessageDescriptor *type = form_field_message(field);
    const ProtobufCFieldDescriptor *key = &type->fields[0], *value = &type->fields[1];
    if (key->type != PROTOBUF_C_TYPE_STRING)
        return refuse(t, "only maps with text keys can be set by path");
    if (value->type == PROTOBUF_C_TYPE_MESSAGE)
        return set_in_element(t, message, field, key, form_field_message(value), rest);
    /* Read the value before the key is created: a refused value leaves no entry. */
    uint64_t scratch[4] = {0};
    enum form_result r = store(t, value, t->value, strlen(t->value), scratch);
    form_field_element_free(value, scratch);
    if (r != FORM_OK)
        return r;
    ProtobufCMessage *entry;
    r = element_get(t, message, field, key, rest, strlen(rest), &entry);
    if (r == FORM_OK)
        r = store(t, value, t->value, strlen(t->value), form_field_member(entry, value));
    if (r == FORM_OK)
        form_field_mark(entry, value);
    return r;
}

/* Replaces a list of scalars. The new list is complete before the old one goes. */
static enum form_result set_list(const struct target *t, ProtobufCMessage *message,
                                 const ProtobufCFieldDescriptor *field)
{
    size_t size = form_field_element_size(field), n = 0, filled = 0;
    if (*t->value) {
        n = 1;
        for (const char *p = t->value; *p; p++)
            n += *p == ',';
    }
    char *fresh = calloc(n > 0 ? n : 1, size);
    if (!fresh)
        return form_nomem(t->error);
    enum form_result r = FORM_OK;
    for (const char *p = t->value; filled < n && r == FORM_OK; filled++) {
        size_t len = strcspn(p, ",");
        r = store(t, field, p, len, fresh + filled * size);
        p += len + 1;
    }
    if (r == FORM_OK) { /* Now `fresh` takes the old list out. */
        char *old = array_of(message, field);
        filled = form_field_count(message, field);
        memcpy(form_field_member(message, field), &fresh, sizeof(void *));
        form_field_set_count(message, field, n);
        fresh = old;
    }
    for (size_t i = 0; i < filled; i++)
        form_field_element_free(field, fresh + i * size);
    free(fresh);
    return r;
}

static const ProtobufCFieldDescriptor *name_of(const ProtobufCMessageDescriptor *type)
{
    const ProtobufCFieldDescriptor *name = form_field_find(type, "name", 4);
    return name && name->type == PROTOBUF_C_TYPE_STRING ? name : NULL;
}

static enum form_result set_in_message(const struct target *t, ProtobufCMessage *message,
                                       const ProtobufCFieldDescriptor *field, const char *rest)
{
    if (form_field_oneof_taken(message, field))
        return refuse(t, "another choice of the same group is set");
    ProtobufCMessage *inner;
    memcpy(&inner, form_field_member(message, field), sizeof(void *));
    if (!inner) {
        inner = form_message_new(form_field_message(field));
        if (!inner)
            return form_nomem(t->error);
        memcpy(form_field_member(message, field), &inner, sizeof(void *));
        form_field_mark(message, field);
    }
    return set_in(t, inner, rest);
}

static enum form_result set_field(const struct target *t, ProtobufCMessage *message,
                                  const ProtobufCFieldDescriptor *field, const char *rest)
{
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED, more = rest != NULL;
    if ((field->type == PROTOBUF_C_TYPE_MESSAGE) != more)
        return refuse(t, more ? "the path goes on after a plain value" : "the path ends too early");
    if (more && form_field_is_map(field))
        return set_in_map(t, message, field, rest);
    if (repeated && more) {
        const ProtobufCMessageDescriptor *type = form_field_message(field);
        if (!name_of(type))
            return refuse(t, "elements of this list have no name to be found by");
        return set_in_element(t, message, field, name_of(type), type, rest);
    }
    if (repeated)
        return set_list(t, message, field);
    if (more)
        return set_in_message(t, message, field, rest);
    if (form_field_oneof_taken(message, field))
        return refuse(t, "another choice of the same group is set");
    enum form_result r =
        store(t, field, t->value, strlen(t->value), form_field_member(message, field));
    if (r == FORM_OK)
        form_field_mark(message, field);
    return r;
}

static enum form_result set_in(const struct target *t, ProtobufCMessage *message, const char *rest)
{
    size_t len = strcspn(rest, ".");
    const ProtobufCFieldDescriptor *field = form_field_find(message->descriptor, rest, len);
    if (!field) {
        char known[512], what[640];
        form_field_list(message->descriptor, known, sizeof known);
        (void)snprintf(what, sizeof what, "unknown key; known are %s", known);
        return refuse(t, what);
    }
    return set_field(t, message, field, rest[len] == '.' ? rest + len + 1 : NULL);
}

enum form_result form_set_field(ProtobufCMessage *message, const char *path, const char *value,
                                struct form_error *error)
{
    const struct target t = {path, value, error};
    return set_in(&t, message, path);
}
