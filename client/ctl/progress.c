#include "client/ctl/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 30
#define DRAW_EVERY_MS 100

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, const char *label, uint64_t total)
{
    const char *term = getenv("TERM");
    p->label = label;
    p->total = total;
    p->on = isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
    p->started_ms = now_ms();
    p->shown_ms = p->started_ms;
}

void progress_set(struct progress *p, uint64_t done)
{
    if (!p->on)
        return;
    int64_t now = now_ms();
    if (now - p->shown_ms < DRAW_EVERY_MS)
        return;
    p->shown_ms = now;
    double seconds = (double)(now - p->started_ms) / 1000.0;
    if (!p->total) {
        fprintf(stderr, "\r%s %c %.0f s\033[K", p->label, "|/-\\"[(now / DRAW_EVERY_MS) % 4],
                seconds);
        return;
    }
    double share = done < p->total ? (double)done / (double)p->total : 1.0;
    char bar[BAR_WIDTH + 1];
    int full = (int)(share * BAR_WIDTH);
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)full);
    bar[BAR_WIDTH] = '\0';
    double left = share > 0 ? seconds * (1.0 - share) / share : 0;
    fprintf(stderr, "\r%s [%s] %3.0f %%  %.0f s left\033[K", p->label, bar, share * 100.0, left);
}

void progress_end(struct progress *p)
{
    if (p->on)
        fputs("\r\033[K", stderr);
    p->on = false;
}
