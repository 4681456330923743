/* error.h - how a conversion between messages and text ends.
 * Why: the wire contract and its forms may be lifted out whole, so they include nothing of the
 * server; this is all they need of an error.
 * Threads: plain values. */
#pragma once

#define FORM_MUST_USE __attribute__((warn_unused_result))

enum form_result {
    FORM_OK = 0,
    FORM_BAD,   /* The input is wrong; form_error says where and what was expected. */
    FORM_NOMEM, /* form_error says "out of memory". */
};

/* The sentence for people. Filled only together with a result other than FORM_OK. Quotes at most
 * single short words of the input: a prompt never ends up in an error. */
struct form_error {
    char text[1024];
};

/* Formats the sentence, truncating; returns r. error may be NULL. */
enum form_result form_say(struct form_error *error, enum form_result r, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Says "out of memory"; returns FORM_NOMEM. Inline so that compilers see that it never returns OK.
 */
static inline enum form_result form_nomem(struct form_error *error)
{
    (void)form_say(error, FORM_NOMEM, "out of memory");
    return FORM_NOMEM;
}
