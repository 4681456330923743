/* ctl.h - what every command of shuntctl shares: where the server is, and how an answer ends.
 * Why: one place decides exit codes and what people are told when a server says no or is not there.
 * Exit codes are a contract (--help lists them).
 * Owns: the channels, opened on first use. Threads: one. */
#pragma once

#include "client/call.h"

#include <jansson.h>
#include <stdbool.h>

enum ctl_exit {
    CTL_OK = 0,
    CTL_REFUSED = 1,     /* The server said no, or the work failed here. */
    CTL_USAGE = 2,       /* The command line or a file it names is wrong. */
    CTL_UNREACHABLE = 3, /* No server there, or no answer in time. */
    CTL_DIFFERS = 4,     /* verify found a difference. */
};

enum ctl_service { CTL_ROUTER, CTL_ADMIN };

#define CTL_ADDRESS_CAP 512

struct ctl {
    char server[CTL_ADDRESS_CAP], admin[CTL_ADDRESS_CAP];
    /* By flag: a server that the shell names is to be asked, not to be played on or to read files.
     */
    bool server_given, admin_given;
    bool json;
    double timeout_s;    /* 0: the command's own. */
    bool tls_asked;      /* For the router service; the admin service is local. */
    struct call_tls tls; /* Borrowed from the command line or the environment. */
    struct call_channel *channels[2];
};

/* Fills the addresses from the environment (SHUNT_SERVER, SHUNT_ADMIN, SHUNT_DATA_DIR). */
void ctl_init(struct ctl *ctl);
void ctl_done(struct ctl *ctl);
/* False: longer than an address may be. */
bool ctl_set_server(struct ctl *ctl, const char *address);
bool ctl_set_admin(struct ctl *ctl, const char *address);

/* How the router service is reached: NULL is plaintext. */
const struct call_tls *ctl_tls(const struct ctl *ctl);

/* Calls "RouteRequest" and the like and waits. On CTL_OK *ret_response is the caller's
 * (protobuf_c_message_free_unpacked). Otherwise the reason is on stderr. */
enum ctl_exit ctl_call(struct ctl *ctl, enum ctl_service service, const char *method,
                       const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                       ProtobufCMessage **ret_response);
/* The same for work that may take minutes: waits up to an hour and shows that it goes on. */
enum ctl_exit ctl_call_long(struct ctl *ctl, enum ctl_service service, const char *method,
                            const char *label, const ProtobufCMessage *request,
                            const ProtobufCMessageDescriptor *response,
                            ProtobufCMessage **ret_response);
/* The same as ctl_call, but silent: the caller says what it means. */
enum ctl_exit ctl_try(struct ctl *ctl, enum ctl_service service, const char *method,
                      double timeout_s, const ProtobufCMessage *request,
                      const ProtobufCMessageDescriptor *response, ProtobufCMessage **ret_response,
                      struct call_error *ret_error);
/* A call whose answers keep coming: `each` gets every message, until it returns false (CTL_OK) or
 * the server ends the stream (the reason is on stderr). */
enum ctl_exit ctl_watch(struct ctl *ctl, enum ctl_service service, const char *method,
                        const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
                        bool (*each)(void *ctx, ProtobufCMessage *message), void *ctx);
/* Says on stderr why a call failed: code, message and what may help. */
void ctl_explain(const struct ctl *ctl, enum ctl_service service, const struct call_error *error);

/* "shuntctl: ..." on stderr; returns code. */
enum ctl_exit ctl_fail(enum ctl_exit code, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A message in its generic form on stdout: a field that the server left out is left out, a list or
 * map is there though empty. */
enum ctl_exit ctl_print_message(const ProtobufCMessage *message);
/* Takes json (NULL: out of memory) and prints it on stdout. */
enum ctl_exit ctl_print_json(json_t *json);
/* The whole of a file, "-" for standard input, with a NUL behind it; the caller frees *ret. */
enum ctl_exit ctl_read_file(const char *path, size_t max, char **ret, size_t *ret_len);
/* Into a file (0600) that appears whole or not at all; "-" for standard output. */
enum ctl_exit ctl_write_file(const char *path, const void *bytes, size_t len);
/* Whether stdout is a terminal that shows bold. */
bool ctl_bold(void);
/* The program `shuntd` beside this one, else the bare name, to be looked for on PATH. */
void ctl_find_shuntd(char *ret, size_t cap);
