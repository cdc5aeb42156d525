/* What numpy and PyTorch do in twenty passes over a block of spectra, in one or two passes over each spectrum.
 *
 * The functions are the compiled twins of Python code that stays the reference and takes over where this module
 * was not compiled: in `spectra/resample.py`, `prediction/blocks.py`, `network/packed.py`, `network/model.py` and
 * `prediction/comparison.py`. Arguments are contiguous arrays of whose types the callers take care; their sizes are
 * checked here, and nothing is read or written beyond them.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* One binary for all x86 processors: each function exists for several of them, and the loader chooses. Compilers that
 * cannot do that make one that runs on all. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FAST
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Arrays from Python. */
enum { MAX_ARRAY = 16, LANES = 16 }; /* no function has more arrays */
typedef struct {
    Py_buffer view[MAX_ARRAY];
    int n;
    float *work;
} arrays;

/* The contents of a contiguous array of n items, NULL with an exception if it is not one. */
static void *items(arrays *a, PyObject *object, int writable, Py_ssize_t n, Py_ssize_t size, const char *name)
{
    Py_buffer *view = &a->view[a->n];
    if (PyObject_GetBuffer(object, view, writable ? PyBUF_CONTIG : PyBUF_CONTIG_RO) < 0)
        return NULL;
    a->n++;
    if (view->itemsize != size || view->len != n * size) {
        PyErr_Format(PyExc_ValueError, "%s has %zd bytes in items of %zd, not %zd items of %zd", name, view->len,
                     view->itemsize, n, size);
        return NULL;
    }
    return n ? view->buf : (void *)view; /* never NULL */
}

/* Room for n floats, zero at first; NULL with an exception if there is none. */
static float *room(arrays *a, Py_ssize_t n)
{
    a->work = calloc((size_t)n + 1, sizeof(float));
    return a->work ? a->work : (float *)PyErr_NoMemory();
}

