/* A record of the journal: what decodes has exactly one byte form, and its values are what fold may
 * rely on. */
#include "state/model/event.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <string.h>

static void check_outcome(const struct event_outcome *o)
{
    FUZZ_CHECK(o->decision.d <= MAX_D && o->metrics_n <= MAX_METRICS);
    FUZZ_CHECK((unsigned)o->status < OUTCOME_STATUS_N);
    for (uint16_t i = 0; i < o->decision.d; i++)
        FUZZ_CHECK(isfinite(o->decision.x[i]));
    for (uint8_t i = 0; i < o->metrics_n; i++) {
        FUZZ_CHECK(o->metrics[i].index < MAX_METRICS && isfinite(o->metrics[i].raw));
        FUZZ_CHECK(o->metrics[i].z >= 0 && o->metrics[i].z <= 1);
    }
}

bool fuzz_decodes(const uint8_t *data, size_t size)
{
    static struct event e;
    return event_decode((struct slice){data, size}, &e) == OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct event e;
    struct err_detail detail;
    if (event_decode((struct slice){data, size}, &e) != OK)
        return 0;
    FUZZ_CHECK(event_peek((struct slice){data, size}) == e.kind);
    if (e.kind == EVENT_OUTCOME)
        check_outcome(&e.u.outcome);
    if (e.kind == EVENT_ROUTER_CREATE)
        (void)!settings_check(&e.u.router, &detail);
    if (e.kind == EVENT_ARM_ADD || e.kind == EVENT_ARM_UPDATE)
        (void)!settings_check_arm(&e.u.arm.config, &detail);
    struct buf again;
    buf_init(&again);
    event_encode(&e, &again);
    FUZZ_CHECK(buf_error(&again) != OK || again.len == size);
    FUZZ_CHECK(buf_error(&again) != OK || memcmp(again.data, data, size) == 0);
    buf_done(&again);
    return 0;
}
