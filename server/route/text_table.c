#include "server/route/text_table.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

/* The assembler reads the file: no 2 MB of C to compile. TEXT16_FILE comes from CMake. */
__asm__(".section .rodata\n"
        ".balign 64\n"
        ".globl text_table\n"
        ".hidden text_table\n"
        ".type text_table, @object\n"
        "text_table:\n"
        ".incbin \"" TEXT16_FILE "\"\n"
        ".globl text_table_end\n"
        ".hidden text_table_end\n"
        "text_table_end:\n"
        ".size text_table, . - text_table\n"
        ".balign 8\n"
        ".previous\n");

extern const unsigned char text_table_end[] __attribute__((visibility("hidden")));

static_assert(sizeof(struct text_table) == TEXT16_BYTES, "the struct is the file, byte for byte");

enum err text_table_check(void)
{
    const unsigned char *begin = (const unsigned char *)&text_table;
    if ((uintptr_t)text_table_end - (uintptr_t)begin != sizeof text_table ||
        memcmp(text_table.magic, "shunttxt", 8) != 0 || text_table.version != TEXT16_VERSION ||
        text_table.bytes != TEXT16_BYTES || text_table.checksum != TEXT16_CHECKSUM)
        return ERR_CORRUPT;
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = offsetof(struct text_table, score); i < sizeof text_table; i++)
        h = (h ^ begin[i]) * 0x100000001b3;
    return h == TEXT16_CHECKSUM ? OK : ERR_CORRUPT;
}
