/* engine_transfer.c - what an arm knows goes out as bytes, and comes in as a new arm. */
#include "server/engine/engine_parts.h"

#include "state/base/mem.h"
#include "state/model/transfer.h"

#include <string.h>

static const double strength_most = 1e6;

enum err engine_arm_export(struct engine_worker *w, struct slice router, struct slice arm,
                           struct buf *out, struct err_detail *detail)
{
    uint32_t router_uid, arm_uid;
    TRY(engine_look_up_arm(w, router, arm, &router_uid, &arm_uid, detail));
    enum err e = engine_command_arm(w, router_uid, arm_uid, out);
    return e == OK ? OK
                   : err_say(detail, e, "arm `%.*s` was not exported", (int)arm.len,
                             (const char *)arm.data);
}

static enum err submit_import(struct engine_worker *w, uint32_t router_uid,
                              const struct transfer *t, const struct arm_import *in,
                              struct err_detail *detail)
{
    struct buf seed;
    buf_init(&seed);
    transfer_encode(t->arm, &t->from, t->arm->clock, &seed);
    enum err e = buf_error(&seed);
    if (e == OK) {
        memset(&w->event, 0, sizeof w->event);
        w->event.kind = EVENT_ARM_ADD;
        w->event.at_us = clock_unix_us();
        w->event.u.arm.router_uid = router_uid;
        w->event.u.arm.config = t->arm->config;
        w->event.u.arm.strength = in->strength;
        w->event.u.arm.replace = in->replace;
        w->event.u.arm.seed = (struct slice){seed.data, seed.len};
        e = engine_submit(w, &w->event, NULL);
    }
    buf_done(&seed);
    if (e == OK)
        return OK;
    return err_say(detail, e, "arm `%s` %s", t->arm->config.name,
                   e == ERR_ARM_EXISTS ? "exists already" : "was not imported");
}

static enum err import(struct engine_worker *w, const struct arm_import *in, struct transfer *t,
                       struct err_detail *detail)
{
    struct router_config *router = mem_calloc(1, sizeof *router);
    uint32_t uid = 0;
    if (!router)
        return err_say(detail, ERR_NOMEM, "no memory for the import");
    enum err e = settings_check_arm(&t->arm->config, detail);
    if (e == OK)
        e = engine_look_up_router(w, in->router, &uid, router, detail);
    if (e == OK) /* Fold asks the same; only here there is a sentence to say. */
        e = transfer_check(t, router, detail);
    if (e == OK)
        e = submit_import(w, uid, t, in, detail);
    mem_free(router);
    return e;
}

enum err engine_arm_import(struct engine_worker *w, const struct arm_import *in,
                           char ret_name[NAME_CAP], struct err_detail *detail)
{
    struct transfer *t;
    if (!(in->strength >= 0 && in->strength <= strength_most))
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "strength is %.10g; it must lie in (0, %g] outcomes", in->strength,
                       strength_most);
    enum err e = transfer_decode(in->statistics, &t, detail);
    if (e != OK) /* Not our disk's fault. */
        return e == ERR_CORRUPT ? ERR_PARSE : e;
    struct arm_config *config = &t->arm->config;
    if (in->name.len) {
        memset(config->name, 0, sizeof config->name);
        e = engine_name(in->name, "the arm", config->name, detail);
    }
    memcpy(ret_name, config->name, NAME_CAP);
    if (e == OK)
        e = import(w, in, t, detail);
    transfer_free(t);
    return e;
}
