#include "state/model/counting.h"

#include <string.h>

static uint16_t metrics_mask(const struct event_outcome *o)
{
    uint16_t mask = 0;
    for (uint8_t i = 0; i < o->metrics_n; i++)
        mask = (uint16_t)(mask | 1u << o->metrics[i].index);
    return mask;
}

/* The metrics that are pieces; 0 where the first report counts. */
static uint16_t piece_mask(const struct router *r, uint16_t mask)
{
    return r->dedup.pieces ? mask & stats_group_mask(&r->config, METRIC_RATED) : 0;
}

/* Nobody reports after it, and nobody else's key must stand in its way: it has none. */
static bool is_default(const struct event_outcome *o)
{
    return strcmp(o->source, SOURCE_DEFAULT) == 0;
}

enum err counting_check(const struct router *r, struct dedup_entry *entry,
                        const struct event_outcome *o, uint16_t barred, uint16_t *ret_mask)
{
    uint16_t mask = (uint16_t)(metrics_mask(o) & ~barred), pieces = piece_mask(r, mask);
    *ret_mask = mask;
    if (is_default(o)) { /* Each of its metrics where nobody else had a say on that one. */
        *ret_mask = entry ? (uint16_t)(mask & ~entry->reported) : mask;
        return OK;
    }
    if (pieces && !o->piece)
        return ERR_PIECE_KEY_REQUIRED;
    if (!entry)
        return OK;
    *ret_mask = (uint16_t)(mask & ~entry->reported);
    if (!pieces)
        return OK;
    const struct dedup_pieces *p = dedup_pieces(&r->dedup, entry);
    if (dedup_knows_piece(p, o->piece)) {
        *ret_mask = (uint16_t)(*ret_mask & ~pieces);
        return OK;
    }
    *ret_mask = (uint16_t)(*ret_mask | pieces);
    return p->keys_n < MAX_PIECES ? OK : ERR_PIECES_FULL;
}

/* What the pieces of metric m stand for, and its z: a float, as what entered b is (stats.h). */
static double piece_value(const struct router *r, const struct dedup_pieces *p, uint32_t m,
                          double *ret_z)
{
    const struct metric_def *def = &r->config.metrics[m];
    double v = p->metrics[m].sum;
    if (r->config.settings.aggregation == AGGREGATE_MEAN)
        v /= (double)p->metrics[m].n;
    v = v < def->min ? def->min : v > def->max ? def->max : v;
    *ret_z = (double)(float)metric_normalise_linear(def, v);
    return v;
}

static void take_piece(const struct router *r, struct dedup_pieces *p, uint32_t m, double raw,
                       struct counting *c)
{
    if (c->again >> m & 1)
        c->was_raw[m] = piece_value(r, p, m, &c->was_z[m]);
    p->metrics[m].sum += raw;
    p->metrics[m].n++;
    c->raw[m] = piece_value(r, p, m, &c->z[m]);
}

void counting_take(const struct router *r, struct dedup_entry *entry, const struct event_outcome *o,
                   uint16_t barred, struct counting *ret)
{
    uint16_t counted, pieces;
    memset(ret, 0, sizeof *ret);
    if (counting_check(r, entry, o, barred, &counted) != OK)
        return;
    pieces = piece_mask(r, counted);
    struct dedup_pieces *p = pieces ? dedup_pieces(&r->dedup, entry) : NULL;
    ret->again = (uint16_t)(counted & entry->reported);
    ret->fresh = (uint16_t)(counted & ~entry->reported);
    for (uint8_t i = 0; i < o->metrics_n; i++) {
        uint32_t m = o->metrics[i].index;
        ret->z[m] = o->metrics[i].z;
        ret->raw[m] = o->metrics[i].raw;
        if (p && pieces >> m & 1)
            take_piece(r, p, m, o->metrics[i].raw, ret);
    }
    if (p && !is_default(o))
        p->keys[p->keys_n++] = o->piece;
    entry->reported = (uint16_t)(entry->reported | counted);
}
