// The definition of packing and of the products: what the other tables are held to, to the bit.
#include "../ck_strict.h"

#include "product.h"

static int64_t code_index(int64_t vector, int64_t depth, int64_t k) {
  return vector / CK_PANEL * ck_panel_bytes(depth) + k / 4 * 64 + vector % CK_PANEL * 4 + k % 4;
}
static int64_t block_index(int64_t vector, int64_t blocks, int64_t block) {
  return (vector / CK_PANEL * blocks + block) * CK_PANEL + vector % CK_PANEL;
}

// Packing: element k of vector v lies at codes[v * vector_step + k * depth_step].
static void pack(ck_side side, int64_t vectors, int64_t depth, const uint8_t *codes, int64_t vector_step,
                 int64_t depth_step, const int8_t *carrier, const ck_panels *out) {
  const int64_t blocks = ck_blocks(depth);
  for (int64_t v = 0; v < ck_panel_count(vectors) * CK_PANEL; v++) {
    for (int64_t b = 0; b < blocks; b++) {
      int32_t sum = 0;
      for (int64_t k = b * CK_BLOCK; k < (b + 1) * CK_BLOCK; k++) {
        int32_t value = 0;
        if (v < vectors && k < depth) {
          const uint8_t code = codes[v * vector_step + k * depth_step];
          value = carrier ? carrier[code] : (int8_t)code;
          if (value < -127) value = -127;
        }
        sum += value;
        out->codes[code_index(v, depth, k)] = (uint8_t)(side == CK_LEFT ? value : value + 128);
      }
      if (side == CK_LEFT) out->sums[block_index(v, blocks, b)] = sum;
    }
  }
}

static void pack_rows(ck_side side, int64_t vectors, int64_t depth, const uint8_t *codes, int64_t stride,
                      const int8_t *carrier, const ck_panels *out) {
  pack(side, vectors, depth, codes, stride, 1, carrier, out);
}

static void pack_columns(ck_side side, int64_t vectors, int64_t depth, const uint8_t *codes, int64_t stride,
                         const int8_t *carrier, const ck_panels *out) {
  pack(side, vectors, depth, codes, 1, stride, carrier, out);
}

void ck_matmul_pack_scales(int64_t vectors, int64_t blocks, const uint8_t *bytes, int32_t shift, float *scales) {
  float values[256];
  values[0] = 1;
  for (int byte = 1; byte < 255; byte++) values[byte] = ldexpf(1, byte - 127 - shift);
  values[255] = NAN;
  for (int64_t v = 0; v < ck_panel_count(vectors) * CK_PANEL; v++)
    for (int64_t b = 0; b < blocks; b++)
      scales[block_index(v, blocks, b)] = v < vectors ? values[bytes[v * blocks + b]] : 1;
}

// The integers of the products.
static int32_t dot_of_block(const ck_panels *left, const ck_panels *right, int64_t depth, int64_t i, int64_t j,
                            int64_t block) {
  int32_t dot = 0;
  for (int64_t k = block * CK_BLOCK; k < (block + 1) * CK_BLOCK; k++)
    dot += (int8_t)left->codes[code_index(i, depth, k)] * ((int32_t)right->codes[code_index(j, depth, k)] - 128);
  return dot;
}

static float scale_of(const ck_panels *operand, int64_t blocks, int64_t vector, int64_t block) {
  return operand->scaling == CK_SCALE_VECTOR ? operand->scales[vector]
                                             : operand->scales[block_index(vector, blocks, block)];
}

static float element(int64_t depth, const ck_panels *left, const ck_panels *right, int64_t i, int64_t j) {
  const int64_t blocks = ck_blocks(depth);
  const bool left_blocks = left->scaling == CK_SCALE_BLOCK, right_blocks = right->scaling == CK_SCALE_BLOCK;
  if (!left_blocks && !right_blocks) {
    int32_t dot = 0;
    for (int64_t b = 0; b < blocks; b++) dot += dot_of_block(left, right, depth, i, j, b);
    return ((float)dot * left->scales[i]) * right->scales[j];
  }
  float a = 0;
  for (int64_t b = 0; b < blocks; b++) {
    const float of_left = left_blocks ? scale_of(left, blocks, i, b) : 1;
    const float of_right = right_blocks ? scale_of(right, blocks, j, b) : 1;
    a = fmaf((float)dot_of_block(left, right, depth, i, j, b), of_left * of_right, a);
  }
  return left_blocks ? right_blocks ? a : a * right->scales[j] : a * left->scales[i];
}

static void multiply(int64_t m, int64_t n, int64_t depth, const ck_panels *left, const ck_panels *right, float *c,
                     int64_t c_stride, bool accumulate) {
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      const float result = element(depth, left, right, i, j);
      float *const out = &c[i * c_stride + j];
      *out = accumulate ? *out + result : result;
    }
  }
}

// Powers of two as double never leave its normal range, and dot products of 20 bits times two of them are exact.
void ck_matmul_multiply_wide(int64_t m, int64_t n, int64_t depth, const ck_panels *left, const ck_panels *right,
                             float *c, int64_t c_stride, bool accumulate) {
  const int64_t blocks = ck_blocks(depth);
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      double a = 0;
      for (int64_t b = 0; b < blocks; b++)
        a += (double)dot_of_block(left, right, depth, i, j, b) *
             ((double)scale_of(left, blocks, i, b) * (double)scale_of(right, blocks, j, b));
      float *const out = &c[i * c_stride + j];
      *out = accumulate ? *out + (float)a : (float)a;
    }
  }
}

// bf16.
static float widened(const uint8_t *codes, int64_t vector, int64_t depth, int64_t k) {
  const uint8_t *panel = codes + vector / CK_PANEL * ck_panel_bytes_bf16(depth);
  const uint8_t *at = panel + k / 2 * 64 + vector % CK_PANEL * 4 + k % 2 * 2;
  const uint32_t bits = ((uint32_t)at[0] | (uint32_t)at[1] << 8) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static float flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }

static void multiply_bf16(int64_t m, int64_t n, int64_t depth, const uint8_t *left, const uint8_t *right, float *c,
                          int64_t c_stride, bool accumulate) {
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      float a = 0;
      for (int64_t k = 0; k < ck_blocks(depth) * CK_BLOCK; k += 2) {
        a = flushed(fmaf(widened(left, i, depth, k + 1), widened(right, j, depth, k + 1), a));
        a = flushed(fmaf(widened(left, i, depth, k), widened(right, j, depth, k), a));
      }
      float *const out = &c[i * c_stride + j];
      *out = accumulate ? *out + a : a;
    }
  }
}

extern const ck_matmul_table ck_matmul_scalar;
const ck_matmul_table ck_matmul_scalar = {
    pack_rows, pack_columns, ck_matmul_pack_scales, multiply, ck_matmul_multiply_wide, multiply_bf16,
};
