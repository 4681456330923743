#include "server/lab/workload.h"

#include "state/base/mem.h"
#include "state/base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double reward_sd = .1;
/* Streams of draws, apart from one another. */
enum stream { SIZES = 1, SPECIALITY, THETA, TASK, CONTEXT, REWARD, LOAD };

void workload_defaults(struct workload_spec *ret_spec)
{
    *ret_spec = (struct workload_spec){.adapters = 15, .tasks = 5, .horizon = 20000};
}

enum err workload_check(const struct workload_spec *s, struct err_detail *detail)
{
    if (s->adapters < 1 || s->adapters > WORKLOAD_ADAPTERS_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "adapters is %u; it must lie in [1, %d]",
                       s->adapters, WORKLOAD_ADAPTERS_MAX);
    if (s->tasks < 1 || s->tasks > WORKLOAD_D_MAX || s->tasks > s->adapters)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "tasks is %u; it must lie in [1, %d] and be at most the number of adapters",
                       s->tasks, WORKLOAD_D_MAX);
    if (s->horizon < 1 || s->horizon > WORKLOAD_T_MAX)
        return err_say(detail, ERR_OUT_OF_RANGE, "horizon is %u; it must lie in [1, %d]",
                       s->horizon, WORKLOAD_T_MAX);
    if (s->rotations >= s->horizon || s->rotations > 1000)
        return err_say(detail, ERR_OUT_OF_RANGE,
                       "rotations is %u; it must be at most 1000 and less than the horizon",
                       s->rotations);
    return OK;
}

static uint64_t stream_of(const struct workload *w, enum stream s, uint64_t i)
{
    return rng_mix(rng_mix(w->seed, (uint64_t)s), i);
}

static double uniform(const struct workload *w, enum stream s, uint64_t i, uint64_t k)
{
    return rng_uniform(stream_of(w, s, i), k);
}

/* Box and Muller's transform; the first uniform is kept off zero. */
static double normal(const struct workload *w, enum stream s, uint64_t i, uint64_t k)
{
    double u = 1 - uniform(w, s, i, 2 * k), v = uniform(w, s, i, 2 * k + 1);
    return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
}

static void draw_adapters(struct workload *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        w->name[i][0] = 'a';
        w->name[i][1] = (char)('0' + i / 100);
        w->name[i][2] = (char)('0' + i / 10 % 10);
        w->name[i][3] = (char)('0' + i % 10);
        double mb = exp(log(50) + (log(656) - log(50)) * uniform(w, SIZES, i, 0));
        w->bytes[i] = (uint64_t)(mb * 1e6);
        w->load_ms[i] = 291 + 1.604 * (mb - 50);
        uint32_t special = i < w->d ? i : (uint32_t)rng_below(stream_of(w, SPECIALITY, i), 0, w->d);
        for (uint32_t m = 0; m < w->d; m++) {
            double u = uniform(w, THETA, i, m);
            w->theta[(size_t)i * w->d + m] = m == special ? .60 + .35 * u : .25 + .25 * u;
        }
    }
    double sum = 0;
    for (uint32_t m = 0; m < w->d; m++)
        sum += 1.0 / (m + 1);
    for (uint32_t m = 0; m < w->d; m++)
        w->popularity[m] = 1.0 / (m + 1) / sum;
}

enum err workload_make(const struct workload_spec *spec, uint64_t seed, struct workload *ret)
{
    TRY(workload_check(spec, NULL));
    memset(ret, 0, sizeof *ret);
    ret->n = spec->adapters;
    ret->d = spec->tasks;
    ret->horizon = spec->horizon;
    ret->phases = spec->rotations + 1;
    ret->seed = seed;
    ret->theta = mem_calloc((size_t)ret->n * ret->d, sizeof *ret->theta);
    ret->popularity = mem_calloc(ret->d, sizeof *ret->popularity);
    if (!ret->theta || !ret->popularity) {
        workload_done(ret);
        return ERR_NOMEM;
    }
    draw_adapters(ret);
    return OK;
}

void workload_done(struct workload *w)
{
    mem_free(w->theta);
    mem_free(w->popularity);
    mem_free(w->rows);
    memset(w, 0, sizeof *w);
}

uint32_t workload_phase(const struct workload *w, uint64_t t)
{
    uint64_t phase = t * w->phases / w->horizon;
    return phase < w->phases ? (uint32_t)phase : w->phases - 1;
}

