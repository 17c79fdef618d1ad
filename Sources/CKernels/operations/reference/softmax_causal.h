// Attention probabilities of a tile of scores, for generation against cached keys. Scores behind the mask are never read: a tile's GEMM may leave anything there.

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
