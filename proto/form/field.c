#include "proto/form/field.h"
#include "proto/form/number.h"

#include <float.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool same_text(const char *name, const char *text, size_t len)
{
    return strlen(name) == len && memcmp(name, text, len) == 0;
}

/* Appends to a bounded string; what does not fit is cut. */
static void text_add(char *dst, size_t cap, const char *more, size_t len)
{
    size_t used = strlen(dst);
    if (used + 1 >= cap)
        return;
    if (len > cap - used - 1)
        len = cap - used - 1;
    memcpy(dst + used, more, len);
    dst[used + len] = '\0';
}

const ProtobufCFieldDescriptor *form_field_find(const ProtobufCMessageDescriptor *type,
                                                const char *name, size_t len)
{
    for (unsigned i = 0; i < type->n_fields; i++)
        if (same_text(type->fields[i].name, name, len))
            return &type->fields[i];
    return NULL;
}

void form_field_list(const ProtobufCMessageDescriptor *type, char *ret, size_t cap)
{
    ret[0] = '\0';
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (i > 0)
            text_add(ret, cap, ", ", 2);
        text_add(ret, cap, type->fields[i].name, strlen(type->fields[i].name));
    }
    if (type->n_fields == 0)
        text_add(ret, cap, "none", 4);
}

const ProtobufCMessageDescriptor *form_field_message(const ProtobufCFieldDescriptor *field)
{
    return field->descriptor;
}

bool form_field_is_map(const ProtobufCFieldDescriptor *field)
{
    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *entry = form_field_message(field);
    size_t len = strlen(entry->name);
    return len >= 5 && strcmp(entry->name + len - 5, "Entry") == 0 && entry->n_fields == 2 &&
           strcmp(entry->fields[0].name, "key") == 0 &&
           strcmp(entry->fields[1].name, "value") == 0 &&
           entry->fields[0].type != PROTOBUF_C_TYPE_MESSAGE;
}

size_t form_field_element_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    }
    return 0;
}

void *form_field_member(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return (char *)message + field->offset;
}

const void *form_field_member_const(const ProtobufCMessage *message,
                                    const ProtobufCFieldDescriptor *field)
{
    return (const char *)message + field->offset;
}

static bool is_oneof(const ProtobufCFieldDescriptor *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

static uint32_t oneof_case(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    uint32_t id;
    memcpy(&id, (const char *)message + field->quantifier_offset, sizeof id);
    return id;
}

size_t form_field_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    size_t n;
    memcpy(&n, (const char *)message + field->quantifier_offset, sizeof n);
    return n;
}

void form_field_set_count(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          size_t n)
{
    memcpy((char *)message + field->quantifier_offset, &n, sizeof n);
}

static bool is_pointer(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
}

bool form_field_present(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return form_field_count(message, field) > 0;
    if (is_oneof(field))
        return oneof_case(message, field) == field->id;
    if (is_pointer(field)) {
        const void *p;
        memcpy(&p, form_field_member_const(message, field), sizeof(void *));
        return p && (p != field->default_value || field->label == PROTOBUF_C_LABEL_REQUIRED);
    }
    if (field->label == PROTOBUF_C_LABEL_REQUIRED)
        return true;
    if (field->label == PROTOBUF_C_LABEL_NONE) { /* proto3: zero is absent. */
        static const char zeros[sizeof(ProtobufCBinaryData)];
        return memcmp(form_field_member_const(message, field), zeros,
                      form_field_element_size(field)) != 0;
    }
    protobuf_c_boolean has;
    memcpy(&has, (const char *)message + field->quantifier_offset, sizeof has);
    return has != 0;
}

void form_field_mark(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    char *quantifier = (char *)message + field->quantifier_offset;
    if (is_oneof(field)) {
        uint32_t id = field->id;
        memcpy(quantifier, &id, sizeof id);
    } else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && !is_pointer(field)) {
        protobuf_c_boolean has = 1;
        memcpy(quantifier, &has, sizeof has);
    }
}

bool form_field_oneof_taken(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    if (!is_oneof(field))
        return false;
    uint32_t id = oneof_case(message, field);
    return id != 0 && id != field->id;
}

bool form_field_reserve(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                        size_t extra)
{
    size_t n = form_field_count(message, field), size = form_field_element_size(field);
    if (extra == 0)
        return true;
    if (extra > SIZE_MAX / size - n)
        return false;
    void *array;
    memcpy(&array, form_field_member(message, field), sizeof array);
    void *grown = realloc(array, (n + extra) * size);
    if (!grown)
        return false;
    memset((char *)grown + n * size, 0, extra * size);
    memcpy(form_field_member(message, field), &grown, sizeof grown);
    return true;
}

void form_field_element_free(const ProtobufCFieldDescriptor *field, void *element)
{
    void *p;
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        memcpy(&p, element, sizeof p);
        if (p != field->default_value)
            free(p);
    } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        memcpy(&p, element, sizeof p);
        if (p != field->default_value)
            protobuf_c_message_free_unpacked(p, NULL);
    } else if (field->type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData data;
        memcpy(&data, element, sizeof data);
        const ProtobufCBinaryData *shared = field->default_value;
        if (!shared || shared->data != data.data)
            free(data.data);
    }
    memset(element, 0, form_field_element_size(field));
}

