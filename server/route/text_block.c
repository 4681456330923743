#include "server/route/text_block.h"

#include "server/route/text_symbols.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

static const double clip_at = 4, block_scale = 0.7 / 4, odd_limit = 0.4;

/* How far a window's edge moves to stand between words. */
enum { EDGE_MAX = 32 };

/* ---- Windows ---- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_inside_character(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

static size_t prefix_end(const uint8_t *p)
{
    for (size_t i = TEXT_PREFIX; i > TEXT_PREFIX - EDGE_MAX; i--)
        if (is_blank(p[i]))
            return i;
    for (size_t i = TEXT_PREFIX; i > TEXT_PREFIX - 4; i--)
        if (!is_inside_character(p[i]))
            return i;
    return TEXT_PREFIX;
}

static size_t suffix_start(const uint8_t *p, size_t begin)
{
    for (size_t i = begin; i < begin + EDGE_MAX; i++)
        if (is_blank(p[i]))
            return i + 1;
    for (size_t i = begin; i < begin + 4; i++)
        if (!is_inside_character(p[i]))
            return i;
    return begin;
}

static size_t split(struct slice text, struct slice ret_window[2])
{
    if (text.len == 0)
        return 0;
    if (text.len <= TEXT_PREFIX + TEXT_SUFFIX) {
        ret_window[0] = text;
        return 1;
    }
    const uint8_t *p = text.data;
    size_t start = suffix_start(p, text.len - TEXT_SUFFIX);
    ret_window[0] = (struct slice){p, prefix_end(p)};
    ret_window[1] = (struct slice){p + start, text.len - start};
    return 2;
}

/* ---- The best path ---- */

struct path {
    size_t n; /* Symbols. */
    uint8_t symbol[TEXT_SYMBOLS_MAX];
    /* The best piece that ends before symbol i, times 65536, and where it begins. */
    uint32_t token[TEXT_SYMBOLS_MAX + 1];
    double best[TEXT_SYMBOLS_MAX + 1]; /* Log-probability of the best path to there. */
};

static_assert(TEXT_SYMBOLS_MAX <= UINT16_MAX, "where a token begins fits 16 bits");

static uint32_t token_of(uint16_t piece, size_t begin)
{
    return (uint32_t)piece << 16 | (uint32_t)begin;
}

static uint16_t token_piece(uint32_t token)
{
    return (uint16_t)(token >> 16);
}

static size_t token_begin(uint32_t token)
{
    return token & 0xffff;
}

/* Equal paths: the later, shorter last piece. A sum of exactly 0 reads as "none yet"; both as the
 * package has it, whose vectors belong to the pieces that it finds. */
static void offer(struct path *p, size_t end, double score, uint32_t token)
{
    if (p->best[end] < 0 && score < p->best[end])
        return;
    p->best[end] = score;
    p->token[end] = token;
}

/* Every character of a piece is itself a piece, so every position is reached. */
static void find_path(struct path *p, struct slice window)
{
    p->symbol[0] = TEXT_SYMBOL_SPACE;
    p->n = 1 + text_symbols(window.data, window.len, p->symbol + 1, TEXT_SYMBOLS_MAX - 1);
    memset(p->best, 0, (p->n + 1) * sizeof *p->best);
    for (size_t i = 0; i < p->n; i++) {
        double score = p->best[i];
        uint32_t node = 0;
        bool found = false;
        for (size_t end = i; end < p->n && p->symbol[end] != TEXT_SYMBOL_NONE; end++) {
            uint32_t child = (text_table.link[node] >> 8) + p->symbol[end];
            if ((text_table.link[child] & 255) != p->symbol[end])
                break;
            node = child;
            uint16_t piece = text_table.piece[node];
            if (piece == 0)
                continue;
            found = true;
            offer(p, end + 1, score + text_table.score[piece], token_of(piece, i));
        }
        if (!found)
            offer(p, i + 1, score, token_of(0, i));
    }
}

/* ---- What becomes of it ---- */

struct tally {
    int32_t sum[TEXT_D];
    uint32_t known, odd, all;
};

static void tally_path(struct tally *t, const struct path *p)
{
    for (size_t at = p->n; at > 0;) {
        uint16_t piece = token_piece(p->token[at]);
        size_t begin = token_begin(p->token[at]);
        bool lone_space = begin + 1 == at && p->symbol[begin] == TEXT_SYMBOL_SPACE;
        at = begin;
        if (lone_space)
            continue;
        t->all++;
        t->odd += piece == 0 || (text_table.length[piece] & TEXT_LETTER);
        if (piece == 0)
            continue;
        t->known++;
        for (size_t d = 0; d < TEXT_D; d++)
            t->sum[d] += text_table.row[piece][d];
    }
}

void text_block(struct slice text, float ret_block[TEXT_D])
{
    struct slice window[2];
    struct path path;
    struct tally t = {0};
    size_t windows = split(text, window);
    for (size_t i = 0; i < windows; i++) {
        find_path(&path, window[i]);
        tally_path(&t, &path);
    }
    memset(ret_block, 0, TEXT_D * sizeof *ret_block);
    if (t.known == 0 || t.odd > odd_limit * t.all)
        return;
    for (size_t d = 0; d < TEXT_D; d++) {
        double v = t.sum[d] * (double)text_table.scale[d] / t.known;
        v = v < -clip_at ? -clip_at : v > clip_at ? clip_at : v;
        ret_block[d] = (float)(v * block_scale);
    }
}

size_t text_tokens(struct slice text, uint16_t *ret_ids, size_t cap)
{
    struct slice window[2];
    struct path path;
    size_t n = 0, windows = split(text, window);
    for (size_t i = 0; i < windows; i++) {
        uint16_t found[TEXT_SYMBOLS_MAX];
        size_t found_n = 0;
        find_path(&path, window[i]);
        for (size_t at = path.n; at > 0; at = token_begin(path.token[at])) {
            uint16_t piece = token_piece(path.token[at]);
            if (piece != 0 || found_n == 0 || found[found_n - 1] != 0)
                found[found_n++] = piece;
        }
        for (; found_n > 0; found_n--, n++)
            if (n < cap)
                ret_ids[n] = found[found_n - 1];
    }
    return n;
}
