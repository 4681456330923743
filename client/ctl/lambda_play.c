#include "client/ctl/lambda_play.h"

#include "client/ctl/private_server.h"
#include "client/ctl/progress.h"
#include "client/ctl/replay_play.h"
#include "client/ctl/replay_router.h"
#include "client/ctl/table.h"
#include "shunt/v1/admin.pb-c.h"
#include "shunt/v1/router.pb-c.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CALL_TIMEOUT_S 30.0

struct step {
    double lambda, quality, served; /* Sums, then means. */
    uint64_t served_n;
    uint64_t *chosen; /* (arms,) */
};

struct sweep {
    const struct lambda_plan *plan;
    struct replay_data data;
    struct maths_metric metrics[REPLAY_METRIC_N];
    struct private_server server;
    char router[ARGS_NAME_CAP];
    struct step steps[LAMBDA_STEPS_MAX];
};

/* ---- learning ---- */

static enum ctl_exit load(struct sweep *s)
{
    struct replay_error error;
    replay_data_init(&s->data, s->plan->text);
    for (size_t i = 0; i < s->plan->files_n; i++)
        if (!replay_data_load(&s->data, s->plan->files[i], &error))
            return ctl_fail(CTL_USAGE, "%s", error.text);
    if (!replay_data_finish(&s->data, &error))
        return ctl_fail(CTL_USAGE, "%s", error.text);
    if (!s->data.has[s->plan->served])
        return ctl_fail(CTL_USAGE, "--metric: the rows have no %s",
                        replay_metric_name(s->plan->served));
    for (uint64_t i = 0; i < s->plan->steps; i++) {
        s->steps[i].lambda = (double)i / (double)(s->plan->steps - 1);
        s->steps[i].chosen = calloc(s->data.arms.n, sizeof(uint64_t));
        if (!s->steps[i].chosen)
            return ctl_fail(CTL_REFUSED, "out of memory");
    }
    return CTL_OK;
}

static enum ctl_exit create(struct sweep *s, struct ctl *ctl)
{
    struct args_pairs half = {.items = {{"quality", .5}}, .n = 2};
    double highs[REPLAY_METRIC_N];
    half.items[1].value = .5;
    snprintf(half.items[1].name, sizeof half.items[1].name, "%s",
             replay_metric_name(s->plan->served));
    if (!maths_largest_means(&s->data, highs))
        return ctl_fail(CTL_REFUSED, "out of memory");
    const struct replay_declare declare = {.data = &s->data,
                                           .highs = highs,
                                           .weights = s->plan->weights ? s->plan->weights : &half,
                                           .settings = s->plan->settings,
                                           .settings_n = s->plan->settings_n,
                                           .seed = s->plan->seed,
                                           .tasks = s->plan->task};
    return replay_router_create(ctl, &declare, s->router, 0, s->metrics);
}

static enum ctl_exit learn(struct sweep *s, struct ctl *ctl)
{
    char *routers[] = {s->router};
    struct maths_order order = {.chosen = calloc(s->data.arms.n, sizeof(uint64_t))};
    const struct play_plan plan = {.data = &s->data,
                                   .metrics = s->metrics,
                                   .address = ctl->server,
                                   .tls = ctl_tls(ctl),
                                   .routers = routers,
                                   .seed = s->plan->seed,
                                   .orders = 1,
                                   .send_text = s->plan->text,
                                   .send_task = s->plan->task,
                                   .timeout_s = CALL_TIMEOUT_S};
    enum ctl_exit code =
        order.chosen ? play_run(&plan, &order) : ctl_fail(CTL_REFUSED, "out of memory");
    free(order.chosen);
    return code;
}

