// What the three codecs share: the scale byte of a block, and an element format turned into the constants they use.
#ifndef CK_CODEC_PLAN_H
#define CK_CODEC_PLAN_H

#include "../ck_strict.h"
#include "../include/ck_codec.h"

#define CK_SIGN_BIT 0x80000000u
#define CK_INFINITY_BITS 0x7F800000u
#define CK_NAN_BITS 0x7FC00000u
#define CK_MANTISSA_FIELD 0x007FFFFFu

enum { CK_SCALE_NAN = 255, CK_SCALE_LARGEST = 254 };

// One (element, rule), ready for use. Built once a call, on the stack.
typedef struct ck_codec_plan {
  int32_t mantissa_bits;   // MXFP: M
  int32_t bits;            // element width
  int32_t emax;            // exponent of the element's largest power of two
  int32_t emin;            // MXFP: exponent of its smallest normal, 1 - bias
  int32_t max_code;        // largest finite magnitude code; MXINT: L_b
  float max_value;         // its value
  uint32_t raise_above;    // a maximum whose mantissa field exceeds this gets the next scale exponent
} ck_codec_plan;

static inline uint32_t ck_bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float ck_float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline ck_codec_plan ck_codec_plan_of(const ck_element *element, ck_scale_rule rule) {
  const int32_t M = element->mantissa_bits;
  // FLOOR never raises. RCEIL raises when the maximum would exceed the element's largest value. EVEN raises when the
  // maximum, rounded to M mantissa bits, would reach the next power of two: significand >= 2 - 2^(-M-1).
  uint32_t raise_above = CK_MANTISSA_FIELD;
  if (rule == CK_SCALE_RCEIL) raise_above = ck_bits_of(element->max_value) & CK_MANTISSA_FIELD;
  if (rule == CK_SCALE_EVEN) raise_above = (((1u << (M + 1)) - 1) << (22 - M)) - 1;
  return (ck_codec_plan){
      .mantissa_bits = M,
      .bits = element->bits,
      .emax = element->emax,
      .emin = 1 - element->bias,
      .max_code = element->max_code,
      .max_value = element->max_value,
      .raise_above = raise_above,
  };
}

// The scale byte for a block whose largest magnitude has these (finite) bits: E - emax + 127, at least 0, at most 254.
// E is read from the exponent field; a floating-point log2 is wrong just below powers of two.
static inline int32_t ck_scale_byte(const ck_codec_plan *plan, uint32_t magnitude) {
  int32_t biased = (int32_t)(magnitude >> 23);  // E + 127
  uint32_t mantissa = magnitude & CK_MANTISSA_FIELD;
  if (biased == 0) {
    // Subnormal. In [2^-127, 2^-126) the exponent is -127 and the mantissa starts one bit lower. Below that every
    // format and rule arrives at byte 0, so -1 stands for all smaller exponents.
    biased = (int32_t)(magnitude >> 22) - 1;
    mantissa = (magnitude << 1) & CK_MANTISSA_FIELD;
  }
  const int32_t byte = biased - plan->emax + (mantissa > plan->raise_above);
  return byte < 0 ? 0 : byte > CK_SCALE_LARGEST ? CK_SCALE_LARGEST : byte;
}

// 2^(byte-127) for byte 0...254; the subnormal 2^-127 for byte 0.
static inline float ck_scale_value(int32_t byte) {
  return ck_float_of(byte == 0 ? 0x00400000u : (uint32_t)byte << 23);
}

// Bits of the largest magnitude that is not clipped, max_value * scale: exact, infinity where it exceeds fp32.
static inline uint32_t ck_clip_bits(const ck_codec_plan *plan, int32_t byte) {
  return ck_bits_of(plan->max_value * ck_scale_value(byte));
}

// The scale byte of a sliced block: NaN stays NaN, a block without a nonzero code has byte 0, and an exponent beyond
// E8M0 is NaN (no anchor made from finite numbers gets there).
static inline int32_t ck_sliced_byte(int32_t byte, int32_t delta, bool any_nonzero) {
  if (byte == CK_SCALE_NAN) return CK_SCALE_NAN;
  if (!any_nonzero) return 0;
  return byte + delta > CK_SCALE_LARGEST ? CK_SCALE_NAN : byte + delta;
}

// The value of one element code, unscaled. Bits above the element's width are ignored for MXFP.
float ck_codec_element_value(const ck_element *element, uint8_t code);

#endif
