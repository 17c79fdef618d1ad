// A tile of ROWS left rows by `vectors` vectors of right columns, one scale for each row and column: all sums over the
// whole depth stay in registers. They begin with -128 times the row's sum, which takes back the offset of the right
// codes.

INLINE void store_plain(const bool whole, const int vectors, const product *p, int64_t row, int64_t column,
                        vi sum[PLAIN_ROWS][PLAIN_VECTORS], float *c) {
#pragma clang loop unroll(full)
  for (int r = 0; r < PLAIN_ROWS; r++) {
    if (!whole && row + r >= p->m) break;
    const vf scale = splat_f(p->left->scales[row + r]);
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) {
      const vf scaled = times(times(to_float(sum[r][v]), scale), load_f(p->right->scales + column + v * LANES));
      write(whole, c + r * p->c_stride + v * LANES, scaled, p->n - column - v * LANES, p->accumulate);
    }
  }
}

INLINE void tile_plain(const int vectors, const product *p, int64_t row, int64_t panel, const int32_t *start) {
  enum { ROWS = PLAIN_ROWS };
  const uint8_t *left = p->left->codes + row / CK_PANEL * p->panel_bytes + row % CK_PANEL * 4;
  const uint8_t *right = p->right->codes + panel * p->panel_bytes;
  const int64_t column = panel * CK_PANEL;
  float *c = p->c + row * p->c_stride + column;
  vi sum[ROWS][PLAIN_VECTORS];
#pragma clang loop unroll(full)
  for (int r = 0; r < ROWS; r++)
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) sum[r][v] = splat_i(start[r]);

  for (int64_t block = 0; block < p->blocks; block++) {
    expect_row(ROWS, vectors, p, row, block, c);
#pragma clang loop unroll_count(UNROLLED)
    for (int group = 0; group < CK_BLOCK / 4; group++) {
      right4 columns[PLAIN_VECTORS];
#pragma clang loop unroll(full)
      for (int v = 0; v < vectors; v++) columns[v] = load_right4(right + vector_offset(v, p->panel_bytes));
#pragma clang loop unroll(full)
      for (int r = 0; r < ROWS; r++) {
        const left4 codes = splat_left4(left + 4 * r);
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++) sum[r][v] = dot4(sum[r][v], columns[v], codes);
      }
      left += 64;
      right += 64;
    }
  }

  const bool whole = row + ROWS <= p->m && column + vectors * LANES <= p->n;
  if (whole && !p->accumulate) store_plain(true, vectors, p, row, column, sum, c);
  else store_plain(false, vectors, p, row, column, sum, c);
}
