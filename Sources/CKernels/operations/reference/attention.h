// Causal attention of one key head and the query heads that share it, row by row: softmax of the scaled products with the
// keys up to and including the query's own, then the mean of the values under it.
//
// The backward makes p again from lse (Dao et al. 2022, algorithm 4): with dp = dy . v and delta = dy . y,
//   ds = scale * p * (dp - delta),  dq = sum ds k,  dk = sum ds q,  dv = sum p dy.

static double attention_dot(int64_t d, const real *a, const real *b) {
  double dot = 0;
  for (int64_t i = 0; i < d; i++) dot += (double)a[i] * (double)b[i];
  return dot;
}

static void attention_forward(int64_t S, int64_t d, real scale, const real *q, const real *k, int64_t stride,
                              const real *v, int64_t v_stride, real *y, int64_t y_stride, real *lse, real *scratch) {
  for (int64_t i = 0; i < S; i++, y += y_stride) {
    real most = -(real)INFINITY;
    for (int64_t j = 0; j <= i; j++) {
      scratch[j] = (real)(attention_dot(d, q + i * stride, k + j * stride) * (double)scale);
      if (scratch[j] > most) most = scratch[j];
    }
    double sum = 0;
    for (int64_t j = 0; j <= i; j++) {
      scratch[j] = exponential(scratch[j] - most);
      sum += (double)scratch[j];
    }
    for (int64_t c = 0; c < d; c++) {
      double mean = 0;
      for (int64_t j = 0; j <= i; j++) mean += (double)scratch[j] * (double)v[j * v_stride + c];
      y[c] = (real)(mean / sum);
    }
    lse[i] = (real)((double)most + log(sum));
  }
}

static void attention_delta(int64_t T, int64_t H, int64_t d, const real *y, const real *dy, int64_t stride,
                            real *delta) {
  for (int64_t t = 0; t < T; t++, y += stride, dy += stride)
    for (int64_t h = 0; h < H; h++) delta[t * H + h] = (real)attention_dot(d, y + h * d, dy + h * d);
}

static void attention_backward(int64_t S, int64_t H, int64_t d, real scale, const real *q, const real *k, int64_t stride,
                               const real *v, int64_t v_stride, const real *dy, int64_t dy_stride, const real *lse,
                               const real *delta, int64_t delta_stride, real *dq, real *dk, int64_t d_stride, real *dv,
                               int64_t dv_stride, real *scratch) {
  (void)scratch;
  for (int64_t j = 0; j < S; j++)
    for (int64_t c = 0; c < d; c++) dk[j * d_stride + c] = dv[j * dv_stride + c] = 0;
  for (int64_t h = 0; h < H; h++)
    for (int64_t i = 0; i < S; i++) {
      const real *query = q + i * stride + h * d, *slope = dy + i * dy_stride + h * d;
      real *dquery = dq + i * d_stride + h * d;
      for (int64_t c = 0; c < d; c++) dquery[c] = 0;
      for (int64_t j = 0; j <= i; j++) {
        const double s = attention_dot(d, query, k + j * stride) * (double)scale, p = exp(s - (double)lse[h * S + i]);
        const double dp = attention_dot(d, slope, v + j * v_stride);
        const double ds = (double)scale * p * (dp - (double)delta[i * delta_stride + h]);
        for (int64_t c = 0; c < d; c++) {
          dquery[c] += (real)(ds * (double)k[j * stride + c]);
          dk[j * d_stride + c] += (real)(ds * (double)query[c]);
          dv[j * dv_stride + c] += (real)(p * (double)slope[c]);
        }
      }
    }
}
