#include "client/ctl/command.h"

#include "client/ctl/args.h"
#include "proto/form/field.h"
#include "shunt/v1/admin.pb-c.h"

#include <stdio.h>
#include <string.h>

#define PATH_CAP 256

const char *command_value(const struct command_input *in, const char *name)
{
    for (size_t i = in->values_n; i-- > 0;)
        if (strcmp(in->values[i].option->name, name) == 0)
            return in->values[i].value ? in->values[i].value : "";
    return NULL;
}

static enum ctl_exit set(ProtobufCMessage *message, const char *option, const char *path,
                         const char *value)
{
    struct form_error error;
    if (form_set_field(message, path, value, &error) == FORM_OK)
        return CTL_OK;
    return ctl_fail(CTL_USAGE, "--%s: %s", option, error.text);
}

static enum ctl_exit set_pairs(ProtobufCMessage *message, const struct command_option *option,
                               const char *text)
{
    struct args_pairs pairs = {.n = 0};
    struct args_error error;
    if (!args_pairs_add(text, -1e300, 1e300, &pairs, &error))
        return ctl_fail(CTL_USAGE, "--%s: %s", option->name, error.text);
    for (size_t i = 0; i < pairs.n; i++) {
        char path[PATH_CAP], value[32];
        snprintf(path, sizeof path, "%s.%s", option->path, pairs.items[i].name);
        snprintf(value, sizeof value, "%.17g", pairs.items[i].value);
        enum ctl_exit code = set(message, option->name, path, value);
        if (code != CTL_OK)
            return code;
    }
    return CTL_OK;
}

static enum ctl_exit set_pair(ProtobufCMessage *message, const struct command_option *option,
                              const char *text)
{
    char path[2 * PATH_CAP];
    size_t key = strcspn(text, "=");
    if (key == 0 || strlen(option->path) + 1 + key >= sizeof path)
        return ctl_fail(CTL_USAGE, "--%s: '%.64s' is not KEY=VALUE", option->name, text);
    snprintf(path, sizeof path, "%s.%.*s", option->path, (int)key, text);
    return set(message, option->name, path, text[key] ? text + key + 1 : "");
}

/* The message that a path like "spec." names within this one, or NULL. */
static const ProtobufCMessageDescriptor *message_at(const ProtobufCMessageDescriptor *message,
                                                    const char *path)
{
    size_t len = strcspn(path, ".");
    if (len == 0)
        return message;
    const ProtobufCFieldDescriptor *field = form_field_find(message, path, len);
    return field && field->type == PROTOBUF_C_TYPE_MESSAGE ? field->descriptor : NULL;
}

/* A misspelt setting is the likeliest mistake: the answer names settings, not fields around them.
 */
static enum ctl_exit no_setting(const char *key)
{
    char names[2048];
    form_field_list(&shunt__v1__router_settings__descriptor, names, sizeof names);
    return ctl_fail(CTL_USAGE, "--set: there is no setting `%.64s`; there are %s", key, names);
}

enum ctl_exit command_setting(ProtobufCMessage *message, const char *settings, const char *spec,
                              const char *text)
{
    char key[PATH_CAP], path[2 * PATH_CAP];
    const char *eq = strchr(text, '=');
    if (!eq || eq == text || (size_t)(eq - text) >= sizeof key)
        return ctl_fail(CTL_USAGE, "--set: '%.64s' is not KEY=VALUE", text);
    snprintf(key, sizeof key, "%.*s", (int)(eq - text), text);
    const ProtobufCMessageDescriptor *around = message_at(message->descriptor, spec);
    if (form_field_find(&shunt__v1__router_settings__descriptor, key, strcspn(key, ".[")))
        snprintf(path, sizeof path, "%s.%s", settings, key);
    else if (around && !form_field_find(around, key, strcspn(key, ".[")))
        return no_setting(key);
    else
        snprintf(path, sizeof path, "%s%s", spec, key);
    return set(message, "set", path, eq + 1);
}

