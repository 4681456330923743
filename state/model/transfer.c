#include "state/model/transfer.h"

#include "state/base/hash.h"
#include "state/base/mem.h"
#include "state/math/packed.h"
#include "state/math/power.h"
#include "state/model/event.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const uint32_t transfer_magic = 0x52544853; /* "SHTR" */
static const uint32_t transfer_version = 1;

/* Far above what a router can learn, and such that every mean and prediction made of it still is a
 * float. A mean z leaves the unit interval when prices change. */
static const double sum_most = 1e18, mean_raw_most = 1e18, mean_z_most = 1e9;

static void put_faded(struct buf *out, const double *v, size_t n, double f)
{
    for (size_t i = 0; i < n; i++)
        buf_put_f64(out, v[i] * f);
}

void transfer_encode(const struct arm *a, const struct router_config *router, uint64_t clock,
                     struct buf *out)
{
    size_t start = out->len;
    uint32_t d = spec_d(&router->spec);
    uint64_t ticks = clock - a->clock;
    /* What stats_settle would do; the arm itself stays, since fold's bytes must not depend on who
     * looked at it when. */
    double f = ticks ? power_of(router->settings.gamma, ticks) : 1;
    buf_put_u32(out, transfer_magic);
    buf_put_u32(out, transfer_version);
    event_put_layout(router, out);
    event_put_arm(&a->config, out);
    buf_put_u32(out, a->version);
    for (int g = 0; g < METRIC_GROUPS; g++) {
        buf_put_f64(out, a->groups[g].evidence * f);
        buf_put_f64(out, a->groups[g].ridge * f);
        put_faded(out, a->groups[g].A, packed_n(d), f);
    }
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        const struct metric_stats *s = &a->metrics[m];
        const double sums[] = {s->recent.n, s->recent.sum_raw, s->recent.sum_z};
        put_faded(out, sums, 3, f);
        buf_put_f64(out, s->prior_z);
        buf_put_u8(out, s->has_prior);
        put_faded(out, s->b, d, f);
    }
    if (!out->failed)
        buf_put_u64(out, hash_bytes(out->data + start, out->len - start));
}

/* ---- reading one ---- */

static void take_sums(struct reader *in, double *ret, size_t n)
{
    reader_copy(in, ret, n * sizeof *ret);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(ret[i]) <= sum_most))
            in->failed = true;
}

/* A sum over `n` observations. */
static double take_sum_of(struct reader *in, double n, double mean_most)
{
    double v = reader_f64(in);
    if (fabs(v) <= mean_most * n)
        return v;
    in->failed = true;
    return 0;
}

static double take_between(struct reader *in, double low, double high)
{
    double v = reader_f64(in);
    if (v >= low && v <= high)
        return v;
    in->failed = true;
    return low;
}

static void take_metric(struct reader *in, struct metric_stats *s, uint32_t d)
{
    s->recent.n = take_between(in, 0, sum_most);
    s->recent.sum_raw = take_sum_of(in, s->recent.n, mean_raw_most);
    s->recent.sum_z = take_sum_of(in, s->recent.n, mean_z_most);
    s->prior_z = take_between(in, -mean_z_most, mean_z_most);
    uint8_t has = reader_u8(in);
    s->has_prior = has == 1;
    if (has > 1)
        in->failed = true;
    take_sums(in, s->b, d);
}

/* A - rho L is a sum of x x': with a thousandth of the ridge left it must factor. So A does, and
 * the shared slopes may take the sum. scratch: two packed matrices. */
static bool is_sum_of_squares(const struct matrix_stats *g, const double *ridge, uint32_t d,
                              double *scratch)
{
    memcpy(scratch, g->A, packed_n(d) * sizeof *scratch);
    for (uint32_t i = 0; i < d; i++)
        scratch[packed_n(i) + i] -= .999 * g->ridge * ridge[i > 0];
    return packed_invert(scratch, d, scratch, scratch + packed_n(d)) == OK;
}

static enum err take_statistics(struct reader *in, struct transfer *t, struct err_detail *detail)
{
    uint32_t d = spec_d(&t->from.spec);
    double *scratch = mem_alloc(2 * packed_n(d) * sizeof *scratch);
    if (!scratch)
        return ERR_NOMEM;
    enum err e = OK;
    for (int g = 0; g < METRIC_GROUPS && e == OK; g++) {
        struct matrix_stats *s = &t->arm->groups[g];
        s->evidence = take_between(in, 0, sum_most);
        s->ridge = take_between(in, 1e-300, 1);
        take_sums(in, s->A, packed_n(d));
        if (!in->failed && !is_sum_of_squares(s, t->from.settings.ridge[g], d, scratch))
            e = err_say(detail, ERR_CORRUPT, "the %s matrix is not positive definite",
                        g == METRIC_RATED ? "rated" : "served");
    }
    for (uint32_t m = 0; m < t->from.metrics_n && e == OK; m++)
        take_metric(in, &t->arm->metrics[m], d);
    mem_free(scratch);
    return e;
}

