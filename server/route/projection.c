#include "server/route/projection.h"

#include "state/base/hash.h"
#include "state/base/mem.h"

#include <math.h>
#include <string.h>

static const float value_max = 1000;

/* Row-major as in the file to column-major as it is used. */
static enum err take_values(struct projection *p, struct slice bytes, struct err_detail *detail)
{
    uint32_t n = p->embedding_n;
    const uint8_t *at = bytes.data;
    for (uint32_t k = 0; k < EMBEDDING_D; k++)
        for (uint32_t j = 0; j < n; j++, at += 4) {
            uint32_t bits = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                            (uint32_t)at[3] << 24;
            float v;
            memcpy(&v, &bits, sizeof v);
            if (!isfinite(v))
                return err_say(detail, ERR_NOT_FINITE, "row %u, column %u is not a finite number",
                               k, j);
            if (fabsf(v) > value_max)
                return err_say(detail, ERR_OUT_OF_RANGE,
                               "row %u, column %u is %g; values lie in [-%g, %g]", k, j, (double)v,
                               (double)value_max, (double)value_max);
            p->columns[(size_t)j * EMBEDDING_D + k] = v;
        }
    return OK;
}

enum err projections_add(struct projections *p, const char *name, struct slice bytes,
                         struct err_detail *detail)
{
    const size_t column = sizeof(float) * EMBEDDING_D;
    if (!name_valid(name, strlen(name)))
        return err_say(detail, ERR_BAD_NAME, "its name is no name: %s", err_text(ERR_BAD_NAME));
    if (p->n == PROJECTIONS_MAX)
        return err_say(detail, ERR_LIMIT, "more than %d projections", PROJECTIONS_MAX);
    if (bytes.len == 0 || bytes.len % column || bytes.len > PROJECTION_BYTES_MAX)
        return err_say(detail, ERR_WRONG_DIMENSION,
                       "%zu bytes; %d rows of float32 are a multiple of %zu, at most %d", bytes.len,
                       EMBEDDING_D, column, PROJECTION_BYTES_MAX);
    struct projection *item = &p->item[p->n];
    memset(item, 0, sizeof *item);
    memcpy(item->name, name, strlen(name));
    item->hash = hash_bytes(bytes.data, bytes.len);
    item->embedding_n = (uint32_t)(bytes.len / column);
    item->columns = mem_alloc(bytes.len);
    enum err e = item->columns ? take_values(item, bytes, detail)
                               : err_say(detail, ERR_NOMEM, "no memory for a projection");
    if (e == OK)
        p->n++;
    else
        mem_free(item->columns);
    return e;
}

const struct projection *projections_find(const struct projections *p, const char *name)
{
    for (uint32_t i = 0; p && i < p->n; i++)
        if (strcmp(p->item[i].name, name) == 0)
            return &p->item[i];
    return NULL;
}

void projections_done(struct projections *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        mem_free(p->item[i].columns);
    p->n = 0;
}

void projection_apply(const struct projection *p, const float *e, float *ret)
{
    float sum[EMBEDDING_D] = {0};
    double squares = 0;
    for (uint32_t j = 0; j < p->embedding_n; j++)
        squares += (double)e[j] * (double)e[j];
    double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (uint32_t j = 0; j < p->embedding_n; j++) {
        float v = (float)((double)e[j] * scale);
        const float *column = p->columns + (size_t)j * EMBEDDING_D;
        for (uint32_t k = 0; k < EMBEDDING_D; k++)
            sum[k] += v * column[k];
    }
    memcpy(ret, sum, sizeof sum);
}
