// The block codec, element by element: the definition that the vector tables are held to.
//
// Arithmetic is in double, where every product with a power of two that occurs here is exact, so that each element is
// rounded once. OCP Microscaling Formats (MX) v1.0, section 6.3, with the scale floored and elements saturating.
#include "../ck_strict.h"
#include "codec_plan.h"

static double power_of_two(int32_t exponent) {
  const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// To the nearest integer, ties to even, for |x| < 2^51: beyond 2^52 a double has no fraction bits left.
static double round_to_even(double x) {
  const double shift = 0x1.8p52;
  return (x + shift) - shift;
}

static int32_t floor_log2(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return (int32_t)(bits >> 52) - 1023;
}

// Code of the element nearest to v / scale.
static uint8_t encode_integer(const ck_codec_plan *plan, double scaled) {
  const int32_t L = plan->max_code;
  const int32_t p = (int32_t)round_to_even(scaled * power_of_two(plan->bits - 2));
  return (uint8_t)(p > L ? L : p < -L ? -L : p);
}

static uint8_t encode_float(const ck_codec_plan *plan, double scaled, bool negative) {
  const double magnitude = negative ? -scaled : scaled;
  const int32_t M = plan->mantissa_bits;
  // Subnormals share the exponent of the smallest normal, so their codes continue below it without a gap. Rounding up
  // to the next power of two carries into the exponent of the code by itself.
  const int32_t exponent = magnitude < power_of_two(plan->emin) ? plan->emin : floor_log2(magnitude);
  const int32_t units = (int32_t)round_to_even(magnitude * power_of_two(M - exponent));
  const int32_t code = units + ((exponent - plan->emin) << M);
  return (uint8_t)((code > plan->max_code ? plan->max_code : code) | (negative ? 1 << (plan->bits - 1) : 0));
}

static int32_t quantize_block(const ck_element *element, const ck_codec_plan *plan, int64_t count, const float *x,
                              uint8_t *codes) {
  uint32_t maximum = 0;
  for (int64_t i = 0; i < count; i++) {
    const uint32_t magnitude = ck_bits_of(x[i]) & ~CK_SIGN_BIT;
    if (magnitude > maximum) maximum = magnitude;
  }
  if (maximum >= CK_INFINITY_BITS) {
    memset(codes, 0, (size_t)count);
    return CK_SCALE_NAN;
  }
  const int32_t byte = ck_scale_byte(plan, maximum);
  const double inverse_scale = power_of_two(127 - byte);
  const uint8_t zero_mask = element->is_float ? (uint8_t)((1 << (plan->bits - 1)) - 1) : 0xFF;
  bool any_nonzero = false;
  for (int64_t i = 0; i < count; i++) {
    const double scaled = (double)x[i] * inverse_scale;
    codes[i] = element->is_float ? encode_float(plan, scaled, (ck_bits_of(x[i]) & CK_SIGN_BIT) != 0)
                                 : encode_integer(plan, scaled);
    if (codes[i] & zero_mask) any_nonzero = true;
  }
  if (any_nonzero) return byte;
  memset(codes, 0, (size_t)count);
  return 0;
}

float ck_codec_element_value(const ck_element *element, uint8_t code) {
  if (!element->is_float) return (float)((int8_t)code * power_of_two(2 - element->bits));
  const int32_t M = element->mantissa_bits;
  const int32_t magnitude = code & ((1 << (element->bits - 1)) - 1);
  const bool negative = (code >> (element->bits - 1)) & 1;
  if (magnitude > element->max_code) {
    // Only the 8-bit floats have these: E5M2 7C is infinity, everything else beyond the maximum is NaN.
    const bool infinite = M == 2 && magnitude == 0x7C;
    return ck_float_of(!infinite ? CK_NAN_BITS : CK_INFINITY_BITS | (negative ? CK_SIGN_BIT : 0));
  }
  const int32_t field = magnitude >> M;
  const int32_t fraction = magnitude & ((1 << M) - 1);
  const int32_t exponent = (field == 0 ? 1 : field) - element->bias;
  const double value = (fraction + (field == 0 ? 0 : 1 << M)) * power_of_two(exponent - M);
  return (float)(negative ? -value : value);
}

static void dequantize_block(const ck_element *element, int64_t count, const uint8_t *codes, int32_t byte, float *y) {
  for (int64_t i = 0; i < count; i++)
    y[i] = byte == CK_SCALE_NAN
               ? ck_float_of(CK_NAN_BITS)
               : (float)((double)ck_codec_element_value(element, codes[i]) * power_of_two(byte - 127));
}

static int64_t block_length(int64_t columns, int64_t block) {
  const int64_t left = columns - block * CK_BLOCK;
  return left < CK_BLOCK ? left : CK_BLOCK;
}

static void quantize(const ck_element *element, ck_scale_rule rule, int64_t rows, int64_t columns, const float *x,
                     uint8_t *codes, uint8_t *scales) {
  const ck_codec_plan plan = ck_codec_plan_of(element, rule);
  const int64_t blocks = ck_blocks(columns);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t at = r * columns + b * CK_BLOCK;
      scales[r * blocks + b] =
          (uint8_t)quantize_block(element, &plan, block_length(columns, b), x + at, codes + at);
    }
}

