// fp32 vectors to panels of bf16, rounded to nearest.
#ifndef CK_PANELS_BF16_H
#define CK_PANELS_BF16_H

// bf16 in the upper half of each dword, whatever the number.
static __attribute__((noinline)) void exact_bf16(vi *a) {
  uint32_t bits[16];
  store_i(bits, *a);
  for (int i = 0; i < 16; i++) {
    const uint32_t x = bits[i], size = x & ~CK_SIGN_BIT;
    bits[i] = size > CK_INFINITY_BITS ? x | 0x00400000u
              : size < 0x00800000u    ? x & CK_SIGN_BIT
                                      : x + 0x7FFF + (x >> 16 & 1);
  }
  *a = load_i(bits);
}

INLINE vi upper_bf16(vi a) {
  if (__builtin_expect(is_odd_one(a), 0)) {
    exact_bf16(&a);
    return a;
  }
  return nearest_bf16(a);
}

// 32 positions of 16 vectors.
INLINE void round_unit(const bool by_rows, const ck_vectors *v, int64_t vector, int64_t start, uint8_t *codes) {
  float copies[2][256];
  const tile first = tile_at(by_rows, v, vector, start, copies[0]);
  const tile second = tile_at(by_rows, v, vector, start + 16, copies[1]);
  vi t[16];
  if (by_rows) {
    UNROLLED for (int i = 0; i < 16; i++)
      t[i] = narrow_bf16(upper_bf16(bits_of(load_f(first.x + i * first.stride))),
                         upper_bf16(bits_of(load_f(second.x + i * second.stride))));
    transpose(t);
    UNROLLED for (int i = 0; i < 16; i++) store_i(codes + i * 64, t[i]);
  } else {
    UNROLLED for (int i = 0; i < 16; i++) {
      const tile *from = i < 8 ? &first : &second;
      const float *x = from->x + i % 8 * 2 * from->stride;
      __builtin_prefetch(x + 2 * CK_BLOCK * from->stride, 0, 2);
      __builtin_prefetch(x + 2 * CK_BLOCK * from->stride + from->stride, 0, 2);
      const vi even = upper_bf16(bits_of(load_f(x))), odd = upper_bf16(bits_of(load_f(x + from->stride)));
      store_i(codes + i * 64, pair_bf16(even, odd));
    }
  }
}

INLINE void round_bf16(const bool by_rows, const ck_vectors *v, uint8_t *codes) {
  const int64_t padded = ck_rounded_up(v->depth, CK_BLOCK), panel = padded * 2 * CK_PANEL;
  const int64_t panels = ck_panel_count(v->count), together = by_rows ? 1 : 4;
  for (int64_t p = 0; p < panels; p += together)
    for (int64_t start = 0; start < padded; start += CK_BLOCK)
      for (int64_t i = p; i < p + together && i < panels; i++)
        round_unit(by_rows, v, i * CK_PANEL, start, codes + i * panel + start * 2 * CK_PANEL);
}

#endif
