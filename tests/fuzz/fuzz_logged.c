/* A line of a file of logged decisions. What is read must hold to what the header promises. */
#include "server/engine/lab_line.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

static void check_floats(const json_t *array, const char *field)
{
    float x[64];
    size_t n = 0;
    struct err_detail detail = {""};
    if (!array)
        return;
    if (lab_line_floats(array, field, x, 64, &n, &detail) != OK) {
        FUZZ_CHECK(detail.text[0] != '\0');
        return;
    }
    FUZZ_CHECK(n <= 64 && n == json_array_size(array));
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(isfinite(x[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lab_line line;
    struct err_detail detail = {""};
    if (lab_line_parse((struct slice){data, size}, &line, &detail) != OK) {
        FUZZ_CHECK(detail.text[0] != '\0');
        return 0;
    }
    if (!line.header) {
        FUZZ_CHECK(name_valid(line.arm, strlen(line.arm)));
        FUZZ_CHECK(!line.task || name_valid(line.task, strlen(line.task)));
        FUZZ_CHECK(line.propensity > 0 && line.propensity <= 1);
        FUZZ_CHECK((int)line.status >= 0 && (int)line.status < OUTCOME_STATUS_N);
        FUZZ_CHECK(!line.price_metric ||
                   (name_valid(line.price_metric, strlen(line.price_metric)) &&
                    line.price_per_request > 0 && isfinite(line.price_per_request) &&
                    line.price_lambda >= 0 && isfinite(line.price_lambda)));
        FUZZ_CHECK(!line.metrics || json_is_object(line.metrics));
        check_floats(line.context, "context");
        check_floats(line.features, "features");
        check_floats(line.embedding, "embedding");
    }
    lab_line_done(&line);
    return 0;
}
