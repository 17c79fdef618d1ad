// Rotary embedding over lanes: products and sums rounded one by one, as in reference/rope.h.

INLINE void rope_step(float *a, float *b, const float *c, const float *s, lanes sign, int64_t count) {
  const lanes as = load(a, count), bs = load(b, count), cosine = load(c, count), sine = times(load(s, count), sign);
  store(a, minus(times(as, cosine), times(bs, sine)), count);
  store(b, plus(times(bs, cosine), times(as, sine)), count);
}

static void rope(int64_t T, int64_t H, int64_t d, float *x, int64_t stride, const float *cosines, const float *sines,
                 int64_t first, int64_t period, int32_t direction) {
  const int64_t half = d / 2;
  const lanes sign = splat(direction < 0 ? -1 : 1);
  for (int64_t t = 0; t < T; t++, x += stride) {
    const int64_t position = (first + t) % period;
    const float *c = cosines + position * half, *s = sines + position * half;
    for (int64_t h = 0; h < H; h++) {
      float *a = x + h * d, *b = a + half;
      int64_t i = 0;
      for (; i + LANES <= half; i += LANES) rope_step(a + i, b + i, c + i, s + i, sign, LANES);
      if (i < half) rope_step(a + i, b + i, c + i, s + i, sign, half - i);
    }
  }
}
