#include "server/rpc/core.h"
#include "server/rpc/status.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum err payload_view(grpc_byte_buffer *b, grpc_slice *ret_hold, struct slice *ret_bytes,
                      struct err_detail *detail)
{
    grpc_byte_buffer_reader reader;
    grpc_slice *only = NULL;
    if (!b)
        return err_say(detail, ERR_PARSE, "the call brought no message");
    if (b->type != GRPC_BB_RAW || b->data.raw.compression != GRPC_COMPRESS_NONE)
        return err_say(detail, ERR_UNSUPPORTED, "compressed messages are not taken");
    if (!grpc_byte_buffer_length(b)) {
        *ret_bytes = (struct slice){NULL, 0};
        return OK;
    }
    if (!grpc_byte_buffer_reader_init(&reader, b))
        return err_say(detail, ERR_PARSE, "the message cannot be read");
    if (b->data.raw.slice_buffer.count == 1 && grpc_byte_buffer_reader_peek(&reader, &only)) {
        /* In place: the slice stays where it is for as long as its buffer. */
        *ret_bytes = (struct slice){GRPC_SLICE_START_PTR(*only), GRPC_SLICE_LENGTH(*only)};
    } else {
        grpc_slice_unref(*ret_hold);
        *ret_hold = grpc_byte_buffer_reader_readall(&reader);
        *ret_bytes = (struct slice){GRPC_SLICE_START_PTR(*ret_hold), GRPC_SLICE_LENGTH(*ret_hold)};
    }
    grpc_byte_buffer_reader_destroy(&reader);
    return OK;
}

grpc_byte_buffer *payload_pack(const ProtobufCMessage *m)
{
    grpc_slice bytes = grpc_slice_malloc(protobuf_c_message_get_packed_size(m));
    protobuf_c_message_pack(m, GRPC_SLICE_START_PTR(bytes));
    return payload_take(bytes);
}

grpc_byte_buffer *payload_take(grpc_slice bytes)
{
    grpc_byte_buffer *b = grpc_raw_byte_buffer_create(&bytes, 1);
    grpc_slice_unref(bytes);
    return b;
}

void failure_init(struct failure *f, int code, const struct err_detail *detail)
{
    char text[STATUS_MESSAGE_CAP], pushback[16];
    memset(f, 0, sizeof *f);
    int wait_ms = STATUS_NO_PUSHBACK;
    if (code == CODE_DEADLINE) {
        f->status = GRPC_STATUS_DEADLINE_EXCEEDED;
        (void)snprintf(text, sizeof text, "the deadline passed before work began; send it sooner");
    } else {
        f->status = status_of((enum err)code);
        wait_ms = status_pushback_ms((enum err)code);
        status_message((enum err)code, detail, text, sizeof text);
    }
    f->message = grpc_slice_from_copied_string(text);
    f->trailers[0].key = grpc_slice_from_static_string("shunt-code");
    f->trailers[0].value = grpc_slice_from_static_string(rpc_code(code));
    f->trailers_n = 1;
    if (wait_ms == STATUS_NO_PUSHBACK)
        return;
    (void)snprintf(pushback, sizeof pushback, "%d", wait_ms);
    f->trailers[1].key = grpc_slice_from_static_string("grpc-retry-pushback-ms");
    f->trailers[1].value = grpc_slice_from_copied_string(pushback);
    f->trailers_n = 2;
}

void failure_done(struct failure *f)
{
    grpc_slice_unref(f->message);
    if (f->trailers_n == 2)
        grpc_slice_unref(f->trailers[1].value);
}

grpc_op failure_op(const struct failure *f)
{
    grpc_op op = {.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    op.data.send_status_from_server.status = GRPC_STATUS_OK;
    if (f) {
        union { /* The core's struct wants pointers to what it only reads. */
            const struct failure *in;
            struct failure *out;
        } u = {.in = f};
        op.data.send_status_from_server.status = f->status;
        op.data.send_status_from_server.status_details = &u.out->message;
        op.data.send_status_from_server.trailing_metadata = u.out->trailers;
        op.data.send_status_from_server.trailing_metadata_count = f->trailers_n;
    }
    return op;
}

void start_batch(grpc_call *call, const grpc_op *ops, size_t n, struct tag *tag)
{
    grpc_call_error e = grpc_call_start_batch(call, ops, n, tag, NULL);
    if (e != GRPC_CALL_OK) {
        (void)fprintf(stderr, "grpc_call_start_batch: %s\n", grpc_call_error_to_string(e));
        abort();
    }
}
