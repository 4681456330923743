/* A prompt: whatever its bytes, its scalars are finite and its features bounded, and the same text
 * gives the same numbers. */
#include "server/route/classify.h"
#include "server/route/features.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

static struct classifier *classifier(void)
{
    static struct classifier *trained;
    static const char examples[] = "a\twhat is the sum of 2 and 3?\nb\twrite a poem about snow\n";
    struct err_detail detail;
    if (!trained)
        FUZZ_CHECK(
            classify_train((struct slice){examples, sizeof examples - 1}, &trained, &detail) == OK);
    return trained;
}

static double length_of(const float *x, uint32_t n)
{
    double squares = 0;
    for (uint32_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    return sqrt(squares);
}

/* The bounds of features.h, and a classifier whose probabilities sum to 1. */
static void check_v1(struct slice text)
{
    const struct feature_spec spec = {
        .version = 1, .task_slots = 2, .scalars = true, .agent = true, .text_block = true};
    float p[MAX_TASKS], x[MAX_D], again[MAX_D];
    struct feature_input in = {.text = text, .task_slot = -1};
    if (classify_text(classifier(), text, p)) {
        in.task_p = p;
        FUZZ_CHECK(fabsf(p[0] + p[1] - 1) < 1e-5F);
    }
    FUZZ_CHECK(features_fill(&spec, &in, x, NULL) == OK);
    FUZZ_CHECK(features_fill(&spec, &in, again, NULL) == OK);
    FUZZ_CHECK(memcmp(x, again, spec_d(&spec) * sizeof *x) == 0);
    for (uint32_t i = 0; i < spec_d(&spec); i++)
        FUZZ_CHECK(isfinite(x[i]));
    FUZZ_CHECK(length_of(x + spec_scalars_at(&spec), SCALARS_V1_N) <= 1.5 + 1e-6);
    FUZZ_CHECK(length_of(x + spec_embedding_at(&spec), TEXT_BLOCK_N) <= 2.8 + 1e-6);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct feature_spec spec = {.task_slots = 2, .scalars = true};
    struct feature_input in = {.text = {data, size}, .task_slot = 1};
    double scalars[SCALARS_N];
    float x[3 + SCALARS_N], again[3 + SCALARS_N];
    features_scalars(in.text, scalars);
    for (int i = 0; i < SCALARS_N; i++)
        FUZZ_CHECK(isfinite(scalars[i]) && scalars[i] >= 0);
    for (int i = 4; i < SCALARS_N; i++) /* Shares and the flag; 7 is a count. */
        FUZZ_CHECK(i == 7 || scalars[i] <= 1);
    FUZZ_CHECK(features_fill(&spec, &in, x, NULL) == OK);
    FUZZ_CHECK(features_fill(&spec, &in, again, NULL) == OK);
    FUZZ_CHECK(memcmp(x, again, sizeof x) == 0);
    for (int i = 3; i < 3 + SCALARS_N; i++)
        FUZZ_CHECK(fabsf(x[i]) <= .5F);
    check_v1(in.text);
    return 0;
}