static uint32_t draw_task(const struct workload *w, uint64_t t, uint32_t phase)
{
    double u = uniform(w, TASK, t, 0);
    for (uint32_t m = 0; m + 1 < w->d; m++) {
        u -= w->popularity[m];
        if (u < 0)
            return (m + phase) % w->d;
    }
    return (w->d - 1 + phase) % w->d;
}

void workload_context(const struct workload *w, uint64_t t, uint32_t phase, float *ret_x)
{
    ret_x[0] = 1;
    if (w->rows) {
        memcpy(ret_x + 1, w->rows + t % w->horizon * ((size_t)w->d + w->n), w->d * sizeof *ret_x);
        return;
    }
    uint32_t task = draw_task(w, t, phase);
    double x[WORKLOAD_D_MAX], norm = 0;
    for (uint32_t m = 0; m < w->d; m++) {
        x[m] = (m == task ? 1 : 0) + .1 * fabs(normal(w, CONTEXT, t, m));
        norm += x[m] * x[m];
    }
    for (uint32_t m = 0; m < w->d; m++)
        ret_x[1 + m] = (float)(x[m] / sqrt(norm));
}

static double theta_x(const struct workload *w, uint32_t i, const float *x)
{
    double sum = 0;
    for (uint32_t m = 0; m < w->d; m++)
        sum += w->theta[(size_t)i * w->d + m] * (double)x[1 + m];
    return sum;
}

static double traced(const struct workload *w, uint32_t i, uint64_t t)
{
    return (double)w->rows[t % w->horizon * ((size_t)w->d + w->n) + w->d + i];
}

static double density(double z)
{
    return exp(-.5 * z * z) / sqrt(2 * 3.14159265358979323846);
}

static double below(double z)
{
    return .5 * erfc(-z / sqrt(2));
}

/* E clip(Z, 0, 1), Z normal around theta.x: the mean of a normal between two ends, and the mass at
 * 1. */
double workload_mean(const struct workload *w, uint32_t i, uint64_t t, const float *x)
{
    if (w->rows)
        return traced(w, i, t);
    double mean = theta_x(w, i, x), a = -mean / reward_sd, b = (1 - mean) / reward_sd;
    return mean * (below(b) - below(a)) - reward_sd * (density(b) - density(a)) + 1 - below(b);
}

/* The noise is the request's, whoever serves it: runs with other choices stay paired. */
double workload_reward(const struct workload *w, uint32_t i, uint64_t t, const float *x)
{
    if (w->rows)
        return traced(w, i, t);
    double r = theta_x(w, i, x) + reward_sd * normal(w, REWARD, t, 0);
    return r < 0 ? 0 : r > 1 ? 1 : r;
}

double workload_load_ms(const struct workload *w, uint32_t i, uint64_t k)
{
    return w->load_ms[i] * (w->rows ? 1 : exp(.1 * normal(w, LOAD, i, k)));
}

/* ---- a trace ---- */

struct parsing {
    const char *at, *end; /* Of the line. */
    uint32_t line;
    struct err_detail *detail;
};

/* The next value of the line; false at its end. */
static bool next_value(struct parsing *p, const char **ret, size_t *ret_len)
{
    if (!p->at)
        return false;
    const char *comma = memchr(p->at, ',', (size_t)(p->end - p->at));
    const char *stop = comma ? comma : p->end;
    *ret = p->at;
    *ret_len = (size_t)(stop - p->at);
    p->at = comma ? comma + 1 : NULL;
    return true;
}

static enum err next_number(struct parsing *p, const char *what, double low, double high,
                            double *ret)
{
    const char *s;
    size_t len;
    char text[64];
    if (!next_value(p, &s, &len))
        return err_say(p->detail, ERR_PARSE, "line %u: %s is missing", p->line, what);
    if (len == 0 || len >= sizeof text)
        return err_say(p->detail, ERR_PARSE, "line %u: %s is not a number", p->line, what);
    memcpy(text, s, len);
    text[len] = 0;
    char *stop;
    double v = strtod(text, &stop);
    while (*stop == ' ' || *stop == '\r')
        stop++;
    if (*stop || !(v >= low && v <= high))
        return err_say(p->detail, ERR_PARSE, "line %u: %s is `%s`; a number in [%g, %g] is needed",
                       p->line, what, text, low, high);
    *ret = v;
    return OK;
}

