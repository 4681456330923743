/* handle_transfer.c - ExportArm, ImportArm. */
#include "server/rpc/codec_info.h"
#include "server/rpc/handlers.h"
#include "state/model/transfer.h"

#include <string.h>

static enum err fill_statistics(const struct buf *bytes, struct slice router, struct arena *arena,
                                Shunt__V1__ArmStatistics **ret_message, struct err_detail *detail)
{
    struct transfer *t;
    Shunt__V1__ArmStatistics *m = arena_alloc(arena, sizeof *m);
    void *copy = m ? arena_alloc(arena, bytes->len) : NULL;
    if (!copy)
        return arena_error(arena, detail);
    TRY(transfer_decode((struct slice){bytes->data, bytes->len}, &t, detail));
    shunt__v1__arm_statistics__init(m);
    memcpy(copy, bytes->data, bytes->len);
    m->has_statistics = true;
    m->statistics = (ProtobufCBinaryData){bytes->len, copy};
    m->router = arena_text(arena, router.data, router.len);
    m->name = arena_text(arena, t->arm->config.name, strlen(t->arm->config.name));
    m->has_version = m->has_feature_spec_hash = m->has_metrics_hash = true;
    m->has_rated_outcomes = m->has_served_outcomes = true;
    m->version = t->arm->version;
    m->feature_spec_hash = spec_hash(&t->from.spec);
    m->metrics_hash = transfer_metrics_hash(&t->from);
    m->rated_outcomes = t->arm->groups[METRIC_RATED].evidence;
    m->served_outcomes = t->arm->groups[METRIC_SERVED].evidence;
    transfer_free(t);
    if (!m->router || !m->name)
        return arena_error(arena, detail);
    *ret_message = m;
    return OK;
}

enum err handle_export_arm(struct handler *h, const ProtobufCMessage *request,
                           ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ExportArmRequest *m = (const Shunt__V1__ExportArmRequest *)request;
    Shunt__V1__ArmStatistics *response = NULL;
    struct slice router = codec_router(m->router);
    struct buf bytes;
    buf_init(&bytes);
    enum err e = engine_arm_export(h->worker, router, slice_text(m->name), &bytes, detail);
    if (e == OK)
        e = fill_statistics(&bytes, router, &h->arena, &response, detail);
    buf_done(&bytes);
    if (e == OK)
        *ret_response = &response->base;
    return e;
}

enum err handle_import_arm(struct handler *h, const ProtobufCMessage *request,
                           ProtobufCMessage **ret_response, struct err_detail *detail)
{
    const Shunt__V1__ImportArmRequest *m = (const Shunt__V1__ImportArmRequest *)request;
    char name[NAME_CAP];
    if (m->has_strength && !(m->strength > 0))
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "strength is %.10g; it must be above 0, or absent for all that is known",
                       m->strength);
    const struct arm_import in = {.router = codec_router(m->router),
                                  .name = slice_text(m->name),
                                  .statistics = {m->statistics.data, m->statistics.len},
                                  .strength = m->has_strength ? m->strength : 0,
                                  .replace = m->has_replace && m->replace};
    TRY(engine_arm_import(h->worker, &in, name, detail));
    return answer_arm(h, in.router, slice_text(name), ret_response, detail);
}