static void dequantize(const ck_element *element, int64_t rows, int64_t columns, const uint8_t *codes,
                       const uint8_t *scales, float *y) {
  const int64_t blocks = ck_blocks(columns);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t at = r * columns + b * CK_BLOCK;
      dequantize_block(element, block_length(columns, b), codes + at, scales[r * blocks + b], y + at);
    }
}

static void slice(const ck_slice *slice, int64_t rows, int64_t columns, const uint8_t *codes, const uint8_t *scales,
                  uint8_t *sliced_codes, uint8_t *sliced_scales) {
  const int64_t blocks = ck_blocks(columns);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t at = r * columns + b * CK_BLOCK, count = block_length(columns, b);
      bool any_nonzero = false;
      for (int64_t i = at; i < at + count; i++) {
        sliced_codes[i] = slice->table[codes[i]];
        if (sliced_codes[i] & slice->zero_mask) any_nonzero = true;
      }
      const int32_t byte = ck_sliced_byte(scales[r * blocks + b], slice->scale_delta, any_nonzero);
      if (!any_nonzero || byte == CK_SCALE_NAN) memset(sliced_codes + at, 0, (size_t)count);
      sliced_scales[r * blocks + b] = (uint8_t)byte;
    }
}

static void round_trip(const ck_element *element, ck_scale_rule rule, int64_t rows, int64_t columns, const float *x,
                       float *y) {
  const ck_codec_plan plan = ck_codec_plan_of(element, rule);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t b = 0; b < ck_blocks(columns); b++) {
      const int64_t at = r * columns + b * CK_BLOCK, count = block_length(columns, b);
      uint8_t codes[CK_BLOCK];
      const int32_t byte = quantize_block(element, &plan, count, x + at, codes);
      dequantize_block(element, count, codes, byte, y + at);
    }
}

static void clip_gradient(const ck_element *element, ck_scale_rule rule, int64_t rows, int64_t columns, const float *x,
                          float *gradient) {
  const ck_codec_plan plan = ck_codec_plan_of(element, rule);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t b = 0; b < ck_blocks(columns); b++) {
      const int64_t at = r * columns + b * CK_BLOCK, count = block_length(columns, b);
      uint32_t maximum = 0;
      for (int64_t i = at; i < at + count; i++) {
        const uint32_t magnitude = ck_bits_of(x[i]) & ~CK_SIGN_BIT;
        if (magnitude > maximum) maximum = magnitude;
      }
      // A block that holds NaN or infinity has a NaN scale: nothing compares greater, the gradient stays.
      if (maximum >= CK_INFINITY_BITS) continue;
      const uint32_t largest = ck_clip_bits(&plan, ck_scale_byte(&plan, maximum));
      for (int64_t i = at; i < at + count; i++)
        if ((ck_bits_of(x[i]) & ~CK_SIGN_BIT) > largest) gradient[i] = 0;
    }
}

const ck_codec_table ck_codec_scalar = {quantize, dequantize, slice, round_trip, clip_gradient};
