// Rotary embedding (Su et al. 2021), half-split pairs as in the Llama family: the pair (i, i + d/2) of every head turns
// by the angle of its position. The backward is the turn the other way. Products and sums are rounded one by one, so
// that every table gives these bits.

static void rope(int64_t T, int64_t H, int64_t d, real *x, int64_t stride, const real *cosines, const real *sines,
                 int64_t first, int64_t period, int32_t direction) {
  const int64_t half = d / 2;
  for (int64_t t = 0; t < T; t++, x += stride) {
    const int64_t position = (first + t) % period;
    const real *c = cosines + position * half, *s = sines + position * half;
    for (int64_t h = 0; h < H; h++) {
      real *a = x + h * d, *b = a + half;
      for (int64_t i = 0; i < half; i++) {
        const real sine = direction < 0 ? -s[i] : s[i];
        const real turned_a = a[i] * c[i] - b[i] * sine, turned_b = b[i] * c[i] + a[i] * sine;
        a[i] = turned_a;
        b[i] = turned_b;
      }
    }
  }
}
