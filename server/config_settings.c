#include "server/config_settings.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define KIB ((int64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
#define MS ((int64_t)1000)
#define SECOND (1000 * MS)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define AT(member) offsetof(struct config, member)

const struct setting settings[] = {
    {"data_dir", SETTING_PATH, AT(data_dir), NULL, "none: required", 0, 0,
     "Where everything learned is kept: journal, checkpoints, keys. One server a directory."},
    {"listen", SETTING_ADDRESSES, AT(listen), "127.0.0.1:7077",
     "127.0.0.1:7077 and unix:DATA_DIR/shunt.sock", 0, 0,
     "Data plane: RouteRequest and ReportReward. HOST:PORT (0 picks a port) or unix:PATH."},
    {"admin_listen", SETTING_ADDRESSES, AT(admin_listen), NULL, "unix:DATA_DIR/admin.sock", 0, 0,
     "Control plane: who may use it may change everything. HOST:PORT or unix:PATH."},
    {"metrics_listen", SETTING_METRICS_ADDRESS, AT(metrics_listen), "127.0.0.1:9464", NULL, 0, 0,
     "Plain HTTP for /metrics, /healthz and /readyz. HOST:PORT or none."},
    {"log_level", SETTING_LEVEL, AT(log_level), "info", NULL, 0, 0,
     "Least level that is logged to stderr: debug, info, warn or error."},
    {"rpc_threads", SETTING_COUNT, AT(rpc_threads), "1", NULL, 1, 64,
     "Completion-queue threads of the data plane. One was fastest while clients shared the cores."},
    {"max_in_flight", SETTING_COUNT, AT(max_in_flight), "4096", NULL, 1, 65536,
     "Calls in work at once; more are answered RESOURCE_EXHAUSTED."},
    {"inbox_capacity", SETTING_COUNT, AT(inbox_capacity), "65536", NULL, 16, 4194304,
     "Outcomes waiting for the writer; more are answered RESOURCE_EXHAUSTED."},
    {"max_text_bytes", SETTING_BYTES, AT(max_text_bytes), "256KiB", NULL, KIB, MIB,
     "Longest prompt text of a request."},
    {"drain_grace", SETTING_DURATION, AT(drain_grace_us), "8s", NULL, 0, 10 * SECOND,
     "On SIGTERM, how long calls in flight may take to end."},
    {"max_connection_age", SETTING_DURATION, AT(max_connection_age_us), "5min", NULL, SECOND, DAY,
     "Age at which a connection is asked to make a new one; a tenth of it later, at least 100 ms "
     "and "
     "at most 30 s, what still runs on it is ended."},
    {"allow_plaintext_non_loopback", SETTING_BOOL, AT(allow_plaintext_non_loopback), "false", NULL,
     0, 0, "Whether an address without TLS may be reached from other machines: true or false."},
    {"decision_log.dir", SETTING_PATH, AT(decision_log.dir), NULL, "DATA_DIR/decisions", 0, 0,
     "Where decisions are kept for explain and for joining reports without a token."},
    {"decision_log.keep", SETTING_DURATION, AT(decision_log.keep_us), "72h", NULL, HOUR, 3650 * DAY,
     "How long decisions are kept; dropped by the hour."},
    {"decision_log.max_bytes", SETTING_BYTES, AT(decision_log.max_bytes), "2GiB", NULL, 16 * MIB,
     1024 * TIB, "Size above which the oldest hours go."},
    {"decision_log.ring_bytes", SETTING_BYTES, AT(decision_log.ring_bytes), "8MiB", NULL, 64 * KIB,
     GIB,
     "Memory between the routes and the decision log; when full, records are dropped and counted."},
    {"journal.map_bytes", SETTING_BYTES, AT(journal.map_bytes), "64GiB", NULL, MIB, 1024 * TIB,
     "Address space of the store. The file is sparse: it takes what is in it, not this."},
    {"journal.keep", SETTING_DURATION, AT(journal.keep_us), "30d", NULL, HOUR, 3650 * DAY,
     "How far back the journal reaches."},
    {"journal.max_bytes", SETTING_BYTES, AT(journal.max_bytes), "20GiB", NULL, MIB, 1024 * TIB,
     "Size above which the journal is trimmed to a newer base."},
    {"checkpoint.every_events", SETTING_COUNT, AT(checkpoint.every_events), "200000", NULL, 1,
     1000000000, "Events after which a checkpoint is written."},
    {"checkpoint.every", SETTING_DURATION, AT(checkpoint.every_us), "5min", NULL, 100 * MS, DAY,
     "Time after which a checkpoint is written if anything happened."},
    {"classifier.examples", SETTING_PATH, AT(classifier.examples), NULL, "none", 0, 0,
     "File of lines LABEL, tab, example that the task classifier learns from at start."},
    {"projection.dir", SETTING_PATH, AT(projection.dir), NULL, "none", 0, 0,
     "Folder of operators' projections of embeddings: NAME.f32 is the router's projection NAME."},
    {"engines.token_file", SETTING_PATH, AT(engines.token_file), NULL, "none", 0, 0,
     "File whose first line is the bearer token of the inference engines that adapters live in."},
    {"engines.ca_file", SETTING_PATH, AT(engines.ca_file), NULL, "the system's", 0, 0,
     "PEM of who signed the certificates of those engines."},
    {"tls.cert", SETTING_PATH, AT(tls.cert), NULL, "none", 0, 0,
     "Certificate chain (PEM) for the HOST:PORT addresses of listen."},
    {"tls.key", SETTING_PATH, AT(tls.key), NULL, "none", 0, 0,
     "Its private key (PEM); not readable by everybody."},
    {"tls.client_ca", SETTING_PATH, AT(tls.client_ca), NULL, "none", 0, 0,
     "Certificate authorities (PEM) that clients must have a certificate of."},
};
const size_t settings_n = sizeof settings / sizeof *settings;

