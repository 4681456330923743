#include "state/base/err.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const codes[] = {
#define X(name, code, text) code,
    ERR_LIST(X)
#undef X
};

static const char *const texts[] = {
#define X(name, code, text) text,
    ERR_LIST(X)
#undef X
};

const char *err_code(enum err e)
{
    return (unsigned)e < ERR_N ? codes[e] : "INTERNAL";
}

const char *err_text(enum err e)
{
    return (unsigned)e < ERR_N ? texts[e] : "unknown error";
}

enum err err_say(struct err_detail *d, enum err e, const char *fmt, ...)
{
    if (d) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(d->text, sizeof d->text, fmt, ap);
        va_end(ap);
    }
    return e;
}
