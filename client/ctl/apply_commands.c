/* apply_commands.c - apply -f FILE: what is declared, against what is there. */
#include "client/ctl/apply.h"
#include "client/ctl/commands.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool confirmed(void)
{
    char answer[16] = "";
    fputs("Apply? [y/N] ", stderr);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static enum ctl_exit plan_settle(struct ctl *ctl, const struct command_input *in,
                                 struct apply_plan *plan, bool *ret_applied)
{
    if (apply_blocked(plan))
        return ctl_fail(CTL_REFUSED, "lines with ! cannot be changed on a router that is there; "
                                     "nothing was applied");
    if (!apply_pending(plan) || command_value(in, "dry-run"))
        return CTL_OK;
    if (!command_value(in, "yes")) {
        if (!isatty(STDIN_FILENO))
            return ctl_fail(CTL_USAGE, "standard input is no terminal; say --yes or --dry-run");
        if (!confirmed())
            return ctl_fail(CTL_REFUSED, "nothing was applied");
    }
    enum ctl_exit code = apply_run(ctl, plan);
    *ret_applied = code == CTL_OK;
    return code;
}

static enum ctl_exit apply(struct ctl *ctl, const struct command_input *in)
{
    const char *file = command_value(in, "file");
    struct apply_plan *plan = NULL;
    bool applied = false;
    if (!file)
        return ctl_fail(CTL_USAGE, "apply needs -f FILE");
    enum ctl_exit code = apply_plan_make(ctl, file, command_value(in, "prune") != NULL, &plan);
    if (code != CTL_OK)
        return code;
    if (!ctl->json)
        apply_print(plan, stdout);
    fflush(stdout);
    code = plan_settle(ctl, in, plan, &applied);
    if (ctl->json) {
        enum ctl_exit printed = ctl_print_json(apply_json(plan, applied));
        code = code != CTL_OK ? code : printed;
    } else if (applied) {
        puts("applied");
    }
    apply_plan_free(plan);
    return code;
}

static const struct command_option apply_options[] = {
    {"file", "FILE", "YAML with a list `routers:`; - is standard input", NULL, COMMAND_LOCAL},
    {"yes", NULL, "do not ask", NULL, COMMAND_SWITCH},
    {"dry-run", NULL, "show the difference, change nothing", NULL, COMMAND_SWITCH},
    {"prune", NULL, "also remove routers and arms that the file does not name", NULL,
     COMMAND_SWITCH},
    {NULL, NULL, NULL, NULL, COMMAND_SET}};

const struct command apply_commands[] = {
    {.words = "apply",
     .doc = "Make routers and arms as a file declares them.\v"
            "The file is YAML: a list `routers:` of router specs, in the field names of the "
            "contract (name, metrics, tasks, settings, arms, ...). First the difference is shown: "
            "+ is added, ~ is changed, - is removed (only with --prune), ! cannot be changed. "
            "Fields that the file does not name are left alone.",
     .options = apply_options,
     .letter_f = true,
     .run = apply},
    {.words = NULL}};
