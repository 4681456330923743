#include "server/rpc/reflect.h"

#include "grpc/reflection/v1alpha/reflection.pb-c.h"
#include "server/rpc/descriptor_set.h"
#include "server/rpc/descriptors.h"

#include <grpc/status.h>
#include <string.h>

typedef Grpc__Reflection__V1alpha__ServerReflectionRequest request_t;
typedef Grpc__Reflection__V1alpha__ServerReflectionResponse response_t;

static char *copy(struct arena *arena, const char *text)
{
    return arena_text(arena, text, strlen(text));
}

static bool put_services(const char *service, struct arena *arena, response_t *r)
{
    const char *const names[] = {service, "grpc.health.v1.Health",
                                 "grpc.reflection.v1alpha.ServerReflection"};
    enum { N = sizeof names / sizeof *names };
    Grpc__Reflection__V1alpha__ListServiceResponse *list = arena_alloc(arena, sizeof *list);
    Grpc__Reflection__V1alpha__ServiceResponse *rows = arena_array(arena, N, sizeof *rows);
    if (!list || !rows)
        return false;
    grpc__reflection__v1alpha__list_service_response__init(list);
    list->service = arena_array(arena, N, sizeof *list->service);
    if (!list->service)
        return false;
    for (size_t i = 0; i < N; i++) {
        grpc__reflection__v1alpha__service_response__init(&rows[i]);
        rows[i].name = copy(arena, names[i]);
        if (!rows[i].name)
            return false;
        list->service[i] = &rows[i];
    }
    list->n_service = N;
    r->message_response_case =
        GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    r->list_services_response = list;
    return true;
}

static bool put_error(int status, const char *text, struct arena *arena, response_t *r)
{
    Grpc__Reflection__V1alpha__ErrorResponse *e = arena_alloc(arena, sizeof *e);
    if (!e)
        return false;
    grpc__reflection__v1alpha__error_response__init(e);
    e->error_code = status;
    e->error_message = copy(arena, text);
    r->message_response_case =
        GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    r->error_response = e;
    return e->error_message != NULL;
}

static bool put_file(const struct descriptors *d, int file, struct arena *arena, response_t *r)
{
    int files[DESCRIPTOR_FILES_MAX];
    if (file < 0)
        return put_error(GRPC_STATUS_NOT_FOUND,
                         "no file or symbol of this name; list_services "
                         "says what there is",
                         arena, r);
    size_t n = descriptors_closure(d, file, files);
    Grpc__Reflection__V1alpha__FileDescriptorResponse *f = arena_alloc(arena, sizeof *f);
    if (!f)
        return false;
    grpc__reflection__v1alpha__file_descriptor_response__init(f);
    f->file_descriptor_proto = arena_array(arena, n, sizeof *f->file_descriptor_proto);
    if (!f->file_descriptor_proto)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct slice bytes = d->files[files[i]].bytes;
        uint8_t *own = arena_alloc(arena, bytes.len);
        if (!own)
            return false;
        memcpy(own, bytes.data, bytes.len);
        f->file_descriptor_proto[i] = (ProtobufCBinaryData){bytes.len, own};
    }
    f->n_file_descriptor_proto = n;
    r->message_response_case =
        GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    r->file_descriptor_response = f;
    return true;
}

static bool put_answer(const request_t *q, const struct descriptors *d, const char *service,
                       struct arena *arena, response_t *r)
{
    switch (q->message_request_case) {
    case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        return put_services(service, arena, r);
    case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        return put_file(d, descriptors_by_name(d, slice_text(q->file_by_filename)), arena, r);
    case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        return put_file(d, descriptors_by_symbol(d, slice_text(q->file_containing_symbol)), arena,
                        r);
    case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
    case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        return put_error(GRPC_STATUS_NOT_FOUND, "there are no extensions", arena, r);
    case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
    case _GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__CASE_IS_INT_SIZE:
        break;
    }
    return put_error(GRPC_STATUS_INVALID_ARGUMENT, "the request asks nothing", arena, r);
}

enum err reflect(const ProtobufCMessage *request, const char *service, struct arena *arena,
                 ProtobufCMessage **ret_response, struct err_detail *detail)
{
    union { /* The answer repeats the question; it is packed, never written. */
        const ProtobufCMessage *in;
        request_t *out;
    } question = {.in = request};
    struct descriptors d;
    if (descriptors_split((struct slice){descriptor_set, descriptor_set_bytes}, &d) != OK)
        return err_say(detail, ERR_INTERNAL, "the embedded descriptors cannot be read");
    response_t *r = arena_alloc(arena, sizeof *r);
    if (!r)
        return arena_error(arena, detail);
    grpc__reflection__v1alpha__server_reflection_response__init(r);
    r->valid_host = question.out->host;
    r->original_request = question.out;
    if (!put_answer(question.out, &d, service, arena, r))
        return arena_error(arena, detail);
    *ret_response = &r->base;
    return OK;
}
