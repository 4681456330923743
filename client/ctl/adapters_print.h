/* adapters_print.h - adapters, plans and simulations as tables, JSON and CSV.
 * Threads: one. What comes from a server is printed by table.h, so that it cannot move a cursor. */
#pragma once

#include "client/ctl/ctl.h"
#include "shunt/v1/admin.pb-c.h"

/* "cold", "loading", "resident"; "?" for what this version does not know. */
const char *residence_text(Shunt__V1__Residence residence);
enum ctl_exit adapters_print_state(const Shunt__V1__ResidencyState *state);
enum ctl_exit adapters_print_plan(const Shunt__V1__AdapterPlan *plan);
enum ctl_exit adapters_print_simulation(const Shunt__V1__Simulation *s);
/* {"policies":{"polar":{"regret":{"mean","sd"},"utility":{...},"miss_rate",...}}}; NULL: out of
 * memory. */
json_t *adapters_json(const Shunt__V1__Simulation *s);
/* CSV, one table each: policy,seeds,t,regret_mean,... a line a policy; policy,t,regret for
 * plotting. path "-": stdout. */
enum ctl_exit adapters_write_table(const Shunt__V1__Simulation *s, const char *path);
enum ctl_exit adapters_write_curves(const Shunt__V1__Simulation *s, const char *path);
