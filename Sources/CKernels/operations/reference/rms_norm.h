// RMSNorm (Zhang & Sennrich 2019): y = x * rstd * gain, rstd = 1 / sqrt(mean(x^2) + epsilon).

static void rms_norm_forward(int64_t T, int64_t D, real epsilon, const real *x, int64_t x_stride, const real *gain,
                             real *y, int64_t y_stride, real *rstd) {
  for (int64_t t = 0; t < T; t++, x += x_stride, y += y_stride) {
    double squares = 0;
    for (int64_t i = 0; i < D; i++) squares += (double)x[i] * (double)x[i];
    const real r = (real)(1 / sqrt(squares / (double)D + (double)epsilon));
    for (int64_t i = 0; i < D; i++) y[i] = x[i] * r * gain[i];
    rstd[t] = r;
  }
}

// With n = x * rstd:  dgain += dy * n,  dx += rstd * (gain * dy - n * mean(gain * dy * n)).
static void rms_norm_backward(int64_t T, int64_t D, const real *x, int64_t x_stride, const real *gain,
                              const real *rstd, const real *dy, int64_t dy_stride, real *dx, real *dgain) {
  for (int64_t t = 0; t < T; t++, x += x_stride, dx += x_stride, dy += dy_stride) {
    const real r = rstd[t];
    double dot = 0;
    for (int64_t i = 0; i < D; i++) dot += (double)gain[i] * (double)dy[i] * (double)x[i];
    const real along = (real)(dot * (double)r * (double)r * (double)r / (double)D);
    for (int64_t i = 0; i < D; i++) {
      dx[i] += r * gain[i] * dy[i] - along * x[i];
      dgain[i] += dy[i] * (x[i] * r);
    }
  }
}