/* What was learned stays; who decides by it changes. */
static enum ctl_exit be_greedy(const struct sweep *s, struct ctl *ctl)
{
    char name[ARGS_NAME_CAP], greedy[] = "greedy";
    Shunt__V1__RouterSettings settings = SHUNT__V1__ROUTER_SETTINGS__INIT;
    Shunt__V1__UpdateRouterRequest request = SHUNT__V1__UPDATE_ROUTER_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    snprintf(name, sizeof name, "%s", s->router);
    settings.policy = greedy;
    settings.has_explore_floor = settings.has_newcomer_pulls = 1;
    settings.explore_floor = 0;
    settings.newcomer_pulls = 0;
    request.name = name;
    request.settings = &settings;
    enum ctl_exit code = ctl_call(ctl, CTL_ADMIN, "UpdateRouter", &request.base,
                                  &shunt__v1__router_info__descriptor, &response);
    protobuf_c_message_free_unpacked(response, NULL);
    return code;
}

/* ---- asking ---- */

/* The arm that this lambda takes for a row; NULL: it was said why there is none. */
static const struct replay_cell *ask(struct sweep *s, struct ctl *ctl, double lambda,
                                     const struct replay_item *item)
{
    char names[2][ARGS_NAME_CAP], *candidates[REPLAY_ROW_ARMS_MAX];
    Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
    Shunt__V1__RouteRequest__WeightsEntry entries[2], *weights[2] = {&entries[0], &entries[1]};
    const enum replay_metric of[2] = {REPLAY_QUALITY, s->plan->served};
    for (int i = 0; i < 2; i++) {
        shunt__v1__route_request__weights_entry__init(&entries[i]);
        snprintf(names[i], sizeof names[i], "%s", replay_metric_name(of[i]));
        entries[i].key = names[i];
        entries[i].has_value = 1;
        entries[i].value = i == 0 ? 1 - lambda : lambda;
    }
    request.router = s->router;
    request.text = item->text;
    if (s->plan->task && item->task != REPLAY_NO_TASK)
        request.task = s->data.task_ids[item->task];
    request.weights = weights;
    request.n_weights = 2;
    request.has_dry_run = 1;
    request.dry_run = 1;
    for (uint32_t c = 0; item->cells_n != s->data.arms.n && c < item->cells_n; c++) {
        candidates[c] = s->data.arm_ids[s->data.cells[item->first + c].arm];
        request.candidates = candidates;
        request.n_candidates = c + 1;
    }
    ProtobufCMessage *response = NULL;
    if (ctl_call(ctl, CTL_ROUTER, "RouteRequest", &request.base,
                 &shunt__v1__route_response__descriptor, &response) != CTL_OK)
        return NULL;
    const char *arm = ((Shunt__V1__RouteResponse *)response)->arm_id;
    uint32_t index = arm ? replay_data_arm_of(&s->data, arm) : UINT32_MAX;
    const struct replay_cell *cell = replay_data_cell(&s->data, item, index);
    if (!cell)
        ctl_fail(CTL_REFUSED, "%s:%u: the server chose an arm that the row does not have",
                 s->data.files[item->file], item->line);
    protobuf_c_message_free_unpacked(response, NULL);
    return cell;
}

static enum ctl_exit ask_all(struct sweep *s, struct ctl *ctl)
{
    struct progress progress;
    enum ctl_exit code = CTL_OK;
    size_t n = s->data.items_n;
    progress_begin(&progress, "asking", (uint64_t)n * s->plan->steps);
    for (size_t k = 0; k < s->plan->steps && code == CTL_OK; k++) {
        struct step *step = &s->steps[k];
        for (size_t i = 0; i < n && code == CTL_OK; i++) {
            const struct replay_cell *cell = ask(s, ctl, step->lambda, &s->data.items[i]);
            if (!cell || play_interrupted()) {
                code = cell ? ctl_fail(CTL_REFUSED, "interrupted") : CTL_REFUSED;
                break;
            }
            step->quality += cell->value[REPLAY_QUALITY];
            step->chosen[cell->arm]++;
            if (!isnan(cell->value[s->plan->served])) {
                step->served += cell->value[s->plan->served];
                step->served_n++;
            }
            progress_set(&progress, k * n + i);
        }
        step->quality /= (double)n;
        step->served = step->served_n ? step->served / (double)step->served_n : (double)NAN;
    }
    progress_end(&progress);
    return code;
}

/* ---- printing ---- */

