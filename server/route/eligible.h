/* eligible.h - which arms may serve a request, and why the others may not.
 * Why: no learning makes up for a prompt that does not fit, an image that a model of text gets, or
 * a bill that the caller said he would not pay. Each arm that is left out has one reason, the first
 * that holds in the order of the list, and the caller can see it.
 *
 * Limits. A caller bounds the expected value of a metric in its own unit: from above where lower is
 * better, else from below. With z the prediction and s its standard deviation (score_guess):
 *   served (cost, latency): a limit is a promise; an arm is left out unless z + 1.645 s keeps it
 *     (95 %, one-sided). Its first 20 outcomes only z must keep it: uncertainty shrinks by being
 *     served alone, and where every request has a limit an arm that was tried once would stay out
 *     for ever. An arm that z keeps and its uncertainty does not is UNCERTAIN: served when nothing
 *     certain is left, because costs spread by their own size, so that a limit below 2.5 times an
 *     arm's mean would refuse what is kept on average; the answer says so;
 *   rated (quality): a limit is a hope; an arm is left out only when even z + 1.645 s, towards the
 *     better, does not reach it. Else nothing new could ever be tried.
 * An arm that never showed the metric is judged by its declared prior, at its word; without one it
 * is let in: a limit acts on what is known, and what is never tried is never known. On the edge of
 * what the metric's statistics can hold (at or beyond norm_low or norm_high) the arm's plain mean
 * decides, in its own unit. For a logarithmic metric the expected value is the geometric mean.
 *
 * Capabilities (state/model/capability.h): what an arm does not declare it is taken to have.
 * Threads: pure. */
#pragma once

#include "server/route/score.h"
#include "server/route/selector.h"

/* Why an arm is left out; the numbers and names of shunt.v1.Ineligible, which are only added to.
 * In the order in which they are looked for, but for COOLING, which comes last: an arm in cooldown
 * may be served when nothing else is left, one that cannot do the job may not. */
#define INELIGIBLE_LIST(X)                                                                         \
    X(ELIGIBLE, 0, "is eligible")                                                                  \
    X(NOT_A_CANDIDATE, 1, "is not among the candidates")                                           \
    X(EXCLUDED, 2, "is excluded by the request")                                                   \
    X(PAUSED, 3, "is paused")                                                                      \
    X(COOLING, 4, "is in cooldown after failures")                                                 \
    X(NOT_IN_STAGE, 5, "is not allowed at this stage")                                             \
    X(NOT_SELECTED, 6, "has labels that the selector does not take")                               \
    X(PROMPT_TOO_LONG, 7, "has a context window too small for prompt and answer")                  \
    X(ANSWER_TOO_LONG, 8, "cannot make so many output tokens")                                     \
    X(NO_MODALITY, 9, "does not take what the prompt holds")                                       \
    X(NO_TOOLS, 10, "cannot call tools")                                                           \
    X(NO_JSON, 11, "cannot be held to JSON")                                                       \
    X(OVER_LIMIT, 12, "is predicted to break a limit")                                             \
    X(UNAFFORDABLE, 13, "costs more than the budget affords now")                                  \
    X(NO_BOUND, 14, "declares no bound on what a request can cost")                                \
    X(OVER_BUDGET, 15, "could cost more than the session's budget has left")                       \
    X(UNCERTAIN, 16, "is predicted to keep the limits, but not surely")                            \
    X(NEWCOMERS_SPENT, 17, "is new, and what new arms may spend in this hour is spent")

enum ineligible {
#define X(name, number, text) name = number,
    INELIGIBLE_LIST(X)
#undef X
};

/* "NOT_SELECTED"; never NULL. */
const char *ineligible_code(enum ineligible why);
const char *ineligible_text(enum ineligible why);

struct limit {
    uint32_t metric;
    double raw; /* In the metric's own unit. */
};

/* What a request asks of the arm that shall serve it. All zero: nothing. */
struct demand {
    const struct selector *stage, *selector; /* NULL: every arm. */
    uint64_t input_tokens, max_output_tokens;
    uint8_t modalities; /* Bit m: the prompt holds enum modality m. */
    bool tools, json;
    uint32_t limits_n;
    struct limit limits[MAX_METRICS];
};

/* Tokens of a prompt of so many bytes when nobody counted them: a third, rounded up. English takes
 * four to five bytes a token, code and the scripts of East Asia three to four; below three are
 * digits, hexadecimal and base64, whose senders should count. What is not text is not counted. */
uint64_t tokens_of_text(size_t text_bytes);

/* From what an operator and a circuit breaker say alone: PAUSED or COOLING. now_us in Unix time. Of
 * a cooling arm *ret_probe_due says whether its pause is over. */
static inline enum ineligible eligible_check(const struct arm_view *arm, int64_t now_us,
                                             bool *ret_probe_due)
{
    *ret_probe_due = false;
    if (arm->paused)
        return PAUSED;
    if (!arm->cooldown_until_us)
        return ELIGIBLE;
    *ret_probe_due = now_us >= arm->cooldown_until_us;
    return COOLING;
}
/* Whether anything is asked that an arm could lack. */
bool demand_declared(const struct demand *demand);
/* From what the arm declares: labels and capabilities; no limit. */
enum ineligible eligible_declared(const struct demand *demand, const struct arm_config *arm);

/* The metrics that the limits bound. */
uint16_t demand_metrics(const struct demand *demand);
/* OVER_LIMIT or UNCERTAIN, and into the demand's limits, or ELIGIBLE. guess: of demand_metrics. */
enum ineligible eligible_limits(const struct demand *demand, const struct router_view *router,
                                const struct arm_view *arm, const struct guess *guess,
                                uint32_t *ret_limit);

/* What a person should know beyond the text of the code, such as "cost_usd 0.0021 and up to 0.0024
 * with its uncertainty, limit 0.001"; may be empty. limit and guess: of OVER_LIMIT only. */
void ineligible_say(enum ineligible why, const struct demand *demand,
                    const struct router_view *router, const struct arm_view *arm, uint32_t limit,
                    const struct guess *guess, char *ret_text, size_t cap);
