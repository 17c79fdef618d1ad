// Rotation, quantization and packing of product operands, element by element: the definition that the vector tables are
// held to, to the bit. All arithmetic is in fp32, each operation rounded once.
#include "../ck_strict.h"
#include "panels_plan.h"
#include "random_bits.h"

// A block of one vector: `stride` elements from one position to the next.
static void butterflies(int32_t block, float *y) {
  for (int32_t distance = 1; distance < block; distance *= 2)
    for (int32_t i = 0; i < block; i++) {
      if (i & distance) continue;
      const float a = y[i], b = y[i + distance];
      y[i] = a + b;
      y[i + distance] = a - b;
    }
  for (int32_t i = 0; i < block; i++) y[i] *= ck_rotation_factor(block);
}

static float flipped(float x, uint32_t sign) { return ck_float_of(ck_bits_of(x) ^ sign); }

// `unit` positions of a vector from `start` on, rotated; zeros beyond the depth.
static void rotated(const ck_rotation *rotation, const ck_vectors *v, int64_t vector, int64_t start, int32_t unit,
                    float y[CK_ROTATION_LARGEST]) {
  for (int32_t i = 0; i < unit; i++) {
    const int64_t d = start + i;
    const bool inside = d < v->depth;
    y[i] = inside ? v->x[vector * v->vector_stride + d * v->depth_stride] : 0;
    if (inside && rotation->block && rotation->signs) y[i] = flipped(y[i], rotation->signs[d]);
  }
  if (rotation->block)
    for (int32_t i = 0; i < unit; i += rotation->block) butterflies(rotation->block, y + i);
}

