#include "server/config.h"
#include "server/config_settings.h"
#include "server/config_yaml.h"
#include "state/base/mem.h"

#include <argp.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum option_key {
    OPTION_DATA_DIR = 256,
    OPTION_CONFIG,
    OPTION_LISTEN,
    OPTION_ADMIN_LISTEN,
    OPTION_METRICS_LISTEN,
    OPTION_LOG_LEVEL,
    OPTION_SET,
    OPTION_FROM,
    OPTION_VERSION,
    OPTION_HELP
};

static const struct argp_option options[] = {
    {"data-dir", OPTION_DATA_DIR, "DIR", 0, "Where everything learned is kept (required)", 0},
    {"config", OPTION_CONFIG, "FILE", 0, "Settings in YAML; deploy/sample/shuntd.yaml has all", 0},
    {"listen", OPTION_LISTEN, "HOST:PORT|unix:PATH", 0, "Data plane; may be repeated", 0},
    {"admin-listen", OPTION_ADMIN_LISTEN, "HOST:PORT|unix:PATH", 0,
     "Control plane; may be repeated", 0},
    {"metrics-listen", OPTION_METRICS_LISTEN, "HOST:PORT|none", 0, "Prometheus and health pages",
     0},
    {"log-level", OPTION_LOG_LEVEL, "LEVEL", 0, "debug, info, warn or error", 0},
    {"set", OPTION_SET, "KEY=VALUE", 0, "Any setting of the file, such as checkpoint.every=30s", 0},
    {"from", OPTION_FROM, "BACKUP", 0, "For restore: what `shuntctl backup` made", 0},
    {"version", OPTION_VERSION, NULL, 0, "Print the version", 1},
    {"help", OPTION_HELP, NULL, 0, "Print this and every setting", 1},
    {0}};

/* What the command line said, kept until the file has had its turn. */
#define GIVEN_MAX 64
struct given {
    const char *key; /* Of the setting. */
    const char *value;
};

struct command_line {
    struct config *config;
    struct err_detail *detail;
    struct given given[GIVEN_MAX];
    size_t given_n;
    char keys[GIVEN_MAX][CONFIG_SOURCE_CAP]; /* Of --set. */
    bool command_seen;
    enum config_command asked; /* --help and --version say so whatever else is there. */
};

static error_t give(struct command_line *c, const char *key, const char *value)
{
    if (c->given_n == GIVEN_MAX) {
        (void)err_say(c->detail, ERR_INVALID, "more than %d options", GIVEN_MAX);
        return E2BIG;
    }
    c->given[c->given_n++] = (struct given){key, value};
    return 0;
}

static error_t give_set(struct command_line *c, const char *text)
{
    const char *equals = strchr(text, '=');
    const size_t n = equals ? (size_t)(equals - text) : 0;
    if (!n || n >= CONFIG_SOURCE_CAP) {
        (void)err_say(c->detail, ERR_INVALID, "--set %s: expected KEY=VALUE", text);
        return EINVAL;
    }
    if (c->given_n == GIVEN_MAX)
        return give(c, "", "");
    char *key = c->keys[c->given_n];
    memcpy(key, text, n);
    key[n] = '\0';
    return give(c, key, equals + 1);
}

static error_t take_path(struct command_line *c, const char *what, const char *path,
                         char ret_path[CONFIG_PATH_CAP])
{
    if (!*path || strlen(path) >= CONFIG_PATH_CAP) {
        (void)err_say(c->detail, ERR_INVALID, "%s: a path has 1 to %d bytes", what,
                      CONFIG_PATH_CAP - 1);
        return EINVAL;
    }
    memcpy(ret_path, path, strlen(path) + 1);
    return 0;
}

