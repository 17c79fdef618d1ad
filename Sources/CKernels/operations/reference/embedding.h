// y[t] = table[ids[t]], and the gradient scattered back in token order, so that repeated ids add up alike everywhere.

static void embedding_forward(int64_t T, int64_t D, const real *table, const int32_t *ids, real *y) {
  for (int64_t t = 0; t < T; t++, y += D) memcpy(y, table + ids[t] * D, (size_t)D * sizeof(real));
}

static void embedding_backward(int64_t T, int64_t D, const real *dy, const int32_t *ids, real *dtable) {
  for (int64_t t = 0; t < T; t++, dy += D) {
    real *row = dtable + ids[t] * D;
    for (int64_t i = 0; i < D; i++) row[i] += dy[i];
  }
}
