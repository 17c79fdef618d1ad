// Sixteen vectors side by side in zmm registers. The same names over two ymm registers: lanes_avx2.h.
#ifndef CK_PANELS_LANES_AVX512_H
#define CK_PANELS_LANES_AVX512_H

#define INLINE static inline __attribute__((always_inline))

typedef __m512 vf;    // 16 floats
typedef __m512i vi;   // 16 32-bit integers
typedef __m512i vb;   // 64 bytes, four for each lane
typedef __mmask16 vm;

INLINE vf load_f(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store_f(float *p, vf a) { _mm512_storeu_ps(p, a); }
INLINE vf load_first(const float *p, int64_t count) { return _mm512_maskz_loadu_ps((vm)((1u << count) - 1), p); }
INLINE void store_first(float *p, vf a, int64_t count) { _mm512_mask_storeu_ps(p, (vm)((1u << count) - 1), a); }
INLINE vi load_i(const void *p) { return _mm512_loadu_si512(p); }
INLINE void store_i(void *p, vi a) { _mm512_storeu_si512(p, a); }
INLINE vi load_16_bits(const uint16_t *p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)); }
INLINE vf splat_f(float a) { return _mm512_set1_ps(a); }
INLINE vi splat_i(int32_t a) { return _mm512_set1_epi32(a); }
INLINE vi bits_of(vf a) { return _mm512_castps_si512(a); }
INLINE vf float_of(vi a) { return _mm512_castsi512_ps(a); }