static error_t take_command(struct command_line *c, const char *word)
{
    static const struct {
        const char *word;
        enum config_command command;
    } commands[] = {{"verify", CONFIG_VERIFY},
                    {"restore", CONFIG_RESTORE},
                    {"version", CONFIG_VERSION},
                    {"help", CONFIG_HELP}};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(word, commands[i].word)) {
            if (c->command_seen) {
                (void)err_say(c->detail, ERR_INVALID, "\"%s\": give one command", word);
                return EINVAL;
            }
            c->config->command = commands[i].command;
            c->command_seen = true;
            return 0;
        }
    (void)err_say(c->detail, ERR_INVALID,
                  "\"%s\" is no command; there are verify, restore, version, help, and none to "
                  "serve",
                  word);
    return EINVAL;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct command_line *c = state->input;
    switch (key) {
    case OPTION_DATA_DIR:
        return give(c, "data_dir", arg);
    case OPTION_CONFIG:
        return take_path(c, "--config", arg, c->config->file);
    case OPTION_LISTEN:
        return give(c, "listen", arg);
    case OPTION_ADMIN_LISTEN:
        return give(c, "admin_listen", arg);
    case OPTION_METRICS_LISTEN:
        return give(c, "metrics_listen", arg);
    case OPTION_LOG_LEVEL:
        return give(c, "log_level", arg);
    case OPTION_SET:
        return give_set(c, arg);
    case OPTION_FROM:
        return take_path(c, "--from", arg, c->config->restore_from);
    case OPTION_VERSION:
        c->asked = CONFIG_VERSION;
        return 0;
    case OPTION_HELP:
        c->asked = CONFIG_HELP;
        return 0;
    case ARGP_KEY_ARG:
        return take_command(c, arg);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char doc[] =
    "Routes LLM requests to models and learns from their outcomes.\v"
    "With no command it serves. `shuntd verify` folds the journal of a stopped server again and "
    "compares; `shuntd restore --from BACKUP` puts a backup into a new data directory.";

static const struct argp parser = {options, parse_option, "[verify|restore|version]", doc, NULL,
                                   NULL,    NULL};

static enum err apply_command_line(struct command_line *c)
{
    for (size_t i = 0; i < c->given_n; i++) {
        const struct setting *s = settings_find(c->given[i].key);
        char known[512];
        if (!s)
            return err_say(c->detail, ERR_INVALID, "--set: no setting \"%s\"; there are %s",
                           c->given[i].key, settings_list("", known, sizeof known));
        struct config_origin *origin = settings_origin(c->config, s);
        /* The first address on the command line replaces what the file said; the next ones add. */
        const bool more = origin->kind == ORIGIN_COMMAND_LINE;
        char why[SETTINGS_WHY_CAP];
        if (!settings_set(c->config, s, c->given[i].value, more, why))
            return err_say(c->detail, ERR_INVALID, "%s on the command line: %s", s->key, why);
        *origin = (struct config_origin){ORIGIN_COMMAND_LINE, 0};
    }
    return OK;
}

static enum err apply_defaults(struct config *c, struct err_detail *detail)
{
    for (size_t i = 0; i < settings_n; i++) {
        char why[SETTINGS_WHY_CAP];
        if (settings[i].fallback && !settings_set(c, &settings[i], settings[i].fallback, true, why))
            return err_say(detail, ERR_INTERNAL, "default of %s: %s", settings[i].key, why);
    }
    return OK;
}

/* Defaults that lie in the data directory, once it is known. */
static enum err fill_paths(struct config *c, struct err_detail *detail)
{
    static const struct {
        const char *key, *before, *after;
    } derived[] = {{"listen", "unix:", "/shunt.sock"},
                   {"admin_listen", "unix:", "/admin.sock"},
                   {"decision_log.dir", "", "/decisions"}};
    for (size_t i = 0; i < sizeof derived / sizeof *derived; i++) {
        const struct setting *s = settings_find(derived[i].key);
        if (settings_origin(c, s)->kind != ORIGIN_DEFAULT ||
            (s->kind == SETTING_ADDRESSES && c->command != CONFIG_SERVE))
            continue; /* verify and restore listen nowhere: no socket's path is too long for them.
                       */
        char text[CONFIG_PATH_CAP + 32], why[SETTINGS_WHY_CAP];
        (void)snprintf(text, sizeof text, "%s%s%s", derived[i].before, c->data_dir,
                       derived[i].after);
        if (!settings_set(c, s, text, true, why))
            return err_say(detail, ERR_INVALID, "%s, by default %s: %s", s->key, text, why);
    }
    return OK;
}

static enum err check_local(const struct config *c, const char *key, const char *address,
                            struct err_detail *detail)
{
    if (c->allow_plaintext_non_loopback || config_address_is_local(address))
        return OK;
    return err_say(detail, ERR_INVALID,
                   "%s: %s can be reached from other machines without encryption; put a "
                   "terminating proxy in front (deploy/haproxy.cfg)%s, or set "
                   "allow_plaintext_non_loopback: true",
                   key, address, strcmp(key, "listen") ? "" : ", set tls.cert and tls.key");
}

static enum err check_files(const struct config *c, struct err_detail *detail)
{
    if (!c->tls.cert[0] != !c->tls.key[0])
        return err_say(detail, ERR_INVALID, "tls.cert and tls.key: give both or neither");
    if (c->tls.client_ca[0] && !c->tls.cert[0])
        return err_say(detail, ERR_INVALID, "tls.client_ca: needs tls.cert and tls.key");
    const struct {
        const char *key, *path;
    } files[] = {{"tls.cert", c->tls.cert},
                 {"tls.key", c->tls.key},
                 {"tls.client_ca", c->tls.client_ca},
                 {"engines.ca_file", c->engines.ca_file}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct stat st;
        if (!files[i].path[0])
            continue;
        if (stat(files[i].path, &st))
            return err_say(detail, ERR_INVALID, "%s: %s: %s", files[i].key, files[i].path,
                           strerror(errno));
        if (!S_ISREG(st.st_mode))
            return err_say(detail, ERR_INVALID, "%s: %s is no regular file", files[i].key,
                           files[i].path);
        if (files[i].path == c->tls.key && st.st_mode & 07)
            return err_say(detail, ERR_INVALID,
                           "tls.key: %s can be read by everybody on this machine; chmod 0600 it",
                           files[i].path);
    }
    return OK;
}

static enum err check(const struct config *c, struct err_detail *detail)
{
    TRY(check_files(c, detail));
    for (size_t i = 0; i < c->listen.n && !c->tls.cert[0]; i++)
        TRY(check_local(c, "listen", c->listen.text[i], detail));
    for (size_t i = 0; i < c->admin_listen.n; i++)
        TRY(check_local(c, "admin_listen", c->admin_listen.text[i], detail));
    if (strcmp(c->metrics_listen, "none") != 0)
        TRY(check_local(c, "metrics_listen", c->metrics_listen, detail));
    return OK;
}

static enum err load(int argc, char **argv, struct config *c, struct err_detail *detail)
{
    struct command_line *line = mem_calloc(1, sizeof *line);
    if (!line)
        return err_say(detail, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    line->config = c;
    line->detail = detail;
    (void)err_say(detail, ERR_INVALID, "see shuntd --help");
    enum err e =
        argp_parse(&parser, argc, argv, ARGP_NO_EXIT | ARGP_NO_HELP, NULL, line) ? ERR_INVALID : OK;
    if (!e && line->asked != CONFIG_SERVE)
        c->command = line->asked;
    if (e || c->command == CONFIG_VERSION || c->command == CONFIG_HELP)
        goto out;
    e = apply_defaults(c, detail);
    if (!e && c->file[0])
        e = config_yaml_load(c, detail);
    if (!e)
        e = apply_command_line(line);
    if (!e && !c->data_dir[0])
        e = err_say(detail, ERR_INVALID, "give --data-dir DIR, or data_dir in the file");
    if (!e && c->command == CONFIG_RESTORE && !c->restore_from[0])
        e = err_say(detail, ERR_INVALID, "restore: give --from BACKUP");
    if (!e && c->command != CONFIG_RESTORE && c->restore_from[0])
        e = err_say(detail, ERR_INVALID, "--from belongs to restore");
    if (!e)
        e = fill_paths(c, detail);
    if (!e)
        e = check(c, detail);
out:
    mem_free(line);
    return e;
}

enum err config_load(int argc, char **argv, struct config **ret_config, struct err_detail *detail)
{
    struct config *c = mem_calloc(1, sizeof *c);
    if (c)
        c->origins = mem_calloc(settings_n, sizeof *c->origins);
    enum err e = c && c->origins ? load(argc, argv, c, detail)
                                 : err_say(detail, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    if (e) {
        config_free(c);
        return e;
    }
    *ret_config = c;
    return OK;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    config_yaml_free(config);
    mem_free(config->origins);
    mem_free(config);
}

void config_print_help(FILE *out)
{
    char name[] = "shuntd";
    argp_help(&parser, out, ARGP_HELP_STD_HELP & ~(unsigned)ARGP_HELP_EXIT_OK, name);
    (void)fprintf(out, "\nSettings of the file and of --set:\n");
    for (size_t i = 0; i < settings_n; i++) {
        char about[CONFIG_ABOUT_CAP];
        settings_about(&settings[i], about);
        (void)fprintf(out, "  %-30s %s\n  %-30s (default: %s)\n", settings[i].key, about, "",
                      settings[i].fallback_words ? settings[i].fallback_words
                                                 : settings[i].fallback);
    }
}

size_t config_entries_n(void)
{
    return settings_n;
}

void config_entry(const struct config *config, size_t i, struct config_entry *ret_entry)
{
    const struct config_origin origin = config->origins[i];
    ret_entry->key = settings[i].key;
    settings_format(config, &settings[i], ret_entry->value);
    settings_about(&settings[i], ret_entry->about);
    if (origin.kind == ORIGIN_FILE)
        (void)snprintf(ret_entry->source, sizeof ret_entry->source, "file:%zu", origin.line);
    else
        (void)snprintf(ret_entry->source, sizeof ret_entry->source, "%s",
                       origin.kind == ORIGIN_DEFAULT ? "default" : "command line");
}
