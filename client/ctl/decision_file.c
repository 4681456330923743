#include "client/ctl/decision_file.h"

#include "proto/form/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define LINE_MAX_BYTES (1 << 20)

static enum ctl_exit spec_write(Shunt__V1__RouterSpec *spec, FILE *out)
{
    json_t *json = NULL;
    struct form_error error;
    if (form_json_from_message(&spec->base, 0, &json, &error) != FORM_OK)
        return ctl_fail(CTL_REFUSED, "%s", error.text);
    json_object_del(json, "arms");
    json_t *line = json_pack("{s:o}", "router_spec", json);
    char *text = line ? form_json_print(line, 0) : NULL;
    json_decref(line);
    bool ok = text && fprintf(out, "%s\n", text) > 0;
    free(text);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "the first line cannot be written");
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
    if (code == CTL_OK) {
        Shunt__V1__RouterSpec *spec = ((Shunt__V1__RouterInfo *)response)->spec;
        code = spec ? spec_write(spec, out)
                    : ctl_fail(CTL_REFUSED, "the server did not say what the router is");
    }
    protobuf_c_message_free_unpacked(response, NULL);
    return code;
}

static enum ctl_exit spec_read(const char *path, const char *text, size_t len,
                               Shunt__V1__RouterSpec **ret)
{
    json_t *json = NULL;
    ProtobufCMessage *message = NULL;
    struct form_error error;
    if (form_json_parse(text, len, &json, &error) != FORM_OK)
        return CTL_OK; /* Whoever reads the rows says what is wrong with it. */
    json_t *spec = json_object_get(json, "router_spec");
    enum form_result result =
        spec ? form_message_from_json(&shunt__v1__router_spec__descriptor, spec, &message, &error)
             : FORM_OK;
    json_decref(json);
    if (result != FORM_OK)
        return ctl_fail(CTL_USAGE, "%s:1: router_spec.%s", path, error.text);
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
    const char *line = text ? gzgets(in, text, LINE_MAX_BYTES) : NULL;
    gzclose(in);
    enum ctl_exit code = text ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
    if (line)
        code = spec_read(path, line, strlen(line), ret);
    free(text);
    return code;
}
