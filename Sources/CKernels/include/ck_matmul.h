// Products of packed operands (ck_panels.h), and packing of codes that exist already.
#ifndef CK_MATMUL_H
#define CK_MATMUL_H

#include "ck_panels.h"

typedef struct ck_matmul_table {
  // Codes that lie in memory, vectors along rows or along columns, into panels; sums for left operands. `carrier` maps a
  // code byte to its signed integer (256 entries; NULL: the byte itself, two's complement). -128 never comes out.  [exact]
  void (*pack_rows)(ck_side side, int64_t vectors, int64_t depth, const uint8_t *codes, int64_t stride,
                    const int8_t *carrier, const ck_panels *out);
  void (*pack_columns)(ck_side side, int64_t vectors, int64_t depth, const uint8_t *codes, int64_t stride,
                       const int8_t *carrier, const ck_panels *out);
  // E8M0 bytes, (vectors x blocks) row-major, to block scales 2^(byte - 127 - shift); byte 255: NaN; padded vectors: 1.
  // Byte 0 is the scale of an all-zero block and becomes 1.                                                     [exact]
  void (*pack_scales)(int64_t vectors, int64_t blocks, const uint8_t *bytes, int32_t shift, float *scales);

  // C (m x n) = L · Rᵀ, or C += with `accumulate`. Every output is computed from its own vectors alone, in one order:
  //   both scales per vector   c = ((float)dot * left scale) * right scale, dot the int32 sum over the whole depth
  //   otherwise                one fp32 accumulator, blocks ascending: a = fma((float)dot32, s, a), from 0, with s the
  //                            product of the two block scales, or the one there is; then c = a, times the scale of the
  //                            operand that has one per vector.
  // C += adds the finished c, one rounding. Exact integers at every magnitude; bit-exact in every table.
  // Block scales: each, and each product of two, is a normal fp32 number or NaN (the caller's duty; see multiply_wide).
  // |depth| <= 133,144 where both scales are per vector.
  void (*multiply)(int64_t m, int64_t n, int64_t depth, const ck_panels *left, const ck_panels *right, float *c,
                   int64_t c_stride, bool accumulate);
  // The same product for block scales of any exponent, in double: slow.
  void (*multiply_wide)(int64_t m, int64_t n, int64_t depth, const ck_panels *left, const ck_panels *right, float *c,
                        int64_t c_stride, bool accumulate);
  // bf16 panels. One fp32 accumulator for each output, depth ascending in pairs, the odd element of a pair first, each
  // product exact and each sum rounded to nearest even; subnormal sums become zero (what VDPBF16PS does). Bit-exact in
  // every table as long as no partial sum is subnormal.
  void (*multiply_bf16)(int64_t m, int64_t n, int64_t depth, const uint8_t *left, const uint8_t *right, float *c,
                        int64_t c_stride, bool accumulate);
} ck_matmul_table;

#endif
