// Operands of low-precision matrix products: packed along the contracted axis, quantized (and rotated) on the way.
//
// A product is C (m x n) = L · Rᵀ with L (m x k) and R (n x k): both operands are a set of *vectors* (the rows of L, the
// rows of R) whose `depth` elements are contracted. Where a vector lies in memory, along rows (`_rows`) or along columns
// (`_columns`) of a row-major matrix, is only the packing's concern: the three products of a linear layer need no
// transposed copy.
//
// Layout of packed codes, the same for every table: panels of 16 vectors, groups of 4 bytes along the depth,
//   codes[panel][group][vector 0..15][4]
// 8-bit codes: 4 consecutive depth positions in a group; bf16: 2. The depth is padded with zeros to a multiple of 32
// (CK_BLOCK), the vectors to a multiple of 16; padded vectors have codes 0, sums 0 and scales 0 (1 where scales are per
// block).
//   left  operand: signed codes, and the sum of each vector's codes over each block of 32, sums[panel][block][16]
//   right operand: code + 128 as an unsigned byte (padding too), no sums
// since the dot-product instruction multiplies unsigned by signed bytes: Σ l·r = Σ l·(r+128) - 128·Σ l.
// Scales: one for each vector, scales[panel * 16 + vector], or one for each block of 32, scales[panel][block][16];
// element value = code * scale. Block scales are powers of two, 2^(byte-127-shift); 4/3 of one where `shrink` is 3/4.
#ifndef CK_PANELS_H
#define CK_PANELS_H

#include <stdbool.h>
#include <stdint.h>
#include "ck_codec.h"

enum { CK_PANEL = 16 };

static inline int64_t ck_panel_count(int64_t vectors) { return (vectors + CK_PANEL - 1) / CK_PANEL; }
// Bytes of one panel of 8-bit codes, and of bf16.
static inline int64_t ck_panel_bytes(int64_t depth) { return ck_blocks(depth) * CK_BLOCK * CK_PANEL; }
static inline int64_t ck_panel_bytes_bf16(int64_t depth) { return 2 * ck_panel_bytes(depth); }

typedef enum ck_side { CK_LEFT = 0, CK_RIGHT = 1 } ck_side;
typedef enum ck_scaling { CK_SCALE_VECTOR = 0, CK_SCALE_BLOCK = 1 } ck_scaling;
typedef enum ck_rounding { CK_NEAREST = 0, CK_STOCHASTIC = 1 } ck_rounding;

// Where a packed operand lies. Any alignment; 64 bytes is fastest.
typedef struct ck_panels {
  uint8_t *codes;
  int32_t *sums;   // left operands of 8-bit codes only
  float *scales;   // 8-bit codes only
  int32_t scaling; // ck_scaling
} ck_panels;

// Block Hadamard rotation along one axis: y = (x ∘ s) · blockdiag(H_b, ..., H_b) / sqrt(b), H_b Sylvester's.
//
// The transform itself is defined to the bit: stages of butterflies (a + b, a - b) with distance 1, 2, 4 ... b/2 in this
// order, then one product with the float nearest to 1/sqrt(b).
typedef struct ck_rotation {
  int32_t block;          // 16, 32, 64 or 128; 0 is no rotation
  const uint32_t *signs;  // per position along the axis: 0, or 0x80000000 to flip; NULL flips none
} ck_rotation;

// How fp32 vectors become 8-bit codes.
//
// CK_SCALE_VECTOR  code = clamp(round(y * (127 / a)), -127, 127), scale = a / 127, with a = the vector's largest
//                  magnitude after the rotation, or `maximum` where that is above 0 (a scale for a whole tensor). A vector
//                  of zeros, or one with a < 2^-100, has codes 0 and scale 0.
// CK_SCALE_BLOCK   blocks of 32 in the MX format `element` by the rule of ck_codec.h (scale floored), code = the element
//                  as an integer I, value I * 2^-shift: MXINT directly, E2M1 with shift 1, E2M3 with shift 3. A block
//                  without a nonzero code has scale 1; so has one whose scale would lie below 2^-126, with codes 0.
//                  The code is that of y * 2^-e in fp32, e the exponent of the scale.
// NaN or infinity in a vector (or block, after the rotation): scale NaN, codes 0.
// CK_STOCHASTIC    round(v) = floor(v + u) in fp32, u = (16 random bits + 0.5) / 2^16; v counts steps of the format,
//                  which for MXFP are those of its binade, so that u weighs the two neighbouring elements by distance.
//                  x[j] is element i = first_element + j, j counting memory, so that a part of a matrix with the same
//                  stride takes the numbers it takes in the whole. (Positions of the padding go on by this formula.)
//                  Element i takes bits 16 * (i % 8) and up of the Philox4x32-10 block with counter (i / 8) and key
//                  `key`; words in order, low half first.
// shrink           the scale is multiplied by the float nearest to 1/shrink, and codes of y * shrink are rounded: 3/4
//                  with 4/3 keeps stochastic FP4 unbiased, because nothing then exceeds the largest element (Tseng et
//                  al. 2025, 2502.20586). 1 is none.
typedef struct ck_quantizer {
  ck_rotation rotation;
  int32_t scaling;   // ck_scaling
  int32_t rounding;  // ck_rounding
  ck_element element;  // CK_SCALE_BLOCK: an integer-carried format
  float maximum;     // CK_SCALE_VECTOR: 0, or the largest magnitude of the whole tensor
  float shrink;      // CK_SCALE_BLOCK: 1, or 0.75
  uint32_t key[2];
  uint64_t first_element;
} ck_quantizer;

// Contract of every entry: bit-exact in every table. `x` is row-major with `stride` elements from row to row.
typedef struct ck_panel_table {
  // In place, along each row (axis of `columns` elements) or along each column (axis of `rows` elements). The axis is a
  // multiple of the block. `inverse`: y -> (y · H) ∘ s / sqrt(b), the transpose.
  void (*rotate_rows)(const ck_rotation *rotation, int64_t rows, int64_t columns, float *x, int64_t stride, bool inverse);
  void (*rotate_columns)(const ck_rotation *rotation, int64_t rows, int64_t columns, float *x, int64_t stride,
                         bool inverse);
  // The largest magnitude after the rotation; NaN if an element is not finite. An axis that is no multiple of the block
  // is padded with zeros (as in the two below).
  float (*largest_rows)(const ck_rotation *rotation, int64_t rows, int64_t columns, const float *x, int64_t stride);
  float (*largest_columns)(const ck_rotation *rotation, int64_t rows, int64_t columns, const float *x, int64_t stride);
  // Vectors = the rows of x (vectors x depth) / the columns of x (depth x vectors), rotated along the depth, quantized,
  // packed. The rotation pads the depth with zeros to its block; the panels then have the depth rounded up to 32, or to
  // the rotation's block if that is larger.
  void (*quantize_rows)(const ck_quantizer *quantizer, ck_side side, int64_t vectors, int64_t depth, const float *x,
                        int64_t stride, const ck_panels *out);
  void (*quantize_columns)(const ck_quantizer *quantizer, ck_side side, int64_t vectors, int64_t depth, const float *x,
                           int64_t stride, const ck_panels *out);
  // To nearest bf16, ties to even; values below 2^-126 become zero with their sign, as the bf16 instruction reads them;
  // NaN stays NaN. Codes only.
  void (*round_rows_bf16)(int64_t vectors, int64_t depth, const float *x, int64_t stride, uint8_t *codes);
  void (*round_columns_bf16)(int64_t vectors, int64_t depth, const float *x, int64_t stride, uint8_t *codes);
} ck_panel_table;

#endif
