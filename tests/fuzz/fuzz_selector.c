/* A label selector: whatever the bytes, what is parsed stands inside the text, follows the grammar
 * of labels, and says of an arm the same as each of its requirements alone; what is refused is
 * refused in printable words. */
#include "server/route/selector.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static bool inside(struct slice part, const uint8_t *data, size_t size)
{
    const uint8_t *p = part.data;
    return p >= data && p <= data + size && part.len <= (size_t)(data + size - p);
}

static void check_parts(const struct selector *s, const uint8_t *data, size_t size)
{
    uint32_t values = 0;
    FUZZ_CHECK(s->n <= SELECTOR_REQUIREMENTS);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct selector_requirement *r = &s->requirements[i];
        bool set = r->test == SELECTOR_IN || r->test == SELECTOR_NOT_IN;
        FUZZ_CHECK(inside(r->key, data, size) && label_key_valid(r->key.data, r->key.len));
        FUZZ_CHECK((r->values_n > 0) == set && r->values_n <= SELECTOR_VALUES);
        FUZZ_CHECK(r->number >= 0 && (r->values_n == 0 || r->values_at == values));
        for (uint32_t k = 0; k < r->values_n; k++) {
            struct slice v = s->values[r->values_at + k];
            FUZZ_CHECK(inside(v, data, size) && label_value_valid(v.data, v.len));
        }
        values += r->values_n;
    }
    FUZZ_CHECK(values == s->values_n);
}

/* An arm that has the first key with the first value, so that both answers are met. */
static void check_matches(const struct selector *s)
{
    static struct arm_config arm;
    struct selector_requirement const *first = &s->requirements[0];
    memset(&arm, 0, sizeof arm);
    if (s->n) {
        struct slice value = first->values_n ? s->values[first->values_at] : (struct slice){"7", 1};
        FUZZ_CHECK(labels_put(&arm.labels, first->key, value, NULL) == OK);
    }
    bool all = true;
    static struct selector one;
    for (uint32_t i = 0; i < s->n; i++) {
        one = *s;
        one.n = 1;
        one.requirements[0] = s->requirements[i];
        all = all && selector_matches(&one, &arm);
    }
    FUZZ_CHECK(selector_matches(s, &arm) == all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct selector s;
    struct err_detail detail = {""};
    enum err e = selector_parse((struct slice){data, size}, "selector", &s, &detail);
    if (e == OK) {
        check_parts(&s, data, size);
        check_matches(&s);
        return 0;
    }
    FUZZ_CHECK(e == (size > SELECTOR_BYTES ? ERR_TOO_LARGE : ERR_BAD_SELECTOR));
    FUZZ_CHECK(detail.text[0]);
    for (const char *c = detail.text; *c; c++)
        FUZZ_CHECK(*c >= 0x20 && *c < 0x7f);
    return 0;
}
