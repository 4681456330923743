#include "server/engine/lab_export.h"

#include "state/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { CHUNK_BYTES = 1 << 20, PATH_CAP = 4096 };

/* ---- a line ---- */

__attribute__((format(printf, 2, 3))) static void put(struct buf *out, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n > 0)
        buf_put(out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* Nine digits give a float back exactly. */
static void put_float(struct buf *out, float v)
{
    put(out, "%.9g", (double)v);
}

/* Above 2^63 - 1 as text, as everywhere in our JSON. */
static void put_u64(struct buf *out, const char *key, uint64_t v)
{
    const char *quote = v > INT64_MAX ? "\"" : "";
    put(out, ",\"%s\":%s%" PRIu64 "%s", key, quote, v, quote);
}

/* Without a default: a reason that is new does not compile until it has its name here. */
static const char *reason_name(enum reason reason)
{
    switch (reason) {
    case REASON_NONE:
        return "REASON_UNSPECIFIED";
    case REASON_EXPLOIT:
        return "REASON_EXPLOIT";
    case REASON_EXPLORE:
        return "REASON_EXPLORE";
    case REASON_NEWCOMER:
        return "REASON_NEWCOMER";
    case REASON_ONLY_ELIGIBLE:
        return "REASON_ONLY_ELIGIBLE";
    case REASON_COOLDOWN_PROBE:
        return "REASON_COOLDOWN_PROBE";
    case REASON_ALL_COOLING:
        return "REASON_ALL_COOLING";
    case REASON_FIXED:
        return "REASON_FIXED";
    case REASON_BASELINE:
        return "REASON_BASELINE";
    case REASON_SESSION:
        return "REASON_SESSION";
    case REASON_SESSION_MOVED:
        return "REASON_SESSION_MOVED";
    case REASON_PROBE:
        return "REASON_PROBE";
    case REASON_ADAPTER_PROBE:
        return "REASON_ADAPTER_PROBE";
    }
    return NULL;
}

static void put_head(const struct lab_logged *row, const struct router_view *view,
                     const struct lab_rows *names, struct buf *out)
{
    const struct audit_record *r = row->record;
    const struct decision *d = &r->decision;
    char id[ID_TEXT_CAP];
    id_format(d->id, id);
    const char *arm = lab_rows_name(names, d->arm_uid),
               *reason = reason_name((enum reason)d->reason);
    int k = router_view_arm_uid(view, d->arm_uid);
    put(out, "{\"decision_id\":\"%s\",\"router\":\"%s\",\"arm_id\":\"%s\"", id, view->config->name,
        arm ? arm : "");
    if (k >= 0)
        put(out, ",\"arm_version\":%u", view->arms[k]->version);
    if (reason)
        put(out, ",\"reason\":\"%s\"", reason);
    else
        put(out, ",\"reason\":%u", d->reason);
    put(out, ",\"policy\":\"%s\",\"fallback\":%s,\"propensity\":", r->policy,
        r->fallback ? "true" : "false");
    put_float(out, d->propensity);
    bool evaluable = d->evaluable && !row->replaced;
    put(out, ",\"evaluable\":%s,\"beyond_sample\":%s,\"issued_at_us\":%" PRId64,
        evaluable ? "true" : "false", lab_rows_beyond_sample(r) ? "true" : "false", d->issued_us);
    put_u64(out, "seed", r->seed);
    put_u64(out, "position", r->position);
    put_u64(out, "feature_spec_hash", d->spec_hash);
}

/* What a trial made of it: which side of a split, or for which baseline. */
static void put_trial(const struct audit_record *r, const struct lab_rows *names, struct buf *out)
{
    static const char *const modes[] = {[MODE_ONLINE] = "MODE_ONLINE",
                                        [MODE_APPRENTICE] = "MODE_APPRENTICE",
                                        [MODE_LOGGING_ONLY] = "MODE_LOGGING_ONLY"};
    static const char *const sides[] = {
        [SIDE_NONE] = "SIDE_NONE", [SIDE_A] = "SIDE_A", [SIDE_B] = "SIDE_B"};
    const struct decision *d = &r->decision;
    const char *baseline = r->baseline_uid ? lab_rows_name(names, r->baseline_uid) : NULL;
    const char *policy = d->policy_arm_uid ? lab_rows_name(names, d->policy_arm_uid) : NULL;
    if (d->mode < sizeof modes / sizeof *modes)
        put(out, ",\"mode\":\"%s\"", modes[d->mode]);
    if (d->side < sizeof sides / sizeof *sides)
        put(out, ",\"side\":\"%s\"", sides[d->side]);
    put(out, ",\"baseline_arm_id\":\"%s\",\"policy_arm_id\":\"%s\"", baseline ? baseline : "",
        policy ? policy : "");
}

/* %.17g gives a double back exactly. */
static void put_budget(const struct audit_budget *b, const struct router_config *c,
                       const struct lab_rows *names, struct buf *out)
{
    if (!b->paced || b->metric >= c->metrics_n) {
        put(out, ",\"budget\":null");
        return;
    }
    put(out, ",\"budget\":{\"metric\":\"%s\",\"tenant\":\"%s\",\"per_request\":%.17g",
        c->metrics[b->metric].name, b->tenant, b->per_request);
    put(out, ",\"lambda\":%.17g,\"affordable\":%.17g,\"breaker\":%s", b->lambda, b->affordable,
        b->breaker ? "true" : "false");
    put(out, ",\"unaffordable_n\":%u,\"unaffordable\":[", b->refused_n);
    for (uint32_t i = 0; i < b->refused_n && i < AUDIT_REFUSED_MAX; i++) {
        const char *name = lab_rows_name(names, b->refused[i].arm_uid);
        put(out, "%s{\"arm_id\":\"%s\",\"cost\":", i ? "," : "", name ? name : "");
        put_float(out, b->refused[i].cost);
        put(out, "}");
    }
    put(out, "]}");
}

static void put_arms(const struct audit_record *r, const struct lab_rows *names, struct buf *out)
{
    put(out, ",\"arms\":[");
    for (uint32_t i = 0; i < r->arms_n; i++) {
        const struct audit_arm *a = &r->arms[i];
        const char *name = lab_rows_name(names, a->arm_uid);
        put(out, "%s{\"arm_id\":\"%s\",\"propensity\":", i ? "," : "", name ? name : "");
        put_float(out, a->propensity);
        put(out, ",\"mean\":");
        put_float(out, a->mean);
        put(out, ",\"width\":");
        put_float(out, a->width);
        put(out, ",\"pending\":%u}", a->pending);
    }
    put(out, "]");
}

/* values (MAX_METRICS); those of the mask, by name. */
static void put_metrics(const struct router_config *c, uint16_t mask, const double *values,
                        struct buf *out)
{
    const char *comma = "";
    put(out, "{");
    for (uint32_t m = 0; m < c->metrics_n; m++) {
        if (!(mask >> m & 1))
            continue;
        put(out, "%s\"%s\":%.17g", comma, c->metrics[m].name, values[m]);
        comma = ",";
    }
    put(out, "}");
}

static void put_outcome(const struct lab_logged *row, const struct router_config *c,
                        struct buf *out)
{
    static const char *const names[OUTCOME_STATUS_N] = {"STATUS_OK", "STATUS_ERROR",
                                                        "STATUS_REFUSED", "STATUS_TIMEOUT"};
    if (!row->has_outcome) {
        put(out, ",\"outcome\":null}\n");
        return;
    }
    put(out, ",\"outcome\":{\"status\":\"%s\",\"reported_at_us\":%" PRId64 ",\"metrics\":",
        names[row->status], row->reported_us);
    put_metrics(c, row->mask, row->raw, out);
    put(out, "}}\n");
}

void lab_export_line(const struct lab_logged *row, const struct router_view *view,
                     const struct lab_rows *names, struct buf *out)
{
    const struct audit_record *r = row->record;
    put_head(row, view, names, out);
    put_trial(r, names, out);
    put(out, ",\"context\":[");
    for (uint32_t i = 0; i < r->decision.d; i++) {
        put(out, "%s", i ? "," : "");
        put_float(out, r->decision.x[i]);
    }
    put(out, "],\"weights\":");
    put_metrics(view->config, (uint16_t)((1u << r->weights_n) - 1), r->weights, out);
    put_budget(&r->budget, view->config, names, out);
    put_arms(r, names, out);
    put_outcome(row, view->config, out);
}

/* ---- the file ---- */

struct lab_export {
    int fd;
    uint64_t written, most;
    struct buf chunk;
};

bool lab_export_path(const char *dir, uint64_t id, char *ret, size_t cap)
{
    int n = snprintf(ret, cap, "%s/%" PRIu64 ".jsonl", dir, id);
    return n > 0 && (size_t)n < cap;
}

/* Visits every file of ours in DIR. */
static enum err each_file(const char *dir, void (*visit)(const char *path, void *ctx), void *ctx,
                          struct err_detail *detail)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_say(detail, ERR_IO, "%.900s: %s", dir, strerror(errno));
    for (struct dirent *entry; (entry = readdir(d));) {
        char path[PATH_CAP];
        const char *dot = strrchr(entry->d_name, '.');
        int n = snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (dot && strcmp(dot, ".jsonl") == 0 && n > 0 && (size_t)n < sizeof path)
            visit(path, ctx);
    }
    (void)closedir(d);
    return OK;
}

