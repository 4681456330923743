/* What an inference engine answers: whatever the bytes, each reader answers or refuses; names come
 * out as C strings within the limits, an error's words are one printable line, and metrics come
 * from inside the text. */
#include "server/adapters/engine_answer.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

struct seen {
    size_t n;
};

static void see_model(void *ctx, const char *id, const char *parent)
{
    struct seen *s = ctx;
    s->n++;
    FUZZ_CHECK(strlen(id) < (1 << 20) && (!parent || strlen(parent) < (1 << 20)));
}

static void see_lora(void *ctx, uint32_t id, const char *path, double scale)
{
    struct seen *s = ctx;
    s->n++;
    FUZZ_CHECK(id <= ENGINE_LORA_ID_MAX && strlen(path) < (1 << 20));
    FUZZ_CHECK(scale == scale); /* JSON has no NaN. */
}

static void see_slot(void *ctx, uint32_t id, int32_t lora)
{
    struct seen *s = ctx;
    FUZZ_CHECK(id == s->n && lora >= -1 && lora <= ENGINE_LORA_ID_MAX);
    s->n++;
}

static void check_json(struct slice body)
{
    struct seen models = {0}, loras = {0}, slots = {0};
    uint32_t total = 0;
    struct engine_load_answer answer;
    enum err e = engine_models(body, see_model, &models);
    FUZZ_CHECK(e == OK || e == ERR_ENGINE_ANSWER);
    FUZZ_CHECK(models.n <= ENGINE_LIST_VALUES);
    e = engine_loras(body, see_lora, &loras);
    FUZZ_CHECK(e == OK || e == ERR_ENGINE_ANSWER);
    FUZZ_CHECK(loras.n <= ENGINE_JSON_VALUES);
    e = engine_slots(body, see_slot, &slots);
    FUZZ_CHECK(e == ERR_ENGINE_ANSWER || (e == OK && slots.n > 0));
    FUZZ_CHECK(slots.n <= ENGINE_JSON_VALUES);
    e = engine_props(body, &total);
    FUZZ_CHECK(e == ERR_ENGINE_ANSWER || (e == OK && total > 0));
    e = engine_load(body, "a1", &answer);
    FUZZ_CHECK(e == ERR_ENGINE_ANSWER || (e == OK && answer.listed >= -1 && answer.listed <= 1));
    e = engine_completion(body);
    FUZZ_CHECK(e == OK || e == ERR_ENGINE_ANSWER);
}

static void check_metrics(const uint8_t *data, size_t size)
{
    struct slice rest = {data, size};
    struct engine_metric m;
    char value[32];
    size_t left = size;
    while (engine_metric_next(&rest, &m)) {
        const uint8_t *name = m.name.data, *labels = m.labels.data;
        FUZZ_CHECK(rest.len < left && m.name.len > 0);
        FUZZ_CHECK(name >= data && name + m.name.len <= data + size);
        FUZZ_CHECK(labels >= data && labels + m.labels.len <= data + size);
        if (engine_metric_label(&m, "adapter_name", value, sizeof value))
            FUZZ_CHECK(memchr(value, 0, sizeof value));
        left = rest.len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char words[ENGINE_WORDS_CAP];
    check_json((struct slice){data, size});
    check_metrics(data, size);
    engine_error((struct slice){data, size}, "a1", words);
    FUZZ_CHECK(!strstr(words, "a1"));
    engine_error((struct slice){data, size}, NULL, words);
    FUZZ_CHECK(memchr(words, 0, sizeof words));
    for (const char *c = words; *c; c++)
        FUZZ_CHECK(*c >= ' ' && *c < 0x7f);
    return 0;
}
