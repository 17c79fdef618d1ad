// A tile of ROWS left rows by `vectors` vectors of right columns of bf16.

INLINE void store_bf16(const bool whole, const int vectors, const product *p, int64_t row, int64_t column,
                       vf sum[BF16_ROWS][BF16_VECTORS], float *c) {
#pragma clang loop unroll(full)
  for (int r = 0; r < BF16_ROWS; r++) {
    if (!whole && row + r >= p->m) break;
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++)
      write(whole, c + r * p->c_stride + v * LANES, sum[r][v], p->n - column - v * LANES, p->accumulate);
  }
}

INLINE void tile_bf16(const int vectors, const product *p, int64_t row, int64_t panel) {
  enum { ROWS = BF16_ROWS };
  const uint8_t *left = p->left->codes + row / CK_PANEL * p->panel_bytes + row % CK_PANEL * 4;
  const uint8_t *right = p->right->codes + panel * p->panel_bytes;
  const int64_t column = panel * CK_PANEL;
  float *c = p->c + row * p->c_stride + column;
  vf sum[ROWS][BF16_VECTORS];
#pragma clang loop unroll(full)
  for (int r = 0; r < ROWS; r++)
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) sum[r][v] = splat_f(0);

  for (int64_t block = 0; block < p->blocks; block++) {
    expect_row(ROWS, vectors, p, row, block, c);
#pragma clang loop unroll_count(UNROLLED)
    for (int group = 0; group < CK_BLOCK / 2; group++) {
      right2 columns[BF16_VECTORS];
#pragma clang loop unroll(full)
      for (int v = 0; v < vectors; v++) columns[v] = load_right2(right + vector_offset(v, p->panel_bytes));
#pragma clang loop unroll(full)
      for (int r = 0; r < ROWS; r++) {
        const left2 codes = splat_left2(left + 4 * r);
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++) sum[r][v] = dot2(sum[r][v], columns[v], codes);
      }
      left += 64;
      right += 64;
    }
  }

  const bool whole = row + ROWS <= p->m && column + vectors * LANES <= p->n;
  if (whole && !p->accumulate) store_bf16(true, vectors, p, row, column, sum, c);
  else store_bf16(false, vectors, p, row, column, sum, c);
}