static json_t *step_json(const struct sweep *s, const struct step *step)
{
    json_t *shares = json_object();
    for (size_t a = 0; a < s->data.arms.n; a++)
        (void)json_object_set_new(shares, s->data.arms.names[a],
                                  json_real((double)step->chosen[a] / (double)s->data.items_n));
    return json_pack("{s:f, s:f, s:o, s:o}", "lambda", step->lambda, "quality", step->quality,
                     replay_metric_name(s->plan->served),
                     isnan(step->served) ? json_null() : json_real(step->served), "shares", shares);
}

static enum ctl_exit print_json(const struct sweep *s)
{
    json_t *steps = json_array();
    for (size_t k = 0; k < s->plan->steps; k++)
        (void)json_array_append_new(steps, step_json(s, &s->steps[k]));
    return ctl_print_json(json_pack("{s:I, s:s, s:o}", "rows", (json_int_t)s->data.items_n,
                                    "served", replay_metric_name(s->plan->served), "steps", steps));
}

static enum ctl_exit print_table(const struct sweep *s)
{
    struct table *t = table_new();
    if (!t)
        return ctl_fail(CTL_REFUSED, "out of memory");
    printf("%zu rows learned once, then asked for each lambda; true outcomes\n\n", s->data.items_n);
    table_column(t, "lambda", TABLE_RIGHT);
    table_column(t, "quality", TABLE_RIGHT);
    table_column(t, replay_metric_name(s->plan->served), TABLE_RIGHT);
    for (size_t a = 0; a < s->data.arms.n && a < 16; a++)
        table_column(t, s->data.arms.names[a], TABLE_RIGHT);
    for (size_t k = 0; k < s->plan->steps; k++) {
        const struct step *step = &s->steps[k];
        table_cell(t, "%.2f", step->lambda);
        table_cell(t, "%.4f", step->quality);
        table_cell(t, "%.4g", step->served);
        for (size_t a = 0; a < s->data.arms.n && a < 16; a++)
            table_cell(t, "%.1f %%", 100.0 * (double)step->chosen[a] / (double)s->data.items_n);
    }
    bool ok = table_print(t, stdout, ctl_bold());
    table_free(t);
    return ok ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

/* ---- all of it ---- */

static enum ctl_exit play_on(struct sweep *s, struct ctl *ctl, bool private)
{
    uint32_t tag = (uint32_t)maths_mix(s->plan->seed, 1);
    if (!private && getrandom(&tag, sizeof tag, 0) != sizeof tag)
        return ctl_fail(CTL_REFUSED, "the kernel gave no random bytes");
    snprintf(s->router, sizeof s->router, "lambda/%08x", (unsigned)tag);
    enum ctl_exit code = create(s, ctl);
    if (code != CTL_OK)
        return code;
    code = learn(s, ctl);
    if (code == CTL_OK && !s->plan->keep_policy)
        code = be_greedy(s, ctl);
    if (code == CTL_OK)
        code = ask_all(s, ctl);
    if (!private && !replay_router_remove(ctl, s->router) && code == CTL_OK)
        code = CTL_REFUSED;
    return code;
}

static enum ctl_exit play(struct sweep *s, struct ctl *ctl)
{
    bool private = !ctl->server_given;
    enum ctl_exit code = load(s);
    if (code != CTL_OK)
        return code;
    play_block_signals();
    if (private)
        code = private_server_start(&s->server, ctl);
    if (code == CTL_OK)
        code = play_on(s, ctl, private);
    private_server_stop(&s->server);
    if (code != CTL_OK)
        return code;
    return ctl->json ? print_json(s) : print_table(s);
}

enum ctl_exit lambda_play(struct ctl *ctl, const struct lambda_plan *plan)
{
    struct sweep *s = calloc(1, sizeof *s);
    if (!s)
        return ctl_fail(CTL_REFUSED, "out of memory");
    s->plan = plan;
    enum ctl_exit code = play(s, ctl);
    for (size_t k = 0; k < plan->steps; k++)
        free(s->steps[k].chosen);
    replay_data_done(&s->data);
    free(s);
    return code;
}
