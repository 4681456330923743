/* config.h - what a process is told at start: addresses, paths, limits. Not what it learns: routers
 * and arms are state, changed by admin events (`bootstrap:` only creates what is absent).
 * Why: one table of settings (config.c) drives the YAML file, the command line, --help and
 * `shuntctl config`, so that none of them can know a setting the others do not.
 * Order: defaults, then --config FILE, then the command line; the later wins whole settings.
 * Errors in the file read FILE:LINE:COLUMN: what is wrong and what was expected.
 * Owns: everything inside; the parsed file stays for `bootstrap:`.
 * Threads: built by main before there are others; constant afterwards.
 * Invariant: a loaded config has every value in its range, absolute-or-as-given paths that fit, and
 * no plaintext address beyond this machine unless allow_plaintext_non_loopback says so. */
#pragma once

#include "server/ops/log.h"
#include "state/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct yaml_document_s;
struct yaml_node_s;

#define CONFIG_PATH_CAP 1024
#define CONFIG_ADDRESS_CAP 256
#define CONFIG_ADDRESSES_MAX 8
#define CONFIG_VALUE_CAP 2304 /* CONFIG_ADDRESSES_MAX addresses, joined. */
#define CONFIG_SOURCE_CAP 48
#define CONFIG_ABOUT_CAP 320

enum config_command {
    CONFIG_SERVE,
    CONFIG_VERIFY,  /* shuntd verify --data-dir DIR */
    CONFIG_RESTORE, /* shuntd restore --from BACKUP --data-dir DIR */
    CONFIG_VERSION, /* shuntd version, shuntd --version */
    CONFIG_HELP     /* shuntd --help: call config_print_help */
};

struct config_addresses {
    char text[CONFIG_ADDRESSES_MAX][CONFIG_ADDRESS_CAP];
    size_t n;
};

struct config {
    enum config_command command;
    char restore_from[CONFIG_PATH_CAP]; /* Of `shuntd restore`. */
    char file[CONFIG_PATH_CAP];         /* --config; "" if none. */

    char data_dir[CONFIG_PATH_CAP];
    struct config_addresses listen;          /* Data plane. HOST:PORT or unix:PATH. */
    struct config_addresses admin_listen;    /* Control plane. */
    char metrics_listen[CONFIG_ADDRESS_CAP]; /* HOST:PORT, or "none". */
    enum log_level log_level;
    int64_t rpc_threads;
    int64_t max_in_flight;  /* RouteRequest and ReportReward calls at once. */
    int64_t inbox_capacity; /* Outcomes waiting for the writer. */
    int64_t max_text_bytes;
    int64_t drain_grace_us;
    int64_t max_connection_age_us;
    bool allow_plaintext_non_loopback;
    struct {
        char dir[CONFIG_PATH_CAP];
        int64_t keep_us, max_bytes, ring_bytes;
    } decision_log;
    struct {
        int64_t map_bytes, keep_us, max_bytes;
    } journal;
    struct {
        int64_t every_events, every_us;
    } checkpoint;
    struct {
        char examples[CONFIG_PATH_CAP]; /* "": none. */
    } classifier;
    struct {
        char dir[CONFIG_PATH_CAP]; /* "": none. */
    } projection;
    struct {
        char token_file[CONFIG_PATH_CAP], ca_file[CONFIG_PATH_CAP]; /* "": none. */
    } engines;
    struct {
        char cert[CONFIG_PATH_CAP], key[CONFIG_PATH_CAP], client_ca[CONFIG_PATH_CAP]; /* "": off. */
    } tls;

    struct config_origin *origins;    /* One a setting: where its value came from. */
    struct yaml_document_s *document; /* The file, if there is one. */
    int bootstrap;                    /* Its `bootstrap:` node, 0 if none. */
};

/* Everything in one call. ERR_INVALID: the command line. ERR_PARSE: the file. ERR_NOT_FOUND: the
 * file cannot be read. detail has the sentence; for an unknown option getopt has already written
 * its own to stderr. */
MUST_USE enum err config_load(int argc, char **argv, struct config **ret_config,
                              struct err_detail *detail);
void config_free(struct config *config);
/* Usage and the table of settings. */
void config_print_help(FILE *out);

/* The settings, for GetConfig and `shuntctl config`. */
struct config_entry {
    const char *key;
    char value[CONFIG_VALUE_CAP];
    char source[CONFIG_SOURCE_CAP]; /* "default", "file:LINE" or "command line". */
    char about[CONFIG_ABOUT_CAP];   /* Unit, range, what it does. */
};
size_t config_entries_n(void);
void config_entry(const struct config *config, size_t i, struct config_entry *ret_entry);

/* The node of `bootstrap:` as parsed, for proto/form; false if the file has none. The document has
 * no alias and no anchor: it is a tree. Borrowed from config. */
bool config_bootstrap(const struct config *config, struct yaml_document_s **ret_document,
                      struct yaml_node_s **ret_node);

/* "64MiB", "5000000", "1GiB": bytes. Units B, KiB, MiB, GiB, TiB. */
MUST_USE enum err config_parse_bytes(const char *text, int64_t *ret_bytes);
/* "500ms", "10s", "5m" or "5min", "24h", "30d": microseconds. A unit is required. */
MUST_USE enum err config_parse_duration(const char *text, int64_t *ret_us);
/* Whether an address can be reached from this machine only: unix:PATH, 127.x.x.x, [::1],
 * localhost. */
bool config_address_is_local(const char *address);
