#include "server/adapters/engine.h"

#include <string.h>

static const char *const kinds[] = {
    [ENGINE_NONE] = "none",
    [ENGINE_VLLM] = "vllm",
    [ENGINE_SGLANG] = "sglang",
    [ENGINE_LLAMACPP] = "llamacpp",
};

static const char *const phases[] = {
    [ENGINE_COLD] = "cold",         [ENGINE_LOADING] = "loading", [ENGINE_RESIDENT] = "resident",
    [ENGINE_DRAINING] = "draining", [ENGINE_FAILED] = "failed",
};

const char *engine_kind_name(enum engine_kind kind)
{
    return kinds[kind];
}

enum err engine_kind_parse(const char *name, enum engine_kind *ret_kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(name, kinds[i]) == 0) {
            *ret_kind = (enum engine_kind)i;
            return OK;
        }
    return ERR_INVALID;
}

const char *engine_phase_name(enum engine_phase phase)
{
    return phases[phase];
}
