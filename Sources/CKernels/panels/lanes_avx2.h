// Sixteen vectors side by side, each value in two ymm registers. One zmm register instead: lanes_avx512.h.
#ifndef CK_PANELS_LANES_AVX2_H
#define CK_PANELS_LANES_AVX2_H

#define INLINE static inline __attribute__((always_inline))

typedef struct { __m256 low, high; } vf;   // 16 floats
typedef struct { __m256i low, high; } vi;  // 16 32-bit integers
typedef vi vb;                             // 64 bytes, four for each lane
typedef vi vm;                             // all ones or zero

#define EACH(type, f, ...) ((type){f(low, __VA_ARGS__), f(high, __VA_ARGS__)})
#define BINARY(half, instruction, a, b) instruction((a).half, (b).half)
#define UNARY(half, instruction, a) instruction((a).half)
#define IMMEDIATE(half, instruction, a, b) instruction((a).half, b)

INLINE vf load_f(const float *p) { return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void store_f(float *p, vf a) {
  _mm256_storeu_ps(p, a.low);
  _mm256_storeu_ps(p + 8, a.high);
}
INLINE vf load_first(const float *p, int64_t count) {
  float whole[16] = {0};
  memcpy(whole, p, (size_t)count * sizeof *p);
  return load_f(whole);
}
INLINE void store_first(float *p, vf a, int64_t count) {
  float whole[16];
  store_f(whole, a);
  memcpy(p, whole, (size_t)count * sizeof *p);
}
INLINE vi load_i(const void *p) {
  return (vi){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
INLINE void store_i(void *p, vi a) {
  _mm256_storeu_si256((__m256i *)p, a.low);
  _mm256_storeu_si256((__m256i *)p + 1, a.high);
}
INLINE vi load_16_bits(const uint16_t *p) {
  return (vi){_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)),
              _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
INLINE vf splat_f(float a) { return (vf){_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
INLINE vi splat_i(int32_t a) { return (vi){_mm256_set1_epi32(a), _mm256_set1_epi32(a)}; }
INLINE vi bits_of(vf a) { return EACH(vi, UNARY, _mm256_castps_si256, a); }
INLINE vf float_of(vi a) { return EACH(vf, UNARY, _mm256_castsi256_ps, a); }

INLINE vf add_f(vf a, vf b) { return EACH(vf, BINARY, _mm256_add_ps, a, b); }
INLINE vf hidden_one(void) { return splat_f(1); }
INLINE vf sub_f(vf a, vf b, vf one) {
  (void)one;
  return EACH(vf, BINARY, _mm256_sub_ps, a, b);
}
INLINE vf mul_f(vf a, vf b) { return EACH(vf, BINARY, _mm256_mul_ps, a, b); }
INLINE vf mul_add_f(vf a, vf b, vf c) {
  return (vf){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
INLINE vf div_f(vf a, vf b) { return EACH(vf, BINARY, _mm256_div_ps, a, b); }
INLINE vf min_f(vf a, vf b) { return EACH(vf, BINARY, _mm256_min_ps, a, b); }
INLINE vf max_f(vf a, vf b) { return EACH(vf, BINARY, _mm256_max_ps, a, b); }
INLINE vf floor_f(vf a) { return EACH(vf, UNARY, _mm256_floor_ps, a); }
INLINE vi to_nearest(vf a) { return EACH(vi, UNARY, _mm256_cvtps_epi32, a); }
INLINE vi to_lower(vf a) { return to_nearest(floor_f(a)); }
INLINE vf to_float(vi a) { return EACH(vf, UNARY, _mm256_cvtepi32_ps, a); }

INLINE vi and_i(vi a, vi b) { return EACH(vi, BINARY, _mm256_and_si256, a, b); }
INLINE vi or_i(vi a, vi b) { return EACH(vi, BINARY, _mm256_or_si256, a, b); }
INLINE vi xor_i(vi a, vi b) { return EACH(vi, BINARY, _mm256_xor_si256, a, b); }
INLINE vi add_i(vi a, vi b) { return EACH(vi, BINARY, _mm256_add_epi32, a, b); }
INLINE vi sub_i(vi a, vi b) { return EACH(vi, BINARY, _mm256_sub_epi32, a, b); }
INLINE vi max_i(vi a, vi b) { return EACH(vi, BINARY, _mm256_max_epi32, a, b); }
INLINE vi shift_left_23(vi a) { return EACH(vi, IMMEDIATE, _mm256_slli_epi32, a, 23); }
INLINE vi shift_right_23(vi a) { return EACH(vi, IMMEDIATE, _mm256_srli_epi32, a, 23); }
INLINE vi shift_right_16(vi a) { return EACH(vi, IMMEDIATE, _mm256_srli_epi32, a, 16); }
INLINE vm below_i(vi a, vi b) { return EACH(vi, BINARY, _mm256_cmpgt_epi32, b, a); }
INLINE vm is_zero(vi a) { return EACH(vi, BINARY, _mm256_cmpeq_epi32, a, splat_i(0)); }
INLINE vi select_i(vm m, vi where, vi otherwise) {
  return (vi){_mm256_blendv_epi8(otherwise.low, where.low, m.low),
              _mm256_blendv_epi8(otherwise.high, where.high, m.high)};
}
INLINE vf select_f(vm m, vf where, vf otherwise) {
  return float_of(select_i(m, bits_of(where), bits_of(otherwise)));
}
INLINE bool all_below(vi a, vi b) {
  const vm m = below_i(a, b);
  return _mm256_movemask_epi8(_mm256_and_si256(m.low, m.high)) == -1;
}
INLINE vi ones_where(vm m) { return m; }

// Neighbours at a distance of 1, 2, 4, 8 lanes swapped.
INLINE vf swap_1(vf a) { return EACH(vf, IMMEDIATE, _mm256_permute_ps, a, 0xB1); }
INLINE vf swap_2(vf a) { return EACH(vf, IMMEDIATE, _mm256_permute_ps, a, 0x4E); }
INLINE vf swap_4(vf a) {
  return (vf){_mm256_permute2f128_ps(a.low, a.low, 1), _mm256_permute2f128_ps(a.high, a.high, 1)};
}
INLINE vf swap_8(vf a) { return (vf){a.high, a.low}; }
INLINE int32_t horizontal_max(vi a) {
  const __m256i half = _mm256_max_epi32(a.low, a.high);
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtsi128_si32(m);
}

INLINE void transpose_8(__m256i t[8]) {
  __m256i u[8];
  for (int i = 0; i < 8; i += 2) {
    u[i] = _mm256_unpacklo_epi32(t[i], t[i + 1]);
    u[i + 1] = _mm256_unpackhi_epi32(t[i], t[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    t[i] = _mm256_unpacklo_epi64(u[i], u[i + 2]);
    t[i + 1] = _mm256_unpackhi_epi64(u[i], u[i + 2]);
    t[i + 2] = _mm256_unpacklo_epi64(u[i + 1], u[i + 3]);
    t[i + 3] = _mm256_unpackhi_epi64(u[i + 1], u[i + 3]);
  }
  for (int c = 0; c < 4; c++) {
    u[c] = _mm256_permute2x128_si256(t[c], t[4 + c], 0x20);
    u[4 + c] = _mm256_permute2x128_si256(t[c], t[4 + c], 0x31);
  }
  for (int i = 0; i < 8; i++) t[i] = u[i];
}
// 16 x 16 dwords, transposed in place.
INLINE void transpose(vi t[16]) {
  __m256i a[8], b[8], c[8], d[8];
  for (int i = 0; i < 8; i++) a[i] = t[i].low, b[i] = t[i].high, c[i] = t[8 + i].low, d[i] = t[8 + i].high;
  transpose_8(a);
  transpose_8(b);
  transpose_8(c);
  transpose_8(d);
  for (int i = 0; i < 8; i++) t[i] = (vi){a[i], c[i]}, t[8 + i] = (vi){b[i], d[i]};
}

INLINE __m256i pack_half(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i order = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return _mm256_shuffle_epi8(_mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)), order);
}
// Four integers of each lane into its four bytes, saturating.
INLINE vb pack_bytes(vi a, vi b, vi c, vi d) {
  return (vb){pack_half(a.low, b.low, c.low, d.low), pack_half(a.high, b.high, c.high, d.high)};
}
INLINE vb splat_byte(int32_t a) { return (vb){_mm256_set1_epi8((char)a), _mm256_set1_epi8((char)a)}; }
INLINE vb min_bytes(vb a, vb b) { return EACH(vb, BINARY, _mm256_min_epi8, a, b); }
INLINE vb max_bytes(vb a, vb b) { return EACH(vb, BINARY, _mm256_max_epi8, a, b); }
// (a & b) ^ c
INLINE vb and_xor(vb a, vb b, vb c) { return xor_i(and_i(a, b), c); }
// Sums of the signed bytes in pairs, added to the 16-bit `sums`; then of those in pairs.
INLINE vi add_byte_pairs(vi sums, vb a) {
  const vi pairs = EACH(vi, BINARY, _mm256_maddubs_epi16, splat_byte(1), a);
  return EACH(vi, BINARY, _mm256_add_epi16, sums, pairs);
}
INLINE vi add_pairs(vi sums) {
  return EACH(vi, IMMEDIATE, _mm256_madd_epi16, sums, _mm256_set1_epi16(1));
}

// bf16 of a in the low half, of b in the high half of each dword: nearest, ties to even, for numbers that are neither
// NaN nor subnormal.
INLINE vi nearest_bf16(vi a) {
  const vi odd = and_i(shift_right_16(a), splat_i(1));
  return add_i(add_i(a, splat_i(0x7FFF)), odd);
}
INLINE vi pair_bf16(vi a, vi b) { return or_i(shift_right_16(a), and_i(b, splat_i((int32_t)0xFFFF0000u))); }
INLINE __m256i narrow_half(__m256i a, __m256i b) {
  const __m256i packed = _mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16));
  return _mm256_permute4x64_epi64(packed, 0xD8);
}
// Rounded a and b, of one vector each: 32 positions, two in a dword.
INLINE vi narrow_bf16(vi a, vi b) { return (vi){narrow_half(a.low, a.high), narrow_half(b.low, b.high)}; }
INLINE bool is_odd_one(vi a) {
  const vi magnitude = and_i(a, splat_i(0x7FFFFFFF));
  const vm nan = below_i(splat_i(0x7F800000), magnitude);
  const vm subnormal = and_i(below_i(magnitude, splat_i(0x00800000)), below_i(splat_i(0), magnitude));
  const vm odd = or_i(nan, subnormal);
  return _mm256_movemask_epi8(_mm256_or_si256(odd.low, odd.high)) != 0;
}

INLINE void multiply_half(__m256i c, __m256i m, __m256i *high, __m256i *low) {
  const __m256i even = _mm256_mul_epu32(c, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(c, 32), m);
  *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
// The 64-bit products of c with m: high and low halves.
INLINE void multiply_wide(vi c, uint32_t m, vi *high, vi *low) {
  multiply_half(c.low, _mm256_set1_epi32((int32_t)m), &high->low, &low->low);
  multiply_half(c.high, _mm256_set1_epi32((int32_t)m), &high->high, &low->high);
}
// (first + lane * step) / 8 as low and high words.
INLINE void block_counters(uint64_t first, uint64_t step, vi *low, vi *high) {
  uint32_t words[2][16];
  for (uint64_t i = 0; i < 16; i++) {
    const uint64_t counter = (first + i * step) / 8;
    words[0][i] = (uint32_t)counter;
    words[1][i] = (uint32_t)(counter >> 32);
  }
  *low = load_i(words[0]);
  *high = load_i(words[1]);
}
// high + 1 where low is 0.
INLINE vi carry_of_zero(vi low, vi high) {
  return sub_i(high, EACH(vi, BINARY, _mm256_cmpeq_epi32, low, splat_i(0)));
}

#undef EACH
#undef BINARY
#undef UNARY
#undef IMMEDIATE
#endif
