/* sources.h - whose word a router takes: named sources of outcomes, their trust and their caps.
 * Why: a judge that is new, or that was found to be poisoned, must not teach; what it says is kept
 * all the same, and one that floods must not crowd out the others.
 * A rule is a text, as operators write it: "fold", "log_only" or "refuse", then, for all reports of
 * the source together, " max_per_s=N" and " max_per_min=N" (server/live/source_caps.h counts them).
 * A report that names no source, or one that has no rule, falls under the rule of the unknown.
 * Owns: plain bytes. Threads: pure. Invariant: in order of name, each name once, zeros behind. */
#pragma once

#include "state/base/err.h"
#include "state/base/name.h"
#include "state/base/slice.h"
#include "state/model/limits.h"

enum trust {
    TRUST_FOLD = 0,     /* Teaches. */
    TRUST_LOG_ONLY = 1, /* Is journalled and counted, and teaches nobody. */
    TRUST_REFUSE = 2,
};

struct source_rule {
    enum trust trust;
    uint32_t max_per_s, max_per_min; /* 0: no cap. */
};

struct source {
    char name[NAME_CAP];
    struct source_rule rule;
};

struct sources {
    struct source_rule unknown;
    uint32_t n;
    struct source all[MAX_SOURCES];
};

/* What outcomes that the server makes itself are signed with; it always teaches. */
#define SOURCE_DEFAULT "default"

/* Reads a rule; "" is "fold". ERR_INVALID says what is wrong. */
MUST_USE enum err source_rule_parse(struct slice text, struct source_rule *ret,
                                    struct err_detail *detail);
enum { SOURCE_RULE_CAP = 64 };
/* The one way to write it. */
void source_rule_print(const struct source_rule *rule, char ret_text[SOURCE_RULE_CAP]);

/* Adds a source, or gives one that is there another rule. ERR_BAD_NAME, ERR_INVALID (the rule, or
 * the name is SOURCE_DEFAULT), ERR_OUT_OF_RANGE (too many). On error nothing changed. */
MUST_USE enum err sources_put(struct sources *s, struct slice name, struct slice rule,
                              struct err_detail *detail);
/* Whether it was there. */
bool sources_remove(struct sources *s, struct slice name);
/* Where it stands; s->n: nowhere, so it is unknown. */
uint32_t sources_find(const struct sources *s, struct slice name);
/* The rule that a report of this source falls under; "" when it names none. */
const struct source_rule *sources_rule(const struct sources *s, const char *name);

/* 32 bits that stand for a name, never 0; two names agree with probability 2^-32. */
uint32_t source_tag(const char *name);
/* Whether it can be forgotten: it has a name, and is not the server's own. */
bool source_is_named(uint32_t tag);

/* What a source brought, of the reports that the journal has. */
struct source_count {
    char name[NAME_CAP]; /* Empty: reports that name none. */
    uint64_t folded;     /* Taught something. */
    uint64_t logged;     /* Not trusted: taught nobody. */
    uint64_t beaten;     /* Another source had said all of it before. */
    uint64_t forgotten;  /* Taken out again (forget.h). */
};
/* By first appearance; what does not fit is counted together. */
struct source_counts {
    uint32_t n;
    struct source_count all[MAX_SOURCE_COUNTS];
    struct source_count others;
};
/* Its row, made when there is none and room for one; else `others`. */
struct source_count *source_counts_of(struct source_counts *c, const char *name);
/* NULL: it has none. */
const struct source_count *source_counts_find(const struct source_counts *c, const char *name);
void source_counts_encode(const struct source_counts *c, struct buf *out);
void source_counts_decode(struct reader *r, struct source_counts *ret);

/* One byte form; a decoder fails with the reader left failed. */
void sources_encode(const struct sources *s, struct buf *out);
void sources_decode(struct reader *r, struct sources *ret);
