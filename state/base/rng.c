#include "state/base/rng.h"

__extension__ typedef unsigned __int128 wide;

static uint64_t finish(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint64_t rng_mix(uint64_t seed, uint64_t counter)
{
    return finish(finish(seed + 0x9e3779b97f4a7c15ULL) + (counter + 1) * 0x9e3779b97f4a7c15ULL);
}

double rng_uniform(uint64_t seed, uint64_t counter)
{
    return (double)(rng_mix(seed, counter) >> 11) * 0x1.0p-53;
}

uint64_t rng_below(uint64_t seed, uint64_t counter, uint64_t n)
{
    return (uint64_t)(((wide)rng_mix(seed, counter) * n) >> 64);
}
