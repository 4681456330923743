/* served.h - an engine on a directory of its own, for tests: routes, and reports that wait for
 * their answer. A failed disk fails the test. */
#pragma once

#include "server/engine/engine.h"
#include "tests/unit/store/scratch.h"

#include <stdbool.h>

struct served {
    char dir[SCRATCH_CAP], data[SCRATCH_CAP], decisions[SCRATCH_CAP];
    struct engine_options o;
    struct engine *e;
    struct engine_worker *w; /* Of the test's own thread. */
    struct err_detail detail;
    struct route_out *route;
    struct report_out report;
};

struct slice text(const char *s);
void served_open(struct served *s);
/* Closes and opens the same directory. */
void served_again(struct served *s);
void served_close(struct served *s);
/* The default router; `set` may change its configuration first. */
void served_router(struct served *s, const char *name, void (*set)(struct router_config *config));
void served_arm(struct served *s, const char *router, const char *name);
/* Routes with text alone to router `default`; must succeed. The answer is in s->route. */
void served_route(struct served *s);
/* Any request; the answer in s->route, the sentence in s->detail. */
enum err served_ask(struct served *s, const struct route_in *in);
/* Reports by the token of s->route and waits; the answer in s->report. */
enum err served_tell(struct served *s, const char *metric, double value, int status);
enum err served_report(struct served *s, const struct report_in *in);
/* The same for any worker; ret_report may be NULL. */
enum err report_and_wait(struct engine_worker *w, const struct report_in *in,
                         struct report_out *ret_report, struct err_detail *detail);
/* Folded outcomes and issued pulls of router `default`, or of one of its arms. */
uint64_t served_folded(struct served *s);
uint64_t served_issued(struct served *s, const char *arm);
/* Between two looks at what a thread of the engine does. */
void served_nap(long ms);
/* Verifies and fails with its sentence. */
void served_verify(struct served *s);
