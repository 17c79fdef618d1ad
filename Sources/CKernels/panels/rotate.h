// Rotation over vectors, included by panels_avx2.c and panels_avx512.c after the lanes of their instruction set.
//
// Sixteen vectors stand side by side in the lanes, whichever way they lie in memory: columns are loaded as they are,
// rows by tiles of 16 x 16 that are transposed. From there on a butterfly needs no permutation, and what belongs to a
// vector (its maximum, its scale) is a lane.
#ifndef CK_PANELS_ROTATE_H
#define CK_PANELS_ROTATE_H

#define UNROLLED _Pragma("clang loop unroll(full)")

static const uint32_t no_signs[CK_ROTATION_LARGEST];

// A tile of 16 vectors x 16 positions as it lies in memory, or a copy padded with zeros where it reaches over an edge.
typedef struct tile {
  const float *x;
  int64_t stride;
} tile;

static __attribute__((noinline)) tile copied_tile(bool by_rows, const ck_vectors *v, int64_t vector, int64_t start,
                                                  float copy[256]) {
  int64_t vectors = v->count - vector, positions = v->depth - start;
  if (vectors > 16) vectors = 16;
  if (positions > 16) positions = 16;
  memset(copy, 0, 256 * sizeof *copy);
  if (positions > 0) {
    const float *from = v->x + vector * v->vector_stride + start * v->depth_stride;
    const int64_t lines = by_rows ? vectors : positions, length = by_rows ? positions : vectors;
    const int64_t stride = by_rows ? v->vector_stride : v->depth_stride;
    for (int64_t i = 0; i < lines; i++) memcpy(copy + i * 16, from + i * stride, (size_t)length * sizeof *copy);
  }
  return (tile){copy, 16};
}

INLINE tile tile_at(const bool by_rows, const ck_vectors *v, int64_t vector, int64_t start, float copy[256]) {
  if (__builtin_expect(vector + 16 > v->count || start + 16 > v->depth, 0))
    return copied_tile(by_rows, v, vector, start, copy);
  return by_rows ? (tile){v->x + vector * v->vector_stride + start, v->vector_stride}
                 : (tile){v->x + vector + start * v->depth_stride, v->depth_stride};
}

// The tile, one position in each register, signs flipped. Of columns, what lies `ahead` elements behind it is asked
// for: no prefetcher of the processor follows lines that are a row apart, in pages of their own.
INLINE void load_positions(const bool by_rows, int64_t ahead, tile from, const uint32_t *signs, vf t[16]) {
  if (by_rows) {
    const vi flip = load_i(signs);
    vi rows[16];
    UNROLLED for (int i = 0; i < 16; i++) rows[i] = xor_i(bits_of(load_f(from.x + i * from.stride)), flip);
    transpose(rows);
    UNROLLED for (int i = 0; i < 16; i++) t[i] = float_of(rows[i]);
  } else {
    UNROLLED for (int i = 0; i < 16; i++) {
      const float *x = from.x + i * from.stride;
      __builtin_prefetch(x + ahead, 0, 2);
      t[i] = float_of(xor_i(bits_of(load_f(x)), splat_i((int32_t)signs[i])));
    }
  }
}

INLINE void butterflies(const int distance, const int count, vf t[], vf one) {
  UNROLLED for (int i = 0; i < count; i++) {
    if (i & distance) continue;
    const vf a = t[i], b = t[i + distance];
    t[i] = add_f(a, b);
    t[i + distance] = sub_f(a, b, one);
  }
}

INLINE vi magnitude(vf a) { return and_i(bits_of(a), splat_i(0x7FFFFFFF)); }

// A unit of depth positions of 16 vectors, rotated: y[unit][16]; the largest magnitude in each block of 32, as bits.
INLINE void rotate_unit(const bool by_rows, const int block, const ck_vectors *v, const uint32_t *signs,
                        int64_t vector, int64_t start, float *y, vi largest[4]) {
  const int unit = block > CK_BLOCK ? block : CK_BLOCK;
  const vf one = hidden_one(), factor = splat_f(ck_rotation_factor(block));
  vi most[4] = {splat_i(0), splat_i(0), splat_i(0), splat_i(0)};
  for (int at = 0; at < unit; at += 16) {
    float copy[256];
    uint32_t copied_signs[16];
    vf t[16];
    const uint32_t *flips = no_signs;
    if (block && signs) {
      flips = signs + start + at;
      if (__builtin_expect(start + at + 16 > v->depth, 0)) {
        for (int i = 0; i < 16; i++) copied_signs[i] = start + at + i < v->depth ? flips[i] : 0;
        flips = copied_signs;
      }
    }
    load_positions(by_rows, unit * v->depth_stride, tile_at(by_rows, v, vector, start + at, copy), flips, t);
    if (block) {
      butterflies(1, 16, t, one);
      butterflies(2, 16, t, one);
      butterflies(4, 16, t, one);
      butterflies(8, 16, t, one);
    }
    if (block <= 16) {
      vi here = splat_i(0);
      UNROLLED for (int i = 0; i < 16; i++) {
        if (block) t[i] = mul_f(t[i], factor);
        here = max_i(here, magnitude(t[i]));
      }
      most[0] = max_i(most[0], here);
    }
    UNROLLED for (int i = 0; i < 16; i++) store_f(y + (at + i) * 16, t[i]);
  }
  if (block >= 32) {
    const int parts = block / 16;
    for (int i = 0; i < 16; i++) {
      vf t[8];
      UNROLLED for (int p = 0; p < parts; p++) t[p] = load_f(y + (p * 16 + i) * 16);
      butterflies(1, parts, t, one);
      if (parts > 2) butterflies(2, parts, t, one);
      if (parts > 4) butterflies(4, parts, t, one);
      UNROLLED for (int p = 0; p < parts; p++) {
        t[p] = mul_f(t[p], factor);
        most[p / 2] = max_i(most[p / 2], magnitude(t[p]));
        store_f(y + (p * 16 + i) * 16, t[p]);
      }
    }
  }
  UNROLLED for (int i = 0; i < unit / CK_BLOCK; i++) largest[i] = most[i];
}

typedef void rotate_function(const ck_vectors *v, const uint32_t *signs, int64_t vector, int64_t start, float *y,
                             vi largest[4]);

#define ROTATE(name, by_rows, block)                                                                                \
  static void name(const ck_vectors *v, const uint32_t *signs, int64_t vector, int64_t start, float *y,             \
                   vi largest[4]) {                                                                                 \
    rotate_unit(by_rows, block, v, signs, vector, start, y, largest);                                               \
  }
ROTATE(rows_0, true, 0)
ROTATE(rows_16, true, 16)
ROTATE(rows_32, true, 32)
ROTATE(rows_64, true, 64)
ROTATE(rows_128, true, 128)
ROTATE(columns_0, false, 0)
ROTATE(columns_16, false, 16)
ROTATE(columns_32, false, 32)
ROTATE(columns_64, false, 64)
ROTATE(columns_128, false, 128)
#undef ROTATE

static rotate_function *rotation_of(const ck_vectors *v, int32_t block) {
  const bool by_rows = v->depth_stride == 1;
  return block == 0    ? by_rows ? rows_0 : columns_0
         : block == 16 ? by_rows ? rows_16 : columns_16
         : block == 32 ? by_rows ? rows_32 : columns_32
         : block == 64 ? by_rows ? rows_64 : columns_64
                       : by_rows ? rows_128 : columns_128;
}

#endif
