// Small fp32 products of packed tiles, for attention: C = A · B or C += A · B.
//
// Element (i, k) of A lies at a[i * a_row + k * a_depth], so that A may be read as it lies or transposed; B and C are
// row-major with whole lanes. Every element of C is one accumulator that takes its products with k ascending, each fused:
// the sizes of the tiles below leave no trace in it.

// R rows by C lanes of the result in registers; R and C are constants.
INLINE void product_tile(const int R, const int C, int64_t depth, const float *a, int64_t a_row, int64_t a_depth,
                         const float *b, int64_t b_stride, float *c, int64_t c_stride, bool accumulate) {
  lanes sums[8][3];
#pragma clang loop unroll(full)
  for (int i = 0; i < R; i++)
#pragma clang loop unroll(full)
    for (int j = 0; j < C; j++) sums[i][j] = accumulate ? load(c + i * c_stride + j * LANES, LANES) : splat(0);
#pragma clang loop unroll(disable)
  for (int64_t k = 0; k < depth; k++, a += a_depth, b += b_stride) {
    lanes row[3];
#pragma clang loop unroll(full)
    for (int j = 0; j < C; j++) row[j] = load(b + j * LANES, LANES);
#pragma clang loop unroll(full)
    for (int i = 0; i < R; i++) {
      const lanes factor = splat(a[i * a_row]);
#pragma clang loop unroll(full)
      for (int j = 0; j < C; j++) sums[i][j] = times_plus(factor, row[j], sums[i][j]);
    }
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < R; i++)
#pragma clang loop unroll(full)
    for (int j = 0; j < C; j++) store(c + i * c_stride + j * LANES, sums[i][j], LANES);
}

// `rows` a multiple of 16, `columns` in lanes.
static void product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_depth,
                    const float *b, int64_t b_stride, float *c, int64_t c_stride, bool accumulate) {
  for (int64_t j = 0; j < columns;) {
    const int64_t left = columns - j;
    // Three lanes at a time where the registers hold them, but no lone fourth.
    const int64_t width = PRODUCT_LANES == 1 || left == 1 ? 1 : left == 3 || left > 4 ? 3 : 2;
    for (int64_t i = 0; i < rows; i += PRODUCT_ROWS) {
      const float *ai = a + i * a_row, *bj = b + j * LANES;
      float *ci = c + i * c_stride + j * LANES;
      if (width == 1)
        product_tile(PRODUCT_ROWS, 1, depth, ai, a_row, a_depth, bj, b_stride, ci, c_stride, accumulate);
#if PRODUCT_LANES > 1
      else if (width == 2)
        product_tile(PRODUCT_ROWS, 2, depth, ai, a_row, a_depth, bj, b_stride, ci, c_stride, accumulate);
      else
        product_tile(PRODUCT_ROWS, 3, depth, ai, a_row, a_depth, bj, b_stride, ci, c_stride, accumulate);
#endif
    }
    j += width;
  }
}

// to[c][r] = from[r][c] for `rows` x `columns`, both multiples of 8.
static void transpose(int64_t rows, int64_t columns, const float *from, int64_t from_stride, float *to,
                      int64_t to_stride) {
  for (int64_t r = 0; r < rows; r += 8)
    for (int64_t c = 0; c < columns; c += 8) {
      __m256 x[8], y[8];
      for (int i = 0; i < 8; i++) x[i] = _mm256_loadu_ps(from + (r + i) * from_stride + c);
      for (int i = 0; i < 4; i++) {
        y[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        y[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
      }
      // Rows 0-3 in x[0...3] and rows 4-7 in x[4...7]: column i of the low half, column i + 4 of the high half.
      for (int i = 0; i < 2; i++) {
        x[4 * i] = _mm256_shuffle_ps(y[4 * i], y[4 * i + 2], 0x44);
        x[4 * i + 1] = _mm256_shuffle_ps(y[4 * i], y[4 * i + 2], 0xEE);
        x[4 * i + 2] = _mm256_shuffle_ps(y[4 * i + 1], y[4 * i + 3], 0x44);
        x[4 * i + 3] = _mm256_shuffle_ps(y[4 * i + 1], y[4 * i + 3], 0xEE);
      }
      for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + (c + i) * to_stride + r, _mm256_permute2f128_ps(x[i], x[i + 4], 0x20));
        _mm256_storeu_ps(to + (c + i + 4) * to_stride + r, _mm256_permute2f128_ps(x[i], x[i + 4], 0x31));
      }
    }
}
