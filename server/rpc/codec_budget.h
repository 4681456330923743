/* codec_budget.h - budgets as messages. Threads: pure; what is made lives in the arena. */
#pragma once

#include "server/engine/engine.h"
#include "server/rpc/arena.h"
#include "shunt/v1/admin.pb-c.h"

/* NULL in *ret_message when no budget bore on the decision. */
MUST_USE enum err codec_budget_use(const struct shown_budget *budget, struct arena *arena,
                                   Shunt__V1__BudgetUse **ret_message, struct err_detail *detail);
MUST_USE enum err codec_excluded(const struct excluded_arm *excluded, uint32_t n,
                                 struct arena *arena, Shunt__V1__ExcludedArm ***ret_list,
                                 struct err_detail *detail);
MUST_USE enum err codec_budget(const struct budget_info *info, struct arena *arena,
                               Shunt__V1__Budget **ret_message, struct err_detail *detail);