static enum err parse_adapter(struct parsing *p, struct workload *w)
{
    const char *s;
    size_t len;
    double bytes = 0, load_ms = 0;
    if (w->horizon)
        return err_say(p->detail, ERR_PARSE, "line %u: adapters must stand before requests",
                       p->line);
    if (w->n == WORKLOAD_ADAPTERS_MAX)
        return err_say(p->detail, ERR_LIMIT, "line %u: a trace has at most %d adapters", p->line,
                       WORKLOAD_ADAPTERS_MAX);
    if (!next_value(p, &s, &len) || !name_valid(s, len))
        return err_say(p->detail, ERR_PARSE,
                       "line %u: the adapter's name must be 1 to 64 of A-Z a-z 0-9 . _ / -",
                       p->line);
    memcpy(w->name[w->n], s, len);
    w->name[w->n][len] = 0;
    for (uint32_t i = 0; i < w->n; i++)
        if (strcmp(w->name[i], w->name[w->n]) == 0)
            return err_say(p->detail, ERR_PARSE, "line %u: there is an adapter `%s` already",
                           p->line, w->name[i]);
    TRY(next_number(p, "the adapter's size in bytes", 0, 1e15, &bytes));
    TRY(next_number(p, "its load time in ms", 0, 1e7, &load_ms));
    w->bytes[w->n] = (uint64_t)bytes;
    w->load_ms[w->n++] = load_ms;
    return OK;
}

static uint32_t count_values(const struct parsing *p)
{
    uint32_t n = p->at ? 1 : 0;
    for (const char *c = p->at; c && c < p->end; c++)
        n += *c == ',';
    return n;
}

/* The first request says how many features there are. */
static enum err parse_request(struct parsing *p, struct workload *w, size_t *cap)
{
    uint32_t n = count_values(p);
    if (w->horizon == 0) {
        if (w->n == 0 || n <= w->n || n - w->n > WORKLOAD_D_MAX)
            return err_say(p->detail, ERR_PARSE,
                           "line %u: a request holds 1 to %d features and one utility for each of "
                           "the %u adapters declared before it",
                           p->line, WORKLOAD_D_MAX, w->n);
        w->d = n - w->n;
    }
    if (n != w->d + w->n)
        return err_say(p->detail, ERR_PARSE, "line %u: %u values; the first request has %u",
                       p->line, n, w->d + w->n);
    size_t at = (size_t)w->horizon * n;
    if (w->horizon == WORKLOAD_T_MAX || at + n > WORKLOAD_TRACE_FLOATS_MAX)
        return err_say(p->detail, ERR_LIMIT, "line %u: the trace is too long", p->line);
    if (at + n > *cap) {
        size_t more = *cap ? 2 * *cap : 4096;
        more = more < at + n ? at + n : more;
        float *rows = mem_realloc(w->rows, more * sizeof *rows);
        if (!rows)
            return ERR_NOMEM;
        w->rows = rows;
        *cap = more;
    }
    for (uint32_t i = 0; i < n; i++) {
        double v = 0;
        bool feature = i < w->d;
        TRY(next_number(p, feature ? "a feature" : "a utility", feature ? -1e6 : 0,
                        feature ? 1e6 : 1, &v));
        w->rows[at + i] = (float)v;
    }
    w->horizon++;
    return OK;
}

static enum err parse_line(struct parsing *p, struct workload *w, size_t *cap)
{
    const char *s;
    size_t len;
    if (p->at < p->end && p->end[-1] == '\r')
        p->end--;
    if (p->at == p->end || *p->at == '#')
        return OK;
    (void)next_value(p, &s, &len);
    if (len == 7 && memcmp(s, "adapter", 7) == 0)
        return parse_adapter(p, w);
    if (len == 7 && memcmp(s, "request", 7) == 0)
        return parse_request(p, w, cap);
    return err_say(p->detail, ERR_PARSE, "line %u: a line begins with adapter, request or #",
                   p->line);
}

enum err workload_parse(struct slice text, struct workload *ret, struct err_detail *detail)
{
    struct parsing p = {.detail = detail};
    const char *at = text.data, *end = text.len ? at + text.len : at;
    size_t cap = 0;
    enum err e = OK;
    memset(ret, 0, sizeof *ret);
    ret->phases = 1;
    while (e == OK && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        p.at = at;
        p.end = stop ? stop : end;
        p.line++;
        e = parse_line(&p, ret, &cap);
        at = stop ? stop + 1 : end;
    }
    if (e == OK && ret->horizon == 0)
        e = err_say(detail, ERR_PARSE, "the trace holds no request");
    if (e != OK)
        workload_done(ret);
    return e;
}