/* The end of every function: None, or NULL if there is an exception. */
static PyObject *leave(arrays *a)
{
    free(a->work);
    while (a->n > 0)
        PyBuffer_Release(&a->view[--a->n]);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* Sixteen floats at once, where the compiler does not see by itself that it can. */
typedef float vec __attribute__((vector_size(4 * LANES)));

INLINE vec load(const float *from)
{
    vec v;
    memcpy(&v, from, sizeof v);
    return v;
}

INLINE void store(float *to, vec v) { memcpy(to, &v, sizeof v); }

/* 2^x to a few 1e-7, for -126 < x < 126. */
INLINE float power_of_two(float x)
{
    x = x < -126.0f ? -126.0f : x > 126.0f ? 126.0f : x;
    const float whole = rintf(x), f = x - whole;
    const float p =
        1.0f +
        f * (0.693147181f +
             f * (0.240226507f + f * (0.0555041087f + f * (0.00961812911f + f * (0.00133335581f + f * 0.000154035304f)))));
    const int32_t bits = ((int32_t)whole + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

/* Loops over floats alone become vector instructions; those that look at bytes too do not, hence the copy. */
FAST static void to_valid(const uint8_t *restrict mask, Py_ssize_t n, float *restrict valid)
{
    for (Py_ssize_t j = 0; j < n; j++)
        valid[j] = (float)(1 - (mask[j] != 0));
}

/* ---- resampling ------------------------------------------------------------------------------------------------ */

/* Exponents of powers of two. */
INLINE int exponent_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (int)(bits >> 23 & 0xff) - 127;
}

INLINE int exponent_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (int)(bits >> 52 & 0x7ff) - 1023;
}

/* Errors further from the typical one are a sign that a pixel is bad; the squares of others are in range. */
#define SMALLEST_ERROR 1e-18f
#define LARGEST_ERROR 1e18f

/* One spectrum of floats or doubles as good flux, variance per width and goodness; the unit of its errors, a power of
 * two near their geometric mean, which a few absurd ones do not move. Whether any pixel is bad: errors that are not
 * positive and finite or out of all proportion, flux that is not finite, or masked. */
#define PREPARE(NAME, TYPE, EXPONENT)                                                                                  \
    FAST static int NAME(const TYPE *restrict flux, const TYPE *restrict err, const uint8_t *restrict mask,            \
                         const float *restrict ratio, Py_ssize_t n, float *restrict value, float *restrict variance,   \
                         float *restrict good, float *unit)                                                            \
    {                                                                                                                  \
        float sum = 0.0f, n_known = 0.0f;                                                                              \
        float n_good = 0.0f;                                                                                           \
        int exponent = 0;                                                                                              \
        if (mask)                                                                                                      \
            to_valid(mask, n, good);                                                                                   \
        else                                                                                                           \
            for (Py_ssize_t i = 0; i < n; i++)                                                                         \
                good[i] = 1.0f;                                                                                        \
        if (err) {                                                                                                     \
            _Pragma("omp simd reduction(+ : sum, n_known)") for (Py_ssize_t i = 0; i < n; i++)                         \
            {                                                                                                          \
                const float known = err[i] >= FLT_MIN && err[i] <= FLT_MAX ? good[i] : 0.0f;                           \
                sum += known * (float)EXPONENT(err[i]);                                                                \
                n_known += known;                                                                                      \
            }                                                                                                          \
            exponent = n_known > 0.0f ? (int)floorf(sum / n_known) : 0;                                                \
            const TYPE per_unit = (TYPE)ldexp(1.0, -exponent);                                                         \
            for (Py_ssize_t i = 0; i < n; i++) {                                                                       \
                const float e = (float)(err[i] * per_unit);                                                            \
                good[i] = e >= SMALLEST_ERROR ? good[i] : 0.0f;                                                        \
                good[i] = e <= LARGEST_ERROR ? good[i] : 0.0f;                                                         \
                variance[i] = e * e * ratio[i];                                                                        \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("omp simd reduction(+ : n_good)") for (Py_ssize_t i = 0; i < n; i++)                                   \
        {                                                                                                              \
            const float f = (float)flux[i];                                                                            \
            good[i] = fabsf(f) <= FLT_MAX ? good[i] : 0.0f;                                                            \
            value[i] = good[i] > 0.0f ? f : 0.0f;                                                                      \
            n_good += good[i];                                                                                         \
        }                                                                                                              \
        if (err)                                                                                                       \
            for (Py_ssize_t i = 0; i < n; i++)                                                                         \
                variance[i] = good[i] > 0.0f ? variance[i] : 0.0f;                                                     \
        *unit = (float)ldexp(1.0, exponent);                                                                           \
        return n_good < (float)n;                                                                                      \
    }
PREPARE(prepare_float, float, exponent_float)
PREPARE(prepare_double, double, exponent_double)

/* Weighted sums over neighbouring input pixels. Over stretches of output pixels whose input moves on by one pixel
 * each, which is most of a spectrum whose pixels are about as wide as those of the grid, they are sums of vectors. */
INLINE void gather_of(const float *restrict in, const float *restrict weight, const int32_t *restrict first,
                      const int32_t *restrict stretch, const int n_weight, Py_ssize_t n_out, float *restrict out)
{
    for (Py_ssize_t start = 0; start < n_out; start += stretch[start])
        for (Py_ssize_t j = 0; j < stretch[start]; j++) {
            float sum = 0.0f;
            for (int k = 0; k < n_weight; k++)
                sum += weight[k * n_out + start + j] * in[first[start] + k + j];
            out[start + j] = sum;
        }
}

/* The same where it moves on by two, with pixels of even and of odd number side by side: vectors again. */
INLINE void gather_pairs_of(const float *restrict sorted, Py_ssize_t n_even, const float *restrict weight,
                            const int32_t *restrict first, const int32_t *restrict stretch, const int n_weight,
                            Py_ssize_t n_out, float *restrict out)
{
    for (Py_ssize_t start = 0; start < n_out; start += stretch[start]) {
        const Py_ssize_t even = first[start] % 2 ? n_even : 0, odd = n_even - even;
        const float *restrict one = sorted + even + first[start] / 2;
        const float *restrict other = sorted + odd + (first[start] + 1) / 2;
        for (Py_ssize_t j = 0; j < stretch[start]; j++) {
            float sum = 0.0f;
            for (int k = 0; k < n_weight; k++)
                sum += weight[k * n_out + start + j] * (k % 2 ? other : one)[j + k / 2];
            out[start + j] = sum;
        }
    }
}

FAST static void gather_pairs(const float *restrict in, Py_ssize_t n_in, const float *restrict weight,
                              const int32_t *restrict first, const int32_t *restrict stretch, int n_weight,
                              Py_ssize_t n_out, float *restrict sorted, float *restrict out)
{
    const Py_ssize_t n_even = (n_in + 1) / 2;
    for (Py_ssize_t i = 0; i < n_in / 2; i++) {
        sorted[i] = in[2 * i];
        sorted[n_even + i] = in[2 * i + 1];
    }
    if (n_in % 2)
        sorted[n_even - 1] = in[n_in - 1];
    if (n_weight == 3)
        gather_pairs_of(sorted, n_even, weight, first, stretch, 3, n_out, out);
    else if (n_weight == 4)
        gather_pairs_of(sorted, n_even, weight, first, stretch, 4, n_out, out);
    else
        gather_pairs_of(sorted, n_even, weight, first, stretch, n_weight, n_out, out);
}

FAST static void gather(const float *in, Py_ssize_t n_in, const float *weight, const int32_t *first,
                        const int32_t *stretch, int step, int n_weight, Py_ssize_t n_out, float *sorted, float *out)
{
    if (step == 2)
        gather_pairs(in, n_in, weight, first, stretch, n_weight, n_out, sorted, out);
    else if (n_weight == 2)
        gather_of(in, weight, first, stretch, 2, n_out, out);
    else if (n_weight == 3)
        gather_of(in, weight, first, stretch, 3, n_out, out);
    else
        gather_of(in, weight, first, stretch, n_weight, n_out, out);
}

/* Lengths of the stretches, from each output pixel on, over which the input moves on by `step` pixels each; their
 * number. */
static Py_ssize_t find_stretches(const int32_t *first, int step, Py_ssize_t n_out, int32_t *stretch)
{
    Py_ssize_t n_stretch = 0;
    for (Py_ssize_t j = n_out - 1; j >= 0; j--) {
        stretch[j] = j + 1 < n_out && first[j + 1] == first[j] + step ? stretch[j + 1] + 1 : 1;
        n_stretch += stretch[j] == 1;
    }
    return n_stretch;
}

FAST static void finish(const float *restrict coverage, float least, float unit, Py_ssize_t n, float *restrict flux,
                        float *restrict err, float *restrict weight)
{
    for (Py_ssize_t j = 0; j < n; j++) {
        weight[j] = coverage[j] > least ? 1.0f / coverage[j] : 0.0f;
        flux[j] *= weight[j];
    }
    if (err)
        for (Py_ssize_t j = 0; j < n; j++)
            err[j] = sqrtf(err[j]) * weight[j] * unit;
}

FAST static void to_mask(const float *restrict weight, Py_ssize_t n, uint8_t *restrict mask)
{
    for (Py_ssize_t j = 0; j < n; j++)
        mask[j] = weight[j] == 0.0f;
}

PyDoc_STRVAR(resample_doc,
             "resample((n_spec, n_in, n_rows, n_out, mask_rows, n_weight, size), flux, flux_err, mask, rows, first, "
             "weight, full, ratio, least, out_flux, out_err, out_mask)");
static PyObject *resample(PyObject *self, PyObject *args)
{
    PyObject *flux_, *err_, *mask_, *rows_, *first_, *weight_, *full_, *ratio_, *out_flux_, *out_err_, *out_mask_;
    Py_ssize_t n_spec, n_in, n_rows, n_out, mask_rows;
    int n_weight, size;
    float least;
    arrays a = {.n = 0};
    if (!PyArg_ParseTuple(args, "(nnnnnii)OOOOOOOOfOOO", &n_spec, &n_in, &n_rows, &n_out, &mask_rows, &n_weight, &size,
                          &flux_, &err_, &mask_, &rows_, &first_, &weight_, &full_, &ratio_, &least, &out_flux_,
                          &out_err_, &out_mask_))
        return NULL;
    const int has_err = err_ != Py_None, has_mask = mask_ != Py_None;
    const char *flux = items(&a, flux_, 0, n_spec * n_in, size, "flux"), *err = NULL;
    const uint8_t *mask = NULL;
    if (!flux || (has_err && !(err = items(&a, err_, 0, n_spec * n_in, size, "flux_err"))) ||
        (has_mask && !(mask = items(&a, mask_, 0, mask_rows * n_in, 1, "mask"))))
        goto end;
    const int64_t *rows = items(&a, rows_, 0, n_rows, 8, "rows");
    const int32_t *first = rows ? items(&a, first_, 0, n_out, 4, "first") : NULL;
    const float *weight = first ? items(&a, weight_, 0, n_out * n_weight, 4, "weight") : NULL;
    const float *full = weight ? items(&a, full_, 0, n_out, 4, "full") : NULL;
    const float *ratio = full ? items(&a, ratio_, 0, n_in, 4, "ratio") : NULL;
    float *out_flux = ratio ? items(&a, out_flux_, 1, n_spec * n_out, 4, "out_flux") : NULL;
    uint8_t *out_mask = out_flux ? items(&a, out_mask_, 1, n_spec * n_out, 1, "out_mask") : NULL;
    float *out_err = NULL;
    if (!out_mask || (has_err && !(out_err = items(&a, out_err_, 1, n_spec * n_out, 4, "out_err"))))
        goto end;
    if ((size != 4 && size != 8) || (has_mask && mask_rows != 1 && mask_rows != n_spec)) {
        PyErr_SetString(PyExc_ValueError, "flux must be of 4 or 8 bytes, and mask have one row or as many as flux");
        goto end;
    }
    for (Py_ssize_t i = 0; i < n_rows; i++)
        if (rows[i] < 0 || rows[i] >= n_spec) {
            PyErr_SetString(PyExc_ValueError, "rows has a number that is no row");
            goto end;
        }
    for (Py_ssize_t j = 0; j < n_out; j++)
        if (first[j] < 0 || first[j] + (Py_ssize_t)n_weight > n_in) {
            PyErr_SetString(PyExc_ValueError, "first and weight reach beyond the spectrum");
            goto end;
        }
    float *work = room(&a, 4 * n_in + 3 * n_out);
    if (!work)
        goto end;
    Py_BEGIN_ALLOW_THREADS
    float *sorted = work, *value = sorted + n_in, *variance = value + n_in, *good = variance + n_in;
    float *of_good = good + n_in;
    float *out_weight = of_good + n_out;
    int32_t *stretch = (int32_t *)(out_weight + n_out);
    int step = 2;
    const Py_ssize_t n_by_two = find_stretches(first, step, n_out, stretch);
    if (find_stretches(first, 1, n_out, stretch) <= n_by_two)
        step = 1;
    else
        find_stretches(first, step, n_out, stretch);
    for (Py_ssize_t i = 0; i < n_rows; i++) {
        const Py_ssize_t row = rows[i], at = row * n_in;
        const uint8_t *masked = mask ? mask + (mask_rows == 1 ? 0 : at) : NULL;
        float unit, *to = out_flux + row * n_out, *to_err = out_err ? out_err + row * n_out : NULL;
        const int any_bad =
            size == 4 ? prepare_float((const float *)flux + at, err ? (const float *)err + at : NULL, masked, ratio,
                                      n_in, value, variance, good, &unit)
                      : prepare_double((const double *)flux + at, err ? (const double *)err + at : NULL, masked, ratio,
                                       n_in, value, variance, good, &unit);
        gather(value, n_in, weight, first, stretch, step, n_weight, n_out, sorted, to);
        if (to_err)
            gather(variance, n_in, weight, first, stretch, step, n_weight, n_out, sorted, to_err);
        if (any_bad)
            gather(good, n_in, weight, first, stretch, step, n_weight, n_out, sorted, of_good);
        finish(any_bad ? of_good : full, least, unit, n_out, to, to_err, out_weight);
        to_mask(out_weight, n_out, out_mask + row * n_out);
    }
    Py_END_ALLOW_THREADS
end:
    return leave(&a);
}

/* ---- what the data alone say ------------------------------------------------------------------------------------ */

/* Numbers in the order of the floats. */
INLINE int32_t ordered(float x)
{
    int32_t bits;
    memcpy(&bits, &x, 4);
    return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

FAST static int32_t count_below(const int32_t *restrict x, int32_t n, int32_t limit)
{
    int32_t count = 0;
#pragma omp simd reduction(+ : count)
    for (int32_t j = 0; j < n; j++)
        count += x[j] < limit;
    return count;
}

FAST static int32_t largest_below(const int32_t *restrict x, int32_t n, int32_t limit)
{
    int32_t largest = INT32_MIN;
#pragma omp simd reduction(max : largest)
    for (int32_t j = 0; j < n; j++)
        largest = x[j] < limit && x[j] > largest ? x[j] : largest;
    return largest;
}

/* The median of the smallest n_low > 0 of n floats, by bisection: counting is faster than sorting. */
static double median(float *x, int32_t n, int32_t n_low)
{
    int32_t *order = (int32_t *)x;
    for (int32_t j = 0; j < n; j++)
        order[j] = ordered(x[j]);
    int64_t low = INT32_MIN, high = INT32_MAX; /* the value with n_low / 2 others below it is in between */
    while (low < high) {
        const int64_t middle = low + (high - low + 1) / 2;
        if (count_below(order, n, (int32_t)middle) <= n_low / 2)
            low = middle;
        else
            high = middle - 1;
    }
    int32_t pair[2] = {(int32_t)low, (int32_t)low};
    if (n_low % 2 == 0 && count_below(order, n, pair[1]) == n_low / 2)
        pair[0] = largest_below(order, n, pair[1]);
    float value[2];
    for (int i = 0; i < 2; i++)
        pair[i] ^= (pair[i] >> 31) & 0x7FFFFFFF;
    memcpy(value, pair, 8);
    return 0.5 * ((double)value[0] + value[1]);
}

FAST static double valid_sum(const float *restrict flux, const float *restrict valid, Py_ssize_t n, Py_ssize_t *n_valid)
{
    double sum = 0.0;
    Py_ssize_t count = 0;
    for (Py_ssize_t start = 0; start < n; start += 256) {
        const Py_ssize_t stop = start + 256 < n ? start + 256 : n;
        float part = 0.0f, here = 0.0f;
#pragma omp simd reduction(+ : part, here)
        for (Py_ssize_t j = start; j < stop; j++) {
            part += valid[j] > 0.0f ? flux[j] : 0.0f;
            here += valid[j];
        }
        sum += part;
        count += (Py_ssize_t)here;
    }
    *n_valid = count;
    return sum;
}

/* S/N of every so many pixels, infinite where invalid or not a number; the share of valid ones below -3. */
FAST static int32_t ratios(const float *restrict flux, const float *restrict err, const float *restrict valid,
                           Py_ssize_t n, Py_ssize_t stride, float *restrict out, float *n_negative)
{
    float negative = 0.0f, count = 0.0f;
    const Py_ssize_t n_ratio = (n + stride - 1) / stride;
#pragma omp simd reduction(+ : negative, count)
    for (Py_ssize_t i = 0; i < n_ratio; i++) {
        const float ratio = flux[i * stride] / err[i * stride];
        const float known = ratio == ratio ? ratio : INFINITY;
        out[i] = valid[i * stride] > 0.0f ? known : INFINITY;
        negative += out[i] < -3.0f ? 1.0f : 0.0f;
        count += valid[i * stride];
    }
    *n_negative = negative;
    return (int32_t)count;
}

PyDoc_STRVAR(statistics_doc, "statistics((n, n_wave, stride), flux, flux_err, mask, out); out (n, 5)");
static PyObject *statistics(PyObject *self, PyObject *args)
{
    PyObject *flux_, *err_, *mask_, *out_;
    Py_ssize_t n, n_wave, stride;
    arrays a = {.n = 0};
    if (!PyArg_ParseTuple(args, "(nnn)OOOO", &n, &n_wave, &stride, &flux_, &err_, &mask_, &out_))
        return NULL;
    const float *flux = items(&a, flux_, 0, n * n_wave, 4, "flux");
    const float *err = flux ? items(&a, err_, 0, n * n_wave, 4, "flux_err") : NULL;
    const uint8_t *mask = err ? items(&a, mask_, 0, n * n_wave, 1, "mask") : NULL;
    double *out = mask ? items(&a, out_, 1, n * 5, 8, "out") : NULL;
    if (!out)
        goto end;
    if (stride < 1) {
        PyErr_SetString(PyExc_ValueError, "stride must be positive");
        goto end;
    }
    float *work = room(&a, n_wave + n_wave / stride + 1);
    if (!work)
        goto end;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n; i++) {
        const float *f = flux + i * n_wave, *e = err + i * n_wave;
        const uint8_t *m = mask + i * n_wave;
        double *to = out + 5 * i;
        Py_ssize_t n_valid, first = 0, last = n_wave;
        float *valid = work, *ratio = work + n_wave, n_negative;
        to_valid(m, n_wave, valid);
        const double sum = valid_sum(f, valid, n_wave, &n_valid);
        while (first < last && m[first])
            first++;
        while (last > first && m[last - 1])
            last--;
        const int32_t n_ratio = ratios(f, e, valid, n_wave, stride, ratio, &n_negative);
        to[0] = (double)n_valid;
        to[1] = (double)(last - first);
        to[2] = n_valid ? sum / (double)n_valid : 0.0;
        to[3] = n_ratio ? median(ratio, (int32_t)((n_wave + stride - 1) / stride), n_ratio) : 0.0;
        to[4] = n_ratio ? n_negative / (double)n_ratio : 0.0;
    }
    Py_END_ALLOW_THREADS
end:
    return leave(&a);
}

/* ---- features of the network ------------------------------------------------------------------------------------ */

INLINE void sum_blocks_of(const float *restrict flux, const float *restrict valid, Py_ssize_t n_block,
                          const Py_ssize_t px, float *restrict total, float *restrict count)
{
    for (Py_ssize_t b = 0; b < n_block; b++) {
        float sum = 0.0f, n = 0.0f;
#pragma omp simd reduction(+ : sum, n)
        for (Py_ssize_t j = 0; j < px; j++) {
            const float f = flux[b * px + j], known = fabsf(f) <= FLT_MAX ? f : 0.0f;
            sum += valid[b * px + j] > 0.0f ? known : 0.0f;
            n += valid[b * px + j];
        }
        total[b] = sum;
        count[b] = n;
    }
}

/* Where the compiler knows the size of a block, it is one vector. */
FAST static void sum_blocks(const float *flux, const float *valid, Py_ssize_t n_block, Py_ssize_t px, float *total,
                            float *count)
{
    if (px == 16)
        sum_blocks_of(flux, valid, n_block, 16, total, count);
    else if (px == 8)
        sum_blocks_of(flux, valid, n_block, 8, total, count);
    else
        sum_blocks_of(flux, valid, n_block, px, total, count);
}

PyDoc_STRVAR(block_sums_doc, "block_sums((n, n_block, block_px), flux, mask, total, count)");
static PyObject *block_sums(PyObject *self, PyObject *args)
{
    PyObject *flux_, *mask_, *total_, *count_;
    Py_ssize_t n, n_block, px;
    arrays a = {.n = 0};
    if (!PyArg_ParseTuple(args, "(nnn)OOOO", &n, &n_block, &px, &flux_, &mask_, &total_, &count_))
        return NULL;
    const float *flux = items(&a, flux_, 0, n * n_block * px, 4, "flux");
    const uint8_t *mask = flux ? items(&a, mask_, 0, n * n_block * px, 1, "mask") : NULL;
    float *total = mask ? items(&a, total_, 1, n * n_block, 4, "total") : NULL;
    float *count = total ? items(&a, count_, 1, n * n_block, 4, "count") : NULL;
    if (!count)
        goto end;
    float *work = room(&a, n_block * px);
    if (!work)
        goto end;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n; i++) {
        to_valid(mask + i * n_block * px, n_block * px, work);
        sum_blocks(flux + i * n_block * px, work, n_block, px, total + i * n_block, count + i * n_block);
    }
    Py_END_ALLOW_THREADS
end:
    return leave(&a);
}

/* A float as its upper half, rounded to nearest, ties to even; finite values only. */
INLINE uint16_t half_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

INLINE void continuum_of(const float *restrict level, const float *restrict interpolation, float scale,
                         Py_ssize_t n_block, const Py_ssize_t px, float *restrict continuum)
{
    for (Py_ssize_t b = 0; b < n_block; b++) {
        const float own = level[b], left = level[b ? b - 1 : 0], right = level[b < n_block - 1 ? b + 1 : b];
        for (Py_ssize_t j = 0; j < px; j++)
            continuum[b * px + j] =
                (left * interpolation[j] + own * interpolation[px + j] + right * interpolation[2 * px + j]) * scale;
    }
}

INLINE void mean_of_blocks(const float *restrict values, const float *restrict count, Py_ssize_t n_block,
                           const Py_ssize_t px, float *restrict mean)
{
    for (Py_ssize_t b = 0; b < n_block; b++) {
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (Py_ssize_t j = 0; j < px; j++)
            sum += values[b * px + j];
        mean[b] = sum / (count[b] > 1.0f ? count[b] : 1.0f);
    }
}

/* One spectrum: high-passed flux and precision, and the mean relative error of each block. */
FAST static void high_pass_one(const float *restrict flux, const float *restrict err, const float *restrict valid,
                               const float *restrict level, const float *restrict count,
                               const float *restrict interpolation, float scale, float least, Py_ssize_t n_block,
                               Py_ssize_t px, float *restrict high_passed, float *restrict precision,
                               float *restrict relative, float *restrict noise)
{
    const Py_ssize_t n = n_block * px;
    if (px == 16)
        continuum_of(level, interpolation, scale, n_block, 16, relative);
    else if (px == 8)
        continuum_of(level, interpolation, scale, n_block, 8, relative);
    else
        continuum_of(level, interpolation, scale, n_block, px, relative);
    for (Py_ssize_t j = 0; j < n; j++) {
        const float per_continuum = 1.0f / relative[j];
        float f = fabsf(flux[j]) <= FLT_MAX ? flux[j] : 0.0f, e = fabsf(err[j]) <= FLT_MAX ? err[j] : 0.0f;
        f = valid[j] > 0.0f ? f : 0.0f;
        e = valid[j] > 0.0f ? e * per_continuum : 0.0f;
        const float weight = valid[j] / sqrtf(e * e + least * least);
        float high = (f * per_continuum - 1.0f) * weight;
        high = high < 20.0f ? high : 20.0f;
        high_passed[j] = high > -20.0f ? high : -20.0f;
        precision[j] = weight * least;
        relative[j] = e;
    }
    if (px == 16)
        mean_of_blocks(relative, count, n_block, 16, noise);
    else if (px == 8)
        mean_of_blocks(relative, count, n_block, 8, noise);
    else
        mean_of_blocks(relative, count, n_block, px, noise);
}

FAST static void to_halves(const float *restrict from, Py_ssize_t n, uint16_t *restrict to)
{
    for (Py_ssize_t j = 0; j < n; j++)
        to[j] = half_of(from[j]);
}

/* x over 1 + exp(-x). */
INLINE float swish(float x) { return x / (1.0f + power_of_two(-1.44269504f * x)); }

enum { N_ROW = 6 }; /* sums that run side by side: one alone waits for itself, more do not fit the registers of all */

/* The first convolution of one spectrum and its activation. Each channel of the input begins with half a block of
 * zeros and ends with zeros for all rows of the last step; kernels are (channel, 2 px, n_pad), n_pad a multiple of
 * LANES; `out` has room for n_pad numbers for each row of the last step, too. */
INLINE void convolve_of(const float *restrict input, Py_ssize_t length, const float *restrict kernel,
                        const float *restrict bias, Py_ssize_t n_block, const Py_ssize_t px, Py_ssize_t n_pad,
                        float *restrict out)
{
    for (Py_ssize_t first = 0; first < n_block; first += N_ROW)
        for (Py_ssize_t c = 0; c < n_pad; c += LANES) {
            vec sum[N_ROW];
            for (int r = 0; r < N_ROW; r++)
                sum[r] = load(bias + c);
            for (int channel = 0; channel < 2; channel++) {
                const float *in = input + channel * length + first * px;
                const float *weight = kernel + channel * 2 * px * n_pad + c;
                for (Py_ssize_t k = 0; k < 2 * px; k++) {
                    const vec w = load(weight + k * n_pad);
                    for (int r = 0; r < N_ROW; r++)
                        sum[r] += in[r * px + k] * w;
                }
            }
            for (int r = 0; r < N_ROW; r++)
                store(out + (first + r) * n_pad + c, sum[r]);
        }
}

FAST static void convolve(const float *restrict input, Py_ssize_t length, const float *restrict kernel,
                          const float *restrict bias, Py_ssize_t n_block, Py_ssize_t px, Py_ssize_t n_pad,
                          float *restrict out)
{
    if (px == 16)
        convolve_of(input, length, kernel, bias, n_block, 16, n_pad, out);
    else if (px == 8)
        convolve_of(input, length, kernel, bias, n_block, 8, n_pad, out);
    else
        convolve_of(input, length, kernel, bias, n_block, px, n_pad, out);
    for (Py_ssize_t j = 0; j < n_block * n_pad; j++)
        out[j] = swish(out[j]);
}

/* Means of so many neighbours. */
INLINE void means_of(const float *restrict from, Py_ssize_t n, const Py_ssize_t together, float *restrict to)
{
    for (Py_ssize_t j = 0; j < n; j++) {
        float sum = 0.0f;
        for (Py_ssize_t k = 0; k < together; k++)
            sum += from[j * together + k];
        to[j] = sum / (float)together;
    }
}

FAST static void means(const float *from, Py_ssize_t n, Py_ssize_t together, float *to)
{
    if (together == 1)
        means_of(from, n, 1, to);
    else if (together == 2)
        means_of(from, n, 2, to);
    else
        means_of(from, n, together, to);
}

PyDoc_STRVAR(high_pass_doc,
             "high_pass((n, n_block, block_px, together, n_channel, n_row, size), floor, flux, flux_err, mask, level, "
             "count, interpolation, scale, kernel, bias, coarse, patches, noise)");
static PyObject *high_pass(PyObject *self, PyObject *args)
{
    PyObject *flux_, *err_, *mask_, *level_, *count_, *interpolation_, *scale_, *kernel_, *bias_;
    PyObject *coarse_, *patches_, *noise_;
    Py_ssize_t n, n_block, px, together, n_channel, n_row, size;
    float floor_;
    arrays a = {.n = 0};
    if (!PyArg_ParseTuple(args, "(nnnnnnn)fOOOOOOOOOOOO", &n, &n_block, &px, &together, &n_channel, &n_row, &size,
                          &floor_, &flux_, &err_, &mask_, &level_, &count_, &interpolation_, &scale_, &kernel_, &bias_,
                          &coarse_, &patches_, &noise_))
        return NULL;
    if (together < 1 || px % 2 || n_row < n_block) {
        PyErr_SetString(PyExc_ValueError, "together must be positive, block_px even, and n_row not below n_block");
        return NULL;
    }
    const Py_ssize_t n_wave = n_block * px, n_coarse = n_wave / together;
    const Py_ssize_t n_pad = (n_channel + LANES - 1) / LANES * LANES, length = n_wave + (N_ROW + 1) * px;
    const float *flux = items(&a, flux_, 0, n * n_wave, 4, "flux");
    const float *err = flux ? items(&a, err_, 0, n * n_wave, 4, "flux_err") : NULL;
    const uint8_t *mask = err ? items(&a, mask_, 0, n * n_wave, 1, "mask") : NULL;
    const float *level = mask ? items(&a, level_, 0, n * n_block, 4, "level") : NULL;
    const float *count = level ? items(&a, count_, 0, n * n_block, 4, "count") : NULL;
    const float *interpolation = count ? items(&a, interpolation_, 0, 3 * px, 4, "interpolation") : NULL;
    const float *scale = interpolation ? items(&a, scale_, 0, n, 4, "scale") : NULL;
    const float *kernel = scale ? items(&a, kernel_, 0, 4 * px * n_pad, 4, "kernel") : NULL;
    const float *bias = kernel ? items(&a, bias_, 0, n_pad, 4, "bias") : NULL;
    char *coarse = bias ? items(&a, coarse_, 1, n * n_coarse, size, "coarse") : NULL;
    char *patches = coarse ? items(&a, patches_, 1, n * n_row * n_channel, size, "patches") : NULL;
    float *noise = patches ? items(&a, noise_, 1, n * n_block, 4, "noise") : NULL;
    if (!noise)
        goto end;
    if (size != 2 && size != 4) {
        PyErr_SetString(PyExc_ValueError, "size must be 2 or 4");
        goto end;
    }
    float *work = room(&a, 2 * length + 3 * n_wave + (n_block + N_ROW) * n_pad);
    if (!work)
        goto end;
    Py_BEGIN_ALLOW_THREADS
    float *both = work, *valid = both + 2 * length, *relative = valid + n_wave, *mean = relative + n_wave;
    float *convolved = mean + n_wave;
    const Py_ssize_t n_copied_rows = n_pad == n_channel ? n_block : 1, n_copied = n_copied_rows * n_channel;
    for (Py_ssize_t i = 0; i < n; i++) {
        float *high_passed = both + px / 2, *precision = high_passed + length;
        char *to = coarse + i * n_coarse * size, *row = patches + i * n_row * n_channel * size;
        to_valid(mask + i * n_wave, n_wave, valid);
        high_pass_one(flux + i * n_wave, err + i * n_wave, valid, level + i * n_block, count + i * n_block,
                      interpolation, scale[i], floor_, n_block, px, high_passed, precision, relative,
                      noise + i * n_block);
        /* Straight to where it is wanted if there is room for the rows of the last step, which are zeros in the end. */
        const int straight = size == 4 && n_pad == n_channel && n_row >= (n_block + N_ROW - 1) / N_ROW * N_ROW;
        convolve(both, length, kernel, bias, n_block, px, n_pad, straight ? (float *)row : convolved);
        means(high_passed, n_coarse, together, size == 4 ? (float *)to : mean);
        if (size == 2)
            to_halves(mean, n_coarse, (uint16_t *)to);
        for (Py_ssize_t b = 0; b < n_block; b += n_copied_rows, row += n_copied * size) {
            if (size == 4 && !straight)
                memcpy(row, convolved + b * n_pad, n_copied * size);
            else if (size == 2)
                to_halves(convolved + b * n_pad, n_copied, (uint16_t *)row);
        }
        memset(row, 0, (n_row - n_block) * n_channel * size);
    }
    Py_END_ALLOW_THREADS
end:
    return leave(&a);
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

enum { TOGETHER = 5 }; /* queries whose sums run side by side: one sum alone waits for itself */

/* One spectrum. Queries, keys and values of all heads of a token are in one row of 3 * width numbers. `here` is 1 for a
 * token and 0 beyond them, up to the padded number; `keys` and `score` are room for d and TOGETHER rows of so many. */
FAST static void attend_one(const float *restrict rows, Py_ssize_t n_token, Py_ssize_t n_head, Py_ssize_t d,
                            Py_ssize_t n_pad, float limit, const float *restrict here, float *restrict keys,
                            float *restrict score, float *restrict out)
{
    const Py_ssize_t width = n_head * d, stride = 3 * width;
    for (Py_ssize_t head = 0; head < n_head; head++) {
        const float *key = rows + width + head * d, *value = key + width;
        for (Py_ssize_t j = 0; j < n_token; j++)
            for (Py_ssize_t c = 0; c < d; c++)
                keys[c * n_pad + j] = key[j * stride + c];
        for (Py_ssize_t first = 0; first < n_token; first += TOGETHER) {
            const float *query[TOGETHER];
            float *mixed[TOGETHER], total[TOGETHER] = {0.0f};
            for (int q = 0; q < TOGETHER; q++) { /* the last one may come several times */
                const Py_ssize_t token = first + q < n_token ? first + q : n_token - 1;
                query[q] = rows + token * stride + head * d;
                mixed[q] = out + token * width + head * d;
            }
            for (Py_ssize_t block = 0; block < n_pad; block += LANES) {
                vec sum[TOGETHER] = {{0.0f}};
                for (Py_ssize_t c = 0; c < d; c++)
                    for (int q = 0; q < TOGETHER; q++)
                        sum[q] += query[q][c] * load(keys + c * n_pad + block);
                for (int q = 0; q < TOGETHER; q++)
                    store(score + q * n_pad + block, sum[q]);
            }
            for (int q = 0; q < TOGETHER; q++)
                for (Py_ssize_t j = 0; j < n_pad; j++) {
                    const float below = score[q * n_pad + j] < limit ? score[q * n_pad + j] : limit;
                    score[q * n_pad + j] = here[j] * power_of_two(below > -limit ? below : -limit);
                }
            for (int q = 0; q < TOGETHER; q++) {
                vec part = {0.0f};
                for (Py_ssize_t block = 0; block < n_pad; block += LANES)
                    part += load(score + q * n_pad + block);
                for (int l = 0; l < LANES; l++)
                    total[q] += part[l];
                total[q] = 1.0f / total[q];
            }
            Py_ssize_t block = 0;
            for (; block + LANES <= d; block += LANES) {
                vec sum[TOGETHER] = {{0.0f}};
                for (Py_ssize_t j = 0; j < n_token; j++)
                    for (int q = 0; q < TOGETHER; q++)
                        sum[q] += score[q * n_pad + j] * load(value + j * stride + block);
                for (int q = 0; q < TOGETHER; q++)
                    store(mixed[q] + block, sum[q] * total[q]);
            }
            for (; block < d; block++)
                for (int q = 0; q < TOGETHER; q++) {
                    float sum = 0.0f;
                    for (Py_ssize_t j = 0; j < n_token; j++)
                        sum += score[q * n_pad + j] * value[j * stride + block];
                    mixed[q][block] = sum * total[q];
                }
        }
    }
}

PyDoc_STRVAR(attend_doc, "attend((n, n_token, n_head, d), limit, query_key_value, out)");
static PyObject *attend(PyObject *self, PyObject *args)
{
    PyObject *qkv_, *out_;
    Py_ssize_t n, n_token, n_head, d;
    float limit;
    arrays a = {.n = 0};
    if (!PyArg_ParseTuple(args, "(nnnn)fOO", &n, &n_token, &n_head, &d, &limit, &qkv_, &out_))
        return NULL;
    const Py_ssize_t width = n_head * d, n_pad = (n_token + 15) / 16 * 16;
    const float *qkv = items(&a, qkv_, 0, n * n_token * 3 * width, 4, "query_key_value");
    float *out = qkv ? items(&a, out_, 1, n * n_token * width, 4, "out") : NULL;
    if (!out)
        goto end;
    float *work = room(&a, n_pad * (d + 1 + TOGETHER));
    if (!work)
        goto end;
    Py_BEGIN_ALLOW_THREADS
    float *here = work, *keys = here + n_pad, *score = keys + d * n_pad;
    for (Py_ssize_t j = 0; j < n_token; j++)
        here[j] = 1.0f;
    for (Py_ssize_t i = 0; i < n; i++)
        attend_one(qkv + i * n_token * 3 * width, n_token, n_head, d, n_pad, limit, here, keys, score,
                   out + i * n_token * width);
    Py_END_ALLOW_THREADS
end:
    return leave(&a);
}

/* ---- layers ------------------------------------------------------------------------------------------------------ */

FAST static void normalise(const float *restrict row, const float *restrict weight, const float *restrict bias,
                           float least, Py_ssize_t width, float *restrict out)
{
    float sum = 0.0f, square = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (Py_ssize_t j = 0; j < width; j++)
        sum += row[j];
    const float mean = sum / (float)width;
#pragma omp simd reduction(+ : square)
    for (Py_ssize_t j = 0; j < width; j++)
        square += (row[j] - mean) * (row[j] - mean);
    const float per_width = 1.0f / sqrtf(square / (float)width + least);
    for (Py_ssize_t j = 0; j < width; j++)
        out[j] = (row[j] - mean) * per_width * weight[j] + bias[j];
}

PyDoc_STRVAR(layer_norm_doc, "layer_norm((n, width), least, rows, weight, bias, out)");
static PyObject *layer_norm(PyObject *self, PyObject *args)
{
    PyObject *rows_, *weight_, *bias_, *out_;
    Py_ssize_t n, width;
    float least;
    arrays a = {.n = 0};
    if (!PyArg_ParseTuple(args, "(nn)fOOOO", &n, &width, &least, &rows_, &weight_, &bias_, &out_))
        return NULL;
    const float *rows = items(&a, rows_, 0, n * width, 4, "rows");
    const float *weight = rows ? items(&a, weight_, 0, width, 4, "weight") : NULL;
    const float *bias = weight ? items(&a, bias_, 0, width, 4, "bias") : NULL;
    float *out = bias ? items(&a, out_, 1, n * width, 4, "out") : NULL;
    if (!out)
        goto end;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n; i++)
        normalise(rows + i * width, weight, bias, least, width, out + i * width);
    Py_END_ALLOW_THREADS
end:
    return leave(&a);
}

/* ---- blocks of the continuum ------------------------------------------------------------------------------------- */

/* Natural logarithm of positive normal numbers, to a few 1e-7: of 2^k m with m near 1, as log m = 2 artanh((m - 1) /
 * (m + 1)). NaN of what is not finite. */
INLINE float logarithm(float x)
{
    const uint32_t root_half = 0x3f3504f3;
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits += 0x3f800000 - root_half;
    const float k = (float)((int32_t)(bits >> 23) - 127);
    bits = (bits & 0x7fffff) + root_half;
    float m;
    memcpy(&m, &bits, 4);
    const float z = (m - 1.0f) / (m + 1.0f), s = z * z;
    return x - x + k * 0.693147181f + 2.0f * z * (1.0f + s * (1.0f / 3 + s * (1.0f / 5 + s * (1.0f / 7 + s * (1.0f / 9)))));
}

/* Log continuum, log noise and coverage of the blocks of one spectrum, standardised: three rows of n. */
FAST static void describe_one(const float *restrict level, const float *restrict noise, const float *restrict count,
                              const float *restrict mean, const float *restrict std, float per_px, Py_ssize_t n,
                              float *restrict out)
{
    for (Py_ssize_t j = 0; j < n; j++)
        out[j] = (logarithm(level[j]) - mean[j]) / std[j];
    for (Py_ssize_t j = 0; j < n; j++) {
        const float known = count[j] > 0.0f ? noise[j] : 10.0f;
        const float low = known < 1e-4f ? 1e-4f : known, both = low > 10.0f ? 10.0f : low;
        out[n + j] = (0.434294482f * logarithm(both) - mean[n + j]) / std[n + j];
    }
    for (Py_ssize_t j = 0; j < n; j++)
        out[2 * n + j] = (count[j] * per_px - mean[2 * n + j]) / std[2 * n + j];
}

PyDoc_STRVAR(describe_doc, "describe((n, n_block, px), level, noise, count, mean, std, out); out (n, 3, n_block)");
static PyObject *describe(PyObject *self, PyObject *args)
{
    PyObject *level_, *noise_, *count_, *mean_, *std_, *out_;
    Py_ssize_t n, n_block, px;
    arrays a = {.n = 0};
    if (!PyArg_ParseTuple(args, "(nnn)OOOOOO", &n, &n_block, &px, &level_, &noise_, &count_, &mean_, &std_, &out_))
        return NULL;
    const float *level = items(&a, level_, 0, n * n_block, 4, "level");
    const float *noise = level ? items(&a, noise_, 0, n * n_block, 4, "noise") : NULL;
    const float *count = noise ? items(&a, count_, 0, n * n_block, 4, "count") : NULL;
    const float *mean = count ? items(&a, mean_, 0, 3 * n_block, 4, "mean") : NULL;
    const float *std = mean ? items(&a, std_, 0, 3 * n_block, 4, "std") : NULL;
    float *out = std ? items(&a, out_, 1, 3 * n * n_block, 4, "out") : NULL;
    if (!out)
        goto end;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n; i++)
        describe_one(level + i * n_block, noise + i * n_block, count + i * n_block, mean, std, 1.0f / (float)px,
                     n_block, out + 3 * i * n_block);
    Py_END_ALLOW_THREADS
end:
    return leave(&a);
}

/* ---- quantiles --------------------------------------------------------------------------------------------------- */

/* log(1 + exp(x)), as log(1 + y) = 2 artanh(y / (2 + y)) beyond the larger of x and 0. */
INLINE float softplus(float x)
{
    const float y = power_of_two(-1.44269504f * fabsf(x)), z = y / (2.0f + y), s = z * z;
    const float artanh = 1.0f + s * (1.0f / 3 + s * (1.0f / 5 + s * (1.0f / 7 + s * (1.0f / 9 + s * (1.0f / 11)))));
    return (x > 0.0f ? x : 0.0f) + 2.0f * z * artanh;
}

/* One level of n quantities from the one before it, which is nearer to the median; both as they are in the end. */
FAST static void next_level(const float *restrict raw, const float *restrict factor, const float *restrict median,
                            const float *restrict before, float sign, Py_ssize_t n, float *restrict sum,
                            float *restrict out)
{
    for (Py_ssize_t q = 0; q < n; q++) {
        sum[q] += softplus(raw[q] - 1.0f);
        const float value = median[q] + sign * sum[q] * factor[q];
        out[q] = sign * value < sign * before[q] ? before[q] : value;
    }
}

FAST static void scale_level(const float *restrict mean, const float *restrict std, Py_ssize_t n_root, Py_ssize_t n,
                             float *restrict level)
{
    for (Py_ssize_t q = 0; q < n; q++)
        level[q] = level[q] * std[q] + mean[q];
    for (Py_ssize_t q = 0; q < n_root; q++) {
        const float low = level[q] < 0.0f ? 0.0f : level[q], root = low > 1.0f ? 1.0f : low;
        level[q] = root * root * root;
    }
}

PyDoc_STRVAR(quantiles_doc, "quantiles((n, n_quantity, n_level, n_root), raw, factor, mean, std, out)");
static PyObject *quantiles(PyObject *self, PyObject *args)
{
    PyObject *raw_, *factor_, *mean_, *std_, *out_;
    Py_ssize_t n, n_quantity, n_level, n_root;
    arrays a = {.n = 0};
    if (!PyArg_ParseTuple(args, "(nnnn)OOOOO", &n, &n_quantity, &n_level, &n_root, &raw_, &factor_, &mean_, &std_,
                          &out_))
        return NULL;
    if (n_level < 1 || n_level % 2 == 0 || n_root < 0 || n_root > n_quantity) {
        PyErr_SetString(PyExc_ValueError, "n_level must be odd, and n_root not above n_quantity");
        return NULL;
    }
    const Py_ssize_t n_all = n_quantity * n_level, half = n_level / 2;
    const float *raw = items(&a, raw_, 0, n * n_all, 4, "raw");
    const float *factor = raw ? items(&a, factor_, 0, n_all, 4, "factor") : NULL;
    const float *mean = factor ? items(&a, mean_, 0, n_quantity, 4, "mean") : NULL;
    const float *std = mean ? items(&a, std_, 0, n_quantity, 4, "std") : NULL;
    float *out = std ? items(&a, out_, 1, n * n_all, 4, "out") : NULL;
    if (!out)
        goto end;
    float *work = room(&a, 3 * n_all + n_quantity);
    if (!work)
        goto end;
    Py_BEGIN_ALLOW_THREADS
    float *factors = work, *from = factors + n_all, *to = from + n_all, *sum = to + n_all; /* level by level */
    for (Py_ssize_t j = 0; j < n_all; j++)
        factors[j % n_level * n_quantity + j / n_level] = factor[j];
    for (Py_ssize_t i = 0; i < n; i++) {
        const float *row = raw + i * n_all;
        for (Py_ssize_t q = 0; q < n_quantity; q++)
            for (Py_ssize_t k = 0; k < n_level; k++)
                from[k * n_quantity + q] = row[q * n_level + k];
        const float *median = from + half * n_quantity;
        memcpy(to + half * n_quantity, median, n_quantity * sizeof(float));
        for (int sign = -1; sign < 2; sign += 2) {
            memset(sum, 0, n_quantity * sizeof(float));
            for (Py_ssize_t k = 1; k <= half; k++) {
                const Py_ssize_t at = (half + sign * k) * n_quantity;
                next_level(from + at, factors + at, median, to + at - sign * n_quantity, (float)sign, n_quantity, sum,
                           to + at);
            }
        }
        for (Py_ssize_t k = 0; k < n_level; k++)
            scale_level(mean, std, n_root, n_quantity, to + k * n_quantity);
        for (Py_ssize_t q = 0; q < n_quantity; q++)
            for (Py_ssize_t k = 0; k < n_level; k++)
                out[i * n_all + q * n_level + k] = to[k * n_quantity + q];
    }
    Py_END_ALLOW_THREADS
end:
    return leave(&a);
}

/* ---- comparison with the stars that were predicted --------------------------------------------------------------- */

/* Differences with the neighbours, where the shift is below a pixel or so everywhere. */
FAST static void shift_near(const float *restrict row, float velocity, float whole, float a_v,
                            const float *restrict pixel_per_kms, const float *restrict log2_dust, Py_ssize_t n,
                            float *restrict out)
{
    for (Py_ssize_t j = 0; j < n; j++) {
        const float pixels = velocity * pixel_per_kms[j] - whole;
        const float red = pixels > 0.0f ? pixels : 0.0f, blue = pixels - red;
        const float value = row[j] - red * (row[j] - row[j - 1]) - blue * (row[j + 1] - row[j]);
        out[j] = value * power_of_two(a_v * log2_dust[j]);
    }
}

FAST static void shift_far(const float *row, float velocity, float a_v, const float *pixel_per_kms,
                           const float *log2_dust, Py_ssize_t n, float *out)
{
    const float last = (float)n - 1.001f;
    for (Py_ssize_t j = 0; j < n; j++) {
        float position = (float)j - velocity * pixel_per_kms[j];
        position = position < 0.0f ? 0.0f : position > last ? last : position;
        const int32_t low = (int32_t)position;
        const float part = position - (float)low;
        out[j] = (row[low] * (1.0f - part) + row[low + 1] * part) * power_of_two(a_v * log2_dust[j]);
    }
}

/* One spectrum of stars, from a row that goes on for `margin` pixels beyond both ends; NaN without an answer. */
static void seen(const float *row, Py_ssize_t margin, float v, float a_v, const float *pixel_per_kms,
                 const float *log2_dust, Py_ssize_t n_wave, float *to)
{
    if (!(fabsf(v) <= FLT_MAX && fabsf(a_v) <= FLT_MAX)) {
        for (Py_ssize_t j = 0; j < n_wave; j++)
            to[j] = NAN;
        return;
    }
    const float most = (float)(margin - 1);
    float whole = rintf(v * pixel_per_kms[n_wave / 2]);
    whole = whole < -most ? -most : whole > most ? most : whole;
    /* Beyond some 90 km/s the shift differs by more than a pixel from one end of the spectrum to the other. */
    if (fabsf(v * pixel_per_kms[0] - whole) > 1.0f || fabsf(v * pixel_per_kms[n_wave - 1] - whole) > 1.0f)
        shift_far(row, v, a_v, pixel_per_kms, log2_dust, n_wave, to);
    else
        shift_near(row - (Py_ssize_t)whole, v, whole, a_v, pixel_per_kms, log2_dust, n_wave, to);
}

enum { N_TERM = 5, N_PAIR = N_TERM * (N_TERM + 1) / 2 };

/* Data and weights of the pixels, and from these what the sums of the normal equations are made of. */
FAST static double weigh(const float *restrict model, const float *restrict flux, const float *restrict err,
                         float calibration, const float *restrict off_line, Py_ssize_t n, float *restrict data,
                         float *restrict weight, float *restrict square, float *restrict cross)
{
    float n_used = 0.0f;
#pragma omp simd reduction(+ : n_used)
    for (Py_ssize_t j = 0; j < n; j++) {
        const float valid = weight[j]; /* as it came */
        float d = fabsf(flux[j]) <= FLT_MAX ? flux[j] : 0.0f;
        d = valid > 0.0f ? d : 0.0f;
        const float used = valid * off_line[j], smooth = d * calibration;
        float w = 1.0f / (err[j] * err[j] + smooth * smooth);
        w = w <= FLT_MAX ? w : 0.0f;
        w = used > 0.0f ? w : 0.0f;
        data[j] = d;
        weight[j] = w;
        square[j] = w * model[j] * model[j];
        cross[j] = w * model[j] * d;
        n_used += used;
    }
    return n_used;
}

/* Sums of the normal equations: pairs of terms, then terms with the data. */
FAST static void normal_sums(const float *restrict square, const float *restrict cross, const float *restrict terms,
                             Py_ssize_t n, double *restrict sums)
{
    vec sum[N_PAIR + N_TERM], term[N_TERM];
    memset(sum, 0, sizeof sum);
    for (Py_ssize_t start = 0; start < n; start += LANES) {
        vec squares = {0.0f}, crosses = {0.0f};
        if (start + LANES <= n) {
            squares = load(square + start);
            crosses = load(cross + start);
            for (int t = 0; t < N_TERM; t++)
                term[t] = load(terms + t * n + start);
        } else {
            memset(term, 0, sizeof term);
            for (int l = 0; l < n - start; l++) {
                squares[l] = square[start + l];
                crosses[l] = cross[start + l];
                for (int t = 0; t < N_TERM; t++)
                    term[t][l] = terms[t * n + start + l];
            }
        }
        int p = 0;
#pragma GCC unroll 5
        for (int t = 0; t < N_TERM; t++) {
            const vec scaled = squares * term[t];
#pragma GCC unroll 5
            for (int s = t; s < N_TERM; s++)
                sum[p++] += scaled * term[s];
            sum[N_PAIR + t] += crosses * term[t];
        }
    }
    for (int p = 0; p < N_PAIR + N_TERM; p++) {
        sums[p] = 0.0;
        for (int l = 0; l < LANES; l++)
            sums[p] += sum[p][l];
    }
}

/* Coefficients of the terms, by Cholesky's method with a small ridge; NaN if the sums are no such matrix. */
static void solve(const double *sums, double *x)
{
    double lower[N_TERM][N_TERM], ridge = 0.0;
    for (int t = 0, p = 0; t < N_TERM; t++)
        for (int s = t; s < N_TERM; s++, p++)
            lower[s][t] = sums[p];
    for (int t = 0; t < N_TERM; t++)
        ridge += lower[t][t] / N_TERM;
    ridge = 1e-6 * (ridge > 1e-12 ? ridge : 1e-12);
    for (int t = 0; t < N_TERM; t++) {
        for (int s = t; s < N_TERM; s++) {
            double value = lower[s][t] + (s == t ? ridge : 0.0);
            for (int k = 0; k < t; k++)
                value -= lower[s][k] * lower[t][k];
            lower[s][t] = s == t ? sqrt(value) : value / lower[t][t];
        }
    }
    for (int t = 0; t < N_TERM; t++) {
        x[t] = sums[N_PAIR + t];
        for (int k = 0; k < t; k++)
            x[t] -= lower[t][k] * x[k];
        x[t] /= lower[t][t];
    }
    for (int t = N_TERM - 1; t >= 0; t--) {
        for (int k = t + 1; k < N_TERM; k++)
            x[t] -= lower[k][t] * x[k];
        x[t] /= lower[t][t];
    }
}

FAST static double residual_sum(const float *restrict model, const float *restrict weight, const float *restrict data,
                                const float *restrict terms, const float *restrict x, Py_ssize_t n,
                                float *restrict fitted)
{
    double chi2 = 0.0;
    for (Py_ssize_t start = 0; start < n; start += 256) {
        const Py_ssize_t stop = start + 256 < n ? start + 256 : n;
        float part = 0.0f;
#pragma omp simd reduction(+ : part)
        for (Py_ssize_t j = start; j < stop; j++) {
            float bend = x[0] * terms[j];
            for (int t = 1; t < N_TERM; t++)
                bend += x[t] * terms[t * n + j];
            fitted[j] = model[j] * bend;
            const float residual = data[j] - fitted[j];
            part += weight[j] * residual * residual;
        }
        chi2 += part;
    }
    return chi2;
}

/* Sum of the data, and of the model where they are not valid. */
FAST static double mixed_sum(const float *restrict flux, const float *restrict fitted, const float *restrict valid,
                             Py_ssize_t n)
{
    double sum = 0.0;
    for (Py_ssize_t start = 0; start < n; start += 256) {
        const Py_ssize_t stop = start + 256 < n ? start + 256 : n;
        float part = 0.0f;
#pragma omp simd reduction(+ : part)
        for (Py_ssize_t j = start; j < stop; j++)
            part += valid[j] > 0.0f ? flux[j] : fitted[j];
        sum += part;
    }
    return sum;
}

PyDoc_STRVAR(compare_doc,
             "compare((n, n_row, n_wave, margin, first, last, offset, stride), rows, position, velocity, a_v, "
             "pixel_per_kms, log2_dust, flux, flux_err, mask, calibration_error, off_line, terms, chi2, window_flux, "
             "sampled); sampled (3, n, n_sample)");
static PyObject *compare(PyObject *self, PyObject *args)
{
    PyObject *rows_, *position_, *velocity_, *a_v_, *pixel_, *dust_, *flux_, *err_, *mask_, *calibration_, *off_line_;
    PyObject *terms_, *chi2_, *window_, *sampled_;
    Py_ssize_t n, n_row, n_wave, margin, first, last, offset, stride;
    arrays a = {.n = 0};
    if (!PyArg_ParseTuple(args, "(nnnnnnnn)OOOOOOOOOOOOOOO", &n, &n_row, &n_wave, &margin, &first, &last, &offset,
                          &stride, &rows_, &position_, &velocity_, &a_v_, &pixel_, &dust_, &flux_, &err_, &mask_,
                          &calibration_, &off_line_, &terms_, &chi2_, &window_, &sampled_))
        return NULL;
    if (margin < 2 || n_wave < 2 || first < 0 || last > n_wave || first >= last || offset < 0 || stride < 1) {
        PyErr_SetString(PyExc_ValueError, "margin and n_wave must be at least 2, the window inside the spectrum, "
                                          "offset not negative and stride positive");
        return NULL;
    }
    const Py_ssize_t length = n_wave + 2 * margin, n_sample = n_wave > offset ? (n_wave - offset - 1) / stride + 1 : 0;
    const float *rows = items(&a, rows_, 0, n_row * length, 4, "rows");
    const int64_t *position = rows ? items(&a, position_, 0, n, 8, "position") : NULL;
    const float *velocity = position ? items(&a, velocity_, 0, n, 4, "velocity") : NULL;
    const float *a_v = velocity ? items(&a, a_v_, 0, n, 4, "a_v") : NULL;
    const float *pixel_per_kms = a_v ? items(&a, pixel_, 0, n_wave, 4, "pixel_per_kms") : NULL;
    const float *log2_dust = pixel_per_kms ? items(&a, dust_, 0, n_wave, 4, "log2_dust") : NULL;
    const float *flux = log2_dust ? items(&a, flux_, 0, n * n_wave, 4, "flux") : NULL;
    const float *err = flux ? items(&a, err_, 0, n * n_wave, 4, "flux_err") : NULL;
    const uint8_t *mask = err ? items(&a, mask_, 0, n * n_wave, 1, "mask") : NULL;
    const float *calibration = mask ? items(&a, calibration_, 0, n, 4, "calibration_error") : NULL;
    const float *off_line = calibration ? items(&a, off_line_, 0, n_wave, 4, "off_line") : NULL;
    const float *terms = off_line ? items(&a, terms_, 0, N_TERM * n_wave, 4, "terms") : NULL;
    float *chi2 = terms ? items(&a, chi2_, 1, n, 4, "chi2") : NULL;
    float *window = chi2 ? items(&a, window_, 1, n, 4, "window_flux") : NULL;
    float *sampled = window ? items(&a, sampled_, 1, 3 * n * n_sample, 4, "sampled") : NULL;
    if (!sampled)
        goto end;
    for (Py_ssize_t i = 0; i < n; i++)
        if (position[i] < 0 || position[i] >= n_row) {
            PyErr_SetString(PyExc_ValueError, "position has a number that is no row");
            goto end;
        }
    float *work = room(&a, 6 * n_wave);
    if (!work)
        goto end;
    Py_BEGIN_ALLOW_THREADS
    float *model = work, *weight = model + n_wave, *data = weight + n_wave, *fitted = data + n_wave;
    float *square = fitted + n_wave, *cross = square + n_wave;
    for (Py_ssize_t i = 0; i < n; i++) {
        const Py_ssize_t at = i * n_wave;
        double sums[N_PAIR + N_TERM], x[N_TERM];
        float x_float[N_TERM];
        float *stars = sampled + i * n_sample, *own = stars + n * n_sample, *used = own + n * n_sample;
        seen(rows + position[i] * length + margin, margin, velocity[i], a_v[i], pixel_per_kms, log2_dust, n_wave,
             model);
        to_valid(mask + at, n_wave, weight);
        for (Py_ssize_t k = 0, j = offset; k < n_sample; k++, j += stride) {
            stars[k] = model[j];
            used[k] = weight[j] * off_line[j];
            own[k] = used[k] > 0.0f && fabsf(flux[at + j]) <= FLT_MAX ? flux[at + j] : 0.0f;
        }
        const double n_used =
            weigh(model, flux + at, err + at, calibration[i], off_line, n_wave, data, weight, square, cross);
        normal_sums(square, cross, terms, n_wave, sums);
        solve(sums, x);
        for (int t = 0; t < N_TERM; t++)
            x_float[t] = (float)x[t];
        const double total = residual_sum(model, weight, data, terms, x_float, n_wave, fitted);
        to_valid(mask + at + first, last - first, square);
        const double light = mixed_sum(flux + at + first, fitted + first, square, last - first);
        chi2[i] = (float)(total / (n_used - N_TERM > 1.0 ? n_used - N_TERM : 1.0));
        window[i] = (float)(light / (double)(last - first));
    }
    Py_END_ALLOW_THREADS
end:
    return leave(&a);
}

static PyMethodDef methods[] = {
    {"resample", resample, METH_VARARGS, resample_doc},       {"statistics", statistics, METH_VARARGS, statistics_doc},
    {"block_sums", block_sums, METH_VARARGS, block_sums_doc}, {"high_pass", high_pass, METH_VARARGS, high_pass_doc},
    {"attend", attend, METH_VARARGS, attend_doc},             {"quantiles", quantiles, METH_VARARGS, quantiles_doc},
    {"layer_norm", layer_norm, METH_VARARGS, layer_norm_doc}, {"compare", compare, METH_VARARGS, compare_doc},
    {"describe", describe, METH_VARARGS, describe_doc},       {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&module); }
