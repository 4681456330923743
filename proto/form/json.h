/* json.h - protobuf-c messages as JSON and back, driven by the descriptor.
 * What: keys are the proto's field names in the proto's order; enums by full name (input: either
 * case, the shared prefix may be left out); bytes as base64; map fields as objects; null as absent.
 * Integers are JSON integers; those above 2^63 - 1 are decimal text, which is taken back for every
 * 64-bit field. Floats are finite; a float is written as the shortest decimal that reads back.
 * Why: users see one spelling of the contract everywhere, and a new field needs no code.
 * Owns: results are the caller's: json_decref, free, protobuf_c_message_free_unpacked(m, NULL).
 * Threads: pure (jansson's global hash seed is set by its own first use). */
#pragma once

#include "proto/form/error.h"

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

/* Absent lists and maps as empty ones, for readers that walk over them. */
#define FORM_LISTS 1u
/* Absent scalars as protobuf's default, too (0, "", the first enum value): for comparing two
 * messages of which one leaves out what it does not care about. Not for showing one: where a field
 * is absent the sender meant nothing, which 0 is not. */
#define FORM_DEFAULTS 2u

FORM_MUST_USE enum form_result form_json_from_message(const ProtobufCMessage *message,
                                                      unsigned flags, json_t **ret,
                                                      struct form_error *error);
/* Unknown keys, wrong types, numbers out of range, missing required fields: FORM_BAD, and the error
 * begins with the path ("metrics[0].weight: expected ..."). */
FORM_MUST_USE enum form_result form_message_from_json(const ProtobufCMessageDescriptor *type,
                                                      json_t *json, ProtobufCMessage **ret,
                                                      struct form_error *error);

/* One JSON value from text; duplicate keys and trailing text are errors with line and column. */
FORM_MUST_USE enum form_result form_json_parse(const char *text, size_t len, json_t **ret,
                                               struct form_error *error);
/* Text of a JSON value with the shortest exact numbers (0.1, not 0.10000000000000001).
 * indent: blanks per level, 0 for one line. NULL: out of memory. */
char *form_json_print(const json_t *json, unsigned indent);
