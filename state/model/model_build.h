/* model_build.h - how the pieces of a model are made: for fold, and for reading one back.
 * Private to state/model. Threads: the writer. */
#pragma once

#include "state/model/model.h"

struct router *router_new(const struct router_config *config);
void router_free(struct router *r);
MUST_USE enum err model_reserve_scratch(struct model *m, uint32_t d);
MUST_USE enum err model_reserve_router(struct model *m); /* Room for one more pointer. */
MUST_USE enum err router_reserve_accounts(struct router *r, uint32_t n);
MUST_USE enum err router_reserve_arm(struct router *r); /* Room for one more arm and name. */
