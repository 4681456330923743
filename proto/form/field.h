/* field.h - one field of a protobuf-c message, reached through its descriptor.
 * Why: JSON, YAML and KEY=VALUE settings meet the same fields with the same rules; a new field in a
 * .proto needs no code here.
 * Owns: what is stored is malloc'd, so protobuf_c_message_free_unpacked(message, NULL) frees it;
 * a descriptor's default strings are shared and never freed.
 * Threads: no state; a message belongs to one thread while it is filled. */
#pragma once

#include "proto/form/error.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum form_kind {
    FORM_NULL,
    FORM_BOOL,
    FORM_INTEGER,
    FORM_REAL,
    FORM_STRING, /* Said to be text: a JSON string, a quoted YAML scalar. */
    FORM_PLAIN,  /* Text that the field's type gives meaning to: a plain YAML scalar, a setting. */
    FORM_LIST,
    FORM_MAP,
};

struct form_scalar {
    enum form_kind kind;
    const char *text; /* FORM_STRING, FORM_PLAIN; borrowed. */
    size_t len;
    int64_t integer;
    double real;
    bool boolean;
};

/* NULL: the type has no such field. */
const ProtobufCFieldDescriptor *form_field_find(const ProtobufCMessageDescriptor *type,
                                                const char *name, size_t len);
/* "a, b, c": the fields of a type, for messages to people; truncates. */
void form_field_list(const ProtobufCMessageDescriptor *type, char *ret, size_t cap);

/* A map<> field: protobuf-c shows a repeated message of a type named ...Entry with key and value.
 */
bool form_field_is_map(const ProtobufCFieldDescriptor *field);
const ProtobufCMessageDescriptor *form_field_message(const ProtobufCFieldDescriptor *field);
/* Bytes of one element in the message struct or in the repeated field's array. */
size_t form_field_element_size(const ProtobufCFieldDescriptor *field);

/* The field's place in the message struct: the value itself, or the array pointer if repeated. */
void *form_field_member(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);
const void *form_field_member_const(const ProtobufCMessage *message,
                                    const ProtobufCFieldDescriptor *field);
size_t form_field_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);
bool form_field_present(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);
/* After the value is stored: sets has_ or the oneof's case, or the count of a repeated field. */
void form_field_mark(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);
void form_field_set_count(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          size_t n);
/* Whether another member of the field's oneof is set already. */
bool form_field_oneof_taken(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* Room for `extra` more elements after the present ones; the count does not change. New elements
 * are zero bytes. false: out of memory, nothing changed. */
FORM_MUST_USE bool form_field_reserve(ProtobufCMessage *message,
                                      const ProtobufCFieldDescriptor *field, size_t extra);
/* Frees what one element holds (text, bytes, message) and leaves zero bytes. */
void form_field_element_free(const ProtobufCFieldDescriptor *field, void *element);

/* A new message of the type, every field absent. NULL: out of memory. */
ProtobufCMessage *form_message_new(const ProtobufCMessageDescriptor *type);

/* Stores a scalar of any kind but message into an element. FORM_BAD leaves the element as it was
 * and says "expected ..., got ..." in error. An earlier value is freed.
 * Plain text is read by the field's type; 64-bit integers are also taken from quoted decimal text,
 * as JSON numbers end at 2^63 - 1 here. */
FORM_MUST_USE enum form_result form_field_store(const ProtobufCFieldDescriptor *field,
                                                const struct form_scalar *scalar, void *element,
                                                struct form_error *error);
/* What the field wants, in words: "a number", "one of HIGHER, LOWER". */
void form_field_expected(const ProtobufCFieldDescriptor *field, char *ret, size_t cap);
/* What was given instead, in words; quotes only single words of at most 32 name characters. */
void form_scalar_describe(const struct form_scalar *scalar, char *ret, size_t cap);

/* The length of the prefix that all value names of the type share, up to and with its last '_'. */
size_t form_enum_prefix(const ProtobufCEnumDescriptor *type);