/* Each is a name, once: a label in two slots could not be moved. */
static bool labels_hold(const struct router_config *c)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < c->tasks_n; i++) {
        ok = name_valid(c->tasks[i], strlen(c->tasks[i]));
        for (uint32_t k = 0; ok && k < i; k++)
            ok = strcmp(c->tasks[i], c->tasks[k]) != 0;
    }
    return ok;
}

/* Head and arm, before anything is believed of the rest. */
static enum err take_head(struct reader *in, struct transfer *t, struct err_detail *detail)
{
    struct arm_config *config = mem_calloc(1, sizeof *config);
    if (!config)
        return ERR_NOMEM;
    enum err e = OK;
    if (event_get_layout(in, &t->from) != OK || event_get_arm(in, config) != OK ||
        !name_valid(config->name, strlen(config->name)) || !labels_hold(&t->from))
        e = err_say(detail, ERR_CORRUPT, "its head cannot be read");
    uint32_t version = reader_u32(in);
    if (e == OK) {
        t->arm = arm_new(&t->from, config);
        if (t->arm)
            t->arm->version = version;
        else
            e = ERR_NOMEM;
    }
    mem_free(config);
    return e;
}

static enum err check_frame(struct slice bytes, struct reader *ret_in, struct err_detail *detail)
{
    if (bytes.len > TRANSFER_BYTES_MAX)
        return err_say(detail, ERR_TOO_LARGE, "statistics of %zu bytes; at most %d are taken",
                       bytes.len, TRANSFER_BYTES_MAX);
    reader_init(ret_in, bytes);
    if (reader_u32(ret_in) != transfer_magic)
        return err_say(detail, ERR_CORRUPT, "these are not the statistics of an arm");
    uint32_t version = reader_u32(ret_in);
    if (version != transfer_version)
        return err_say(detail, ERR_CORRUPT, "statistics of form %u; this release reads form %u",
                       version, transfer_version);
    uint64_t sum;
    if (reader_left(ret_in) < sizeof sum)
        return err_say(detail, ERR_CORRUPT, "the statistics were cut short");
    memcpy(&sum, ret_in->end - sizeof sum, sizeof sum);
    ret_in->end -= sizeof sum;
    if (sum != hash_bytes(bytes.data, bytes.len - sizeof sum))
        return err_say(detail, ERR_CORRUPT,
                       "the statistics are damaged: their checksum does not agree");
    return OK;
}

enum err transfer_decode(struct slice bytes, struct transfer **ret_transfer,
                         struct err_detail *detail)
{
    struct reader in;
    TRY(check_frame(bytes, &in, detail));
    struct transfer *t = mem_calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    enum err e = take_head(&in, t, detail);
    if (e == OK)
        e = take_statistics(&in, t, detail);
    if (e == OK && (in.failed || reader_left(&in)))
        e = err_say(detail, ERR_CORRUPT,
                    "the statistics hold a number that cannot be, or end in "
                    "the wrong place");
    if (e == OK)
        *ret_transfer = t;
    else
        transfer_free(t);
    return e;
}

void transfer_free(struct transfer *t)
{
    if (!t)
        return;
    arm_free(t->arm);
    mem_free(t);
}

/* ---- fitting a router ---- */

uint64_t transfer_metrics_hash(const struct router_config *router)
{
    uint64_t hash = 0;
    for (uint32_t m = 0; m < router->metrics_n; m++) {
        const struct metric_def *d = &router->metrics[m];
        const double numbers[] = {d->min, d->max, d->norm_low, d->norm_high};
        const uint8_t kinds[] = {d->lower_is_better, d->logarithmic, (uint8_t)d->group};
        hash = hash_seeded(d->name, strlen(d->name), hash);
        hash = hash_seeded(numbers, sizeof numbers, hash);
        hash = hash_seeded(kinds, sizeof kinds, hash);
    }
    return hash;
}

static bool same_ridges(const struct router_settings *a, const struct router_settings *b)
{
    for (int g = 0; g < METRIC_GROUPS; g++)
        for (int k = 0; k < 2; k++)
            if (a->ridge[g][k] != b->ridge[g][k])
                return false;
    return true;
}

