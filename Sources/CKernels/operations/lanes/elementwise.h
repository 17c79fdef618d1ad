// The [exact] operations over lanes: each element the roundings of its definition, in their order.

INLINE void add_step(const float *a, const float *b, float *y, int64_t count) {
  store(y, plus(load(a, count), load(b, count)), count);
}

static void add(int64_t n, const float *a, const float *b, float *y) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) add_step(a + i, b + i, y + i, LANES);
  if (i < n) add_step(a + i, b + i, y + i, n - i);
}

static void accumulate(int64_t n, const float *x, float *y) { add(n, y, x, y); }

static void scale(int64_t n, float factor, float *x) {
  const lanes f = splat(factor);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) store(x + i, times(load(x + i, LANES), f), LANES);
  if (i < n) store(x + i, times(load(x + i, n - i), f), n - i);
}

static void bias_forward(int64_t T, int64_t D, const float *bias, float *y, int64_t stride) {
  for (int64_t t = 0; t < T; t++) accumulate(D, bias, y + t * stride);
}

static void bias_backward(int64_t T, int64_t D, const float *dy, int64_t stride, float *dbias) {
  for (int64_t t = 0; t < T; t++) accumulate(D, dy + t * stride, dbias);
}

static void embedding_forward(int64_t T, int64_t D, const float *table, const int32_t *ids, float *y) {
  for (int64_t t = 0; t < T; t++, y += D) memcpy(y, table + ids[t] * D, (size_t)D * sizeof(float));
}

static void embedding_backward(int64_t T, int64_t D, const float *dy, const int32_t *ids, float *dtable) {
  for (int64_t t = 0; t < T; t++, dy += D) accumulate(D, dy, dtable + ids[t] * D);
}

static void row_sums_of_squares(int64_t rows, int64_t columns, const float *x, double *sums) {
  for (int64_t r = 0; r < rows; r++, x += columns) {
    wide sum = wide_zero();
    for (int64_t i = 0; i < columns; i += LANES) {
      const lanes v = load(x + i, columns - i);
      const wide low = low_half(v), high = high_half(v);
      sum = wide_plus(wide_plus(sum, wide_times(low, low)), wide_times(high, high));
    }
    sums[r] = wide_sum(sum);
  }
}

// 0 * x is NaN exactly for infinities and NaNs, and a NaN stays in the sum.
static bool all_finite(int64_t n, const float *x) {
  const lanes zero = splat(0);
  lanes s0 = zero, s1 = zero, s2 = zero, s3 = zero;
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    s0 = times_plus(load(x + i, 16), zero, s0);
    s1 = times_plus(load(x + i + 16, 16), zero, s1);
    s2 = times_plus(load(x + i + 32, 16), zero, s2);
    s3 = times_plus(load(x + i + 48, 16), zero, s3);
  }
  for (; i < n; i += 16) s0 = times_plus(load(x + i, n - i), zero, s0);
  const lanes all = plus(plus(s0, s1), plus(s2, s3));
  return equal(all, all) == 0xFFFF;
}
