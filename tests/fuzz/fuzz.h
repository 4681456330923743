/* fuzz.h - what a fuzz target defines: libFuzzer's entry. Return 0; abort on a broken promise.
 * FUZZ_CHECK holds in every build: NDEBUG does not take it away. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define FUZZ_CHECK(promise)                                                                        \
    do {                                                                                           \
        if (!(promise))                                                                            \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
