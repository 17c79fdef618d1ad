// Codes into panels. A panel's share of one block is 16 vectors by 32 codes, 512 bytes: eight groups of 64. Both packings
// fill it from pieces of 16 bytes: along rows, 4 x 4 dwords are transposed; along columns, the bytes of four rows are
// interleaved. Blocks at an edge are first copied into a full one, padded with zeros.
typedef __m128i bytes16;

enum { BLOCK_BYTES = CK_BLOCK * CK_PANEL };

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

INLINE bytes16 coded(coding how, bytes16 x) {
  if (how.carrier) {
    // The entry of segment s where the code's high half is s: elsewhere bit 7 is set, which VPSHUFB makes zero.
    bytes16 value = _mm_setzero_si128();
    for (int s = 0; s < how.segments; s++) {
      const bytes16 index = _mm_adds_epu8(_mm_xor_si128(x, _mm_set1_epi8((char)(16 * s))), _mm_set1_epi8(0x70));
      const bytes16 entries = _mm_loadu_si128((const bytes16 *)(how.carrier + 16 * s));
      value = _mm_or_si128(value, _mm_shuffle_epi8(entries, index));
    }
    x = value;
  }
  x = _mm_max_epi8(x, _mm_set1_epi8(-127));
  return how.right ? _mm_xor_si128(x, _mm_set1_epi8((char)0x80)) : x;
}

INLINE bytes16 load16(const uint8_t *p) { return _mm_loadu_si128((const bytes16 *)p); }
INLINE void store16(uint8_t *p, bytes16 x) { _mm_storeu_si128((bytes16 *)p, x); }

// Sixteen rows of 32 codes.
INLINE void pack_block_rows(coding how, const uint8_t *codes, int64_t stride, uint8_t *out) {
  for (int row = 0; row < CK_PANEL; row += 4) {
    for (int k = 0; k < CK_BLOCK; k += 16) {
      const bytes16 a = coded(how, load16(codes + row * stride + k)), b = coded(how, load16(codes + (row + 1) * stride + k));
      const bytes16 c = coded(how, load16(codes + (row + 2) * stride + k)), d = coded(how, load16(codes + (row + 3) * stride + k));
      const bytes16 ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
      const bytes16 ab_high = _mm_unpackhi_epi32(a, b), cd_high = _mm_unpackhi_epi32(c, d);
      uint8_t *const at = out + k * CK_PANEL + row * 4;
      store16(at, _mm_unpacklo_epi64(ab, cd));
      store16(at + 64, _mm_unpackhi_epi64(ab, cd));
      store16(at + 128, _mm_unpacklo_epi64(ab_high, cd_high));
      store16(at + 192, _mm_unpackhi_epi64(ab_high, cd_high));
    }
  }
}

// Thirty-two rows of 16 codes: a column is a vector.
INLINE void pack_block_columns(coding how, const uint8_t *codes, int64_t stride, uint8_t *out) {
  for (int k = 0; k < CK_BLOCK; k += 4) {
    const bytes16 a = coded(how, load16(codes + k * stride)), b = coded(how, load16(codes + (k + 1) * stride));
    const bytes16 c = coded(how, load16(codes + (k + 2) * stride)), d = coded(how, load16(codes + (k + 3) * stride));
    const bytes16 ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
    const bytes16 ab_high = _mm_unpackhi_epi8(a, b), cd_high = _mm_unpackhi_epi8(c, d);
    uint8_t *const at = out + k * CK_PANEL;
    store16(at, _mm_unpacklo_epi16(ab, cd));
    store16(at + 16, _mm_unpackhi_epi16(ab, cd));
    store16(at + 32, _mm_unpacklo_epi16(ab_high, cd_high));
    store16(at + 48, _mm_unpackhi_epi16(ab_high, cd_high));
  }
}

// The sums of a packed left block.
INLINE void sum_block(const uint8_t *packed, int32_t *sums) {
  for (int quarter = 0; quarter < 4; quarter++) {
    bytes16 sum = _mm_setzero_si128();
    for (int group = 0; group < CK_BLOCK / 4; group++) {
      const bytes16 pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), load16(packed + group * 64 + quarter * 16));
      sum = _mm_add_epi16(sum, pairs);  // at most 8 x 2 x 127
    }
    _mm_storeu_si128((bytes16 *)(sums + quarter * 4), _mm_madd_epi16(sum, _mm_set1_epi16(1)));
  }
}

// `codes` at one block of one panel, `rows` x `columns` of it present as they lie in memory.
INLINE void pack_block(const bool by_columns, coding how, const uint8_t *codes, int64_t stride, int64_t rows,
                       int64_t columns, uint8_t *out) {
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
  if (by_columns) pack_block_columns(how, codes, stride, out);
  else pack_block_rows(how, codes, stride, out);
}

INLINE void pack(const bool by_columns, ck_side side, int64_t vectors, int64_t depth, const uint8_t *codes,
                 int64_t stride, const int8_t *carrier, const ck_panels *out) {
  const coding how = coding_of(side, carrier);
  const int64_t blocks = ck_blocks(depth), panels = ck_panel_count(vectors);
  // Along columns a row of codes serves all panels: blocks outside.
  const int64_t outer = by_columns ? blocks : panels, inner = by_columns ? panels : blocks;
  for (int64_t i = 0; i < outer; i++) {
    for (int64_t j = 0; j < inner; j++) {
      const int64_t panel = by_columns ? j : i, block = by_columns ? i : j;
      const int64_t v = panel * CK_PANEL, k = block * CK_BLOCK;
      const int64_t of_vectors = ck_least(CK_PANEL, vectors - v), of_depth = ck_least(CK_BLOCK, depth - k);
      uint8_t *const at = out->codes + (panel * blocks + block) * BLOCK_BYTES;
      if (by_columns) pack_block(true, how, codes + k * stride + v, stride, of_depth, of_vectors, at);
      else pack_block(false, how, codes + v * stride + k, stride, of_vectors, of_depth, at);
      if (side == CK_LEFT) sum_block(at, out->sums + (panel * blocks + block) * CK_PANEL);
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
