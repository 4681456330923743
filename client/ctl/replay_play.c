#include "client/ctl/replay_play.h"

#include "client/ctl/async_call.h"
#include "client/ctl/progress.h"
#include "shunt/v1/router.pb-c.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define IN_FLIGHT_MAX 32
#define POLL_MS 200   /* How often a signal is looked for while nothing happens. */
#define LOOK_EVERY 64 /* ... and after so many answers. */
#define RETRY_PAUSE_US 20000
#define RETRY_FOR_S 30

/* A decision whose outcome is not reported yet. */
struct decided {
    const struct replay_item *item;
    const struct replay_cell *cell;
    char *id;
    ProtobufCBinaryData token;
};

/* One order on its way. */
struct run {
    struct maths_order *order;
    char *router;
    uint32_t *items;         /* Warm rows, then counted ones. */
    size_t next;             /* The next to route. */
    struct decided *waiting; /* A ring of delay + 1. */
    size_t first, waiting_n;
    bool reporting;
    bool in_flight;
    time_t refused_since; /* 0: the last call was taken. */
    struct async_call *call;
};

struct play {
    const struct play_plan *plan;
    struct async_channel *channel;
    struct run runs[IN_FLIGHT_MAX];
    size_t runs_n, started, ended, in_flight;
    size_t ring; /* delay + 1, at most as many as there are rows. */
    uint64_t routed;
    struct progress progress;
    enum ctl_exit code;
};

void play_block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

bool play_interrupted(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1 ||
            sigismember(&pending, SIGHUP) == 1);
}

static time_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1; /* Never 0, which means never. */
}

static void decided_clear(struct decided *d)
{
    free(d->id);
    free(d->token.data);
    *d = (struct decided){0};
}

static void run_done(struct run *run, size_t ring)
{
    for (size_t i = 0; run->waiting && i < ring; i++)
        decided_clear(&run->waiting[i]);
    free(run->waiting);
    free(run->items);
    async_call_free(run->call);
    *run = (struct run){0};
}

/* Leaves everything NULL when memory is out. */
static void run_init(struct run *run, const struct play *play, size_t index,
                     struct maths_order *orders)
{
    const struct play_plan *plan = play->plan;
    size_t n = plan->data->items_n, warm = plan->data->warm_n;
    *run = (struct run){.order = &orders[index],
                        .router = plan->routers[index],
                        .items = malloc(n * sizeof *run->items),
                        .waiting = calloc(play->ring, sizeof *run->waiting),
                        .call = async_call_new()};
    if (!run->items || !run->waiting || !run->call) {
        run_done(run, play->ring);
        return;
    }
    if (plan->in_order) {
        for (size_t i = 0; i < n; i++)
            run->items[i] = (uint32_t)i;
        return;
    }
    maths_shuffle(maths_seed(plan->seed, index, MATHS_STREAM_WARM), 0, run->items, warm);
    maths_shuffle(maths_seed(plan->seed, index, MATHS_STREAM_ROWS), (uint32_t)warm,
                  run->items + warm, n - warm);
}

static bool start(struct play *play, struct run *run, enum async_method method,
                  const ProtobufCMessage *request)
{
    run->reporting = method == ASYNC_REPORT;
    run->in_flight =
        async_start(play->channel, run->call, method, request, play->plan->timeout_s, run);
    if (run->in_flight)
        play->in_flight++;
    else
        play->code = ctl_fail(CTL_REFUSED, "a call could not be started");
    return run->in_flight;
}

static bool route_send(struct play *play, struct run *run)
{
    const struct play_plan *plan = play->plan;
    const struct replay_data *data = plan->data;
    const struct replay_item *item = &data->items[run->items[run->next]];
    char *candidates[REPLAY_ROW_ARMS_MAX];
    Shunt__V1__RouteRequest request = SHUNT__V1__ROUTE_REQUEST__INIT;
    Shunt__V1__RouteRequest__WeightsEntry entries[ARGS_PAIRS_MAX], *weights[ARGS_PAIRS_MAX];
    request.router = run->router;
    request.text = plan->send_text ? item->text : NULL;
    if (plan->send_task && item->task != REPLAY_NO_TASK)
        request.task = data->task_ids[item->task];
    if (plan->name_candidates || item->cells_n != data->arms.n) {
        for (uint32_t c = 0; c < item->cells_n; c++)
            candidates[c] = data->arm_ids[data->cells[item->first + c].arm];
        request.candidates = candidates;
        request.n_candidates = item->cells_n;
    }
    for (size_t w = 0; plan->weights && w < plan->weights->n; w++) {
        shunt__v1__route_request__weights_entry__init(&entries[w]);
        entries[w].key = (char *)(uintptr_t)plan->weights->items[w].name; /* Only packed. */
        entries[w].has_value = 1;
        entries[w].value = plan->weights->items[w].value;
        weights[w] = &entries[w];
        request.weights = weights;
        request.n_weights = w + 1;
    }
    return start(play, run, ASYNC_ROUTE, &request.base);
}

