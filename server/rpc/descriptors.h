/* descriptors.h - a FileDescriptorSet split by hand, and questions about it.
 * Why: reflection hands out whole files as bytes; the C core has no descriptor library, and all it
 * takes is to read names out of the wire format (descriptor.proto of protobuf; its numbers are
 * named in descriptors.c).
 * Owns: nothing; everything points into the set.
 * Threads: pure. */
#pragma once

#include "state/base/slice.h"

enum { DESCRIPTOR_FILES_MAX = 32 };

struct descriptors {
    size_t n;
    struct {
        struct slice bytes; /* A FileDescriptorProto. */
        struct slice name;
    } files[DESCRIPTOR_FILES_MAX];
};

/* ERR_PARSE: not a set, or more files than fit. */
MUST_USE enum err descriptors_split(struct slice set, struct descriptors *ret_files);
/* Index of the file of this name; -1. */
int descriptors_by_name(const struct descriptors *d, struct slice name);
/* Index of the file that declares this full name: message, enum, service, method or field; -1. */
int descriptors_by_symbol(const struct descriptors *d, struct slice symbol);
/* The file and all it imports, each once, the file first. Returns how many. */
size_t descriptors_closure(const struct descriptors *d, int file,
                           int ret_files[DESCRIPTOR_FILES_MAX]);
