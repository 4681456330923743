/* yaml.h - protobuf-c messages from YAML, with the line and column of what is wrong.
 * What: the rules of json.h; a plain scalar is read by its field's type, a quoted one is text; a
 * plain `~`, `null` or nothing at all is absent. Aliases work; tags and merge keys do not.
 * Why: operators write YAML by hand: every error says FILE:LINE:COLUMN, the path, what was
 * expected, and for an unknown key the known ones.
 * Owns: documents are libyaml's (yaml_document_delete); messages are the caller's.
 * Threads: pure. */
#pragma once

#include "proto/form/error.h"

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <yaml.h>

/* The one document in the text. file_name is for messages only. FORM_BAD: not YAML, none, or more
 * than one. Only on FORM_OK is there a document to delete; its root is not NULL. */
FORM_MUST_USE enum form_result form_yaml_parse(const char *text, size_t len, const char *file_name,
                                               yaml_document_t *ret, struct form_error *error);

/* node belongs to document. */
FORM_MUST_USE enum form_result form_message_from_yaml(const ProtobufCMessageDescriptor *type,
                                                      yaml_document_t *document, yaml_node_t *node,
                                                      const char *file_name, ProtobufCMessage **ret,
                                                      struct form_error *error);