static bool report_send(struct play *play, struct run *run)
{
    const struct decided *d = &run->waiting[run->first];
    Shunt__V1__ReportRewardRequest request = SHUNT__V1__REPORT_REWARD_REQUEST__INIT;
    Shunt__V1__ReportRewardRequest__MetricsEntry entries[REPLAY_METRIC_N];
    Shunt__V1__ReportRewardRequest__MetricsEntry *metrics[REPLAY_METRIC_N];
    request.decision_id = d->id;
    request.has_decision_token = d->token.len > 0;
    request.decision_token = d->token;
    request.metrics = metrics;
    for (int m = 0; m < REPLAY_METRIC_N; m++) {
        if (!play->plan->metrics[m].there || isnan(d->cell->value[m]))
            continue;
        Shunt__V1__ReportRewardRequest__MetricsEntry *entry = &entries[request.n_metrics];
        shunt__v1__report_reward_request__metrics_entry__init(entry);
        entry->key = (char *)(uintptr_t)replay_metric_name((enum replay_metric)m); /* As above. */
        entry->has_value = 1;
        entry->value = d->cell->value[m];
        metrics[request.n_metrics++] = entry;
    }
    return start(play, run, ASYNC_REPORT, &request.base);
}

/* The next call of an order. False: it has none left, or could not start it. */
static bool run_step(struct play *play, struct run *run)
{
    bool all_routed = run->next == play->plan->data->items_n;
    if (run->waiting_n == play->ring || (all_routed && run->waiting_n > 0))
        return report_send(play, run);
    return !all_routed && route_send(play, run);
}

static enum ctl_exit say_where(const struct play *play, const struct replay_item *item,
                               const char *what)
{
    return ctl_fail(CTL_REFUSED, "%s:%u: %s", play->plan->data->files[item->file], item->line,
                    what);
}

/* Takes over what the answer holds. */
static bool route_done(struct play *play, struct run *run, Shunt__V1__RouteResponse *response)
{
    const struct replay_data *data = play->plan->data;
    const struct replay_item *item = &data->items[run->items[run->next]];
    uint32_t arm = response->arm_id ? replay_data_arm_of(data, response->arm_id) : UINT32_MAX;
    const struct replay_cell *cell = replay_data_cell(data, item, arm);
    if (!cell || !response->decision_id) {
        play->code = say_where(play, item, "the server chose an arm that the row does not have");
        return false;
    }
    struct decided *d = &run->waiting[(run->first + run->waiting_n) % play->ring];
    *d = (struct decided){item, cell, response->decision_id, {0}};
    response->decision_id = NULL;
    if (response->has_decision_token) {
        d->token = response->decision_token;
        response->has_decision_token = 0;
        response->decision_token = (ProtobufCBinaryData){0};
    }
    run->waiting_n++;
    if (run->items[run->next] >= data->warm_n)
        maths_order_add(run->order, data, play->plan->metrics, item, cell,
                        data->items_n - data->warm_n);
    run->next++;
    progress_set(&play->progress, ++play->routed);
    return true;
}

static void report_done(struct play *play, struct run *run)
{
    decided_clear(&run->waiting[run->first]);
    run->first = (run->first + 1) % play->ring;
    run->waiting_n--;
}

/* A full queue passes: the same call again after a pause. The pause holds back all orders, which is
 * what the server asked for. */
static bool retry(struct play *play, struct run *run, int status)
{
    if (status != CALL_RESOURCE_EXHAUSTED)
        return false;
    if (!run->refused_since)
        run->refused_since = now_s();
    if (now_s() - run->refused_since > RETRY_FOR_S)
        return false;
    usleep(RETRY_PAUSE_US);
    return run->reporting ? report_send(play, run) : route_send(play, run);
}