// Bits of the largest magnitude: they order like integers, NaN above infinity above everything finite.
static uint32_t largest_of(int32_t count, const float *y) {
  uint32_t largest = 0;
  for (int32_t i = 0; i < count; i++) {
    const uint32_t magnitude = ck_bits_of(y[i]) & ~CK_SIGN_BIT;
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

static uint32_t largest_of_vector(const ck_rotation *rotation, const ck_vectors *v, int64_t vector) {
  const int32_t unit = ck_panel_unit(rotation->block);
  uint32_t largest = 0;
  float y[CK_ROTATION_LARGEST];
  for (int64_t start = 0; start < v->depth; start += unit) {
    rotated(rotation, v, vector, start, unit, y);
    const uint32_t magnitude = largest_of(unit, y);
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

static float largest_of_all(const ck_rotation *rotation, const ck_vectors *v) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < v->count; i++) {
    const uint32_t magnitude = largest_of_vector(rotation, v, i);
    if (magnitude > largest) largest = magnitude;
  }
  return ck_float_of(largest >= CK_INFINITY_BITS ? CK_NAN_BITS : largest);
}

static float rounded(const ck_quantizer *quantizer, const ck_vectors *v, int64_t vector, int64_t d, float value) {
  if (quantizer->rounding == CK_NEAREST) return rintf(value);
  const int64_t offset = vector * v->vector_stride + d * v->depth_stride;
  const uint32_t bits = ck_random_bits(quantizer->key, quantizer->first_element + (uint64_t)offset);
  return floorf(value + ((float)bits + 0.5f) * 0x1p-16f);
}

static float clamped(float value, float limit) { return value > limit ? limit : value < -limit ? -limit : value; }

// The distance of elements around an integer-carried value: 1, or a power of two that leaves M bits behind the first.
static float step_of(const ck_carried *carried, float value) {
  if (!carried->is_float) return 1;
  const float power = ck_float_of(ck_bits_of(value) & CK_INFINITY_BITS), least = (float)(1 << carried->mantissa_bits);
  return power <= least ? 1 : power / least;
}

static void put_code(ck_side side, const ck_panels *out, int64_t padded, int64_t vector, int64_t d, int32_t code) {
  const int64_t panel = vector / CK_PANEL, lane = vector % CK_PANEL;
  out->codes[panel * padded * CK_PANEL + d / 4 * (4 * CK_PANEL) + lane * 4 + d % 4] =
      (uint8_t)(side == CK_LEFT ? code : code + 128);
  if (side == CK_LEFT) out->sums[(panel * (padded / CK_BLOCK) + d / CK_BLOCK) * CK_PANEL + lane] += code;
}

static void quantize_vector(const ck_quantizer *quantizer, ck_side side, const ck_vectors *v, int64_t vector,
                            const ck_panels *out) {
  const ck_rotation *rotation = &quantizer->rotation;
  const int32_t unit = ck_panel_unit(rotation->block);
  const int64_t padded = ck_rounded_up(v->depth, unit);
  const bool exists = vector < v->count;
  const uint32_t largest = exists ? largest_of_vector(rotation, v, vector) : 0;
  const float a = exists && quantizer->maximum > 0 ? quantizer->maximum : ck_float_of(largest);
  const bool finite = largest < CK_INFINITY_BITS, zero = !finite || a < CK_LEAST_MAXIMUM;
  out->scales[vector] = !finite ? ck_float_of(CK_NAN_BITS) : zero ? 0 : a / 127;
  for (int64_t start = 0; start < padded; start += unit) {
    float y[CK_ROTATION_LARGEST];
    if (exists) rotated(rotation, v, vector, start, unit, y);
    for (int32_t i = 0; i < unit; i++) {
      const float code = zero ? 0 : rounded(quantizer, v, vector, start + i, clamped(y[i] * (127 / a), 127));
      put_code(side, out, padded, vector, start + i, (int32_t)clamped(code, 127));
    }
  }
}

static void quantize_blocks(const ck_quantizer *quantizer, ck_side side, const ck_vectors *v, int64_t vector,
                            const ck_panels *out) {
  const ck_rotation *rotation = &quantizer->rotation;
  const ck_carried carried = ck_carried_of(quantizer);
  const ck_codec_plan plan = ck_codec_plan_of(&quantizer->element, CK_SCALE_FLOOR);
  const int32_t unit = ck_panel_unit(rotation->block);
  const int64_t padded = ck_rounded_up(v->depth, unit), blocks = padded / CK_BLOCK;
  float *scales = out->scales + vector / CK_PANEL * blocks * CK_PANEL + vector % CK_PANEL;
  for (int64_t start = 0; start < padded; start += unit) {
    float y[CK_ROTATION_LARGEST] = {0};
    if (vector < v->count) rotated(rotation, v, vector, start, unit, y);
    for (int64_t first = start; first < start + unit; first += CK_BLOCK) {
      const float *block = y + (first - start);
      const uint32_t largest = largest_of(CK_BLOCK, block);
      const bool finite = largest < CK_INFINITY_BITS;
      const int32_t exponent = ck_scale_byte(&plan, largest) - carried.shift;  // of the scale, biased
      const bool zero = !finite || exponent < 1;
      // One product: the shrunk reciprocal of a power of two is exact.
      const float factor = zero ? 0 : ck_scale_value(254 - exponent) * carried.shrink;
      bool any = false;
      for (int32_t i = 0; i < CK_BLOCK; i++) {
        const float value = zero ? 0 : block[i] * factor, step = step_of(&carried, value);
        const float code = rounded(quantizer, v, vector, first + i, value / step) * step;
        const int32_t integer = (int32_t)clamped(code, (float)carried.largest);
        put_code(side, out, padded, vector, first + i, integer);
        any = any || integer != 0;
      }
      scales[first / CK_BLOCK * CK_PANEL] = !finite ? ck_float_of(CK_NAN_BITS)
                                            : !any  ? 1
                                                    : ck_scale_value(exponent) * (1 / carried.shrink);
    }
  }
}

static void quantize(const ck_quantizer *quantizer, ck_side side, const ck_vectors *v, const ck_panels *out) {
  const int64_t padded = ck_rounded_up(v->depth, ck_panel_unit(quantizer->rotation.block));
  const int64_t vectors = ck_panel_count(v->count) * CK_PANEL;
  if (side == CK_LEFT) memset(out->sums, 0, (size_t)(vectors * (padded / CK_BLOCK)) * sizeof *out->sums);
  for (int64_t vector = 0; vector < vectors; vector++)
    if (quantizer->scaling == CK_SCALE_VECTOR)
      quantize_vector(quantizer, side, v, vector, out);
    else
      quantize_blocks(quantizer, side, v, vector, out);
}

static uint16_t bf16_of(float x) {
  const uint32_t bits = ck_bits_of(x), magnitude = bits & ~CK_SIGN_BIT;
  if (magnitude > CK_INFINITY_BITS) return (uint16_t)(bits >> 16 | 0x0040);
  if (magnitude < 0x00800000u) return (uint16_t)((bits & CK_SIGN_BIT) >> 16);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static void round_bf16(const ck_vectors *v, uint8_t *codes) {
  const int64_t padded = ck_rounded_up(v->depth, CK_BLOCK);
  for (int64_t vector = 0; vector < ck_panel_count(v->count) * CK_PANEL; vector++)
    for (int64_t d = 0; d < padded; d++) {
      const bool inside = vector < v->count && d < v->depth;
      const uint16_t code = inside ? bf16_of(v->x[vector * v->vector_stride + d * v->depth_stride]) : 0;
      uint8_t *panel = codes + vector / CK_PANEL * padded * 2 * CK_PANEL;
      memcpy(panel + d / 2 * (4 * CK_PANEL) + vector % CK_PANEL * 4 + d % 2 * 2, &code, sizeof code);
    }
}

// In place; the signs first, or last for the inverse.
static void rotate(const ck_rotation *rotation, const ck_vectors *v, float *x, bool inverse) {
  const int32_t block = rotation->block;
  if (block == 0) return;
  for (int64_t vector = 0; vector < v->count; vector++)
    for (int64_t start = 0; start < v->depth; start += block) {
      float y[CK_ROTATION_LARGEST];
      float *first = x + vector * v->vector_stride + start * v->depth_stride;
      for (int32_t i = 0; i < block; i++) {
        const uint32_t sign = rotation->signs ? rotation->signs[start + i] : 0;
        y[i] = flipped(first[i * v->depth_stride], inverse ? 0 : sign);
      }
      butterflies(block, y);
      for (int32_t i = 0; i < block; i++) {
        const uint32_t sign = rotation->signs ? rotation->signs[start + i] : 0;
        first[i * v->depth_stride] = flipped(y[i], inverse ? sign : 0);
      }
    }
}

static void rotate_rows(const ck_rotation *rotation, int64_t rows, int64_t columns, float *x, int64_t stride,
                        bool inverse) {
  const ck_vectors v = ck_vectors_of_rows(rows, columns, x, stride);
  rotate(rotation, &v, x, inverse);
}

static void rotate_columns(const ck_rotation *rotation, int64_t rows, int64_t columns, float *x, int64_t stride,
                           bool inverse) {
  const ck_vectors v = ck_vectors_of_columns(columns, rows, x, stride);
  rotate(rotation, &v, x, inverse);
}

static float largest_rows(const ck_rotation *rotation, int64_t rows, int64_t columns, const float *x, int64_t stride) {
  const ck_vectors v = ck_vectors_of_rows(rows, columns, x, stride);
  return largest_of_all(rotation, &v);
}

static float largest_columns(const ck_rotation *rotation, int64_t rows, int64_t columns, const float *x,
                             int64_t stride) {
  const ck_vectors v = ck_vectors_of_columns(columns, rows, x, stride);
  return largest_of_all(rotation, &v);
}

static void quantize_rows(const ck_quantizer *quantizer, ck_side side, int64_t vectors, int64_t depth, const float *x,
                          int64_t stride, const ck_panels *out) {
  const ck_vectors v = ck_vectors_of_rows(vectors, depth, x, stride);
  quantize(quantizer, side, &v, out);
}

static void quantize_columns(const ck_quantizer *quantizer, ck_side side, int64_t vectors, int64_t depth,
                             const float *x, int64_t stride, const ck_panels *out) {
  const ck_vectors v = ck_vectors_of_columns(vectors, depth, x, stride);
  quantize(quantizer, side, &v, out);
}

static void round_rows_bf16(int64_t vectors, int64_t depth, const float *x, int64_t stride, uint8_t *codes) {
  const ck_vectors v = ck_vectors_of_rows(vectors, depth, x, stride);
  round_bf16(&v, codes);
}

static void round_columns_bf16(int64_t vectors, int64_t depth, const float *x, int64_t stride, uint8_t *codes) {
  const ck_vectors v = ck_vectors_of_columns(vectors, depth, x, stride);
  round_bf16(&v, codes);
}

extern const ck_panel_table ck_panels_scalar;
const ck_panel_table ck_panels_scalar = {
    rotate_rows,      rotate_columns,  largest_rows,       largest_columns, quantize_rows,
    quantize_columns, round_rows_bf16, round_columns_bf16,
};
