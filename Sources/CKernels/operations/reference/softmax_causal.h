// Attention probabilities of a tile of scores and their gradient, as a recomputing attention needs them
// (Dao et al. 2022, section 3.1 and algorithm 4): the forward keeps only lse, the backward makes p again from it.
// Scores behind the mask are never read: a tile's GEMM may leave anything there.

static void softmax_causal_forward(int64_t rows, int64_t keys, int64_t visible, real scale, real *scores,
                                   int64_t stride, real *lse) {
  for (int64_t r = 0; r < rows; r++, scores += stride) {
    const int64_t n = visible_keys(r, keys, visible);
    real most = -(real)INFINITY;
    for (int64_t k = 0; k < n; k++)
      if (scale * scores[k] > most) most = scale * scores[k];
    double sum = 0;
    for (int64_t k = 0; k < n; k++) {
      scores[k] = exponential(scale * scores[k] - most);
      sum += (double)scores[k];
    }
    const real share = (real)(1 / sum);
    for (int64_t k = 0; k < n; k++) scores[k] *= share;
    for (int64_t k = n; k < keys; k++) scores[k] = 0;
    lse[r] = (real)((double)most + log(sum));
  }
}

static void softmax_causal_backward(int64_t rows, int64_t keys, int64_t visible, real scale, real *scores, real *dp,
                                    int64_t stride, const real *lse, const real *delta) {
  for (int64_t r = 0; r < rows; r++, scores += stride, dp += stride) {
    const int64_t n = visible_keys(r, keys, visible);
    for (int64_t k = 0; k < n; k++) {
      const real p = exponential(scale * scores[k] - lse[r]);
      scores[k] = p;
      dp[k] = scale * (p * (dp[k] - delta[r]));
    }
    for (int64_t k = n; k < keys; k++) scores[k] = dp[k] = 0;
  }
}

static void attention_delta(int64_t T, int64_t H, int64_t d, const real *y, const real *dy, int64_t stride,
                            real *delta) {
  for (int64_t t = 0; t < T; t++, y += stride, dy += stride)
    for (int64_t h = 0; h < H; h++) {
      double dot = 0;
      for (int64_t i = h * d; i < (h + 1) * d; i++) dot += (double)y[i] * (double)dy[i];
      delta[t * H + h] = (real)dot;
    }
}
