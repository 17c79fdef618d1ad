// A tile of ROWS left rows by `vectors` vectors of right columns with scales for each block of 32 in one operand or
// both: the integers of a block in registers, beside the fp32 sums that they are added to.
typedef enum block_kind {
  BOTH_POWERS,  // both in blocks, all powers of two: their product is a sum of exponents, which spares the multiplier
  BOTH,
  RIGHT,  // left: one scale a row, after the last block
  LEFT,
} block_kind;

INLINE vf scale_product(const block_kind kind, vf left, vf right) {
  switch (kind) {
    case BOTH_POWERS: return float_of(plus_i(bits_of(left), bits_of(right)));  // left: less the bits of 1
    case BOTH: return times(left, right);
    case RIGHT: return right;
    case LEFT: return left;
  }
}

INLINE void store_block(const bool whole, const block_kind kind, const int vectors, const product *p, int64_t row,
                        int64_t column, vf total[BLOCK_ROWS][BLOCK_VECTORS], float *c) {
#pragma clang loop unroll(full)
  for (int r = 0; r < BLOCK_ROWS; r++) {
    if (!whole && row + r >= p->m) break;
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) {
      vf result = total[r][v];
      if (kind == RIGHT) result = times(result, splat_f(p->left->scales[row + r]));
      if (kind == LEFT) result = times(result, load_f(p->right->scales + column + v * LANES));
      write(whole, c + r * p->c_stride + v * LANES, result, p->n - column - v * LANES, p->accumulate);
    }
  }
}

INLINE void tile_block(const block_kind kind, const int vectors, const product *p, int64_t row, int64_t panel) {
  enum { ROWS = BLOCK_ROWS };
  const int64_t left_panel = row / CK_PANEL, lane = row % CK_PANEL;
  const uint8_t *left = p->left->codes + left_panel * p->panel_bytes + lane * 4;
  const uint8_t *right = p->right->codes + panel * p->panel_bytes;
  const int32_t *sums = p->left->sums + left_panel * p->blocks * CK_PANEL + lane;
  const float *left_scales = p->left->scales + left_panel * p->blocks * CK_PANEL + lane;  // where in blocks
  const float *right_scales = p->right->scales + panel * p->blocks * CK_PANEL;
  const int64_t column = panel * CK_PANEL;
  float *c = p->c + row * p->c_stride + column;
  vf total[ROWS][BLOCK_VECTORS];
#pragma clang loop unroll(full)
  for (int r = 0; r < ROWS; r++)
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) total[r][v] = splat_f(0);

  for (int64_t block = 0; block < p->blocks; block++) {
    expect_row(ROWS, vectors, p, row, block, c);
    vi sum[ROWS][BLOCK_VECTORS];
#pragma clang loop unroll(full)
    for (int r = 0; r < ROWS; r++) {
      const vi offset = offset_of(splat_i(sums[r]));
#pragma clang loop unroll(full)
      for (int v = 0; v < vectors; v++) sum[r][v] = offset;
    }
#pragma clang loop unroll_count(UNROLLED)
    for (int group = 0; group < CK_BLOCK / 4; group++) {
      right4 columns[BLOCK_VECTORS];
#pragma clang loop unroll(full)
      for (int v = 0; v < vectors; v++) columns[v] = load_right4(right + group * 64 + vector_offset(v, p->panel_bytes));
#pragma clang loop unroll(full)
      for (int r = 0; r < ROWS; r++) {
        const left4 codes = splat_left4(left + group * 64 + 4 * r);
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++) sum[r][v] = dot4(sum[r][v], columns[v], codes);
      }
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < ROWS; r++) {
      vf of_row = splat_f(0);
      if (kind == BOTH_POWERS) {
        int32_t bits;
        memcpy(&bits, left_scales + r, sizeof bits);
        of_row = float_of(splat_i(bits - 0x3F800000));
      } else if (kind != RIGHT) {
        of_row = splat_f(left_scales[r]);
      }
#pragma clang loop unroll(full)
      for (int v = 0; v < vectors; v++) {
        const vf of_column =
            kind == LEFT ? splat_f(0) : load_f(right_scales + vector_offset(v, p->blocks * 64) / 4);
        total[r][v] = times_plus(to_float(sum[r][v]), scale_product(kind, of_row, of_column), total[r][v]);
      }
    }
    left += CK_BLOCK * CK_PANEL;
    right += CK_BLOCK * CK_PANEL;
    sums += CK_PANEL;
    left_scales += CK_PANEL;
    right_scales += CK_PANEL;
  }

  const bool whole = row + ROWS <= p->m && column + vectors * LANES <= p->n;
  if (whole && !p->accumulate) store_block(true, kind, vectors, p, row, column, total, c);
  else store_block(false, kind, vectors, p, row, column, total, c);
}
