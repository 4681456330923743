/* command.h - a command of shuntctl as a row of a table.
 * Why: most commands are a request filled from the command line, one call, and a table of the
 * answer. The options name the field they fill by its path in the message (proto/form/set.h), so a
 * new field of the contract is a new row here.
 * Owns: nothing; the rows are constants, the values point into argv. Threads: one. */
#pragma once

#include "client/ctl/ctl.h"
#include "proto/form/set.h"

#define COMMAND_VALUES_MAX 256
#define COMMAND_POSITIONALS_MAX 64

enum command_kind {
    COMMAND_SET,   /* The value goes to the field. */
    COMMAND_FLAG,  /* "true" goes to the field. */
    COMMAND_PAIRS, /* NAME=VALUE[,...]: VALUE goes to the field path.NAME. */
    COMMAND_PAIR,  /* KEY=TEXT, or KEY alone for an empty text: TEXT goes to the field path.KEY. */
    COMMAND_SETTING, /* KEY=VALUE: to RouterSettings if it has KEY, else to the spec. */
    COMMAND_LOCAL,   /* The command itself asks for it. */
    COMMAND_SWITCH,  /* The same, without a value. */
};

struct command_option {
    const char *name; /* Long name. */
    const char *arg;  /* Name of the value in --help; NULL: none. */
    const char *doc;
    const char *path;
    enum command_kind kind;
};

struct command;
struct command_input {
    const struct command *command;
    const char *positional[COMMAND_POSITIONALS_MAX];
    size_t positional_n;
    struct {
        const struct command_option *option;
        const char *value; /* NULL: no value. */
    } values[COMMAND_VALUES_MAX];
    size_t values_n;
};

struct command {
    const char *words;                    /* "router add" */
    const char *args;                     /* "NAME" */
    const char *doc;                      /* One line, then details. */
    const struct command_option *options; /* Ends with a row without a name. */
    size_t positional_min, positional_max;
    bool letter_f; /* -f is short for --file. */
    enum ctl_exit (*run)(struct ctl *ctl, const struct command_input *in);

    /* The rest is for command_call. */
    enum ctl_service service;
    const char *method;
    const ProtobufCMessageDescriptor *request, *response;
    const char *positional_path; /* Field that the first positional fills. */
    const char *fixed[2];        /* A field and its value, always set. */
    const char *long_label;      /* Set: the call may take minutes. */
    enum ctl_exit (*print)(const struct ctl *ctl, const ProtobufCMessage *response);
};

/* Value of a COMMAND_LOCAL or COMMAND_SWITCH option: NULL if it was not given; "" for a switch. The
 * last one counts. */
const char *command_value(const struct command_input *in, const char *name);
/* Fills a request from the positional and the options. The caller frees *ret. */
enum ctl_exit command_request(const struct command_input *in, ProtobufCMessage **ret);
/* The options alone, onto a message that is there already. */
enum ctl_exit command_fill(const struct command_input *in, ProtobufCMessage *message);
/* One KEY=VALUE of --set. settings: path of the RouterSettings; spec: prefix of other keys. */
enum ctl_exit command_setting(ProtobufCMessage *message, const char *settings, const char *spec,
                              const char *text);
/* command->run for most: fill, call, print (as JSON when asked). */
enum ctl_exit command_call(struct ctl *ctl, const struct command_input *in);
/* The call and the printing, with a request that the command made. */
enum ctl_exit command_send(struct ctl *ctl, const struct command_input *in,
                           const ProtobufCMessage *request);
