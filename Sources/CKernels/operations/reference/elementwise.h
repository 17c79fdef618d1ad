// Sums and products of elements, each rounded once.

static void add(int64_t n, const real *a, const real *b, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void accumulate(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

static void scale(int64_t n, real factor, real *x) {
  for (int64_t i = 0; i < n; i++) x[i] *= factor;
}

static void bias_forward(int64_t T, int64_t D, const real *bias, real *y, int64_t stride) {
  for (int64_t t = 0; t < T; t++) accumulate(D, bias, y + t * stride);
}

static void bias_backward(int64_t T, int64_t D, const real *dy, int64_t stride, real *dbias) {
  for (int64_t t = 0; t < T; t++) accumulate(D, dy + t * stride, dbias);
}
