#include "server/offline.h"

#include "state/store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXIT_DIFFERENCE = 4 };

static int fail(enum err e, const struct err_detail *detail)
{
    (void)fprintf(stderr, "shuntd: %s: %s; %s\n", err_code(e), detail->text, err_text(e));
    return EXIT_FAILURE;
}

static enum err verify(const struct engine_options *options, struct verify_result *ret_result,
                       struct err_detail *detail)
{
    struct engine *engine = NULL;
    struct engine_worker *worker = NULL;
    TRY(engine_open(options, &engine, detail));
    enum err e = engine_worker_new(engine, &worker);
    if (e == OK)
        e = engine_verify(worker, NULL, ret_result, detail);
    if (worker)
        engine_worker_free(worker);
    engine_close(engine);
    return e;
}

int offline_verify(const struct config *config, const struct engine_options *options)
{
    struct err_detail detail = {{'\0'}};
    struct verify_result r = {0};
    /* First every checksum, in a child that may die of a damaged page; this also refuses a
     * directory that holds no store, which engine_open would make. */
    enum err e = store_verify(config->data_dir, &detail);
    if (e == OK)
        e = verify(options, &r, &detail);
    if (e != OK)
        return fail(e, &detail);
    (void)printf("{\"ok\":%s,\"base_position\":%" PRIu64 ",\"position\":%" PRIu64
                 ",\"events\":%" PRIu64 ",\"state_bytes\":%" PRIu64 "}\n",
                 r.ok ? "true" : "false", r.base_position, r.position, r.events, r.state_bytes);
    if (!r.ok)
        (void)fprintf(stderr, "shuntd: %s\n", r.detail);
    return r.ok ? EXIT_SUCCESS : EXIT_DIFFERENCE;
}

int offline_restore(const struct config *config)
{
    struct err_detail detail = {{'\0'}};
    enum err e = store_restore(config->restore_from, config->data_dir, &detail);
    if (e != OK)
        return fail(e, &detail);
    (void)printf("{\"restored\":true}\n");
    return EXIT_SUCCESS;
}
