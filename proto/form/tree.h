/* tree.h - a message from a tree of maps, lists and scalars, whatever the tree is made of.
 * Why: JSON and YAML differ in how they hold a tree, not in what a message accepts of it.
 * Owns: nothing; the tree outlives the call. The message returned is the caller's.
 * Threads: one conversion, one thread. */
#pragma once

#include "proto/form/field.h"

struct form_tree;

/* Nodes and iterators are opaque here; NULL ends an iteration. */
struct form_tree_ops {
    enum form_kind (*kind)(const struct form_tree *tree, void *node);
    void (*scalar)(const struct form_tree *tree, void *node, struct form_scalar *ret);
    size_t (*count)(const struct form_tree *tree, void *node); /* Of a list or a map. */
    void *(*item)(const struct form_tree *tree, void *list, size_t i);
    void *(*first)(const struct form_tree *tree, void *map);
    void *(*next)(const struct form_tree *tree, void *map, void *iter);
    /* false: the key is not a scalar. ret_node is where to point when the key is wrong. */
    bool (*key)(const struct form_tree *tree, void *iter, const char **ret_text, size_t *ret_len,
                void **ret_node);
    void *(*value)(const struct form_tree *tree, void *iter);
    /* Writes "FILE:LINE:COLUMN: " or nothing. */
    void (*place)(const struct form_tree *tree, void *node, char *ret, size_t cap);
};

/* YAML aliases can make a small file stand for a huge tree: no conversion visits more nodes. */
#define FORM_NODES_MAX 1000000

struct form_tree {
    const struct form_tree_ops *ops;
    void *document;
    const char *file_name;
    size_t visited;
    char path[256]; /* Of the value being read, for messages; long paths are cut at the end. */
    struct form_error *error;
};

/* The tree's `path`, `visited` are set here. *ret is written only on FORM_OK. */
FORM_MUST_USE enum form_result form_tree_read(struct form_tree *tree, void *node,
                                              const ProtobufCMessageDescriptor *type,
                                              ProtobufCMessage **ret);
