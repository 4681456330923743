/* The reader of bytes, names and ids: nothing read beyond the end, nothing accepted that the header
 * forbids. */
#include "state/base/name.h"
#include "state/base/slice.h"
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <string.h>

/* The first byte of each step says what to read next. */
static void read_as_told(const uint8_t *data, size_t size)
{
    struct reader r;
    char text[40];
    reader_init(&r, (struct slice){data, size});
    while (!r.failed && reader_left(&r) > 0) {
        size_t before = reader_left(&r);
        switch (reader_u8(&r) % 7) {
        case 0:
            (void)reader_u16(&r);
            break;
        case 1:
            (void)reader_u32(&r);
            break;
        case 2:
            (void)reader_u64(&r);
            break;
        case 3:
            (void)reader_f64(&r);
            break;
        case 4:
            reader_str(&r, text, sizeof text);
            FUZZ_CHECK(memchr(text, '\0', sizeof text) != NULL);
            break;
        case 5:
            (void)reader_take(&r, reader_u16(&r));
            break;
        default:
            (void)reader_f32(&r);
            break;
        }
        FUZZ_CHECK(reader_left(&r) < before);
    }
    if (r.failed)
        FUZZ_CHECK(reader_u64(&r) == 0);
}

static void names_walk_no_path(const char *s, size_t len)
{
    if (!name_valid(s, len))
        return;
    FUZZ_CHECK(len >= 1 && len < NAME_CAP);
    char padded[NAME_CAP + 2] = "/";
    memcpy(padded + 1, s, len);
    padded[len + 1] = '/';
    padded[len + 2] = '\0';
    FUZZ_CHECK(strlen(padded) == len + 2);
    FUZZ_CHECK(!strstr(padded, "/../") && !strstr(padded, "/./"));
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK(isalnum((unsigned char)s[i]) || strchr("._/-", s[i]));
}

static void ids_round_trip(const char *s, size_t len)
{
    uint8_t id[ID_BYTES], again[ID_BYTES];
    char text[ID_TEXT_CAP];
    if (id_parse(s, len, id) != OK)
        return;
    id_format(id, text);
    FUZZ_CHECK(len == ID_TEXT_CAP - 1 && strncasecmp(text, s, len) == 0);
    FUZZ_CHECK(id_parse(text, len, again) == OK && memcmp(id, again, ID_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_as_told(data, size);
    names_walk_no_path((const char *)data, size);
    ids_round_trip((const char *)data, size);
    return 0;
}
