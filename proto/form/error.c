#include "proto/form/error.h"

#include <stdarg.h>
#include <stdio.h>

enum form_result form_say(struct form_error *error, enum form_result r, const char *fmt, ...)
{
    if (error) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(error->text, sizeof error->text, fmt, args);
        va_end(args);
    }
    return r;
}
