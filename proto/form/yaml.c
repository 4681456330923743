#include "proto/form/yaml.h"
#include "proto/form/tree.h"

#include <stdio.h>
#include <string.h>

static bool plain_is(const yaml_node_t *node, const char *text)
{
    return node->data.scalar.length == strlen(text) &&
           memcmp(node->data.scalar.value, text, strlen(text)) == 0;
}

static enum form_kind tree_kind(const struct form_tree *tree, void *p)
{
    (void)tree;
    const yaml_node_t *node = p;
    if (node->type == YAML_MAPPING_NODE)
        return FORM_MAP;
    if (node->type == YAML_SEQUENCE_NODE)
        return FORM_LIST;
    if (node->type != YAML_SCALAR_NODE)
        return FORM_NULL;
    if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return FORM_STRING;
    bool nothing = plain_is(node, "") || plain_is(node, "~") || plain_is(node, "null");
    return nothing ? FORM_NULL : FORM_PLAIN;
}

static void tree_scalar(const struct form_tree *tree, void *p, struct form_scalar *ret)
{
    const yaml_node_t *node = p;
    *ret = (struct form_scalar){.kind = tree_kind(tree, p),
                                .text = (const char *)node->data.scalar.value,
                                .len = node->data.scalar.length};
}

static size_t tree_count(const struct form_tree *tree, void *p)
{
    (void)tree;
    const yaml_node_t *node = p;
    if (node->type == YAML_SEQUENCE_NODE)
        return (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    return (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
}

static void *tree_item(const struct form_tree *tree, void *list, size_t i)
{
    yaml_node_t *node = list;
    return yaml_document_get_node(tree->document, node->data.sequence.items.start[i]);
}

static void *tree_first(const struct form_tree *tree, void *map)
{
    yaml_node_t *node = map;
    return tree_count(tree, map) > 0 ? node->data.mapping.pairs.start : NULL;
}

static void *tree_next(const struct form_tree *tree, void *map, void *iter)
{
    (void)tree;
    yaml_node_t *node = map;
    yaml_node_pair_t *pair = iter;
    return pair + 1 < node->data.mapping.pairs.top ? pair + 1 : NULL;
}

static bool tree_key(const struct form_tree *tree, void *iter, const char **ret_text,
                     size_t *ret_len, void **ret_node)
{
    yaml_node_pair_t *pair = iter;
    yaml_node_t *key = yaml_document_get_node(tree->document, pair->key);
    *ret_node = key;
    if (key->type != YAML_SCALAR_NODE)
        return false;
    *ret_text = (const char *)key->data.scalar.value;
    *ret_len = key->data.scalar.length;
    return true;
}

static void *tree_value(const struct form_tree *tree, void *iter)
{
    yaml_node_pair_t *pair = iter;
    return yaml_document_get_node(tree->document, pair->value);
}

static void tree_place(const struct form_tree *tree, void *p, char *ret, size_t cap)
{
    const yaml_node_t *node = p;
    (void)snprintf(ret, cap, "%.256s:%zu:%zu: ", tree->file_name, node->start_mark.line + 1,
                   node->start_mark.column + 1);
}

enum form_result form_message_from_yaml(const ProtobufCMessageDescriptor *type,
                                        yaml_document_t *document, yaml_node_t *node,
                                        const char *file_name, ProtobufCMessage **ret,
                                        struct form_error *error)
{
    static const struct form_tree_ops ops = {tree_kind, tree_scalar, tree_count,
                                             tree_item, tree_first,  tree_next,
                                             tree_key,  tree_value,  tree_place};
    struct form_tree tree = {
        .ops = &ops, .document = document, .file_name = file_name, .error = error};
    return form_tree_read(&tree, node, type, ret);
}

static enum form_result parser_refuse(const yaml_parser_t *parser, const char *file_name,
                                      struct form_error *error)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return form_nomem(error);
    /* The reader's errors (bad UTF-8) know an offset, the others a mark. */
    if (parser->error == YAML_READER_ERROR)
        return form_say(error, FORM_BAD, "%.256s: at byte %zu: %s", file_name,
                        parser->problem_offset, parser->problem);
    return form_say(error, FORM_BAD, "%.256s:%zu:%zu: %s%s%s", file_name,
                    parser->problem_mark.line + 1, parser->problem_mark.column + 1,
                    parser->context ? parser->context : "", parser->context ? ": " : "",
                    parser->problem ? parser->problem : "not YAML");
}

/* FORM_OK: there is nothing after the first document. */
static enum form_result only_one(yaml_parser_t *parser, const char *file_name,
                                 struct form_error *error)
{
    yaml_document_t second;
    if (!yaml_parser_load(parser, &second))
        return parser_refuse(parser, file_name, error);
    yaml_node_t *root = yaml_document_get_root_node(&second);
    enum form_result r = FORM_OK;
    if (root)
        r = form_say(error, FORM_BAD, "%.256s:%zu:%zu: one document only", file_name,
                     root->start_mark.line + 1, root->start_mark.column + 1);
    yaml_document_delete(&second);
    return r;
}

enum form_result form_yaml_parse(const char *text, size_t len, const char *file_name,
                                 yaml_document_t *ret, struct form_error *error)
{
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser))
        return form_nomem(error);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    enum form_result r = FORM_OK;
    if (!yaml_parser_load(&parser, &document)) {
        r = parser_refuse(&parser, file_name, error);
        yaml_parser_delete(&parser);
        return r;
    }
    if (!yaml_document_get_root_node(&document))
        r = form_say(error, FORM_BAD, "%.256s:1:1: the file is empty", file_name);
    else
        r = only_one(&parser, file_name, error);
    yaml_parser_delete(&parser);
    if (r != FORM_OK)
        yaml_document_delete(&document);
    else
        *ret = document;
    return r;
}
