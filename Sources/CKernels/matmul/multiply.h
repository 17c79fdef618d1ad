// The products of one table: the order in which tiles are computed, over the tiles of tile_*.h.
//
// A chunk of left rows that the second-level cache holds stays while the right panels stream past it, a strip of one to
// three panels at a time, which the tiles of the chunk read again and again. The depth is never split: the order of the
// additions is part of the definition.
enum {
  CHUNK_BYTES = 256 << 10,
  CHUNK_ROWS = 1024,
  PANEL_VECTORS = CK_PANEL / LANES,
};

// Where vector v of a strip begins, in bytes from the first.
INLINE int64_t vector_offset(const int v, int64_t panel_bytes) {
  return v / PANEL_VECTORS * panel_bytes + v % PANEL_VECTORS * (LANES * 4);
}

// One row of a tile's part of C, which will be written: its lines begin to come while the depth is summed. Step by
// step, since a burst of them would hold up the operands.
INLINE void expect_row(const int rows, const int vectors, const product *p, int64_t row, int64_t step, const float *c) {
  const int64_t r = ck_least(step, ck_least(rows, p->m - row) - 1);
  for (int v = 0; v < vectors; v += PANEL_VECTORS) __builtin_prefetch(c + r * p->c_stride + v * LANES, 1);
}

#include "tile_plain.h"
#include "tile_block.h"
#include "tile_bf16.h"

typedef void tile_function(const product *p, int64_t row, int64_t panel, const int32_t *start);

// `name`[panels] computes a tile of a strip of 1, 2 or 3 panels; those wider than the table's tile are never called.
#define CK_TILE(name, tile, ...)                                                                          \
  static void name(const product *p, int64_t row, int64_t panel, const int32_t *start) {                  \
    tile(__VA_ARGS__);                                                                                    \
    (void)start;                                                                                          \
  }
#define CK_STRIPS(name, widest, tile, ...)                                                                \
  CK_TILE(name##_1, tile, __VA_ARGS__ CK_LEAST(1 * PANEL_VECTORS, widest), p, row, panel CK_START_##tile) \
  CK_TILE(name##_2, tile, __VA_ARGS__ CK_LEAST(2 * PANEL_VECTORS, widest), p, row, panel CK_START_##tile) \
  CK_TILE(name##_3, tile, __VA_ARGS__ CK_LEAST(3 * PANEL_VECTORS, widest), p, row, panel CK_START_##tile) \
  static tile_function *const name[] = {NULL, name##_1, name##_2, name##_3};
#define CK_LEAST(a, b) ((a) < (b) ? (a) : (b))
#define CK_START_tile_plain , start
#define CK_START_tile_block
#define CK_START_tile_bf16

CK_STRIPS(plain, PLAIN_VECTORS, tile_plain, )
CK_STRIPS(both_powers, BLOCK_VECTORS, tile_block, BOTH_POWERS,)
CK_STRIPS(both, BLOCK_VECTORS, tile_block, BOTH,)
CK_STRIPS(right_blocks, BLOCK_VECTORS, tile_block, RIGHT,)
CK_STRIPS(left_blocks, BLOCK_VECTORS, tile_block, LEFT,)
CK_STRIPS(bf16, BF16_VECTORS, tile_bf16, )

// -128 times the sum of each row of a chunk, its padding included; modulo 2^32, as all of it before the last addition.
static void offsets(const product *p, int64_t first, int64_t rows, int32_t *start) {
  for (int64_t row = 0; row < rows; row += CK_PANEL) {
    const int32_t *sums = p->left->sums + (first + row) * p->blocks;
    int32_t total[CK_PANEL] = {0};
    for (int64_t block = 0; block < p->blocks; block++)
      for (int i = 0; i < CK_PANEL; i++) total[i] += sums[block * CK_PANEL + i];
    for (int i = 0; i < CK_PANEL; i++) start[row + i] = (int32_t)(0u - 128 * (uint32_t)total[i]);
  }
}

static void compute(const product *p, tile_function *const tile[], const int rows, const int widest,
                    const bool starts) {
  const int64_t panels = ck_panel_count(p->n), all = ck_panel_count(p->m);
  const int64_t fit = CHUNK_BYTES / (p->panel_bytes ? p->panel_bytes : 1);
  const int64_t chunk = CK_PANEL * (fit < 1 ? 1 : ck_least(fit, CHUNK_ROWS / CK_PANEL));
  int32_t start[CHUNK_ROWS];
  for (int64_t first = 0; first < all * CK_PANEL; first += chunk) {
    const int64_t padded = ck_least(chunk, all * CK_PANEL - first), last = ck_least(first + chunk, p->m);
    if (starts) offsets(p, first, padded, start);
    for (int64_t panel = 0; panel < panels;) {
      const int64_t left = panels - panel;
      const int64_t width = left == widest + 1 && widest == 3 ? 2 : ck_least(left, widest);  // 4 = 2 + 2
      for (int64_t row = first; row < last; row += rows) tile[width](p, row, panel, start + (row - first));
      panel += width;
    }
  }
}

// Whether every scale is a power of two and no NaN.
static bool powers_of_two(const float *scales, int64_t count) {
  uint32_t other = 0;
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, scales + i, sizeof bits);
    other |= bits & 0x807FFFFF;
    other |= bits == 0 || bits == 0x7F800000;
  }
  return other == 0;
}

static void multiply(int64_t m, int64_t n, int64_t depth, const ck_panels *left, const ck_panels *right, float *c,
                     int64_t c_stride, bool accumulate) {
  const product p = {m, n, ck_blocks(depth), ck_panel_bytes(depth), left, right, c, c_stride, accumulate};
  const bool left_in_blocks = left->scaling == CK_SCALE_BLOCK, right_in_blocks = right->scaling == CK_SCALE_BLOCK;
  if (!left_in_blocks && !right_in_blocks) {
    compute(&p, plain, PLAIN_ROWS, PLAIN_VECTORS / PANEL_VECTORS, true);
    return;
  }
  tile_function *const *tile = both;
  if (!right_in_blocks) tile = left_blocks;
  else if (!left_in_blocks) tile = right_blocks;
  else if (powers_of_two(left->scales, ck_panel_count(m) * CK_PANEL * p.blocks) &&
           powers_of_two(right->scales, ck_panel_count(n) * CK_PANEL * p.blocks)) tile = both_powers;
  compute(&p, tile, BLOCK_ROWS, BLOCK_VECTORS / PANEL_VECTORS, false);
}

static void multiply_bf16(int64_t m, int64_t n, int64_t depth, const uint8_t *left, const uint8_t *right, float *c,
                          int64_t c_stride, bool accumulate) {
  const ck_panels l = {.codes = (uint8_t *)left}, r = {.codes = (uint8_t *)right};
  const product p = {m, n, ck_blocks(depth), ck_panel_bytes_bf16(depth), &l, &r, c, c_stride, accumulate};
  compute(&p, bf16, BF16_ROWS, BF16_VECTORS / PANEL_VECTORS, false);
}
