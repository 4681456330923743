/* main.c - shuntctl: finds the command, reads its options, runs it. */
#include "client/ctl/args.h"
#include "client/ctl/commands.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 64
#define FIRST_KEY 1000 /* Keys of a command's own options; beyond every character. */

enum {
    KEY_SERVER = 500,
    KEY_ADMIN,
    KEY_TIMEOUT,
    KEY_JSON,
    KEY_VERSION,
    KEY_TLS,
    KEY_TLS_CA,
    KEY_TLS_CERT,
    KEY_TLS_KEY,
    KEY_TLS_SERVER_NAME,
};

static const struct argp_option common_options[] = {
    {"server", KEY_SERVER, "ADDR", 0, "router service: HOST:PORT or unix:PATH", 90},
    {"admin", KEY_ADMIN, "ADDR", 0, "admin service: HOST:PORT or unix:PATH", 90},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "wait this long for an answer", 90},
    {"json", KEY_JSON, NULL, 0, "print JSON", 90},
    {"tls", KEY_TLS, NULL, 0, "router service: TLS, trusting the system's roots", 90},
    {"tls-ca", KEY_TLS_CA, "FILE", 0, "TLS, trusting these authorities (PEM)", 90},
    {"tls-cert", KEY_TLS_CERT, "FILE", 0, "your certificate, if the server asks for one", 90},
    {"tls-key", KEY_TLS_KEY, "FILE", 0, "its private key", 90},
    {"tls-server-name", KEY_TLS_SERVER_NAME, "NAME", 0,
     "the server's certificate is for this name, not for the host of --server", 90},
    {0}};

static const char about_all[] =
    "\nWhere the server is:\n"
    "  --server ADDR, else SHUNT_SERVER, else 127.0.0.1:7077\n"
    "  --admin ADDR, else SHUNT_ADMIN, else unix:$SHUNT_DATA_DIR/admin.sock, else\n"
    "  unix:/var/lib/shunt/admin.sock\n"
    "  --tls, --tls-ca and so on, else SHUNT_TLS=1, SHUNT_TLS_CA, SHUNT_TLS_CERT,\n"
    "  SHUNT_TLS_KEY, SHUNT_TLS_SERVER_NAME: TLS to the router service\n\n"
    "JSON (--json):\n"
    "  The field names are those of proto/shunt/v1. What the server left out is\n"
    "  left out, and null to jq: a 0 or false is one that it said. Lists and maps\n"
    "  are always there.\n\n"
    "Exit codes:\n"
    "  0  done\n"
    "  1  the server said no (CODE: message on stderr), or the work failed\n"
    "  2  the command line, or a file it names, is wrong\n"
    "  3  no server there, or no answer in time\n"
    "  4  verify found a difference\n\n"
    "`shuntctl COMMAND --help` has the options of a command.";

