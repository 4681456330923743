/* transfer_commands.c - what an arm knows, out into a file and in again: arm export, arm import. */
#include "client/ctl/commands.h"
#include "shunt/v1/admin.pb-c.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define STATISTICS_MAX (3UL * 1024 * 1024) /* As many bytes as the server takes. */

static enum ctl_exit say_written(const struct ctl *ctl, const Shunt__V1__ArmStatistics *r,
                                 const char *path)
{
    if (ctl->json)
        return ctl_print_json(json_pack("{s:s,s:s,s:I,s:f,s:f}", "out", path, "arm", r->name,
                                        "bytes", (json_int_t)r->statistics.len, "rated_outcomes",
                                        r->rated_outcomes, "served_outcomes", r->served_outcomes));
    printf("%s: arm %s, version %u of router %s: %.10g rated and %.10g served outcomes; feature "
           "spec %016" PRIx64 ", metrics %016" PRIx64 "\n",
           path, r->name, r->version, r->router, r->rated_outcomes, r->served_outcomes,
           r->feature_spec_hash, r->metrics_hash);
    return CTL_OK;
}

static enum ctl_exit arm_export(struct ctl *ctl, const struct command_input *in)
{
    const char *path = command_value(in, "out");
    ProtobufCMessage *request = NULL, *response = NULL;
    if (!path)
        return ctl_fail(CTL_USAGE, "arm export needs --out FILE (- is standard output)");
    enum ctl_exit code = command_request(in, &request);
    if (code == CTL_OK)
        code = ctl_call(ctl, CTL_ADMIN, in->command->method, request, in->command->response,
                        &response);
    const Shunt__V1__ArmStatistics *r = (const void *)response;
    if (code == CTL_OK && (!r->has_statistics || !r->name || !r->router))
        code = ctl_fail(CTL_REFUSED, "the server sent no statistics");
    if (code == CTL_OK)
        code = ctl_write_file(path, r->statistics.data, r->statistics.len);
    if (code == CTL_OK && !(path[0] == '-' && path[1] == '\0'))
        code = say_written(ctl, r, path);
    if (request)
        protobuf_c_message_free_unpacked(request, NULL);
    if (response)
        protobuf_c_message_free_unpacked(response, NULL);
    return code;
}

static enum ctl_exit arm_import(struct ctl *ctl, const struct command_input *in)
{
    Shunt__V1__ImportArmRequest request = SHUNT__V1__IMPORT_ARM_REQUEST__INIT;
    char *bytes = NULL;
    ProtobufCMessage *filled = NULL;
    enum ctl_exit code =
        ctl_read_file(in->positional[0], STATISTICS_MAX, &bytes, &request.statistics.len);
    if (code == CTL_OK)
        code = command_request(in, &filled);
    if (code == CTL_OK) {
        const Shunt__V1__ImportArmRequest *options = (const void *)filled;
        size_t len = request.statistics.len;
        request = *options;
        request.statistics = (ProtobufCBinaryData){len, (uint8_t *)bytes};
        code = command_send(ctl, in, &request.base);
    }
    if (filled)
        protobuf_c_message_free_unpacked(filled, NULL);
    free(bytes);
    return code;
}

static enum ctl_exit print_imported(const struct ctl *ctl, const ProtobufCMessage *response)
{
    (void)ctl;
    const Shunt__V1__ArmInfo *arm = (const void *)response;
    printf("arm %s, version %u, begins with what was imported\n", arm->spec ? arm->spec->name : "?",
           arm->version);
    return CTL_OK;
}

#define END                                                                                        \
    {                                                                                              \
        NULL, NULL, NULL, NULL, COMMAND_SET                                                        \
    }
static const struct command_option export_options[] = {
    {"router", "ROUTER", "whose arm (default: default)", "router", COMMAND_SET},
    {"out", "FILE", "where to; - is standard output", NULL, COMMAND_LOCAL},
    END};
static const struct command_option import_options[] = {
    {"router", "ROUTER", "that gets the arm (default: default)", "router", COMMAND_SET},
    {"name", "NAME", "of the new arm (default: the name it was exported under)", "name",
     COMMAND_SET},
    {"strength", "N", "worth at most N outcomes, as a prior (default: all that is known)",
     "strength", COMMAND_SET},
    {"replace", NULL, "an arm of this name becomes an older version", "replace", COMMAND_FLAG},
    END};

const struct command transfer_commands[] = {
    {.words = "arm export",
     .doc =
         "Write what is known of an arm into a file.\vIts statistics and what is declared of it; "
         "no prompt and no decision. `arm import` begins an arm with it, in any router of the "
         "same feature spec, metrics and ridges: after `replay FILE --server S --router NAME` "
         "that is what the replay has taught.",
     .options = export_options,
     .args = "NAME",
     .positional_min = 1,
     .positional_max = 1,
     .positional_path = "name",
     .run = arm_export,
     .service = CTL_ADMIN,
     .method = "ExportArm",
     .request = &shunt__v1__export_arm_request__descriptor,
     .response = &shunt__v1__arm_statistics__descriptor},
    {.words = "arm import",
     .doc =
         "Add an arm that begins with what a file says.\vFILE is from `arm export`, - is "
         "standard input. Task labels that the router lacks are learned with it. Counts begin at "
         "0, so the arm is a newcomer: its first pulls are those of one.",
     .options = import_options,
     .args = "FILE",
     .positional_min = 1,
     .positional_max = 1,
     .run = arm_import,
     .print = print_imported,
     .service = CTL_ADMIN,
     .method = "ImportArm",
     .request = &shunt__v1__import_arm_request__descriptor,
     .response = &shunt__v1__arm_info__descriptor},
    {.words = NULL}};
