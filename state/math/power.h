/* power.h - whole powers of a number, the same bits everywhere.
 * Why: evidence fades by gamma^k, and fold may call no pow: libms differ in the last bit.
 * Pure; at most 128 multiplications, in an order that k alone decides. */
#pragma once

#include <stdint.h>

/* base^k; base^0 is 1. Underflows to 0 like any product. */
double power_of(double base, uint64_t k);
