/* wire.h - the calls that the crash tests make, as plain values.
 * Why: the clients run in threads of their own, where a cmocka assertion must not jump; so every
 * call answers with its status, and the test judges.
 * Owns: nothing; a decision's token is the caller's to free.
 * Threads: any number at once on one channel. */
#pragma once

#include "client/call.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_METRICS = 2, WIRE_ARMS_MAX = 16 };
extern const char *const wire_metrics[WIRE_METRICS]; /* One of the rated, one of the served. */

struct wire_decision {
    char id[40], arm[72];
    uint8_t *token; /* malloc'ed. */
    size_t token_len;
};

int wire_route(struct call_channel *c, const char *router, const char *text, const char *task,
               struct wire_decision *ret, struct call_error *error);

struct wire_answer {
    bool duplicate, orphaned;
    unsigned counted; /* Bit m: metric m was counted. */
};
/* Reports the metrics of `mask`. */
int wire_report(struct call_channel *c, const char *id, const uint8_t *token, size_t token_len,
                unsigned mask, const double values[WIRE_METRICS], struct wire_answer *ret,
                struct call_error *error);

struct wire_arm {
    char name[72];
    unsigned version;
    bool paused;
    uint64_t issued, answered, n[WIRE_METRICS];
    double mean[WIRE_METRICS];
};
struct wire_router {
    uint64_t folded, orphaned, requests;
    double weight[WIRE_METRICS];
    size_t arms_n;
    struct wire_arm arms[WIRE_ARMS_MAX];
};
int wire_router_create(struct call_channel *c, const char *name, const char *const *arms,
                       size_t arms_n, struct call_error *error);
int wire_router_get(struct call_channel *c, const char *name, struct wire_router *ret,
                    struct call_error *error);
int wire_router_weigh(struct call_channel *c, const char *name, double reward_weight,
                      struct call_error *error);
int wire_arm_add(struct call_channel *c, const char *router, const char *name,
                 unsigned *ret_version, struct call_error *error);
int wire_arm_remove(struct call_channel *c, const char *router, const char *name,
                    struct call_error *error);
int wire_arm_pause(struct call_channel *c, const char *router, const char *name, bool paused,
                   struct call_error *error);
int wire_checkpoint(struct call_channel *c, uint64_t *ret_position, struct call_error *error);
int wire_keys_rotate(struct call_channel *c, struct call_error *error);
int wire_backup(struct call_channel *c, const char *path, struct call_error *error);
