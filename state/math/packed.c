#include "state/math/packed.h"

#include <math.h>
#include <string.h>

size_t packed_n(uint32_t d)
{
    return (size_t)d * (d + 1) / 2;
}

/* Two numbers in a register that every x86-64 has. Each lane does what one number would have done,
 * in the same order, so the bits are those of plain C; at -O2 the compiler leaves loops of unknown
 * length alone. */
typedef double pair __attribute__((vector_size(16)));

static inline pair load(const double *p)
{
    pair v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(double *p, pair v)
{
    memcpy(p, &v, sizeof v);
}

double vec_dot(const double *a, const double *b, uint32_t d)
{
    pair s01 = {0, 0}, s23 = {0, 0};
    uint32_t i = 0;
    for (; i + 4 <= d; i += 4) {
        s01 += load(a + i) * load(b + i);
        s23 += load(a + i + 2) * load(b + i + 2);
    }
    double s0 = s01[0];
    for (; i < d; i++)
        s0 += a[i] * b[i];
    return (s0 + s01[1]) + (s23[0] + s23[1]);
}

void vec_add_scaled(double *y, double s, const double *x, uint32_t d)
{
    const pair both = {s, s};
    uint32_t i = 0;
    for (; i + 2 <= d; i += 2)
        store(y + i, load(y + i) + both * load(x + i));
    if (i < d)
        y[i] += s * x[i];
}

void packed_set_ridge(double *M, uint32_t d, double bias, double rest)
{
    memset(M, 0, packed_n(d) * sizeof *M);
    for (uint32_t i = 0; i < d; i++)
        M[packed_n(i) + i] = i == 0 ? bias : rest;
}

/* Row i of the triangle serves twice: its dot with x[0..i) goes to y_i, and x_i times it goes to
 * y[0..i). One pass over memory. */
void packed_multiply(const double *M, uint32_t d, const double *x, double *ret_y)
{
    const double *row = M;
    for (uint32_t i = 0; i < d; i++) {
        double below = vec_dot(row, x, i);
        vec_add_scaled(ret_y, x[i], row, i);
        ret_y[i] = below + row[i] * x[i];
        row += i + 1;
    }
}

void packed_rank1(double *M, uint32_t d, double s, const double *x)
{
    double *row = M;
    for (uint32_t i = 0; i < d; i++) {
        vec_add_scaled(row, s * x[i], x, i + 1);
        row += i + 1;
    }
}

/* L of A = L L', row by row (Cholesky-Banachiewicz). */
static enum err cholesky(const double *A, uint32_t d, double *L)
{
    for (uint32_t i = 0; i < d; i++) {
        double *li = L + packed_n(i);
        for (uint32_t j = 0; j <= i; j++) {
            const double *lj = L + packed_n(j);
            double s = A[packed_n(i) + j] - vec_dot(li, lj, j);
            if (j < i) {
                li[j] = s / lj[j];
            } else {
                if (!(s > 0) || !isfinite(s))
                    return ERR_INVALID;
                li[i] = sqrt(s);
            }
        }
    }
    return OK;
}

/* Overwrites L with its inverse, which is lower triangular too. */
static void invert_lower(double *L, uint32_t d)
{
    for (uint32_t i = 0; i < d; i++) {
        double *li = L + packed_n(i);
        double diagonal = 1 / li[i];
        for (uint32_t j = 0; j < i; j++) {
            /* Sum over k = j..i-1 of L_ik (L^-1)_kj; rows above i hold the inverse already, and
             * li[k] for k > j is still L's. */
            double s = 0;
            for (uint32_t k = j; k < i; k++)
                s += li[k] * L[packed_n(k) + j];
            li[j] = -s * diagonal;
        }
        li[i] = diagonal;
    }
}

enum err packed_invert(const double *A, uint32_t d, double *ret_inverse, double *scratch)
{
    TRY(cholesky(A, d, scratch));
    invert_lower(scratch, d);
    /* A^-1 = L^-T L^-1: element (i,j) sums over k >= i. */
    memset(ret_inverse, 0, packed_n(d) * sizeof *ret_inverse);
    for (uint32_t k = 0; k < d; k++) {
        const double *lk = scratch + packed_n(k);
        for (uint32_t i = 0; i <= k; i++)
            vec_add_scaled(ret_inverse + packed_n(i), lk[i], lk, i + 1);
    }
    return OK;
}

double packed_residual(const double *A, const double *px, const double *x, uint32_t d,
                       double *scratch)
{
    packed_multiply(A, d, px, scratch);
    double worst = 0;
    for (uint32_t i = 0; i < d; i++) {
        double r = fabs(scratch[i] - x[i]);
        if (!(r <= worst))
            worst = r;
    }
    return worst;
}
