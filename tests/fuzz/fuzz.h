/* fuzz.h - what a fuzz target defines: libFuzzer's entry. Return 0; abort on a broken promise.
 * FUZZ_CHECK holds in every build: NDEBUG does not take it away. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define FUZZ_CHECK(promise)                                                                        \
    do {                                                                                           \
        if (!(promise))                                                                            \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether these bytes decode. A target that has it says so of its seeds: all but those whose names
 * begin with "bad" must, lest a seed rot when a form changes and nobody notice. */
__attribute__((weak)) bool fuzz_decodes(const uint8_t *data, size_t size);
