// Codes into panels. A panel's share of one block is 16 vectors by 32 codes, 512 bytes: eight groups of 64. Along rows
// it is a transpose of dwords, along columns one of bytes, four rows at a time. Blocks at an edge are first copied into
// a full one, padded with zeros.
enum {
  BLOCK_BYTES = CK_BLOCK * CK_PANEL,
  COLUMN_PANELS = 4,  // packed at once along columns: a cache line of each row
};

// How codes become the bytes of a panel.
typedef struct coding {
  const int8_t *carrier;
  int segments;  // of 16 carrier entries, up to the last that is not all zero
  bool right;
} coding;

static coding coding_of(ck_side side, const int8_t *carrier) {
  coding how = {carrier, 0, side == CK_RIGHT};
  for (int i = 0; carrier && i < 256; i++)
    if (carrier[i] != 0) how.segments = i / 16 + 1;
  return how;
}

// The signed integers of codes.
INLINE vi carried(coding how, vi x) {
  if (how.carrier) {
    // The entry of segment s where the code's high half is s: elsewhere bit 7 is set, which the shuffle makes zero.
    vi value = splat_b(0);
    for (int s = 0; s < how.segments; s++) {
      const vi index = plus_saturated_b(xor_b(x, splat_b(16 * s)), splat_b(0x70));
      value = or_b(value, shuffle_b(splat_16(how.carrier + 16 * s), index));
    }
    x = value;
  }
  return largest_b(x, splat_b(-127));
}

// Stores signed integers; `sum` has those of a left operand added.
INLINE void store_group(coding how, uint8_t *out, vi x, vi *sum) {
  if (how.right) {
    x = xor_b(x, splat_b(0x80));
  } else {
    *sum = add_bytes(*sum, x);  // 16 bits: at most 8 groups of 2 * 127
  }
  store_i(out, x);
}

// LANES rows of 32 codes. Piece i of a vector is of row 4 i and on, so that transposing within pieces is enough.
INLINE void pack_rows_block(coding how, const uint8_t *codes, int64_t stride, uint8_t *out, int32_t *sums) {
  vi sum = splat_b(0);
  for (int row = 0; row < LANES; row++) __builtin_prefetch(codes + (row + CK_PANEL) * stride, 0, 2);  // the next panel
  for (int k = 0; k < CK_BLOCK; k += 16) {
    vi row[4];
    for (int i = 0; i < 4; i++) row[i] = carried(how, load_pieces(codes + i * stride + k, 4 * stride));
    const vi low_01 = low_dwords(row[0], row[1]), low_23 = low_dwords(row[2], row[3]);
    const vi high_01 = high_dwords(row[0], row[1]), high_23 = high_dwords(row[2], row[3]);
    uint8_t *const at = out + k * CK_PANEL;
    store_group(how, at, low_qwords(low_01, low_23), &sum);
    store_group(how, at + 64, high_qwords(low_01, low_23), &sum);
    store_group(how, at + 128, low_qwords(high_01, high_23), &sum);
    store_group(how, at + 192, high_qwords(high_01, high_23), &sum);
  }
  if (!how.right) store_i((uint8_t *)sums, add_words(sum));
}

// Thirty-two rows of `panels` x 16 codes, neighbouring panels: a column is a vector.
INLINE void pack_columns_block(const int panels, coding how, const uint8_t *codes, int64_t stride, uint8_t *out,
                               int32_t *sums, int64_t blocks) {
  vi sum[COLUMN_PANELS * PANEL_VECTORS];
  for (int v = 0; v < panels * PANEL_VECTORS; v++) sum[v] = splat_b(0);
  for (int k = 0; k < CK_BLOCK; k += 4)
    for (int v = 0; v < panels * PANEL_VECTORS; v++)
      store_group(how, out + vector_offset(v, blocks * BLOCK_BYTES) + k * CK_PANEL,
                  carried(how, load_columns(codes + k * stride + v * LANES, stride)), &sum[v]);
  for (int v = 0; !how.right && v < panels * PANEL_VECTORS; v++)
    store_i((uint8_t *)sums + vector_offset(v, blocks * 64), add_words(sum[v]));
}

// `codes` at one block of one panel, `rows` x `columns` of it present as they lie in memory.
INLINE void pack_block(const bool by_columns, coding how, const uint8_t *codes, int64_t stride, int64_t rows,
                       int64_t columns, uint8_t *out, int32_t *sums) {
  const int64_t full_rows = by_columns ? CK_BLOCK : CK_PANEL, full_columns = by_columns ? CK_PANEL : CK_BLOCK;
  uint8_t edge[BLOCK_BYTES];
  if (rows < full_rows || columns < full_columns) {
    // Padding has value 0, whatever the carrier gives for code 0.
    memset(edge, 0, sizeof edge);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < columns; j++) {
        const uint8_t code = codes[i * stride + j];
        edge[i * full_columns + j] = how.carrier ? (uint8_t)how.carrier[code] : code;
      }
    codes = edge;
    stride = full_columns;
    how.carrier = NULL;
  }
  if (by_columns) {
    pack_columns_block(1, how, codes, stride, out, sums, 0);
  } else {
    for (int v = 0; v < CK_PANEL; v += LANES)
      pack_rows_block(how, codes + v * stride, stride, out + v * 4, sums + (how.right ? 0 : v));
  }
}

INLINE void pack(const bool by_columns, ck_side side, int64_t vectors, int64_t depth, const uint8_t *codes,
                 int64_t stride, const int8_t *carrier, const ck_panels *out) {
  const coding how = coding_of(side, carrier);
  const int64_t blocks = ck_blocks(depth), panels = ck_panel_count(vectors);
  // Along columns a row of codes serves all panels: blocks outside.
  const int64_t outer = by_columns ? blocks : panels, inner = by_columns ? panels : blocks;
  for (int64_t i = 0; i < outer; i++) {
    for (int64_t j = 0; j < inner;) {
      const int64_t panel = by_columns ? j : i, block = by_columns ? i : j;
      const int64_t v = panel * CK_PANEL, k = block * CK_BLOCK;
      const int64_t of_vectors = ck_least(CK_PANEL, vectors - v), of_depth = ck_least(CK_BLOCK, depth - k);
      uint8_t *const at = out->codes + (panel * blocks + block) * BLOCK_BYTES;
      int32_t *const sums = how.right ? NULL : out->sums + (panel * blocks + block) * CK_PANEL;
      if (!by_columns) {
        pack_block(false, how, codes + v * stride + k, stride, of_vectors, of_depth, at, sums);
      } else if (of_depth == CK_BLOCK && vectors - v >= COLUMN_PANELS * CK_PANEL) {
        pack_columns_block(COLUMN_PANELS, how, codes + k * stride + v, stride, at, sums, blocks);
        j += COLUMN_PANELS;
        continue;
      } else {
        pack_block(true, how, codes + k * stride + v, stride, of_depth, of_vectors, at, sums);
      }
      j += 1;
    }
  }
}

static void pack_rows(ck_side side, int64_t vectors, int64_t depth, const uint8_t *codes, int64_t stride,
                      const int8_t *carrier, const ck_panels *out) {
  pack(false, side, vectors, depth, codes, stride, carrier, out);
}

static void pack_columns(ck_side side, int64_t vectors, int64_t depth, const uint8_t *codes, int64_t stride,
                         const int8_t *carrier, const ck_panels *out) {
  pack(true, side, vectors, depth, codes, stride, carrier, out);
}
