/* selector.h - which arms a caller wants, by their labels, in the syntax of Kubernetes.
 * Why: `tier in (small,medium),!beta` says what is wanted; a list of names grows old with every arm
 * that comes or goes. Anyone who ran kubectl can write one.
 *
 * selector    = [ requirement *( "," requirement ) ]      every requirement must hold; empty: any
 * arm requirement = KEY | "!" KEY                             the key is there, is not there | KEY
 * ( "=" | "==" | "!=" ) [ VALUE ] | KEY ( "in" | "notin" ) "(" [ VALUE ] *( "," [ VALUE ] ) ")" |
 * KEY ( ">" | "<" ) NUMBER                  the value is a whole number above, below KEY and VALUE
 * are those of labels (state/base/name.h); an absent VALUE is the empty one, as in `x in ()`.
 * Blanks are space, tab, CR and LF. As in Kubernetes `!=` and `notin` also hold for an arm without
 * the key; `>` and `<` do not, nor do they where the value is no whole number of 63 bits.
 * (Kubernetes, "Labels and Selectors"; the grammar is that of labels.Parse in apimachinery, whose
 * table of examples is a test here.)
 *
 * Owns: nothing; a parsed selector points into its text. Threads: pure. No allocation. */
#pragma once

#include "state/base/err.h"
#include "state/base/slice.h"
#include "state/model/settings.h"

enum { SELECTOR_REQUIREMENTS = 16, SELECTOR_VALUES = 32 /* Of one requirement. */ };

enum selector_test {
    SELECTOR_IN,
    SELECTOR_NOT_IN,
    SELECTOR_EXISTS,
    SELECTOR_ABSENT,
    SELECTOR_ABOVE,
    SELECTOR_BELOW,
};

struct selector_requirement {
    enum selector_test test;
    struct slice key;
    uint32_t values_at, values_n; /* Into the selector's values. */
    int64_t number;               /* Of ABOVE and BELOW. */
};

struct selector {
    uint32_t n, values_n;
    struct selector_requirement requirements[SELECTOR_REQUIREMENTS];
    struct slice values[SELECTOR_REQUIREMENTS * SELECTOR_VALUES];
};

/* `what` names the field in the sentence. ERR_BAD_SELECTOR says the byte (from 1), what stands
 * there and what was expected; ERR_TOO_LARGE: more than SELECTOR_BYTES. */
MUST_USE enum err selector_parse(struct slice text, const char *what, struct selector *ret_selector,
                                 struct err_detail *detail);
/* Whether every stage's selector can be parsed; the sentence names the stage. */
MUST_USE enum err selector_check_stages(const struct stages *stages, struct err_detail *detail);
/* Whether the arm's labels meet every requirement. A tag of the arm counts as a label without a
 * value, unless a label has its name. */
bool selector_matches(const struct selector *selector, const struct arm_config *arm);
