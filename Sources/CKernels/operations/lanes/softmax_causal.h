// Causal softmax of tiles of scores over lanes; the definition is in reference/softmax_causal.h.

// How many keys row r of a causal tile sees.
INLINE int64_t visible_keys(int64_t r, int64_t keys, int64_t visible) {
  const int64_t n = visible + r + 1;
  return n < 0 ? 0 : n > keys ? keys : n;
}

// max of factor * x over a row, -infinity for none; NaNs are passed over.
INLINE float largest_scaled(int64_t n, const float *x, float factor) {
  const lanes f = splat(factor);
  lanes m0 = splat(-INFINITY), m1 = m0, m2 = m0, m3 = m0;
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    m0 = larger(times(f, load(x + i, 16)), m0);
    m1 = larger(times(f, load(x + i + 16, 16)), m1);
    m2 = larger(times(f, load(x + i + 32, 16)), m2);
    m3 = larger(times(f, load(x + i + 48, 16)), m3);
  }
  for (; i < n; i += 16) m0 = larger(pad(times(f, load(x + i, n - i)), n - i, -INFINITY), m0);
  return lanes_largest(larger(larger(m0, m1), larger(m2, m3)));
}

// x <- exp(factor * x - most); returns what was stored, zeros behind `count`
INLINE lanes softmax_step(float *x, lanes factor, lanes most, int64_t count) {
  const lanes e = pad(exponential(minus(times(factor, load(x, count)), most)), count, 0);
  store(x, e, count);
  return e;
}

static void softmax_causal_forward(int64_t rows, int64_t keys, int64_t visible, float scale, float *scores,
                                   int64_t stride, float *lse) {
  const lanes factor = splat(scale);
  for (int64_t r = 0; r < rows; r++, scores += stride) {
    const int64_t n = visible_keys(r, keys, visible);
    const float most = largest_scaled(n, scores, scale);
    const lanes mosts = splat(most);
    lanes sums = splat(0);
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES) sums = plus(sums, softmax_step(scores + k, factor, mosts, LANES));
    if (k < n) sums = plus(sums, softmax_step(scores + k, factor, mosts, n - k));
    const double sum = (double)lanes_sum(sums);
    const lanes share = splat((float)(1 / sum));
    for (k = 0; k + LANES <= n; k += LANES) store(scores + k, times(load(scores + k, LANES), share), LANES);
    if (k < n) store(scores + k, times(load(scores + k, n - k), share), n - k);
    if (n < keys) memset(scores + n, 0, (size_t)(keys - n) * sizeof(float));
    lse[r] = (float)((double)most + log(sum));
  }
}
