/* Text from users into messages: JSON (first byte even) and YAML (odd), then whatever was read into
 * JSON and back, which must give the same bytes. A line after NUL is a KEY=VALUE setting. */
#include "proto/form/json.h"
#include "proto/form/set.h"
#include "proto/form/yaml.h"
#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static const ProtobufCMessageDescriptor *const types[] = {
    &shunt__v1__router_spec__descriptor,           &shunt__v1__route_request__descriptor,
    &shunt__v1__report_reward_request__descriptor, &shunt__v1__stats_response__descriptor,
    &shunt__v1__router_info__descriptor,           &shunt__v1__explain_response__descriptor};

static ProtobufCMessage *read_yaml(const ProtobufCMessageDescriptor *type, const char *text,
                                   size_t len, struct form_error *error)
{
    yaml_document_t document;
    ProtobufCMessage *message = NULL;
    if (form_yaml_parse(text, len, "fuzz.yaml", &document, error) != FORM_OK)
        return NULL;
    enum form_result r = form_message_from_yaml(
        type, &document, yaml_document_get_root_node(&document), "fuzz.yaml", &message, error);
    FUZZ_CHECK((r == FORM_OK) == (message != NULL));
    yaml_document_delete(&document);
    return message;
}

static ProtobufCMessage *read_json(const ProtobufCMessageDescriptor *type, const char *text,
                                   size_t len, struct form_error *error)
{
    json_t *json;
    ProtobufCMessage *message = NULL;
    if (form_json_parse(text, len, &json, error) != FORM_OK)
        return NULL;
    enum form_result r = form_message_from_json(type, json, &message, error);
    FUZZ_CHECK((r == FORM_OK) == (message != NULL));
    json_decref(json);
    return message;
}

static uint8_t *packed(const ProtobufCMessage *message, size_t *ret_len)
{
    *ret_len = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(*ret_len + 1);
    FUZZ_CHECK(bytes && protobuf_c_message_pack(message, bytes) == *ret_len);
    return bytes;
}

/* JSON cannot hold text that is not UTF-8, which YAML's reader and JSON's have refused already; a
 * map may come back in the same order only. */
static void check_same_after_json(const ProtobufCMessage *message)
{
    struct form_error error;
    json_t *json;
    size_t len, again_len;
    FUZZ_CHECK(form_json_from_message(message, 0, &json, &error) == FORM_OK);
    char *text = form_json_print(json, 0);
    FUZZ_CHECK(text != NULL);
    ProtobufCMessage *again = read_json(message->descriptor, text, strlen(text), &error);
    FUZZ_CHECK(again != NULL);
    uint8_t *bytes = packed(message, &len), *again_bytes = packed(again, &again_len);
    FUZZ_CHECK(len == again_len && memcmp(bytes, again_bytes, len) == 0);
    free(bytes);
    free(again_bytes);
    protobuf_c_message_free_unpacked(again, NULL);
    free(text);
    json_decref(json);
}

static void set_one(ProtobufCMessage *message, const char *text, size_t len)
{
    struct form_error error = {""};
    char *line = malloc(len + 1);
    FUZZ_CHECK(line != NULL);
    memcpy(line, text, len);
    line[len] = '\0';
    char *value = strchr(line, '=');
    if (value)
        *value++ = '\0';
    if (form_set_field(message, line, value ? value : "", &error) != FORM_OK)
        FUZZ_CHECK(error.text[0] != '\0');
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const ProtobufCMessageDescriptor *type = types[data[0] / 2 % (sizeof types / sizeof *types)];
    const char *text = (const char *)data + 1;
    const char *nul = memchr(text, '\0', size - 1);
    size_t len = nul ? (size_t)(nul - text) : size - 1;
    struct form_error error = {""};
    ProtobufCMessage *message =
        data[0] % 2 ? read_yaml(type, text, len, &error) : read_json(type, text, len, &error);
    if (!message) {
        FUZZ_CHECK(error.text[0] != '\0');
        return 0;
    }
    check_same_after_json(message);
    if (nul)
        set_one(message, nul + 1, size - 1 - len - 1);
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}