/* The path of a router's settings within the request: RouterSpec lies under `spec` when adding. */
static enum ctl_exit set_setting(ProtobufCMessage *message, const struct command_option *option,
                                 const char *text)
{
    char settings[PATH_CAP];
    snprintf(settings, sizeof settings, "%ssettings", option->path);
    return command_setting(message, settings, option->path, text);
}

enum ctl_exit command_fill(const struct command_input *in, ProtobufCMessage *message)
{
    enum ctl_exit code = CTL_OK;
    for (size_t i = 0; i < in->values_n && code == CTL_OK; i++) {
        const struct command_option *option = in->values[i].option;
        switch (option->kind) {
        case COMMAND_SET:
            code = set(message, option->name, option->path, in->values[i].value);
            break;
        case COMMAND_FLAG:
            code = set(message, option->name, option->path, "true");
            break;
        case COMMAND_PAIRS:
            code = set_pairs(message, option, in->values[i].value);
            break;
        case COMMAND_PAIR:
            code = set_pair(message, option, in->values[i].value);
            break;
        case COMMAND_SETTING:
            code = set_setting(message, option, in->values[i].value);
            break;
        case COMMAND_LOCAL:
        case COMMAND_SWITCH:
            break;
        }
    }
    return code;
}

/* The contract's required fields that an option fills: absent, they would be sent as 0 or empty,
 * and the server would speak of a bad name or range where something is missing. */
static enum ctl_exit all_given(const struct command_input *in)
{
    const ProtobufCMessageDescriptor *type = in->command->request;
    for (const struct command_option *o = in->command->options; o->name; o++) {
        if (o->kind != COMMAND_SET || command_value(in, o->name))
            continue;
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(type, o->path);
        if (field && field->label == PROTOBUF_C_LABEL_REQUIRED)
            return ctl_fail(CTL_USAGE, "%s needs --%s %s (%s)", in->command->words, o->name, o->arg,
                            o->doc);
    }
    return CTL_OK;
}

enum ctl_exit command_request(const struct command_input *in, ProtobufCMessage **ret)
{
    const struct command *command = in->command;
    struct form_error error;
    enum ctl_exit code = all_given(in);
    if (code != CTL_OK)
        return code;
    ProtobufCMessage *message = form_message_new(command->request);
    if (!message)
        return ctl_fail(CTL_REFUSED, "out of memory");
    if (command->positional_path && in->positional_n &&
        form_set_field(message, command->positional_path, in->positional[0], &error) != FORM_OK)
        code = ctl_fail(CTL_USAGE, "%s", error.text);
    if (code == CTL_OK && command->fixed[0] &&
        form_set_field(message, command->fixed[0], command->fixed[1], &error) != FORM_OK)
        code = ctl_fail(CTL_REFUSED, "%s", error.text);
    if (code == CTL_OK)
        code = command_fill(in, message);
    if (code == CTL_OK)
        *ret = message;
    else
        protobuf_c_message_free_unpacked(message, NULL);
    return code;
}

enum ctl_exit command_send(struct ctl *ctl, const struct command_input *in,
                           const ProtobufCMessage *request)
{
    const struct command *command = in->command;
    ProtobufCMessage *response = NULL;
    enum ctl_exit code = command->long_label ? ctl_call_long(ctl, command->service, command->method,
                                                             command->long_label, request,
                                                             command->response, &response)
                                             : ctl_call(ctl, command->service, command->method,
                                                        request, command->response, &response);
    if (code == CTL_OK)
        code = ctl->json ? ctl_print_message(response) : command->print(ctl, response);
    protobuf_c_message_free_unpacked(response, NULL);
    return code;
}

enum ctl_exit command_call(struct ctl *ctl, const struct command_input *in)
{
    ProtobufCMessage *request = NULL;
    enum ctl_exit code = command_request(in, &request);
    if (code == CTL_OK)
        code = command_send(ctl, in, request);
    protobuf_c_message_free_unpacked(request, NULL);
    return code;
}
