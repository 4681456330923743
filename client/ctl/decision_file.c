#include "client/ctl/decision_file.h"

#include "proto/form/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define LINE_MAX_BYTES (1 << 20)

/* {key: json}, a line. Takes json. */
static bool line_write(const char *key, json_t *json, FILE *out)
{
    json_t *line = json_pack("{s:o}", key, json);
    char *text = line ? form_json_print(line, 0) : NULL;
    json_decref(line);
    bool ok = text && fprintf(out, "%s\n", text) > 0;
    free(text);
    return ok;
}

static enum ctl_exit message_write(const char *key, const ProtobufCMessage *message, FILE *out)
{
    json_t *json = NULL;
    struct form_error error;
    if (!message)
        return ctl_fail(CTL_REFUSED, "the server did not say what the router is");
    if (form_json_from_message(message, 0, &json, &error) != FORM_OK)
        return ctl_fail(CTL_REFUSED, "%s", error.text);
    return line_write(key, json, out) ? CTL_OK
                                      : ctl_fail(CTL_REFUSED, "the first lines cannot be written");
}

static enum ctl_exit info_write(const Shunt__V1__RouterInfo *info, FILE *out)
{
    enum ctl_exit code = message_write("router_spec", info->spec ? &info->spec->base : NULL, out);
    for (size_t i = 0; i < info->n_arms && code == CTL_OK; i++) {
        const Shunt__V1__ArmSpec *arm = info->arms[i]->spec;
        code = message_write("arm_spec", arm ? &arm->base : NULL, out);
    }
    return code;
}

enum ctl_exit decision_file_begin(struct ctl *ctl, const char *router, FILE *out)
{
    Shunt__V1__GetRouterRequest request = SHUNT__V1__GET_ROUTER_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    char name[CTL_ADDRESS_CAP];
    snprintf(name, sizeof name, "%s", router);
    request.name = name;
    enum ctl_exit code = ctl_call(ctl, CTL_ADMIN, "GetRouter", &request.base,
                                  &shunt__v1__router_info__descriptor, &response);
    if (code == CTL_OK)
        code = info_write((const Shunt__V1__RouterInfo *)response, out);
    protobuf_c_message_free_unpacked(response, NULL);
    return code;
}

/* One line of a file: what it declares goes into spec; *ret_more false: it declares nothing. A line
 * that is no JSON is left to whoever reads the rows, who says what is wrong with it. */
static void line_read(const char *text, size_t len, json_t **spec, bool *ret_more)
{
    json_t *json = NULL;
    struct form_error error;
    *ret_more = false;
    if (form_json_parse(text, len, &json, &error) != FORM_OK)
        return;
    json_t *router = json_object_get(json, "router_spec"), *arm = json_object_get(json, "arm_spec");
    if (router && !*spec) {
        *spec = json_incref(router);
        *ret_more = true;
    } else if (arm && *spec) {
        json_t *arms = json_object_get(*spec, "arms");
        if (!arms && json_object_set_new(*spec, "arms", json_array()) == 0)
            arms = json_object_get(*spec, "arms");
        *ret_more = json_array_append(arms, arm) == 0;
    }
    json_decref(json);
}

static enum ctl_exit spec_make(const char *path, json_t *spec, Shunt__V1__RouterSpec **ret)
{
    ProtobufCMessage *message = NULL;
    struct form_error error;
    if (form_message_from_json(&shunt__v1__router_spec__descriptor, spec, &message, &error) !=
        FORM_OK)
        return ctl_fail(CTL_USAGE, "%s: router_spec.%s", path, error.text);
    *ret = (Shunt__V1__RouterSpec *)message;
    return CTL_OK;
}

enum ctl_exit decision_file_spec(const char *path, Shunt__V1__RouterSpec **ret)
{
    *ret = NULL;
    gzFile in = gzopen(path, "rb");
    if (!in)
        return ctl_fail(CTL_USAGE, "%s: %s", path, strerror(errno));
    char *text = malloc(LINE_MAX_BYTES);
    json_t *spec = NULL;
    const char *line = text;
    for (bool more = text != NULL; more && line;) {
        line = gzgets(in, text, LINE_MAX_BYTES);
        if (line)
            line_read(line, strlen(line), &spec, &more);
    }
    gzclose(in);
    free(text);
    enum ctl_exit code = text ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
    if (code == CTL_OK && spec)
        code = spec_make(path, spec, ret);
    json_decref(spec);
    return code;
}
