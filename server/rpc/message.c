#include "server/rpc/message.h"

#include "server/rpc/wire.h"

#include <stdint.h>
#include <string.h>

enum { DEPTH_MAX = 16 }; /* Our messages nest four deep. */

/* Names the first text field that holds a NUL; NULL when there is none or the bytes do not parse
 * (then unpacking says so). */
static const char *text_with_nul(const ProtobufCMessageDescriptor *type, struct slice bytes,
                                 unsigned depth)
{
    struct wire_field field;
    while (wire_next(&bytes, &field)) {
        if (field.type != WIRE_BYTES || !field.bytes.len ||
            !memchr(field.bytes.data, 0, field.bytes.len))
            continue;
        const ProtobufCFieldDescriptor *f =
            protobuf_c_message_descriptor_get_field(type, field.number);
        if (!f)
            continue;
        if (f->type == PROTOBUF_C_TYPE_STRING && strcmp(f->name, "text") != 0)
            return f->name;
        if (f->type == PROTOBUF_C_TYPE_MESSAGE && depth < DEPTH_MAX) {
            const char *name = text_with_nul(f->descriptor, field.bytes, depth + 1);
            if (name)
                return name;
        }
    }
    return NULL;
}

enum err message_unpack(const ProtobufCMessageDescriptor *type, struct slice bytes,
                        struct arena *arena, ProtobufCMessage **ret_message,
                        struct err_detail *detail)
{
    const char *field = NULL;
    if (bytes.len && memchr(bytes.data, 0, bytes.len))
        field = text_with_nul(type, bytes, 0);
    if (field)
        return err_say(detail, ERR_PARSE, "%s: holds a NUL character", field);
    static const uint8_t nothing[1] = {0};
    ProtobufCMessage *m = protobuf_c_message_unpack(type, &arena->allocator, bytes.len,
                                                    bytes.len ? bytes.data : nothing);
    if (!m && (arena->full || arena->failed))
        return arena_error(arena, detail);
    if (!m)
        return err_say(detail, ERR_PARSE, "the bytes are not a %s", type->name);
    *ret_message = m;
    return OK;
}

struct slice message_field(struct slice bytes, uint32_t number)
{
    struct wire_field field;
    struct slice found = {NULL, 0};
    while (wire_next(&bytes, &field))
        if (field.type == WIRE_BYTES && field.number == number)
            found = field.bytes;
    return found;
}