ProtobufCMessage *form_message_new(const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = calloc(1, type->sizeof_message);
    if (message)
        protobuf_c_message_init(type, message);
    return message;
}

size_t form_enum_prefix(const ProtobufCEnumDescriptor *type)
{
    if (type->n_values < 2)
        return 0;
    const char *first = type->values[0].name;
    size_t shared = strlen(first);
    for (unsigned i = 1; i < type->n_values; i++) {
        const char *name = type->values[i].name;
        size_t same = 0;
        while (same < shared && first[same] == name[same])
            same++;
        shared = same;
    }
    while (shared > 0 && first[shared - 1] != '_')
        shared--;
    return shared;
}

/* The limits of the integer types, as text for people and as numbers to check. */
struct integer_range {
    bool is_signed;
    int64_t low;
    uint64_t high;
};

static bool integer_range(ProtobufCType type, struct integer_range *ret)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        *ret = (struct integer_range){true, INT32_MIN, INT32_MAX};
        return true;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        *ret = (struct integer_range){true, INT64_MIN, INT64_MAX};
        return true;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *ret = (struct integer_range){false, 0, UINT32_MAX};
        return true;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *ret = (struct integer_range){false, 0, UINT64_MAX};
        return true;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return false;
    }
    return false;
}

static void enum_expected(const ProtobufCEnumDescriptor *type, char *ret, size_t cap)
{
    size_t prefix = form_enum_prefix(type);
    (void)snprintf(ret, cap, "one of ");
    for (unsigned i = 0; i < type->n_values; i++) {
        if (i > 0)
            text_add(ret, cap, ", ", 2);
        text_add(ret, cap, type->values[i].name + prefix, strlen(type->values[i].name + prefix));
    }
}

void form_field_expected(const ProtobufCFieldDescriptor *field, char *ret, size_t cap)
{
    struct integer_range range;
    const char *words = "a number";
    if (integer_range(field->type, &range)) {
        (void)snprintf(ret, cap, "an integer in [%lld, %llu]", (long long)range.low,
                       (unsigned long long)range.high);
        return;
    }
    if (field->type == PROTOBUF_C_TYPE_ENUM) {
        enum_expected(field->descriptor, ret, cap);
        return;
    }
    if (field->type == PROTOBUF_C_TYPE_BOOL)
        words = "true or false";
    else if (field->type == PROTOBUF_C_TYPE_STRING)
        words = "text";
    else if (field->type == PROTOBUF_C_TYPE_BYTES)
        words = "base64 text";
    else if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        words = "a mapping";
    (void)snprintf(ret, cap, "%s", words);
}

static bool is_word(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || !strchr("._/-+", c)))
            return false;
    }
    return len > 0 && len <= 32;
}

void form_scalar_describe(const struct form_scalar *scalar, char *ret, size_t cap)
{
    char number[FORM_NUMBER_CAP];
    switch (scalar->kind) {
    case FORM_NULL:
        (void)snprintf(ret, cap, "nothing");
        return;
    case FORM_BOOL:
        (void)snprintf(ret, cap, "%s", scalar->boolean ? "true" : "false");
        return;
    case FORM_INTEGER:
        (void)snprintf(ret, cap, "%lld", (long long)scalar->integer);
        return;
    case FORM_REAL:
        form_number_print(scalar->real, number);
        (void)snprintf(ret, cap, "%s", number);
        return;
    case FORM_STRING:
    case FORM_PLAIN:
        if (is_word(scalar->text, scalar->len))
            (void)snprintf(ret, cap, "\"%.*s\"", (int)scalar->len, scalar->text);
        else
            (void)snprintf(ret, cap, "%s",
                           scalar->len == 0                          ? "empty text"
                           : memchr(scalar->text, '\0', scalar->len) ? "text with a NUL byte"
                                                                     : "text");
        return;
    case FORM_LIST:
        (void)snprintf(ret, cap, "a list");
        return;
    case FORM_MAP:
        (void)snprintf(ret, cap, "a mapping");
        return;
    }
}

static bool is_text(const struct form_scalar *s)
{
    return s->kind == FORM_STRING || s->kind == FORM_PLAIN;
}

static bool store_integer(const ProtobufCFieldDescriptor *field, const struct integer_range *range,
                          const struct form_scalar *s, void *element)
{
    bool wide = form_field_element_size(field) == 8;
    bool from_text = s->kind == FORM_PLAIN || (s->kind == FORM_STRING && wide);
    uint64_t bits;
    if (range->is_signed) {
        int64_t v = s->integer;
        if (s->kind != FORM_INTEGER && !(from_text && form_number_i64(s->text, s->len, &v)))
            return false;
        if (v < range->low || (v > 0 && (uint64_t)v > range->high))
            return false;
        bits = (uint64_t)v;
    } else {
        if (s->kind == FORM_INTEGER && s->integer >= 0)
            bits = (uint64_t)s->integer;
        else if (!from_text || !form_number_u64(s->text, s->len, &bits))
            return false;
        if (bits > range->high)
            return false;
    }
    uint32_t low = (uint32_t)bits;
    memcpy(element, wide ? (const void *)&bits : (const void *)&low, wide ? 8 : 4);
    return true;
}

