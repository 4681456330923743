/* newcomer_quota.h - what the new arms of a router may spend in an hour, all together.
 * Why: a share of the requests says nothing of what they cost: one request in six to an arm that is
 * a thousand times dearer is a bill. So new arms have a sum as well, taken before the answer.
 *
 * Hours are the clock's: the sum of one may be spent at its end and that of the next right after.
 * What is counted is predicted, and of now: a restart forgets it, so a router that is restarted may
 * spend one sum more. Owns: a bounded table, made at the first quota. Threads: any; one short lock.
 */
#pragma once

#include "state/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct newcomer_quota;

MUST_USE enum err newcomer_quota_new(struct newcomer_quota **ret_quota);
void newcomer_quota_free(struct newcomer_quota *q);

/* Which sum: another metric of a router is another one. */
struct quota_id {
    uint32_t router_uid;
    uint8_t metric;
};
/* What is left of per_hour (raw unit), at least 0. */
double newcomer_quota_left(struct newcomer_quota *q, const struct quota_id *id, double per_hour,
                           int64_t now_us);
/* Takes `cost` if so much is left. False, and nothing taken: it is not, or there is no memory. */
bool newcomer_quota_take(struct newcomer_quota *q, const struct quota_id *id, double per_hour,
                         double cost, int64_t now_us);
/* What was taken in this hour and not spent. */
void newcomer_quota_give(struct newcomer_quota *q, const struct quota_id *id, double cost,
                         int64_t now_us);