struct unit {
    const char *name;
    int64_t size;
};

/* Rising, because formatting takes the last that divides; the first of a size is the one written.
 */
static const struct unit bytes_units[] = {{"B", 1},     {"KiB", KIB}, {"MiB", MIB},
                                          {"GiB", GIB}, {"TiB", TIB}, {NULL, 0}};
static const struct unit duration_units[] = {{"us", 1},       {"ms", MS},    {"s", SECOND},
                                             {"min", MINUTE}, {"m", MINUTE}, {"h", HOUR},
                                             {"d", DAY},      {NULL, 0}};

static enum err parse_whole(const char *text, const char **ret_rest, int64_t *ret_n)
{
    if (!isdigit((unsigned char)text[0]))
        return ERR_INVALID;
    char *end;
    errno = 0;
    const long long n = strtoll(text, &end, 10);
    if (errno)
        return ERR_OUT_OF_RANGE;
    *ret_rest = end;
    *ret_n = n;
    return OK;
}

static enum err parse_unit(const char *text, const struct unit *units, bool bare, int64_t *ret)
{
    const char *rest;
    int64_t n;
    TRY(parse_whole(text, &rest, &n));
    while (*rest == ' ')
        rest++;
    if (!*rest && (bare || n == 0)) {
        *ret = n;
        return OK;
    }
    for (; units->name; units++)
        if (!strcmp(rest, units->name))
            return __builtin_mul_overflow(n, units->size, ret) ? ERR_OUT_OF_RANGE : OK;
    return ERR_INVALID;
}

enum err config_parse_bytes(const char *text, int64_t *ret_bytes)
{
    int64_t n = 0;
    TRY(parse_unit(text, bytes_units, true, &n));
    *ret_bytes = n;
    return OK;
}

enum err config_parse_duration(const char *text, int64_t *ret_us)
{
    int64_t n = 0;
    TRY(parse_unit(text, duration_units, false, &n));
    *ret_us = n;
    return OK;
}

static void format_unit(int64_t n, const struct unit *units, char *ret_text, size_t cap)
{
    const struct unit *best = units;
    for (const struct unit *u = units; u->name; u++)
        if (n && n % u->size == 0 && u->size > best->size)
            best = u;
    (void)snprintf(ret_text, cap, "%" PRId64 "%s", n / best->size, n ? best->name : "");
}

static bool host_is_local(const char *host, size_t n)
{
    if ((n == 9 && !strncmp(host, "localhost", n)) || (n == 5 && !strncmp(host, "[::1]", n)))
        return true;
    /* A numeric 127.a.b.c, and not 127.0.0.1.example.org. */
    return n > 4 && !strncmp(host, "127.", 4) && strspn(host, "0123456789.") >= n;
}

bool config_address_is_local(const char *address)
{
    const char *colon = strrchr(address, ':');
    return !strncmp(address, "unix:", 5) ||
           (colon && host_is_local(address, (size_t)(colon - address)));
}

static bool check_port(const char *text)
{
    const size_t n = strlen(text);
    return n >= 1 && n <= 5 && strspn(text, "0123456789") == n && strtol(text, NULL, 10) <= 65535;
}

