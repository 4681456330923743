/* replay_commands.c - replay FILE...: what shunt would have done with your data. */
#include "client/ctl/commands.h"
#include "client/ctl/private_server.h"
#include "client/ctl/replay_play.h"
#include "client/ctl/replay_print.h"
#include "client/ctl/replay_router.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define ORDERS_DEFAULT 20
#define ORDERS_MAX 900U /* A server holds 1,000 routers, and others' are there too. */
#define DELAY_MAX 100000U
#define SETTINGS_MAX 64
#define CALL_TIMEOUT_S 30.0

struct options {
    uint64_t orders, seed, delay;
    bool text, task, weights_given;
    struct args_pairs weights;
    const char *settings[SETTINGS_MAX];
    size_t settings_n;
    const char *router; /* Play once, in order, onto this one. */
};

/* Everything that must be taken down again. */
struct replay {
    struct options options;
    struct replay_data data;
    struct maths_metric metrics[REPLAY_METRIC_N];
    struct private_server server;
    char **routers; /* (orders,) those created are not NULL. */
    struct maths_order *orders;
    double seconds;
};

static bool option_integer(const struct command_input *in, const char *name, uint64_t min,
                           uint64_t max, uint64_t *ret)
{
    const char *text = command_value(in, name);
    struct args_error error;
    if (!text || args_integer(text, min, max, ret, &error))
        return true;
    ctl_fail(CTL_USAGE, "--%s: %s", name, error.text);
    return false;
}

/* Options that may be repeated. */
static bool options_collect(const struct command_input *in, struct options *o)
{
    struct args_error error;
    for (size_t i = 0; i < in->values_n; i++) {
        const char *name = in->values[i].option->name, *value = in->values[i].value;
        if (strcmp(name, "weights") == 0) {
            o->weights_given = true;
            if (!args_pairs_add(value, 0, 1e6, &o->weights, &error)) {
                ctl_fail(CTL_USAGE, "--weights: %s", error.text);
                return false;
            }
        } else if (strcmp(name, "set") == 0) {
            if (o->settings_n == SETTINGS_MAX) {
                ctl_fail(CTL_USAGE, "--set: more than %d", SETTINGS_MAX);
                return false;
            }
            o->settings[o->settings_n++] = value;
        }
    }
    return true;
}

static enum ctl_exit options_read(const struct ctl *ctl, const struct command_input *in,
                                  struct options *o)
{
    *o = (struct options){.orders = ORDERS_DEFAULT, .seed = 1};
    o->text = !command_value(in, "no-text");
    o->task = !command_value(in, "no-task");
    o->router = command_value(in, "router");
    if (!option_integer(in, "orders", 1, ORDERS_MAX, &o->orders) ||
        !option_integer(in, "seed", 0, UINT64_MAX, &o->seed) ||
        !option_integer(in, "delay", 0, DELAY_MAX, &o->delay) || !options_collect(in, o))
        return CTL_USAGE;
    if (!o->router)
        return CTL_OK;
    if (!ctl->server_given)
        return ctl_fail(CTL_USAGE, "--router plays onto a router that stays: name its server by "
                                   "--server (SHUNT_SERVER is not enough for that)");
    if (!args_name_valid(o->router))
        return ctl_fail(CTL_USAGE, "--router: not a name: 1 to 64 of A-Z a-z 0-9 . _ / -");
    if (o->settings_n)
        return ctl_fail(CTL_USAGE,
                        "--set goes with fresh routers; use shuntctl router update for "
                        "%s",
                        o->router);
    if (command_value(in, "orders") && o->orders != 1)
        return ctl_fail(CTL_USAGE, "--router plays the rows once, in order; leave --orders away");
    o->orders = 1;
    return CTL_OK;
}

static enum ctl_exit data_read(struct replay *r, const struct command_input *in)
{
    struct replay_error error;
    replay_data_init(&r->data, r->options.text);
    for (size_t i = 0; i < in->values_n; i++)
        if (strcmp(in->values[i].option->name, "warm") == 0 &&
            !replay_data_load(&r->data, in->values[i].value, &error))
            return ctl_fail(CTL_USAGE, "%s", error.text);
    replay_data_mark_warm(&r->data);
    for (size_t i = 0; i < in->positional_n; i++)
        if (!replay_data_load(&r->data, in->positional[i], &error))
            return ctl_fail(CTL_USAGE, "%s", error.text);
    if (!replay_data_finish(&r->data, &error))
        return ctl_fail(CTL_USAGE, "%s", error.text);
    return CTL_OK;
}

/* replay/<8 hex>/<order>. On somebody's server the hex keeps two replays apart; on our own it comes
 * from the seed, so that two runs differ in nothing. */
