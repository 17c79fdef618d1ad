// Block formats: fp32 <-> (element codes, E8M0 scale bytes), and slicing codes of an anchor to a lower format.
//
// Layout of every function here: a matrix of `rows` x `columns`, row-major and dense. Blocks are CK_BLOCK consecutive
// elements of one row; the last block of a row is shorter when `columns` is not a multiple (its own scale, no padding).
//   codes   rows * columns bytes. MXINT: two's complement. MXFP: sign << (bits-1) | magnitude, in the low bits.
//   scales  rows * ck_blocks(columns) bytes, E8M0: value 2^(byte-127); 255 = NaN.
// Contract: bit-exact. Every table returns what the scalar one returns, for every input, subnormals, NaN and infinity
// included. Pointers may have any alignment; outputs overlap no input, except where an entry says so.
//
// Rules (OCP MX v1.0, section 6.3; stated in Swift by `ScalarCodec` of Formats):
//   scale     E - emax + 127, at least 0, with E = floor(log2 of the block's maximum); RCEIL and EVEN may add one, up to
//             254 and not beyond
//   element   value / scale to nearest, ties to even, saturating; element subnormals kept
//   zeros     a block without a nonzero code has byte 0 and codes +0; elsewhere MXFP keeps the sign of a zero
//   NaN, Inf  anywhere in a block: byte 255, codes 0; it decodes to NaN throughout
#ifndef CK_CODEC_H
#define CK_CODEC_H

#include <stdbool.h>
#include <stdint.h>

enum { CK_BLOCK = 32 };

static inline int64_t ck_blocks(int64_t columns) { return (columns + CK_BLOCK - 1) / CK_BLOCK; }

// What a kernel needs to know of an element format. Filled by `Formats` (ElementFormat), never by hand.
typedef struct ck_element {
  int32_t is_float;       // 0: MXINT, 1: MXFP
  int32_t bits;           // 2...8
  int32_t exponent_bits;  // MXFP only
  int32_t mantissa_bits;  // MXFP: stored mantissa bits; MXINT: fraction bits, bits - 2
  int32_t bias;           // MXFP only
  int32_t emax;           // exponent of the largest power of two; 0 for MXINT
  int32_t max_code;       // largest finite magnitude code: 127, 7, 3, 1 ... ; 0x7E for E4M3, 0x7B for E5M2
  float max_value;        // its value: 127/64 for MXINT8, 448 for E4M3 ...
} ck_element;

typedef enum ck_scale_rule { CK_SCALE_FLOOR = 0, CK_SCALE_RCEIL = 1, CK_SCALE_EVEN = 2 } ck_scale_rule;

// anchor codes -> codes of a lower format: a table and a scale shift (formats reference, section 3.1).
typedef struct ck_slice {
  uint8_t table[256];
  int32_t scale_delta;  // >= 0, added to the scale byte; 255 stays 255, as does a sum beyond 254, with codes 0; a block
                        // that becomes all zero gets byte 0 and +0
  uint8_t zero_mask;    // code & zero_mask == 0 means the element is a zero of either sign
} ck_slice;

typedef struct ck_codec_table {
  void (*quantize)(const ck_element *element, ck_scale_rule rule, int64_t rows, int64_t columns, const float *x,
                   uint8_t *codes, uint8_t *scales);
  void (*dequantize)(const ck_element *element, int64_t rows, int64_t columns, const uint8_t *codes,
                     const uint8_t *scales, float *y);
  // sliced_codes may be codes, sliced_scales may be scales.
  void (*slice)(const ck_slice *slice, int64_t rows, int64_t columns, const uint8_t *codes, const uint8_t *scales,
                uint8_t *sliced_codes, uint8_t *sliced_scales);
  // y = dequantize(quantize(x)) without storing codes; y may be x.
  void (*round_trip)(const ck_element *element, ck_scale_rule rule, int64_t rows, int64_t columns, const float *x,
                     float *y);
  // Clipped straight-through estimator: gradient[i] = 0 where |x[i]| > max_value * scale of its block.
  // A block whose scale is NaN clips nothing. The gradient may be any bit pattern; what is kept is kept to the bit.
  void (*clip_gradient)(const ck_element *element, ck_scale_rule rule, int64_t rows, int64_t columns, const float *x,
                        float *gradient);
} ck_codec_table;

#endif