static void remove_file(const char *path, void *ctx)
{
    (void)ctx;
    (void)unlink(path); /* What stays is counted by the next export. */
}

static void add_size(const char *path, void *ctx)
{
    struct stat st;
    if (stat(path, &st) == 0)
        *(uint64_t *)ctx += (uint64_t)st.st_size;
}

enum err lab_export_prepare(const char *dir, struct err_detail *detail)
{
    if (mkdir(dir, 0700) == 0)
        return OK;
    if (errno != EEXIST)
        return err_say(detail, ERR_IO, "%.900s: %s", dir, strerror(errno));
    return each_file(dir, remove_file, NULL, detail);
}

enum err lab_export_open(const char *dir, uint64_t id, struct lab_export **ret_export,
                         struct err_detail *detail)
{
    char path[PATH_CAP];
    uint64_t used = 0;
    TRY(each_file(dir, add_size, &used, detail));
    if (used >= LAB_EXPORT_MAX)
        return err_say(detail, ERR_LIMIT, "older exports fill their %" PRIu64 " bytes; forget one",
                       LAB_EXPORT_MAX);
    struct lab_export *x = mem_calloc(1, sizeof *x);
    if (!x)
        return err_say(detail, ERR_NOMEM, "no memory for the export");
    x->most = LAB_EXPORT_MAX - used;
    x->fd = -1;
    if (lab_export_path(dir, id, path, sizeof path))
        x->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (x->fd < 0) {
        enum err e = err_say(detail, ERR_IO, "%.900s: %s", path, strerror(errno));
        lab_export_close(x);
        return e;
    }
    *ret_export = x;
    return OK;
}

