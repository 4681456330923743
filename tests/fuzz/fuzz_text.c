/* A prompt's text block, pieces and reading ease: whatever the bytes, finite and bounded, the same
 * twice, and every piece one that exists. */
#include "server/route/flesch.h"
#include "server/route/text_block.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct slice text = {data, size};
    static uint16_t ids[TEXT_TOKENS_MAX];
    float block[TEXT_D], again[TEXT_D];
    double squares = 0;
    text_block(text, block);
    text_block(text, again);
    for (int d = 0; d < TEXT_D; d++) {
        FUZZ_CHECK(block[d] == again[d]);
        squares += (double)block[d] * (double)block[d];
    }
    FUZZ_CHECK(isfinite(squares) && sqrt(squares) <= 2.8 + 1e-6); /* 16 values of .7. */
    size_t n = text_tokens(text, ids, TEXT_TOKENS_MAX);
    FUZZ_CHECK(n <= TEXT_TOKENS_MAX && (n > 0) == (size > 0));
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(ids[i] < TEXT16_PIECES);
    double ease = flesch_ease(text);
    FUZZ_CHECK(ease >= -100 && ease <= 121);
    struct flesch_counts counts;
    flesch_count(text, &counts);
    FUZZ_CHECK(counts.syllables >= counts.words && counts.sentences <= counts.words);
    FUZZ_CHECK(counts.words <= counts.latin && counts.syllables <= counts.latin);
    return 0;
}