static bool check_address(const char *text, char ret_why[SETTINGS_WHY_CAP])
{
    const char *colon = strrchr(text, ':');
    const size_t socket_max = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
    if (!strncmp(text, "unix:", 5)) {
        const size_t n = strlen(text + 5);
        if (n >= 1 && n <= socket_max)
            return true;
        (void)snprintf(
            ret_why, SETTINGS_WHY_CAP,
            "a unix socket's path has 1 to %zu bytes, this one %zu; choose a shorter one",
            socket_max, n);
        return false;
    }
    if (!colon || colon == text || !check_port(colon + 1) ||
        (memchr(text, ':', (size_t)(colon - text)) && (text[0] != '[' || colon[-1] != ']'))) {
        (void)snprintf(ret_why, SETTINGS_WHY_CAP,
                       "expected HOST:PORT, [IPV6]:PORT or unix:PATH, not \"%.100s\"", text);
        return false;
    }
    if (strlen(text) < CONFIG_ADDRESS_CAP)
        return true;
    (void)snprintf(ret_why, SETTINGS_WHY_CAP, "an address has at most %d bytes",
                   CONFIG_ADDRESS_CAP - 1);
    return false;
}

static bool set_path(char *to, const char *text, char ret_why[SETTINGS_WHY_CAP])
{
    const size_t n = strlen(text);
    if (!n || n >= CONFIG_PATH_CAP) {
        (void)snprintf(ret_why, SETTINGS_WHY_CAP, "expected a path of 1 to %d bytes",
                       CONFIG_PATH_CAP - 1);
        return false;
    }
    memcpy(to, text, n + 1);
    return true;
}

static bool set_address(struct config_addresses *to, const char *text, bool more,
                        char ret_why[SETTINGS_WHY_CAP])
{
    if (!check_address(text, ret_why))
        return false;
    const size_t n = more ? to->n : 0;
    if (n == CONFIG_ADDRESSES_MAX) {
        (void)snprintf(ret_why, SETTINGS_WHY_CAP, "at most %d addresses", CONFIG_ADDRESSES_MAX);
        return false;
    }
    (void)snprintf(to->text[n], CONFIG_ADDRESS_CAP, "%s", text);
    to->n = n + 1;
    return true;
}

static bool set_metrics_address(char *to, const char *text, char ret_why[SETTINGS_WHY_CAP])
{
    const bool none = !strcmp(text, "none");
    if (!none && !strncmp(text, "unix:", 5)) {
        (void)snprintf(ret_why, SETTINGS_WHY_CAP, "expected HOST:PORT or none");
        return false;
    }
    if (!none && !check_address(text, ret_why))
        return false;
    (void)snprintf(to, CONFIG_ADDRESS_CAP, "%s", text);
    return true;
}

static void format_number(const struct setting *s, int64_t n, char *ret_text, size_t cap)
{
    if (s->kind == SETTING_COUNT)
        (void)snprintf(ret_text, cap, "%" PRId64, n);
    else
        format_unit(n, s->kind == SETTING_BYTES ? bytes_units : duration_units, ret_text, cap);
}

static bool set_number(int64_t *to, const struct setting *s, const char *text,
                       char ret_why[SETTINGS_WHY_CAP])
{
    char min[32], max[32];
    const char *rest = "";
    int64_t n = 0;
    const enum err e = s->kind == SETTING_BYTES      ? config_parse_bytes(text, &n)
                       : s->kind == SETTING_DURATION ? config_parse_duration(text, &n)
                                                     : parse_whole(text, &rest, &n);
    if (e == ERR_INVALID || *rest) {
        const char *expected = s->kind == SETTING_BYTES      ? "a size such as 64MiB or 1GiB"
                               : s->kind == SETTING_DURATION ? "a duration such as 500ms, 10s, "
                                                               "5min, 24h or 30d"
                                                             : "a whole number";
        (void)snprintf(ret_why, SETTINGS_WHY_CAP, "expected %s, not \"%.100s\"", expected, text);
        return false;
    }
    if (e || n < s->min || n > s->max) {
        format_number(s, s->min, min, sizeof min);
        format_number(s, s->max, max, sizeof max);
        (void)snprintf(ret_why, SETTINGS_WHY_CAP, "%.100s is outside [%s, %s]", text, min, max);
        return false;
    }
    *to = n;
    return true;
}

