/* feature_agent.h - what only an agent's request has: where in its run it stands.
 * Why: the tenth step of a run with failed tools is another request than its first, and no text
 * says so. Eight numbers, each s * min(1, log(1 + value) / log(1 + full)) or s * flag, with s =
 * 0.5/sqrt(8): the block's length is at most .5, and 0 is both "none" and "not said". Pure. */
#pragma once

#include "state/model/limits.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero: absent. */
struct feature_agent {
    uint32_t turn;              /* Turns of the conversation before this one. */
    uint32_t tool_step;         /* Tool calls of this run so far. */
    uint32_t tool_errors;       /* Of those, failed. */
    uint64_t tokens_so_far;     /* Of the run, in and out. */
    uint32_t images;            /* In the prompt. */
    uint32_t max_output_tokens; /* What the caller will take. */
    bool json_required, tools_required;
};

void feature_agent_fill(const struct feature_agent *agent, float ret_block[AGENT_N]);
/* "turn", "tool_step", ... in the order of the block. */
const char *feature_agent_name(uint32_t i);
