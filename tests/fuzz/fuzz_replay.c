/* A line of a replay file. What is read must hold to what the header promises. */
#include "client/ctl/replay_row.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct replay_row row = {0};
    struct replay_error error = {.text = ""};
    if (!replay_row_parse((const char *)data, size, true, &row, &error)) {
        FUZZ_CHECK(error.text[0] != '\0');
        FUZZ_CHECK(row.outcomes == NULL && row.text == NULL && row.task == NULL);
        return 0;
    }
    FUZZ_CHECK(row.outcomes_n >= 1 && row.outcomes_n <= REPLAY_ROW_ARMS_MAX);
    for (size_t i = 0; i < row.outcomes_n; i++) {
        const struct replay_outcome *o = &row.outcomes[i];
        size_t len = strlen(o->arm);
        FUZZ_CHECK(len >= 1 && len <= REPLAY_LABEL_MAX);
        FUZZ_CHECK(o->value[REPLAY_QUALITY] >= 0 && o->value[REPLAY_QUALITY] <= 1);
        for (int m = 0; m < REPLAY_METRIC_N; m++)
            FUZZ_CHECK(isnan(o->value[m]) || (o->value[m] >= 0 && o->value[m] <= 1e12));
    }
    replay_row_done(&row);
    return 0;
}
