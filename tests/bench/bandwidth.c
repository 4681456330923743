#include "tests/bench/bandwidth.h"

#include <stdint.h>

/* Four sums of vectors keep the loads alive. */
#define READER(name, bytes_, ...)                                                                  \
    __VA_ARGS__ static unsigned name(const void *from, size_t bytes)                               \
    {                                                                                              \
        typedef uint32_t vec __attribute__((vector_size(bytes_), may_alias));                      \
        const vec *at = from, *end = at + bytes / sizeof(vec);                                     \
        vec a = {0}, b = a, c = a, d = a;                                                          \
        for (; at < end; at += 8) {                                                                \
            a |= at[0];                                                                            \
            b |= at[1];                                                                            \
            c |= at[2];                                                                            \
            d |= at[3];                                                                            \
            a |= at[4];                                                                            \
            b |= at[5];                                                                            \
            c |= at[6];                                                                            \
            d |= at[7];                                                                            \
        }                                                                                          \
        a |= b | c | d;                                                                            \
        return a[0] | a[1] | a[2] | a[3];                                                          \
    }

READER(read_plain, 16, )
#ifdef __x86_64__
READER(read_avx2, 32, __attribute__((target("avx2"))))
READER(read_avx512, 64, __attribute__((target("avx512f"))))
#endif

unsigned bandwidth_read(const void *from, size_t bytes)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
        return read_avx512(from, bytes);
    if (__builtin_cpu_supports("avx2"))
        return read_avx2(from, bytes);
#endif
    return read_plain(from, bytes);
}