static enum err write_chunk(struct lab_export *x, struct err_detail *detail)
{
    struct statvfs fs;
    if (fstatvfs(x->fd, &fs) == 0 &&
        (uint64_t)fs.f_bavail * fs.f_frsize < LAB_EXPORT_LEAVE + x->chunk.len)
        return err_say(detail, ERR_DISK_FULL,
                       "the export would leave less than %" PRIu64 " bytes of the disk free",
                       LAB_EXPORT_LEAVE);
    for (size_t at = 0; at < x->chunk.len;) {
        ssize_t n = write(x->fd, x->chunk.data + at, x->chunk.len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_say(detail, errno == ENOSPC || errno == EDQUOT ? ERR_DISK_FULL : ERR_IO,
                           "the export cannot be written: %s", strerror(errno));
        at += (size_t)n;
    }
    x->written += x->chunk.len;
    buf_reset(&x->chunk);
    return OK;
}

enum err lab_export_put(struct lab_export *x, struct slice line, struct err_detail *detail)
{
    if (x->written + x->chunk.len + line.len > x->most)
        return err_say(detail, ERR_TOO_LARGE,
                       "exports together may have %" PRIu64 " bytes; shorten the window",
                       LAB_EXPORT_MAX);
    buf_put(&x->chunk, line.data, line.len);
    if (buf_error(&x->chunk) != OK)
        return err_say(detail, ERR_NOMEM, "no memory for the export");
    return x->chunk.len >= CHUNK_BYTES ? write_chunk(x, detail) : OK;
}

enum err lab_export_finish(struct lab_export *x, uint64_t *ret_bytes, struct err_detail *detail)
{
    if (x->chunk.len)
        TRY(write_chunk(x, detail));
    *ret_bytes = x->written;
    return OK;
}

void lab_export_close(struct lab_export *x)
{
    if (!x)
        return;
    if (x->fd >= 0)
        (void)close(x->fd);
    buf_done(&x->chunk);
    mem_free(x);
}

enum err lab_export_read(const char *dir, uint64_t id, uint64_t offset, uint8_t *ret, size_t cap,
                         size_t *ret_n, struct err_detail *detail)
{
    char path[PATH_CAP];
    int fd = -1;
    if (lab_export_path(dir, id, path, sizeof path))
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_say(detail, ERR_NOT_FOUND, "job %" PRIu64 " has no output", id);
    ssize_t n = offset <= INT64_MAX ? pread(fd, ret, cap, (off_t)offset) : 0;
    (void)close(fd);
    if (n < 0)
        return err_say(detail, ERR_IO, "the output cannot be read: %s", strerror(errno));
    *ret_n = (size_t)n;
    return OK;
}
