#include "server/rpc/descriptors.h"

#include "server/rpc/wire.h"

#include <string.h>

/* Field numbers of google/protobuf/descriptor.proto. */
enum {
    SET_FILE = 1,
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_DEPENDENCY = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    ANY_NAME = 1, /* Of messages, enums, services, methods, fields and enum values alike. */
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    SERVICE_METHOD = 2,
};
enum { NESTED_MAX = 8 };

static bool equal(struct slice a, struct slice b)
{
    return a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len) == 0);
}

static struct slice field_of(struct slice message, uint32_t number)
{
    struct wire_field f;
    while (wire_next(&message, &f))
        if (f.type == WIRE_BYTES && f.number == number)
            return f.bytes;
    return (struct slice){"", 0};
}

enum err descriptors_split(struct slice set, struct descriptors *ret_files)
{
    struct wire_field f;
    size_t n = 0;
    while (wire_next(&set, &f)) {
        if (f.type != WIRE_BYTES || f.number != SET_FILE)
            continue;
        if (n == DESCRIPTOR_FILES_MAX)
            return ERR_PARSE;
        ret_files->files[n].bytes = f.bytes;
        ret_files->files[n].name = field_of(f.bytes, FILE_NAME);
        n++;
    }
    if (set.len)
        return ERR_PARSE;
    ret_files->n = n;
    return OK;
}

int descriptors_by_name(const struct descriptors *d, struct slice name)
{
    for (size_t i = 0; i < d->n; i++)
        if (equal(d->files[i].name, name))
            return (int)i;
    return -1;
}

/* When `symbol` is `name` or lies below it: true, and *ret_rest is what follows the dot, empty when
 * nothing does. */
static bool starts_with(struct slice symbol, struct slice name, struct slice *ret_rest)
{
    if (symbol.len < name.len || memcmp(symbol.data, name.data, name.len) != 0)
        return false;
    const char *rest = (const char *)symbol.data + name.len;
    size_t left = symbol.len - name.len;
    if (left && *rest != '.')
        return false;
    *ret_rest = left ? (struct slice){rest + 1, left - 1} : (struct slice){rest, 0};
    return true;
}

static bool declares(struct slice message, uint32_t number, struct slice name)
{
    struct wire_field f;
    while (wire_next(&message, &f))
        if (f.type == WIRE_BYTES && f.number == number && equal(field_of(f.bytes, ANY_NAME), name))
            return true;
    return false;
}

static bool message_holds(struct slice message, struct slice symbol, unsigned depth)
{
    struct slice rest;
    struct wire_field f;
    if (!starts_with(symbol, field_of(message, ANY_NAME), &rest))
        return false;
    if (!rest.len || declares(message, MESSAGE_FIELD, rest) ||
        declares(message, MESSAGE_ENUM, rest))
        return true;
    while (depth < NESTED_MAX && wire_next(&message, &f))
        if (f.type == WIRE_BYTES && f.number == MESSAGE_NESTED &&
            message_holds(f.bytes, rest, depth + 1))
            return true;
    return false;
}

static bool service_holds(struct slice service, struct slice symbol)
{
    struct slice rest;
    return starts_with(symbol, field_of(service, ANY_NAME), &rest) &&
           (!rest.len || declares(service, SERVICE_METHOD, rest));
}

static bool file_holds(struct slice file, struct slice symbol)
{
    struct slice rest = symbol, package = field_of(file, FILE_PACKAGE);
    struct wire_field f;
    if (package.len && !starts_with(symbol, package, &rest))
        return false;
    while (rest.len && wire_next(&file, &f)) {
        if (f.type != WIRE_BYTES)
            continue;
        if (f.number == FILE_MESSAGE && message_holds(f.bytes, rest, 0))
            return true;
        if (f.number == FILE_SERVICE && service_holds(f.bytes, rest))
            return true;
        if (f.number == FILE_ENUM && equal(field_of(f.bytes, ANY_NAME), rest))
            return true;
    }
    return false;
}

int descriptors_by_symbol(const struct descriptors *d, struct slice symbol)
{
    for (size_t i = 0; i < d->n; i++)
        if (file_holds(d->files[i].bytes, symbol))
            return (int)i;
    return -1;
}

size_t descriptors_closure(const struct descriptors *d, int file,
                           int ret_files[DESCRIPTOR_FILES_MAX])
{
    bool seen[DESCRIPTOR_FILES_MAX] = {false};
    size_t n = 0;
    ret_files[n++] = file;
    seen[file] = true;
    for (size_t at = 0; at < n; at++) { /* The list grows as imports are found. */
        struct slice bytes = d->files[ret_files[at]].bytes;
        struct wire_field f;
        while (wire_next(&bytes, &f)) {
            int i = f.type == WIRE_BYTES && f.number == FILE_DEPENDENCY
                        ? descriptors_by_name(d, f.bytes)
                        : -1;
            if (i < 0 || seen[i])
                continue;
            seen[i] = true;
            ret_files[n++] = i;
        }
    }
    return n;
}