static bool set_word(struct config *c, const struct setting *s, const char *text,
                     char ret_why[SETTINGS_WHY_CAP])
{
    if (s->kind == SETTING_LEVEL) {
        if (!log_level_parse(text, &c->log_level))
            return true;
        (void)snprintf(ret_why, SETTINGS_WHY_CAP,
                       "expected debug, info, warn or error, not \"%.100s\"", text);
        return false;
    }
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        (void)snprintf(ret_why, SETTINGS_WHY_CAP, "expected true or false, not \"%.100s\"", text);
        return false;
    }
    *(bool *)(void *)((char *)c + s->offset) = text[0] == 't';
    return true;
}

bool settings_set(struct config *c, const struct setting *s, const char *text, bool more,
                  char ret_why[SETTINGS_WHY_CAP])
{
    void *to = (char *)c + s->offset;
    switch (s->kind) {
    case SETTING_PATH:
        return set_path(to, text, ret_why);
    case SETTING_ADDRESSES:
        return set_address(to, text, more, ret_why);
    case SETTING_METRICS_ADDRESS:
        return set_metrics_address(to, text, ret_why);
    case SETTING_LEVEL:
    case SETTING_BOOL:
        return set_word(c, s, text, ret_why);
    case SETTING_COUNT:
    case SETTING_BYTES:
    case SETTING_DURATION:
        return set_number(to, s, text, ret_why);
    }
    return false;
}

void settings_format(const struct config *c, const struct setting *s,
                     char ret_text[CONFIG_VALUE_CAP])
{
    const void *from = (const char *)c + s->offset;
    const struct config_addresses *list = from;
    size_t used = 0;
    ret_text[0] = '\0';
    switch (s->kind) {
    case SETTING_PATH:
    case SETTING_METRICS_ADDRESS:
        (void)snprintf(ret_text, CONFIG_VALUE_CAP, "%s", (const char *)from);
        return;
    case SETTING_ADDRESSES:
        for (size_t i = 0; i < list->n; i++)
            used += (size_t)snprintf(ret_text + used, CONFIG_VALUE_CAP - used, "%s%s",
                                     i ? ", " : "", list->text[i]);
        return;
    case SETTING_LEVEL:
        (void)snprintf(ret_text, CONFIG_VALUE_CAP, "%s", log_level_name(c->log_level));
        return;
    case SETTING_BOOL:
        (void)snprintf(ret_text, CONFIG_VALUE_CAP, "%s", *(const bool *)from ? "true" : "false");
        return;
    case SETTING_COUNT:
    case SETTING_BYTES:
    case SETTING_DURATION:
        format_number(s, *(const int64_t *)from, ret_text, CONFIG_VALUE_CAP);
        return;
    }
}

void settings_about(const struct setting *s, char ret_text[CONFIG_ABOUT_CAP])
{
    char min[32], max[32];
    if (s->max == 0) {
        (void)snprintf(ret_text, CONFIG_ABOUT_CAP, "%s", s->about);
        return;
    }
    format_number(s, s->min, min, sizeof min);
    format_number(s, s->max, max, sizeof max);
    (void)snprintf(ret_text, CONFIG_ABOUT_CAP, "%s [%s, %s]", s->about, min, max);
}

const struct setting *settings_find(const char *key)
{
    for (size_t i = 0; i < settings_n; i++)
        if (!strcmp(settings[i].key, key))
            return &settings[i];
    return NULL;
}

struct config_origin *settings_origin(const struct config *c, const struct setting *s)
{
    return &c->origins[s - settings];
}

bool settings_is_section(const char *name)
{
    const size_t n = strlen(name);
    for (size_t i = 0; i < settings_n; i++)
        if (!strncmp(settings[i].key, name, n) && settings[i].key[n] == '.')
            return true;
    return false;
}

const char *settings_list(const char *section, char *ret_text, size_t cap)
{
    const size_t skip = *section ? strlen(section) + 1 : 0;
    size_t used = 0;
    const char *last = "";
    size_t last_n = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < settings_n; i++) {
        const char *key = settings[i].key;
        if (skip && (strncmp(key, section, skip - 1) != 0 || key[skip - 1] != '.'))
            continue;
        const size_t n = strcspn(key + skip, ".");
        if (n == last_n && !strncmp(key + skip, last, n))
            continue;
        last = key + skip;
        last_n = n;
        const int put =
            snprintf(ret_text + used, cap - used, "%s%.*s", used ? ", " : "", (int)n, last);
        used = used + (size_t)put < cap ? used + (size_t)put : cap - 1;
    }
    return ret_text;
}
