// SwiGLU over lanes; e = exp(-|gate|) as in reference/swiglu.h.

INLINE void swiglu_step(const float *gate, const float *up, float *y, int64_t count) {
  const lanes g = load(gate, count), e = exponential(minus_magnitude(g));
  const lanes silu = over(by_sign(g, times(g, e), g), plus(splat(1), e));
  store(y, times(silu, load(up, count)), count);
}

static void swiglu_forward(int64_t n, const float *gate, const float *up, float *y) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) swiglu_step(gate + i, up + i, y + i, LANES);
  if (i < n) swiglu_step(gate + i, up + i, y + i, n - i);
}

INLINE void swiglu_back_step(const float *gate, const float *up, const float *dy, float *dgate, float *dup,
                             int64_t count) {
  const lanes g = load(gate, count), u = load(up, count), dys = load(dy, count), e = exponential(minus_magnitude(g));
  const lanes most = over(splat(1), plus(splat(1), e)), least = times(e, most);
  const lanes sigmoid = by_sign(g, least, most), complement = by_sign(g, most, least);
  const lanes slope = times(sigmoid, times_plus(g, complement, splat(1)));
  store(dgate, times(times(dys, u), slope), count);
  store(dup, times(dys, times(g, sigmoid)), count);
}

static void swiglu_backward(int64_t n, const float *gate, const float *up, const float *dy, float *dgate, float *dup) {
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) swiglu_back_step(gate + i, up + i, dy + i, dgate + i, dup + i, LANES);
  if (i < n) swiglu_back_step(gate + i, up + i, dy + i, dgate + i, dup + i, n - i);
}