INLINE vf add_f(vf a, vf b) { return _mm512_add_ps(a, b); }
// a - b as a fused multiply-add: additions and fused ones run in different units, butterflies need both. `one` must
// hide its value from the compiler.
INLINE vf hidden_one(void) {
  vf one = splat_f(1);
  __asm__("" : "+v"(one));
  return one;
}
INLINE vf sub_f(vf a, vf b, vf one) { return _mm512_fnmadd_ps(b, one, a); }
INLINE vf mul_f(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf mul_add_f(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf div_f(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf min_f(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf max_f(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf floor_f(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
INLINE vi to_nearest(vf a) { return _mm512_cvt_roundps_epi32(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vi to_lower(vf a) { return _mm512_cvt_roundps_epi32(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
INLINE vf to_float(vi a) { return _mm512_cvtepi32_ps(a); }

INLINE vi and_i(vi a, vi b) { return _mm512_and_si512(a, b); }
INLINE vi or_i(vi a, vi b) { return _mm512_or_si512(a, b); }
INLINE vi xor_i(vi a, vi b) { return _mm512_xor_si512(a, b); }
INLINE vi add_i(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi sub_i(vi a, vi b) { return _mm512_sub_epi32(a, b); }
INLINE vi max_i(vi a, vi b) { return _mm512_max_epi32(a, b); }
INLINE vi shift_left_23(vi a) { return _mm512_slli_epi32(a, 23); }
INLINE vi shift_right_23(vi a) { return _mm512_srli_epi32(a, 23); }
INLINE vi shift_right_16(vi a) { return _mm512_srli_epi32(a, 16); }
INLINE vm below_i(vi a, vi b) { return _mm512_cmplt_epi32_mask(a, b); }
INLINE vm is_zero(vi a) { return _mm512_testn_epi32_mask(a, a); }
INLINE vf select_f(vm m, vf where, vf otherwise) { return _mm512_mask_blend_ps(m, otherwise, where); }
INLINE vi select_i(vm m, vi where, vi otherwise) { return _mm512_mask_blend_epi32(m, otherwise, where); }
INLINE bool all_below(vi a, vi b) { return _mm512_cmplt_epi32_mask(a, b) == 0xFFFF; }
INLINE vi ones_where(vm m) { return _mm512_maskz_set1_epi32(m, -1); }

// Neighbours at a distance of 1, 2, 4, 8 lanes swapped.
INLINE vf swap_1(vf a) { return _mm512_permute_ps(a, 0xB1); }
INLINE vf swap_2(vf a) { return _mm512_permute_ps(a, 0x4E); }
INLINE vf swap_4(vf a) { return _mm512_shuffle_f32x4(a, a, 0xB1); }
INLINE vf swap_8(vf a) { return _mm512_shuffle_f32x4(a, a, 0x4E); }
INLINE int32_t horizontal_max(vi a) { return _mm512_reduce_max_epi32(a); }

// 16 x 16 dwords, transposed in place.
INLINE void transpose(vi t[16]) {
  vi u[16];
#pragma clang loop unroll(full)
  for (int i = 0; i < 16; i += 2) {
    u[i] = _mm512_unpacklo_epi32(t[i], t[i + 1]);
    u[i + 1] = _mm512_unpackhi_epi32(t[i], t[i + 1]);
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < 16; i += 4) {
    t[i] = _mm512_unpacklo_epi64(u[i], u[i + 2]);
    t[i + 1] = _mm512_unpackhi_epi64(u[i], u[i + 2]);
    t[i + 2] = _mm512_unpacklo_epi64(u[i + 1], u[i + 3]);
    t[i + 3] = _mm512_unpackhi_epi64(u[i + 1], u[i + 3]);
  }
  // t[4r + c] holds, of rows 4r...4r+3, column 4q + c in its quarter q.
#pragma clang loop unroll(full)
  for (int c = 0; c < 4; c++) {
    const vi low01 = _mm512_shuffle_i32x4(t[c], t[4 + c], 0x88), high01 = _mm512_shuffle_i32x4(t[c], t[4 + c], 0xDD);
    const vi low23 = _mm512_shuffle_i32x4(t[8 + c], t[12 + c], 0x88);
    const vi high23 = _mm512_shuffle_i32x4(t[8 + c], t[12 + c], 0xDD);
    u[c] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    u[8 + c] = _mm512_shuffle_i32x4(low01, low23, 0xDD);
    u[4 + c] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    u[12 + c] = _mm512_shuffle_i32x4(high01, high23, 0xDD);
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < 16; i++) t[i] = u[i];
}

// Four integers of each lane into its four bytes, saturating.
INLINE vb pack_bytes(vi a, vi b, vi c, vi d) {
  const vb order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return _mm512_shuffle_epi8(_mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)), order);
}
INLINE vb splat_byte(int32_t a) { return _mm512_set1_epi8((char)a); }
INLINE vb min_bytes(vb a, vb b) { return _mm512_min_epi8(a, b); }
INLINE vb max_bytes(vb a, vb b) { return _mm512_max_epi8(a, b); }
// (a & b) ^ c
INLINE vb and_xor(vb a, vb b, vb c) { return _mm512_ternarylogic_epi32(a, b, c, 0x6A); }
// Sums of the signed bytes in pairs, added to the 16-bit `sums`; then of those in pairs.
INLINE vi add_byte_pairs(vi sums, vb a) { return _mm512_add_epi16(sums, _mm512_maddubs_epi16(splat_byte(1), a)); }
INLINE vi add_pairs(vi sums) { return _mm512_madd_epi16(sums, _mm512_set1_epi16(1)); }

// bf16 of a in the low half, of b in the high half of each dword: nearest, ties to even, for numbers that are neither
// NaN nor subnormal.
INLINE vi nearest_bf16(vi a) {
  const vi odd = and_i(shift_right_16(a), splat_i(1));
  return add_i(add_i(a, splat_i(0x7FFF)), odd);
}
INLINE vi pair_bf16(vi a, vi b) { return _mm512_mask_blend_epi16(0xAAAAAAAA, shift_right_16(a), b); }
// Rounded a and b, of one vector each: 32 positions, two in a dword.
INLINE vi narrow_bf16(vi a, vi b) {
  const vi upper_halves = _mm512_setr_epi32(  // words 1, 3, 5, ... 63
      0x00030001, 0x00070005, 0x000B0009, 0x000F000D, 0x00130011, 0x00170015, 0x001B0019, 0x001F001D,
      0x00230021, 0x00270025, 0x002B0029, 0x002F002D, 0x00330031, 0x00370035, 0x003B0039, 0x003F003D);
  return _mm512_permutex2var_epi16(a, upper_halves, b);
}
INLINE bool is_odd_one(vi a) { return _mm512_fpclass_ps_mask(float_of(a), 0x01 | 0x20 | 0x80) != 0; }

// The 64-bit products of c with m: high and low halves.
INLINE void multiply_wide(vi c, uint32_t m, vi *high, vi *low) {
  const vi factor = splat_i((int32_t)m);
  const vi even = _mm512_mul_epu32(c, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(c, 32), factor);
  *high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, 0xB1);
  *low = _mm512_mask_shuffle_epi32(even, 0xAAAA, odd, 0xB1);
}
// (first + lane * step) / 8 as low and high words.
INLINE void block_counters(uint64_t first, uint64_t step, vi *low, vi *high) {
  const vi lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), steps = _mm512_set1_epi64((int64_t)step);
  const vi start = _mm512_set1_epi64((int64_t)first);
  const vi a = _mm512_srli_epi64(_mm512_add_epi64(start, _mm512_mullo_epi64(lanes, steps)), 3);
  const vi upper = _mm512_add_epi64(lanes, _mm512_set1_epi64(8));
  const vi b = _mm512_srli_epi64(_mm512_add_epi64(start, _mm512_mullo_epi64(upper, steps)), 3);
  *low = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(a)), _mm512_cvtepi64_epi32(b), 1);
  *high = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(_mm512_srli_epi64(a, 32))),
                             _mm512_cvtepi64_epi32(_mm512_srli_epi64(b, 32)), 1);
}
// high + 1 where low is 0.
INLINE vi carry_of_zero(vi low, vi high) {
  return _mm512_mask_add_epi32(high, _mm512_testn_epi32_mask(low, low), high, splat_i(1));
}

#endif
