/* prom.h - a strict reader of the Prometheus text format 0.0.4, for tests.
 * Why: "it looks right" is what a lenient reader says; this one refuses what the format forbids:
 * samples outside their family's block, a block twice, TYPE after samples, a bad escape, bad UTF-8,
 * a series twice, a last line without newline, histograms whose buckets fall, lack +Inf or disagree
 * with _count.
 * Owns: a parsed page owns its samples; prom_free gives them back. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct prom_sample {
    char name[128];
    char labels[512]; /* As on the page, between the braces. */
    char family[128];
    char type[16];
    double value;
};

struct prom_page {
    struct prom_sample *samples;
    size_t n;
    char error[256]; /* "line N: ..." when it does not parse. */
};

/* True when the page is well-formed. Call prom_free either way. */
bool prom_parse(const char *text, size_t len, struct prom_page *ret_page);
void prom_free(struct prom_page *page);
/* NULL if there is none. labels exactly as rendered, "" for none. */
const struct prom_sample *prom_find(const struct prom_page *page, const char *name,
                                    const char *labels);
