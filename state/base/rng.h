/* rng.h - seeded, stateless randomness.
 * Why: a decision must be explainable later: the draw is a pure function of (seed, counter).
 * rng_mix is the finaliser of SplitMix64 [Steele, Lea, Flood 2014] over seed and counter.
 * Not for secrets; libsodium serves those. */
#pragma once

#include <stdint.h>

/* 64 well-mixed bits of (seed, counter). */
uint64_t rng_mix(uint64_t seed, uint64_t counter);
/* Uniform in [0, 1), 53 bits. */
double rng_uniform(uint64_t seed, uint64_t counter);
/* Uniform in [0, n), n > 0; bias below 2^-32 for n < 2^32. */
uint64_t rng_below(uint64_t seed, uint64_t counter, uint64_t n);
