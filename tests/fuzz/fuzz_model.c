/* A checkpoint: what decodes has exactly one byte form, can be checked, pictured and found in. */
#include "state/model/model.h"
#include "state/model/snapshot.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void look(struct model *m)
{
    struct err_detail detail;
    struct snapshot *s = NULL;
    char text[128];
    (void)!model_check(m, &detail);
    if (snapshot_build(m, NULL, &s) != OK)
        return;
    for (uint32_t i = 0; i < s->routers_n; i++) {
        const struct router_view *r = s->routers[i];
        FUZZ_CHECK(snapshot_router_uid(s, r->uid) == r);
        FUZZ_CHECK(snapshot_router(s, r->config->name, strlen(r->config->name)) != NULL);
        for (uint32_t k = 0; k < r->arms_n; k++)
            FUZZ_CHECK(router_view_arm_uid(r, r->arms[k]->uid) == (int)k);
    }
    model_describe_offset((struct slice){text, 0}, 0, text, sizeof text);
    snapshot_free(s);
}

bool fuzz_decodes(const uint8_t *data, size_t size)
{
    struct model *m = NULL;
    bool decodes = model_decode((struct slice){data, size}, &m, NULL) == OK;
    model_free(m);
    return decodes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model *m = NULL;
    struct err_detail detail;
    char text[128];
    model_describe_offset((struct slice){data, size}, size / 2, text, sizeof text);
    if (model_decode((struct slice){data, size}, &m, &detail) != OK)
        return 0;
    struct buf again;
    buf_init(&again);
    model_encode(m, &again);
    FUZZ_CHECK(buf_error(&again) != OK || again.len == size);
    FUZZ_CHECK(buf_error(&again) != OK || memcmp(again.data, data, size) == 0);
    look(m);
    model_free(m);
    buf_done(&again);
    return 0;
}
