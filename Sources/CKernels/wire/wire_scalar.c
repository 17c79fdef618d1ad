// The codecs of the wire, element by element: the definition that the vector tables are held to, to the bit. All
// arithmetic is in fp32, each operation rounded once.
#include "../ck_strict.h"
#include "../panels/random_bits.h"
#include "wire_plan.h"

static void butterflies(float v[CK_WIRE_BLOCK]) {
  for (int32_t distance = 1; distance < CK_WIRE_BLOCK; distance *= 2)
    for (int32_t i = 0; i < CK_WIRE_BLOCK; i++) {
      if (i & distance) continue;
      const float a = v[i], b = v[i + distance];
      v[i] = a + b;
      v[i + distance] = a - b;
    }
}

// Block `block` of a run, padded with zeros.
static void padded_block(int64_t n, const float *x, int64_t block, float v[CK_WIRE_BLOCK]) {
  for (int64_t i = 0; i < CK_WIRE_BLOCK; i++) {
    const int64_t at = block * CK_WIRE_BLOCK + i;
    v[i] = at < n ? x[at] : 0;
  }
}

// What is to become codes.
static void block_values(const ck_wire_rounding *rounding, int64_t n, const float *x, const float *residual,
                         int64_t block, float v[CK_WIRE_BLOCK]) {
  padded_block(n, x, block, v);
  if (rounding->rotated) butterflies(v);
  if (residual)
    for (int64_t i = 0; i < CK_WIRE_BLOCK; i++) v[i] += residual[block * CK_WIRE_BLOCK + i];
}

static int32_t code_of(const ck_wire_rounding *rounding, int64_t element, float value, float factor) {
  const int32_t nearest = (int32_t)rintf(value * factor);
  if (!rounding->stochastic) return nearest;
  const int32_t sum = nearest + (int32_t)ck_random_bits(rounding->key, rounding->first + (uint64_t)element);
  return (sum - (sum & 0xFFFF)) / 0x10000;  // floor
}

static void put_code(int32_t bits, uint8_t *block, int64_t i, int32_t code) {
  if (bits == 8) block[i] = (uint8_t)code;
  else if (i < 16) block[i] = (uint8_t)((block[i] & 0xF0) | (code & 0x0F));
  else block[i - 16] = (uint8_t)((block[i - 16] & 0x0F) | (code & 0x0F) << 4);
}

static int32_t code_at(int32_t bits, const uint8_t *block, int64_t i) {
  if (bits == 8) return (int8_t)block[i];
  const int32_t nibble = i < 16 ? block[i] & 0x0F : block[i - 16] >> 4;
  return nibble < 8 ? nibble : nibble - 16;
}

static void pack(const ck_wire_format *format, const ck_wire_rounding *rounding, int64_t n, const float *x,
                 uint8_t *scales, uint8_t *codes, float *residual) {
  const int64_t blocks = ck_wire_blocks(n), in_group = format->group / CK_WIRE_BLOCK;
  memset(codes, 0, (size_t)(blocks * ck_wire_block_bytes(format->bits)));
  for (int64_t group = 0; group < ck_wire_groups(format, n); group++) {
    const int64_t first = group * in_group, end = first + in_group < blocks ? first + in_group : blocks;
    float v[CK_WIRE_BLOCK];
    uint32_t largest = 0;
    for (int64_t block = first; block < end; block++) {
      block_values(rounding, n, x, residual, block, v);
      for (int i = 0; i < CK_WIRE_BLOCK; i++) {
        const uint32_t magnitude = ck_bits_of(v[i]) & ~CK_SIGN_BIT;
        if (magnitude > largest) largest = magnitude;
      }
    }
    const ck_wire_scale scale = ck_wire_scale_of(largest, (float)ck_wire_top(format->bits), rounding->stochastic);
    memcpy(scales + 4 * group, &scale.scale, sizeof scale.scale);
    if (!scale.sent) continue;
    for (int64_t block = first; block < end; block++) {
      block_values(rounding, n, x, residual, block, v);
      for (int64_t i = 0; i < CK_WIRE_BLOCK; i++) {
        const int64_t element = block * CK_WIRE_BLOCK + i;
        const int32_t code = code_of(rounding, element, v[i], scale.factor);
        put_code(format->bits, codes + block * ck_wire_block_bytes(format->bits), i, code);
        if (residual) residual[element] = v[i] - (float)code * scale.scale;
      }
    }
  }
}

static void unpack(const ck_wire_format *format, int64_t n, const uint8_t *scales, const uint8_t *codes, float *y,
                   bool accumulate) {
  for (int64_t i = 0; i < ck_wire_padded(n); i++) {
    float scale;
    memcpy(&scale, scales + 4 * (i / format->group), sizeof scale);
    const uint8_t *block = codes + i / CK_WIRE_BLOCK * ck_wire_block_bytes(format->bits);
    const float value = (float)code_at(format->bits, block, i % CK_WIRE_BLOCK) * scale;
    y[i] = accumulate ? y[i] + value : value;
  }
}

static void rotate(int64_t n, const float *x, float factor, float *y) {
  for (int64_t block = 0; block < ck_wire_blocks(n); block++) {
    float v[CK_WIRE_BLOCK];
    padded_block(n, x, block, v);
    butterflies(v);
    for (int64_t i = 0; i < CK_WIRE_BLOCK; i++) y[block * CK_WIRE_BLOCK + i] = v[i] * factor;
  }
}

static void unrotate(int64_t n, const float *y, float factor, float *x) {
  for (int64_t block = 0; block < ck_wire_blocks(n); block++) {
    float v[CK_WIRE_BLOCK];
    padded_block(ck_wire_padded(n), y, block, v);
    butterflies(v);
    for (int64_t i = 0; i < CK_WIRE_BLOCK && block * CK_WIRE_BLOCK + i < n; i++)
      x[block * CK_WIRE_BLOCK + i] = v[i] * factor;
  }
}

static void round_bf16(int64_t n, const float *x, uint16_t *y) {
  for (int64_t i = 0; i < n; i++) {
    const uint32_t bits = ck_bits_of(x[i]);
    const bool nan = (bits & ~CK_SIGN_BIT) > CK_INFINITY_BITS;
    y[i] = (uint16_t)(nan ? bits >> 16 | 0x0040 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  }
}

static void widen_bf16(int64_t n, const uint16_t *x, float *y) {
  for (int64_t i = 0; i < n; i++) y[i] = ck_float_of((uint32_t)x[i] << 16);
}

#include "bytes.h"

extern const ck_wire_table ck_wire_scalar;
const ck_wire_table ck_wire_scalar = {
    pack, unpack, rotate, unrotate, round_bf16, widen_bf16, subtract_bytes, add_bytes,
};