static enum err check_layout(const struct transfer *t, const struct router_config *router,
                             struct err_detail *detail)
{
    uint64_t theirs = spec_hash(&t->from.spec), ours = spec_hash(&router->spec);
    if (theirs != ours)
        return err_say(detail, ERR_SPEC_MISMATCH,
                       "the statistics are of contexts with feature spec %016" PRIx64
                       ", those of router `%s` have %016" PRIx64,
                       theirs, router->name, ours);
    theirs = transfer_metrics_hash(&t->from);
    ours = transfer_metrics_hash(router);
    if (theirs != ours)
        return err_say(detail, ERR_SPEC_MISMATCH,
                       "the statistics are of a metric table with hash %016" PRIx64
                       ", that of router `%s` has %016" PRIx64,
                       theirs, router->name, ours);
    if (!same_ridges(&t->from.settings, &router->settings))
        return err_say(detail, ERR_SPEC_MISMATCH,
                       "the statistics were learned with other ridges than those of router `%s`",
                       router->name);
    return OK;
}

static int slot_of(const struct router_config *router, const char *label)
{
    for (uint32_t i = 0; i < router->tasks_n; i++)
        if (strcmp(router->tasks[i], label) == 0)
            return (int)i;
    return -1;
}

enum err transfer_check(const struct transfer *t, const struct router_config *router,
                        struct err_detail *detail)
{
    TRY(check_layout(t, router, detail));
    /* The last slot is kept for `other`. */
    uint32_t lacks = 0, slots = router->spec.task_slots;
    uint32_t free_n = router->tasks_n + 1 < slots ? slots - 1 - router->tasks_n : 0;
    for (uint32_t i = 0; i < t->from.tasks_n; i++)
        if (slot_of(router, t->from.tasks[i]) < 0 && ++lacks > free_n)
            return err_say(detail, ERR_LIMIT,
                           "the statistics know the task label `%s`, for which router `%s` has no "
                           "free slot",
                           t->from.tasks[i], router->name);
    return OK;
}

/* ret_to[i]: where number i of x goes. Labels go to the router's slots, `other` (the last one, if
 * no label has it) stays; a slot that no label of ours has goes to a place that is left: nothing
 * was ever seen in it. */
static void plan_moves(const struct transfer *t, const struct router_config *router,
                       uint32_t *ret_to)
{
    uint32_t d = spec_d(&router->spec), at = spec_task_at(&router->spec);
    uint32_t slots = router->spec.task_slots, rest = t->from.tasks_n, place = 0;
    bool taken[MAX_TASKS] = {false};
    for (uint32_t i = 0; i < d; i++)
        ret_to[i] = i;
    for (uint32_t i = 0; i < rest; i++) {
        uint32_t slot = (uint32_t)slot_of(router, t->from.tasks[i]);
        ret_to[at + i] = at + slot;
        taken[slot] = true;
    }
    uint32_t end = rest < slots && !taken[slots - 1] ? slots - 1 : slots;
    for (uint32_t i = rest; i < end; i++) {
        while (taken[place])
            place++;
        ret_to[at + i] = at + place++;
    }
}

static void move_matrix(double *M, const uint32_t *to, uint32_t d, double *scratch)
{
    for (uint32_t i = 0; i < d; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            uint32_t row = to[i] > to[j] ? to[i] : to[j], column = to[i] > to[j] ? to[j] : to[i];
            scratch[packed_n(row) + column] = M[packed_n(i) + j];
        }
    }
    memcpy(M, scratch, packed_n(d) * sizeof *M);
}

static void move_vector(double *v, const uint32_t *to, uint32_t d, double *scratch)
{
    for (uint32_t i = 0; i < d; i++)
        scratch[to[i]] = v[i];
    memcpy(v, scratch, d * sizeof *v);
}

static void learn_labels(const struct transfer *t, struct router_config *router)
{
    for (uint32_t i = 0; i < t->from.tasks_n; i++)
        if (slot_of(router, t->from.tasks[i]) < 0)
            memcpy(router->tasks[router->tasks_n++], t->from.tasks[i], NAME_CAP);
}

void transfer_settle(struct transfer *t, struct router_config *router, double *scratch)
{
    uint32_t d = spec_d(&router->spec), to[MAX_D] = {0};
    learn_labels(t, router);
    plan_moves(t, router, to);
    for (int g = 0; g < METRIC_GROUPS; g++)
        move_matrix(t->arm->groups[g].A, to, d, scratch);
    for (uint32_t m = 0; m < router->metrics_n; m++)
        move_vector(t->arm->metrics[m].b, to, d, scratch);
    t->from.tasks_n = router->tasks_n;
    memcpy(t->from.tasks, router->tasks, sizeof router->tasks);
}