static bool router_names(struct replay *r, bool private)
{
    uint32_t tag = (uint32_t)maths_mix(r->options.seed, 0);
    if (!private && getrandom(&tag, sizeof tag, 0) != sizeof tag)
        return false;
    for (uint64_t i = 0; i < r->options.orders; i++) {
        char name[ARGS_NAME_CAP];
        if (r->options.router)
            snprintf(name, sizeof name, "%s", r->options.router);
        else
            snprintf(name, sizeof name, "replay/%08x/%u", (unsigned)tag, (unsigned)i);
        if (!(r->routers[i] = strdup(name)))
            return false;
    }
    return true;
}

static enum ctl_exit arrays_make(struct replay *r)
{
    size_t n = r->options.orders;
    r->routers = calloc(n, sizeof *r->routers);
    r->orders = calloc(n, sizeof *r->orders);
    for (size_t i = 0; r->orders && i < n; i++)
        if (!(r->orders[i].chosen = calloc(r->data.arms.n, sizeof(uint64_t))))
            return ctl_fail(CTL_REFUSED, "out of memory");
    return r->routers && r->orders ? CTL_OK : ctl_fail(CTL_REFUSED, "out of memory");
}

static enum ctl_exit weights_check(struct replay *r)
{
    struct replay_error error;
    if (maths_check(&r->data, r->metrics, &error))
        return CTL_OK;
    return ctl_fail(CTL_USAGE, "%s", error.text);
}

static enum ctl_exit play(struct replay *r, struct ctl *ctl)
{
    struct options *o = &r->options;
    const struct play_plan plan = {.data = &r->data,
                                   .metrics = r->metrics,
                                   .address = ctl->server,
                                   .tls = ctl_tls(ctl),
                                   .routers = r->routers,
                                   .seed = o->seed,
                                   .orders = o->orders,
                                   .delay = o->delay,
                                   .in_order = o->router != NULL,
                                   .send_text = o->text,
                                   .send_task = o->task,
                                   .name_candidates = o->router != NULL,
                                   .weights = o->router && o->weights_given ? &o->weights : NULL,
                                   .timeout_s =
                                       ctl->timeout_s > 0 ? ctl->timeout_s : CALL_TIMEOUT_S};
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    enum ctl_exit code = play_run(&plan, r->orders);
    clock_gettime(CLOCK_MONOTONIC, &end);
    r->seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    return code;
}

/* On a router that is there and stays. */
static enum ctl_exit play_onto(struct replay *r, struct ctl *ctl)
{
    struct options *o = &r->options;
    enum ctl_exit code =
        replay_router_read(ctl, o->router, o->weights_given ? &o->weights : NULL, r->metrics);
    if (code == CTL_OK)
        code = weights_check(r);
    return code == CTL_OK ? play(r, ctl) : code;
}

/* On routers of our own, removed at the end even when something fails on the way. */
static enum ctl_exit play_fresh(struct replay *r, struct ctl *ctl, bool private)
{
    struct options *o = &r->options;
    double highs[REPLAY_METRIC_N];
    if (!maths_largest_means(&r->data, highs))
        return ctl_fail(CTL_REFUSED, "out of memory");
    const struct replay_declare declare = {.data = &r->data,
                                           .highs = highs,
                                           .weights = o->weights_given ? &o->weights : NULL,
                                           .settings = o->settings,
                                           .settings_n = o->settings_n,
                                           .seed = o->seed,
                                           .tasks = o->task};
    enum ctl_exit code = CTL_OK;
    size_t made = 0;
    while (made < o->orders && code == CTL_OK) {
        code = replay_router_create(ctl, &declare, r->routers[made], made,
                                    made == 0 ? r->metrics : NULL);
        if (code != CTL_OK)
            break;
        if (made++ == 0)
            code = weights_check(r);
        if (code == CTL_OK && play_interrupted())
            code = ctl_fail(CTL_REFUSED, "interrupted");
    }
    if (code == CTL_OK)
        code = play(r, ctl);
    for (size_t i = 0; i < made && !private; i++)
        if (!replay_router_remove(ctl, r->routers[i]))
            break;
    return code;
}

static enum ctl_exit print(const struct replay *r, const struct ctl *ctl)
{
    struct maths_baselines baselines = {0};
    struct maths_result result = {0};
    enum ctl_exit code = CTL_OK;
    if (!maths_baselines(&r->data, r->metrics, &baselines) ||
        !maths_result(r->orders, r->options.orders, r->data.arms.n, &result)) {
        maths_baselines_done(&baselines);
        return ctl_fail(CTL_REFUSED, "out of memory");
    }
    const struct replay_summary summary = {.data = &r->data,
                                           .metrics = r->metrics,
                                           .baselines = &baselines,
                                           .result = &result,
                                           .orders = r->options.orders,
                                           .seed = r->options.seed,
                                           .delay = r->options.delay,
                                           .in_order = r->options.router != NULL,
                                           .seconds = r->seconds,
                                           .decisions =
                                               (double)r->data.items_n * (double)r->options.orders};
    if (ctl->json)
        code = ctl_print_json(replay_print_json(&summary));
    else if (!replay_print_table(&summary, stdout, ctl_bold()))
        code = ctl_fail(CTL_REFUSED, "out of memory");
    maths_baselines_done(&baselines);
    maths_result_done(&result);
    return code;
}