static bool store_real(const ProtobufCFieldDescriptor *field, const struct form_scalar *s,
                       void *element)
{
    double v;
    if (s->kind == FORM_INTEGER)
        v = (double)s->integer;
    else if (s->kind == FORM_REAL)
        v = s->real;
    else if (s->kind != FORM_PLAIN || !form_number_double(s->text, s->len, &v))
        return false;
    if (!isfinite(v))
        return false;
    if (field->type == PROTOBUF_C_TYPE_DOUBLE) {
        memcpy(element, &v, sizeof v);
        return true;
    }
    if (fabs(v) > (double)FLT_MAX)
        return false;
    float narrow = (float)v;
    memcpy(element, &narrow, sizeof narrow);
    return true;
}

static bool store_bool(const struct form_scalar *s, void *element)
{
    protobuf_c_boolean v;
    if (s->kind == FORM_BOOL)
        v = s->boolean;
    else if (s->kind == FORM_PLAIN && same_text("true", s->text, s->len))
        v = 1;
    else if (s->kind == FORM_PLAIN && same_text("false", s->text, s->len))
        v = 0;
    else
        return false;
    memcpy(element, &v, sizeof v);
    return true;
}

static bool store_enum(const ProtobufCEnumDescriptor *type, const struct form_scalar *s,
                       void *element)
{
    size_t prefix = form_enum_prefix(type);
    if (!is_text(s))
        return false;
    for (unsigned i = 0; i < type->n_values; i++) {
        const char *name = type->values[i].name, *tail = name + prefix;
        bool full = strlen(name) == s->len && strncasecmp(name, s->text, s->len) == 0;
        bool brief = strlen(tail) == s->len && strncasecmp(tail, s->text, s->len) == 0;
        if (full || brief) {
            memcpy(element, &type->values[i].value, sizeof type->values[i].value);
            return true;
        }
    }
    return false;
}

static enum form_result store_string(const ProtobufCFieldDescriptor *field,
                                     const struct form_scalar *s, void *element)
{
    if (!is_text(s) || memchr(s->text, '\0', s->len))
        return FORM_BAD;
    char *copy = malloc(s->len + 1);
    if (!copy)
        return FORM_NOMEM;
    memcpy(copy, s->text, s->len);
    copy[s->len] = '\0';
    form_field_element_free(field, element);
    memcpy(element, &copy, sizeof(void *));
    return FORM_OK;
}

static enum form_result store_bytes(const ProtobufCFieldDescriptor *field,
                                    const struct form_scalar *s, void *element)
{
    if (!is_text(s))
        return FORM_BAD;
    size_t cap = s->len / 4 * 3 + 3;
    uint8_t *bytes = malloc(cap);
    if (!bytes)
        return FORM_NOMEM;
    size_t len;
    if (sodium_base642bin(bytes, cap, s->text, s->len, NULL, &len, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0) {
        free(bytes);
        return FORM_BAD;
    }
    form_field_element_free(field, element);
    ProtobufCBinaryData *data = element;
    data->data = bytes;
    data->len = len;
    return FORM_OK;
}

static enum form_result store_any(const ProtobufCFieldDescriptor *field,
                                  const struct form_scalar *s, void *element)
{
    struct integer_range range;
    bool stored = false;
    if (integer_range(field->type, &range))
        stored = store_integer(field, &range, s, element);
    else if (field->type == PROTOBUF_C_TYPE_STRING)
        return store_string(field, s, element);
    else if (field->type == PROTOBUF_C_TYPE_BYTES)
        return store_bytes(field, s, element);
    else if (field->type == PROTOBUF_C_TYPE_BOOL)
        stored = store_bool(s, element);
    else if (field->type == PROTOBUF_C_TYPE_ENUM)
        stored = store_enum(field->descriptor, s, element);
    else if (field->type != PROTOBUF_C_TYPE_MESSAGE)
        stored = store_real(field, s, element);
    return stored ? FORM_OK : FORM_BAD;
}

enum form_result form_field_store(const ProtobufCFieldDescriptor *field,
                                  const struct form_scalar *scalar, void *element,
                                  struct form_error *error)
{
    enum form_result r = store_any(field, scalar, element);
    if (r == FORM_NOMEM)
        return form_nomem(error);
    if (r == FORM_BAD) {
        char expected[512], got[64];
        form_field_expected(field, expected, sizeof expected);
        form_scalar_describe(scalar, got, sizeof got);
        return form_say(error, FORM_BAD, "expected %s, got %s", expected, got);
    }
    return FORM_OK;
}
