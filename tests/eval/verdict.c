#include "tests/eval/verdict.h"

#include <math.h>
#include <stdio.h>

static void print_row(struct verdicts *v, const char *row, double measured, const char *relation,
                      double limit, bool holds)
{
    holds = holds && isfinite(measured);
    printf("ROW\t%s\t%.6g\t%s\t%.6g\t%s\n", row, measured, relation, limit,
           holds ? "pass" : "FAIL");
    fflush(stdout);
    v->passed += holds;
    v->failed += !holds;
}

void verdict_at_least(struct verdicts *v, const char *row, double measured, double limit)
{
    print_row(v, row, measured, ">=", limit, measured >= limit);
}

void verdict_at_most(struct verdicts *v, const char *row, double measured, double limit)
{
    print_row(v, row, measured, "<=", limit, measured <= limit);
}

int verdict_end(const struct verdicts *v)
{
    printf("%u passed, %u failed\n", v->passed, v->failed);
    return v->failed ? 1 : 0;
}