static void replay_done(struct replay *r)
{
    for (size_t i = 0; i < r->options.orders; i++) {
        if (r->routers)
            free(r->routers[i]);
        if (r->orders)
            free(r->orders[i].chosen);
    }
    free(r->routers);
    free(r->orders);
    replay_data_done(&r->data);
}

static enum ctl_exit replay_run(struct replay *r, struct ctl *ctl)
{
    bool private = !ctl->server_given;
    enum ctl_exit code = arrays_make(r);
    if (code == CTL_OK && !router_names(r, private))
        code = ctl_fail(CTL_REFUSED, "out of memory");
    if (code != CTL_OK)
        return code;
    play_block_signals();
    if (private)
        code = private_server_start(&r->server, ctl);
    if (code == CTL_OK)
        code = r->options.router ? play_onto(r, ctl) : play_fresh(r, ctl, private);
    private_server_stop(&r->server);
    return code == CTL_OK ? print(r, ctl) : code;
}

static enum ctl_exit replay(struct ctl *ctl, const struct command_input *in)
{
    struct replay *r = calloc(1, sizeof *r);
    if (!r)
        return ctl_fail(CTL_REFUSED, "out of memory");
    enum ctl_exit code = options_read(ctl, in, &r->options);
    if (code == CTL_OK)
        code = data_read(r, in);
    if (code == CTL_OK)
        code = replay_run(r, ctl);
    replay_done(r);
    free(r);
    return code;
}

static const struct command_option replay_options[] = {
    {"orders", "N", "shuffle the rows N times, each on a fresh router (default: 20)", NULL,
     COMMAND_LOCAL},
    {"seed", "N", "of the shuffles and the routers (default: 1)", NULL, COMMAND_LOCAL},
    {"warm", "FILE", "rows to play first and not to count; may be repeated", NULL, COMMAND_LOCAL},
    {"weights", "METRIC=W,...", "what utility is made of (default: quality=1)", NULL,
     COMMAND_LOCAL},
    {"delay", "N", "report outcomes N requests late (default: 0)", NULL, COMMAND_LOCAL},
    {"no-task", NULL, "do not send the task labels", NULL, COMMAND_SWITCH},
    {"no-text", NULL, "do not send the prompts", NULL, COMMAND_SWITCH},
    {"set", "KEY=VALUE",
     "a setting (explore_floor=0) or a field of the router by path "
     "(metrics.cost_usd.norm_high=.01); may be repeated",
     NULL, COMMAND_LOCAL},
    {"router", "NAME", "play once, in order, onto this router of --server, which stays", NULL,
     COMMAND_LOCAL},
    {NULL, NULL, NULL, NULL, COMMAND_SET}};

static const char about[] =
    "Play your own data: what would shunt have done?\v"
    "A FILE has one JSON object a line, plain or gzip; - is standard input:\n"
    "  {\"text\": \"the prompt\", \"task\": \"math\",\n"
    "   \"outcomes\": {\"small\": {\"quality\": 0.8, \"cost_usd\": 0.0004},\n"
    "                \"large\": {\"quality\": 1.0, \"cost_usd\": 0.0100}}}\n"
    "Every arm's outcome is in the row; the server is told that of the arm it chose. quality is in "
    "[0, 1]; cost_usd, energy_j and latency_ms are optional and >= 0; text and task are optional; "
    "other keys beside them are ignored.\n\n"
    "Without --server a private shuntd is started in a temporary directory, whatever SHUNT_SERVER "
    "says: rows that are played are learned. With it, routers replay/<8 hex>/<order> are made "
    "there "
    "and removed at the end.\n\n"
    "Utility is the sum of weight x value on the unit interval; cost_usd, energy_j and latency_ms "
    "count as weight x (1 - value), where 1 is the largest mean of an arm in the files. (The "
    "server's own score subtracts weight x value, which differs by a constant.)\n\n"
    "Rows are shuffled by Fisher-Yates over SplitMix64: same seed, same table. --json prints one "
    "object: rows, orders, "
    "seconds, utility{mean,sd,worst,last_third}, metrics{NAME{mean,sd}}, regret{mean,sd}, "
    "share{ARM}, random, best_single{arm,utility}, best_per_task, oracle.";

const struct command replay_commands[] = {{.words = "replay",
                                           .args = "FILE...",
                                           .doc = about,
                                           .options = replay_options,
                                           .positional_min = 1,
                                           .positional_max = COMMAND_POSITIONALS_MAX,
                                           .run = replay},
                                          {.words = NULL}};