static void call_failed(struct play *play, const struct run *run, const struct call_error *error)
{
    const struct replay_item *item = run->reporting
                                         ? run->waiting[run->first].item
                                         : &play->plan->data->items[run->items[run->next]];
    bool gone = !error->code[0] &&
                (error->status == CALL_UNAVAILABLE || error->status == CALL_DEADLINE_EXCEEDED);
    const char *code = error->code[0] ? error->code : call_status_name(error->status);
    char text[sizeof error->message + 128];
    snprintf(text, sizeof text, "%s: %s: %s",
             run->reporting ? "reporting its outcome" : "routing it", code, error->message);
    say_where(play, item, text);
    play->code = gone ? CTL_UNREACHABLE : CTL_REFUSED;
}

/* One answer. */
static void run_event(struct play *play, struct run *run)
{
    ProtobufCMessage *response = NULL;
    struct call_error error;
    run->in_flight = false;
    play->in_flight--;
    int status = async_finish(run->call,
                              run->reporting ? &shunt__v1__report_reward_response__descriptor
                                             : &shunt__v1__route_response__descriptor,
                              &response, &error);
    if (play->code != CTL_OK) { /* Ending: nothing more is started. */
        protobuf_c_message_free_unpacked(response, NULL);
        return;
    }
    if (status != 0) {
        if (!retry(play, run, status) && play->code == CTL_OK)
            call_failed(play, run, &error);
        return;
    }
    run->refused_since = 0;
    bool ok = true;
    if (run->reporting)
        report_done(play, run);
    else
        ok = route_done(play, run, (Shunt__V1__RouteResponse *)response);
    protobuf_c_message_free_unpacked(response, NULL);
    if (ok)
        run_step(play, run);
}

/* Begins orders while there is room, and again in the place of one that ended. */
static bool runs_fill(struct play *play, struct maths_order *orders)
{
    for (size_t i = 0; i < play->runs_n && play->started < play->plan->orders; i++) {
        struct run *run = &play->runs[i];
        if (run->in_flight)
            continue;
        if (run->call)
            run_done(run, play->ring);
        run_init(run, play, play->started, orders);
        if (!run->items || !run->waiting) {
            play->code = ctl_fail(CTL_REFUSED, "out of memory");
            return false;
        }
        play->started++;
        if (!run_step(play, run))
            return false;
    }
    return true;
}

static void play_loop(struct play *play, struct maths_order *orders)
{
    unsigned answers = 0;
    bool cancelled = false;
    if (!runs_fill(play, orders))
        return;
    while (play->in_flight) {
        struct run *run = async_next(play->channel, POLL_MS);
        if (run) {
            run_event(play, run);
            if (!run->in_flight && play->code == CTL_OK)
                runs_fill(play, orders);
        }
        if ((!run || ++answers % LOOK_EVERY == 0) && play->code == CTL_OK && play_interrupted())
            play->code = ctl_fail(CTL_REFUSED, "interrupted");
        if (play->code != CTL_OK && !cancelled) {
            cancelled = true;
            for (size_t i = 0; i < play->runs_n; i++)
                if (play->runs[i].in_flight)
                    async_cancel(play->runs[i].call);
        }
    }
}

/* Every call in flight must come back before its memory goes. */
static void play_drain(struct play *play)
{
    for (size_t i = 0; i < play->runs_n; i++)
        if (play->runs[i].in_flight)
            async_cancel(play->runs[i].call);
    while (play->in_flight) {
        struct run *run = async_next(play->channel, POLL_MS);
        if (run)
            run_event(play, run);
    }
}

enum ctl_exit play_run(const struct play_plan *plan, struct maths_order *orders)
{
    struct play *play = calloc(1, sizeof *play);
    char why[CREDENTIALS_WHY_CAP] = "";
    struct async_channel *channel = play ? async_open(plan->address, plan->tls, why) : NULL;
    if (!channel) {
        free(play);
        return ctl_fail(why[0] ? CTL_USAGE : CTL_REFUSED, "%s", why[0] ? why : "out of memory");
    }
    size_t rows = plan->data->items_n;
    play->plan = plan;
    play->channel = channel;
    play->runs_n = plan->orders < IN_FLIGHT_MAX ? plan->orders : IN_FLIGHT_MAX;
    play->ring = (plan->delay < rows ? plan->delay : rows) + 1;
    play->code = CTL_OK;
    progress_begin(&play->progress, "replaying", (uint64_t)rows * plan->orders);
    play_loop(play, orders);
    play_drain(play);
    progress_end(&play->progress);
    for (size_t i = 0; i < play->runs_n; i++)
        run_done(&play->runs[i], play->ring);
    enum ctl_exit code = play->code;
    async_close(channel);
    free(play);
    return code;
}
