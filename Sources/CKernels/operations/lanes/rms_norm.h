// RMSNorm over lanes; the definition is in reference/rms_norm.h.

// sum of x^2 in four sets of 16 lanes, so that four additions are under way at a time
INLINE float squares_sum(int64_t n, const float *x) {
  lanes s0 = splat(0), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const lanes x0 = load(x + i, 16), x1 = load(x + i + 16, 16), x2 = load(x + i + 32, 16), x3 = load(x + i + 48, 16);
    s0 = times_plus(x0, x0, s0);
    s1 = times_plus(x1, x1, s1);
    s2 = times_plus(x2, x2, s2);
    s3 = times_plus(x3, x3, s3);
  }
  for (; i < n; i += 16) {
    const lanes rest = load(x + i, n - i);
    s0 = times_plus(rest, rest, s0);
  }
  return lanes_sum(plus(plus(s0, s1), plus(s2, s3)));
}

// sum of a * b * c, likewise
INLINE float triple_sum(int64_t n, const float *a, const float *b, const float *c) {
  lanes s0 = splat(0), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    s0 = times_plus(times(load(a + i, 16), load(b + i, 16)), load(c + i, 16), s0);
    s1 = times_plus(times(load(a + i + 16, 16), load(b + i + 16, 16)), load(c + i + 16, 16), s1);
    s2 = times_plus(times(load(a + i + 32, 16), load(b + i + 32, 16)), load(c + i + 32, 16), s2);
    s3 = times_plus(times(load(a + i + 48, 16), load(b + i + 48, 16)), load(c + i + 48, 16), s3);
  }
  for (; i < n; i += 16) s0 = times_plus(times(load(a + i, n - i), load(b + i, n - i)), load(c + i, n - i), s0);
  return lanes_sum(plus(plus(s0, s1), plus(s2, s3)));
}

INLINE void rms_norm_step(const float *x, const float *gain, lanes r, float *y, int64_t count) {
  store(y, times(times(load(x, count), r), load(gain, count)), count);
}

static void rms_norm_forward(int64_t T, int64_t D, float epsilon, const float *x, int64_t x_stride, const float *gain,
                             float *y, int64_t y_stride, float *rstd) {
  for (int64_t t = 0; t < T; t++, x += x_stride, y += y_stride) {
    rstd[t] = (float)(1 / sqrt((double)squares_sum(D, x) / (double)D + (double)epsilon));
    const lanes r = splat(rstd[t]);
    int64_t i = 0;
    for (; i + LANES <= D; i += LANES) rms_norm_step(x + i, gain + i, r, y + i, LANES);
    if (i < D) rms_norm_step(x + i, gain + i, r, y + i, D - i);
  }
}

INLINE void rms_norm_back_step(const float *x, const float *gain, const float *dy, lanes r, lanes minus_along,
                               float *dx, float *dgain, int64_t count) {
  const lanes xs = load(x, count), dys = load(dy, count);
  const lanes straight = times_plus(times(r, load(gain, count)), dys, load(dx, count));
  store(dx, times_plus(minus_along, xs, straight), count);
  store(dgain, times_plus(dys, times(xs, r), load(dgain, count)), count);
}

static void rms_norm_backward(int64_t T, int64_t D, const float *x, int64_t x_stride, const float *gain,
                              const float *rstd, const float *dy, int64_t dy_stride, float *dx, float *dgain) {
  for (int64_t t = 0; t < T; t++, x += x_stride, dx += x_stride, dy += dy_stride) {
    const double s = (double)rstd[t], along = (double)triple_sum(D, gain, dy, x) * s * s * s / (double)D;
    const lanes r = splat(rstd[t]), minus_along = splat((float)-along);
    int64_t i = 0;
    for (; i + LANES <= D; i += LANES)
      rms_norm_back_step(x + i, gain + i, dy + i, r, minus_along, dx + i, dgain + i, LANES);
    if (i < D) rms_norm_back_step(x + i, gain + i, dy + i, r, minus_along, dx + i, dgain + i, D - i);
  }
}
