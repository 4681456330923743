/* commands.h - the tables of commands, one a file. Each ends with a row without words. */
#pragma once

#include "client/ctl/command.h"

extern const struct command router_commands[];   /* router_commands.c: router, arm */
extern const struct command decision_commands[]; /* decision_commands.c: route, report, explain */
extern const struct command state_commands[];    /* state_commands.c: stats, config, verify, ... */
extern const struct command apply_commands[];    /* apply_commands.c: apply */
extern const struct command lab_commands[];      /* lab_commands.c: evaluate, jobs, ... */
extern const struct command budget_commands[];   /* budget_commands.c: budget */
extern const struct command
    drift_commands[]; /* drift_commands.c: alarms, arm price, reload, drain */
extern const struct command transfer_commands[]; /* transfer_commands.c: arm export, import */
extern const struct command adapters_commands[]; /* adapters_commands.c: adapters, plan, pin, ... */
extern const struct command session_commands[];  /* session_commands.c: sessions, session end */
extern const struct command trial_commands[];    /* trial_commands.c: split, agreement, promote */
extern const struct command replay_commands[];   /* replay_commands.c: replay */