static error_t parse_tls(int key, const char *arg, struct ctl *ctl)
{
    switch (key) {
    case KEY_TLS:
        ctl->tls_asked = true;
        return 0;
    case KEY_TLS_CA:
        ctl->tls.ca = arg;
        return 0;
    case KEY_TLS_CERT:
        ctl->tls.cert = arg;
        return 0;
    case KEY_TLS_KEY:
        ctl->tls.key = arg;
        return 0;
    case KEY_TLS_SERVER_NAME:
        ctl->tls.server_name = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    struct ctl *ctl = state->input;
    struct args_error error;
    switch (key) {
    case KEY_SERVER:
        if (!ctl_set_server(ctl, arg))
            argp_error(state, "--server: not an address");
        return 0;
    case KEY_ADMIN:
        if (!ctl_set_admin(ctl, arg))
            argp_error(state, "--admin: not an address");
        return 0;
    case KEY_TIMEOUT:
        if (!args_number(arg, 0.001, 86400, &ctl->timeout_s, &error))
            argp_error(state, "--timeout: %s", error.text);
        return 0;
    case KEY_JSON:
        ctl->json = true;
        return 0;
    default:
        return parse_tls(key, arg, ctl);
    }
}

static const struct argp common_argp = {.options = common_options, .parser = parse_common};

struct parse {
    struct ctl *ctl;
    struct command_input *in;
};

static void value_add(struct parse *parse, const struct command_option *option, const char *value,
                      struct argp_state *state)
{
    struct command_input *in = parse->in;
    if (in->values_n == COMMAND_VALUES_MAX)
        argp_error(state, "more than %d options", COMMAND_VALUES_MAX);
    in->values[in->values_n].option = option;
    in->values[in->values_n++].value = value;
}

static error_t parse_command(int key, char *arg, struct argp_state *state)
{
    struct parse *parse = state->input;
    struct command_input *in = parse->in;
    const struct command *command = in->command;
    if (key >= FIRST_KEY && key < FIRST_KEY + OPTIONS_MAX) {
        value_add(parse, &command->options[key - FIRST_KEY], arg, state);
        return 0;
    }
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = parse->ctl;
        return 0;
    case ARGP_KEY_ARG:
        if (in->positional_n == command->positional_max)
            argp_error(state, "'%.64s' is one argument too many", arg);
        in->positional[in->positional_n++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (in->positional_n < command->positional_min)
            argp_error(state, "%s is missing", command->args);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The options of a command as argp wants them; one named "file" also has the letter f. */
static void options_fill(const struct command *command, struct argp_option ret[OPTIONS_MAX + 1])
{
    for (int i = 0; command->options[i].name; i++) {
        if (i == OPTIONS_MAX) /* Cut off, the last ones were "unrecognized". */
            abort();
        ret[i] = (struct argp_option){.name = command->options[i].name,
                                      .key = FIRST_KEY + i,
                                      .arg = command->options[i].arg,
                                      .doc = command->options[i].doc,
                                      .group = 1};
    }
}

static enum ctl_exit command_run(struct ctl *ctl, const struct command *command, int argc,
                                 char **argv)
{
    struct command_input in = {.command = command};
    struct parse parse = {ctl, &in};
    struct argp_option options[OPTIONS_MAX + 1] = {{0}};
    const struct argp_child children[] = {{&common_argp, 0, "Common to all commands:", 9}, {0}};
    const struct argp argp = {.options = options,
                              .parser = parse_command,
                              .args_doc = command->args,
                              .doc = command->doc,
                              .children = children};
    char name[64], dash_f[] = "--file";
    options_fill(command, options);
    snprintf(name, sizeof name, "shuntctl %s", command->words);
    argv[0] = name;
    for (int i = 1; i < argc && command->letter_f; i++)
        if (strcmp(argv[i], "-f") == 0)
            argv[i] = dash_f;
    argp_parse(&argp, argc, argv, 0, NULL, &parse);
    return command->run(ctl, &in);
}

/* How many words of argv name the command: 0, 1 or 2. `routers` and `arms` are fine too. */
static int words_match(const struct command *command, int argc, char **argv)
{
    const char *words = command->words, *blank = strchr(words, ' ');
    size_t first = blank ? (size_t)(blank - words) : strlen(words);
    size_t given = strlen(argv[0]);
    bool plural = blank && given == first + 1 && argv[0][first] == 's';
    if (strncmp(argv[0], words, first) != 0 || (given != first && !plural))
        return 0;
    if (!blank)
        return 1;
    return argc > 1 && strcmp(argv[1], blank + 1) == 0 ? 2 : 0;
}

static const struct command *command_find(const struct command *const *tables, int argc,
                                          char **argv, int *ret_words)
{
    for (; *tables; tables++)
        for (const struct command *c = *tables; c->words; c++)
            if ((*ret_words = words_match(c, argc, argv)) > 0)
                return c;
    return NULL;
}

/* A command and what it does. argp wraps without an indent, so the lines are broken here. */
static void help_row(FILE *out, const struct command *c)
{
    enum { indent = 33, width = 78 - indent };
    int at = fprintf(out, "  %-17s %-12s", c->words, c->args ? c->args : "");
    int end = (int)strcspn(c->doc, "\v");
    const char *doc = c->doc;
    for (; end > 0; at = 0) {
        int n = end;
        if (n > width)
            for (n = width; n > 1 && doc[n] != ' ';)
                n--;
        fprintf(out, "%*s%.*s\n", at < indent ? indent - at : 1, "", n, doc);
        while (n < end && doc[n] == ' ')
            n++;
        doc += n;
        end -= n;
    }
}

/* The text of --help: what it is, the commands, then addresses and exit codes. The caller frees. */
static char *help_make(const struct command *const *tables)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return NULL;
    fputs("Talks to a shunt server: routers, arms, decisions, state, and what-if replays.\v"
          "Commands:\n",
          out);
    for (; *tables; tables++)
        for (const struct command *c = *tables; c->words; c++)
            help_row(out, c);
    fputs(about_all, out);
    fclose(out);
    return text;
}

/* `shuntctl arm`, `shuntctl arm --help`: the commands that begin with the word. Whether there are.
 */
static bool group_show(const struct command *const *tables, int argc, char **argv)
{
    size_t len = strlen(argv[0]), n = 0;
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0);
    FILE *out = help ? stdout : stderr;
    for (; (argc == 1 || help) && *tables; tables++)
        for (const struct command *c = *tables; c->words; c++)
            if (strncmp(c->words, argv[0], len) == 0 && c->words[len] == ' ') {
                if (n++ == 0)
                    fprintf(out, "Commands that begin with %s (each has a --help):\n", argv[0]);
                help_row(out, c);
            }
    return n > 0;
}

struct start {
    struct ctl *ctl;
    int next; /* Index of the first word of the command; 0: none. */
};

static error_t parse_start(int key, char *arg, struct argp_state *state)
{
    struct start *start = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = start->ctl;
        return 0;
    case KEY_VERSION:
        puts("shuntctl " SHUNT_VERSION);
        exit(CTL_OK);
    case ARGP_KEY_ARG:
        start->next = state->next - 1;
        state->next = state->argc; /* The rest belongs to the command. */
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "a command is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum ctl_exit start_run(struct ctl *ctl, int argc, char **argv)
{
    static const struct command *const tables[] = {decision_commands,
                                                   router_commands,
                                                   trial_commands,
                                                   budget_commands,
                                                   drift_commands,
                                                   adapters_commands,
                                                   transfer_commands,
                                                   session_commands,
                                                   apply_commands,
                                                   state_commands,
                                                   lab_commands,
                                                   replay_commands,
                                                   NULL};
    static const struct argp_option options[] = {
        {"version", KEY_VERSION, NULL, 0, "print the version", 95}, {0}};
    static const struct argp_child children[] = {{&common_argp, 0, NULL, 0}, {0}};
    struct start start = {.ctl = ctl};
    int words = 0;
    char *help = help_make(tables);
    const struct argp argp = {.options = options,
                              .parser = parse_start,
                              .args_doc = "COMMAND [ARGUMENT...]",
                              .doc = help,
                              .children = children};
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &start);
    free(help);
    const struct command *command =
        command_find(tables, argc - start.next, argv + start.next, &words);
    if (!command && group_show(tables, argc - start.next, argv + start.next))
        return argc - start.next > 1 ? CTL_OK : CTL_USAGE;
    if (!command)
        return ctl_fail(CTL_USAGE, "'%.32s%s%.32s' is no command; see shuntctl --help",
                        argv[start.next], start.next + 1 < argc ? " " : "",
                        start.next + 1 < argc ? argv[start.next + 1] : "");
    int skip = start.next + words - 1;
    return command_run(ctl, command, argc - skip, argv + skip);
}

int main(int argc, char **argv)
{
    struct ctl ctl;
    argp_err_exit_status = CTL_USAGE;    /* glibc's own is 64; ours is a contract. */
    signal(SIGPIPE, SIG_IGN);            /* A closed pipe is an error we report, not a death. */
    setenv("GRPC_VERBOSITY", "NONE", 0); /* We say ourselves what failed. */
    ctl_init(&ctl);
    enum ctl_exit code = start_run(&ctl, argc, argv);
    ctl_done(&ctl);
    /* A full disk or a closed pipe behind a table must not look like success. */
    if (fflush(stdout) != 0 || ferror(stdout))
        code = code != CTL_OK ? code : ctl_fail(CTL_REFUSED, "cannot write to standard output");
    return (int)code;
}
