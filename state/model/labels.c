#include "state/model/labels.h"

#include "state/base/name.h"

#include <string.h>

bool labels_next(const struct labels *labels, uint16_t *at, struct label *ret_label)
{
    if (*at >= labels->bytes_n)
        return false;
    struct label *l = ret_label;
    l->key = labels->bytes + *at;
    l->key_len = strlen(l->key);
    l->value = l->key + l->key_len + 1;
    l->value_len = strlen(l->value);
    *at = (uint16_t)(*at + l->key_len + 1 + l->value_len + 1);
    return true;
}

const char *labels_get(const struct labels *labels, const char *key, size_t len)
{
    struct label l;
    for (uint16_t at = 0; labels_next(labels, &at, &l);)
        if (l.key_len == len && memcmp(l.key, key, len) == 0)
            return l.value;
    return NULL;
}

static enum err check_label(struct slice key, struct slice value, struct err_detail *detail)
{
    if (!label_key_valid(key.data, key.len))
        return err_say(detail, ERR_BAD_NAME,
                       "labels: a key is not [PREFIX/]NAME, NAME 1 to 63 of A-Z a-z 0-9 - _ . with "
                       "a letter or digit at both ends, PREFIX a DNS subdomain");
    if (!label_value_valid(value.data, value.len))
        return err_say(detail, ERR_BAD_NAME,
                       "labels: the value of %.*s is neither empty nor 1 to 63 of A-Z a-z 0-9 - _ "
                       ". with a letter or digit at both ends",
                       (int)key.len, (const char *)key.data);
    return OK;
}

/* Where a key stands or would stand, and the bytes that its label takes there now. */
static uint16_t find_place(const struct labels *labels, struct slice key, uint16_t *ret_taken)
{
    struct label l;
    uint16_t at = 0, start = 0;
    *ret_taken = 0;
    for (; labels_next(labels, &at, &l); start = at) {
        size_t both = l.key_len < key.len ? l.key_len : key.len;
        int order = memcmp(l.key, key.data, both);
        if (order == 0 && l.key_len == key.len)
            *ret_taken = (uint16_t)(at - start);
        if (order > 0 || (order == 0 && l.key_len >= key.len))
            break;
    }
    return start;
}

enum err labels_put(struct labels *labels, struct slice key, struct slice value,
                    struct err_detail *detail)
{
    TRY(check_label(key, value, detail));
    uint16_t taken, at = find_place(labels, key, &taken);
    size_t needed = key.len + 1 + value.len + 1, tail = (size_t)labels->bytes_n - at - taken;
    if (!taken && labels->n == MAX_LABELS)
        return err_say(detail, ERR_OUT_OF_RANGE, "labels: more than %d", MAX_LABELS);
    if (labels->bytes_n - taken + needed > LABELS_BYTES)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "labels: keys and values, and one byte for each, take more than %d bytes",
                       LABELS_BYTES);
    char *place = labels->bytes + at;
    memmove(place + needed, place + taken, tail);
    memcpy(place, key.data, key.len);
    place[key.len] = '\0';
    if (value.len)
        memcpy(place + key.len + 1, value.data, value.len);
    place[needed - 1] = '\0';
    size_t end = at + needed + tail;
    if (end < labels->bytes_n)
        memset(labels->bytes + end, 0, labels->bytes_n - end);
    labels->bytes_n = (uint16_t)end;
    labels->n = (uint16_t)(labels->n + !taken);
    return OK;
}

void labels_encode(const struct labels *labels, struct buf *out)
{
    buf_put_u16(out, labels->bytes_n);
    buf_put(out, labels->bytes, labels->bytes_n);
}

/* The next text of the byte form, without its NUL. */
static bool take_text(struct reader *in, struct slice *ret)
{
    const char *s = (const char *)in->p, *nul = memchr(s, '\0', reader_left(in));
    if (!nul)
        return false;
    *ret = (struct slice){s, (size_t)(nul - s)};
    return reader_take(in, ret->len + 1) != NULL;
}

void labels_decode(struct reader *r, struct labels *ret)
{
    size_t n = reader_u16(r);
    const void *bytes = reader_take(r, n);
    memset(ret, 0, sizeof *ret);
    struct reader in;
    reader_init(&in, (struct slice){bytes, bytes ? n : 0});
    bool ok = bytes != NULL;
    while (ok && reader_left(&in)) {
        struct slice key, value;
        ok = take_text(&in, &key) && take_text(&in, &value) &&
             labels_put(ret, key, value, NULL) == OK;
    }
    /* In order and each once: there is one form. */
    if (!ok || ret->bytes_n != n || memcmp(ret->bytes, bytes, n) != 0)
        r->failed = true;
}
