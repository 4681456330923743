/* engine_answer.h - reads what engines answer: JSON and Prometheus text, from processes we do not
 * trust.
 * Limits, besides the bytes (engine_http.h): JSON ENGINE_JSON_DEPTH deep, with at most
 * ENGINE_JSON_VALUES values, a list of models ENGINE_LIST_VALUES; a name longer than ours allow is
 * nobody's adapter. Pure: no state, no I/O. Every reader gives OK or ERR_ENGINE_ANSWER (ERR_NOMEM:
 * out of memory). */
#pragma once

#include "state/base/slice.h"

enum {
    ENGINE_JSON_DEPTH = 16,
    ENGINE_JSON_VALUES = 50000,
    ENGINE_LIST_VALUES = 400000, /* vLLM's rows have 22 each. */
};

/* What engine_error says is no longer than this with its NUL, printable ASCII, one line. */
enum { ENGINE_WORDS_CAP = 160 };

/* One model or adapter of a list. Strings are borrowed for the call; parent NULL: a base model. */
typedef void engine_model_fn(void *ctx, const char *id, const char *parent);
/* {"data":[{"id","parent"}]} of GET /v1/models (vLLM, SGLang). */
MUST_USE enum err engine_models(struct slice body, engine_model_fn *fn, void *ctx);

/* One of llama.cpp's adapters; path as it was given to the process. */
typedef void engine_lora_fn(void *ctx, uint32_t id, const char *path, double scale);
/* [{"id","path","scale"}] of GET /lora-adapters; an id above ENGINE_LORA_ID_MAX is refused. */
enum { ENGINE_LORA_ID_MAX = 1023 };
MUST_USE enum err engine_loras(struct slice body, engine_lora_fn *fn, void *ctx);

/* One of llama.cpp's slots: the one adapter that its latest request ran, which may still run; -1:
 * none yet, the base model alone, or several at once. */
typedef void engine_slot_fn(void *ctx, uint32_t id, int32_t lora);
/* [{"id","params":{"lora":[{"id","scale"}]}}] of GET /slots; a slot that never ran has no params.
 */
MUST_USE enum err engine_slots(struct slice body, engine_slot_fn *fn, void *ctx);
/* {"total_slots"} of GET /props; at least 1. */
MUST_USE enum err engine_props(struct slice body, uint32_t *ret_slots);

/* SGLang's {"success","error_message","loaded_adapters"}: whether it succeeded, and whether `name`
 * is among the loaded (an object's key or an array's string; -1 when there is no such list). */
struct engine_load_answer {
    bool success;
    int listed;
};
MUST_USE enum err engine_load(struct slice body, const char *name, struct engine_load_answer *ret);

/* A completion: OK when there is a generated text, of either form (choices[], or content). */
MUST_USE enum err engine_completion(struct slice body);

/* The engine's own words of an error, in any of their forms, or the start of the text. Words that
 * hold `secret` (NULL: none) are not repeated. Never fails; ret_text[ENGINE_WORDS_CAP]. */
void engine_error(struct slice body, const char *secret, char *ret_text);

/* Prometheus text, line by line. Labels are the raw text between the braces. */
struct engine_metric {
    struct slice name, labels;
    double value;
};
/* The next sample of *rest, which moves on; false at the end. Lines that are none are skipped. */
bool engine_metric_next(struct slice *rest, struct engine_metric *ret);
/* Unescapes a label's value into ret_text[cap]; false: it is not there or does not fit. */
bool engine_metric_label(const struct engine_metric *m, const char *label, char *ret_text,
                         size_t cap);
