#include "state/math/power.h"

double power_of(double base, uint64_t k)
{
    double result = 1;
    for (; k; k >>= 1) {
        if (k & 1)
            result *= base;
        base *= base;
    }
    return result;
}
