// fp32 to bf16 and back, over flat runs.
#ifndef CK_WIRE_BF16_H
#define CK_WIRE_BF16_H

// Rounded, in the upper half of each dword.
INLINE vi upper_bf16(vf a) {
  const vi bits = bits_of(a);
  const vm nan = below_i(splat_i((int32_t)CK_INFINITY_BITS), and_i(bits, splat_i(0x7FFFFFFF)));
  return select_i(nan, or_i(bits, splat_i(0x00400000)), nearest_bf16(bits));
}

INLINE void round_block(const float *x, uint16_t *y) {
  store_i(y, narrow_bf16(upper_bf16(load_f(x)), upper_bf16(load_f(x + 16))));
}

static void round_bf16(int64_t n, const float *x, uint16_t *y) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) round_block(x + i, y + i);
  if (i == n) return;
  float values[32] = {0};
  uint16_t last[32];
  memcpy(values, x + i, (size_t)(n - i) * sizeof *x);
  round_block(values, last);
  memcpy(y + i, last, (size_t)(n - i) * sizeof *y);
}

static void widen_bf16(int64_t n, const uint16_t *x, float *y) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_f(y + i, float_of(shift_left_16(load_16_bits(x + i))));
  if (i == n) return;
  uint16_t last[16] = {0};
  memcpy(last, x + i, (size_t)(n - i) * sizeof *x);
  store_first(y + i, float_of(shift_left_16(load_16_bits(last))), n - i);
}

#endif
