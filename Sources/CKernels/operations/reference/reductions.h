// Squares of floats are exact in double, so only the order of the sums matters: lane i takes columns i, i + 8, ..., then
// lanes i and i + 4 are added, then i and i + 2, then i and i + 1.

static void row_sums_of_squares(int64_t rows, int64_t columns, const real *x, double *sums) {
  for (int64_t r = 0; r < rows; r++, x += columns) {
    double lanes[8] = {0};
    for (int64_t i = 0; i < columns; i++) lanes[i % 8] += (double)x[i] * (double)x[i];
    for (int64_t width = 4; width > 0; width /= 2)
      for (int64_t i = 0; i < width; i++) lanes[i] += lanes[i + width];
    sums[r] = lanes[0];
  }
}

static bool all_finite(int64_t n, const real *x) {
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(x[i])) return false;
  return true;
}
