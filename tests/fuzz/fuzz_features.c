/* A prompt: whatever its bytes, its scalars are finite and its features bounded, and the same text
 * gives the same numbers. */
#include "server/route/features.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

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
    return 0;
}
