#include "server/lab/estimate.h"

#include <string.h>

void estimate_sums_init(struct estimate_sums *s)
{
    memset(s, 0, sizeof *s);
    s->r_min = s->e_min = (double)INFINITY;
    s->r_max = s->e_max = -(double)INFINITY;
}

void estimate_add(struct estimate_sums *s, const struct estimate_input *in)
{
    double dr = in->v + in->w * (in->r - in->q);
    moments_add(&s->ips, in->w, in->w * in->r);
    moments_add(&s->dr, in->w, dr);
    moments_add(&s->ips_less_logged, in->w, (in->w - 1) * in->r);
    moments_add(&s->dr_less_logged, in->w, dr - in->r);
    moments_add(&s->logged, 1, in->r);
    s->v += in->v;
    s->r_min = fmin(s->r_min, in->r);
    s->r_max = fmax(s->r_max, in->r);
    s->e_min = fmin(s->e_min, in->r - in->q);
    s->e_max = fmax(s->e_max, in->r - in->q);
}

void estimate_add_replay(struct estimate_sums *s, double r)
{
    s->replay_n++;
    s->replay += r;
    s->replay_squares += r * r;
}

/* How y is made of w and r: y = w_part w r + v_part (v - w q) - logged_part r, v = q = the mean
 * prediction for a row that was never seen. */
struct shape {
    double predicted; /* 1: DR. */
    double logged;    /* 1: less the logged outcome. */
};

struct frame {
    double w_max, low, high, v;
    double e_min, e_max; /* By how much an outcome missed its prediction; 0: by the range. */
};

/* The fake datum's y, as extreme as the sign asks for: linear in r, so r is at an end. */
static double fake_y(const struct frame *f, const struct shape *s, double w, int sign)
{
    double slope = w - s->logged;
    bool up = slope * sign > 0;
    double r = up ? f->high : f->low;
    if (s->predicted > 0) /* A prediction that is off by more than the mean one would be. */
        r = up ? fmax(r, f->v + f->e_max) : fmin(r, f->v + f->e_min);
    return slope * r + s->predicted * f->v * (1 - w);
}

static double end_of(const struct moments *m, const struct frame *f, const struct shape *s,
                     int sign)
{
    double heavy = interval_end(m, f->w_max, fake_y(f, s, f->w_max, sign), sign);
    double none = interval_end(m, 0, fake_y(f, s, 0, sign), sign);
    return sign < 0 ? fmin(heavy, none) : fmax(heavy, none);
}

static struct interval interval_of(const struct moments *m, const struct frame *f,
                                   const struct shape *s)
{
    double least = s->logged > 0 ? f->low - f->high : f->low;
    double most = s->logged > 0 ? f->high - f->low : f->high;
    double low = end_of(m, f, s, -1), high = end_of(m, f, s, 1);
    return (struct interval){fmin(most, fmax(least, low)), fmax(least, fmin(most, high))};
}

/* As interval_of, but weights are all one: the fake datum is one more outcome. */
static struct interval interval_of_mean(const struct moments *m, const struct frame *f)
{
    return (struct interval){fmax(f->low, interval_end(m, 1, f->low, -1)),
                             fmin(f->high, interval_end(m, 1, f->high, 1))};
}

static void finish_replay(const struct estimate_sums *s, struct estimates *ret)
{
    double n = (double)s->replay_n;
    ret->replay_rows = s->replay_n;
    ret->replay = s->replay_n ? s->replay / n : (double)NAN;
    ret->replay_error = (double)NAN;
    if (s->replay_n > 1)
        ret->replay_error =
            sqrt(fmax(0, s->replay_squares / n - ret->replay * ret->replay) / (n - 1));
}

void estimate_finish(const struct estimate_sums *s, double w_max, double low, double high,
                     struct estimates *ret)
{
    static const struct shape ips = {0, 0}, dr = {1, 0}, ips_less = {0, 1}, dr_less = {1, 1};
    memset(ret, 0, sizeof *ret);
    finish_replay(s, ret);
    ret->rows = s->ips.n;
    ret->low = isnan(low) ? s->r_min : low;
    ret->high = isnan(high) ? s->r_max : high;
    if (ret->rows == 0)
        return;
    ret->ess = s->ips.ww > 0 ? s->ips.w * s->ips.w / s->ips.ww : 0;
    /* An observed range knows no worse outcome, so the worst miss has to do. */
    bool seen = isnan(low);
    const struct frame f = {.w_max = w_max,
                            .low = ret->low,
                            .high = ret->high,
                            .v = s->v / (double)ret->rows,
                            .e_min = seen ? s->e_min : 0,
                            .e_max = seen ? s->e_max : 0};
    ret->ips = (struct estimated){moments_mean(&s->ips), interval_of(&s->ips, &f, &ips)};
    ret->snips = ret->ips;
    ret->snips.value = s->ips.w > 0 ? s->ips.y / s->ips.w : (double)NAN;
    ret->dr = (struct estimated){moments_mean(&s->dr), interval_of(&s->dr, &f, &dr)};
    ret->logged = (struct estimated){moments_mean(&s->logged), interval_of_mean(&s->logged, &f)};
    ret->ips_less_logged = (struct estimated){moments_mean(&s->ips_less_logged),
                                              interval_of(&s->ips_less_logged, &f, &ips_less)};
    ret->dr_less_logged = (struct estimated){moments_mean(&s->dr_less_logged),
                                             interval_of(&s->dr_less_logged, &f, &dr_less)};
}
