// What the wire needs of pairs of ymm registers beyond the lanes of the panels.
#ifndef CK_WIRE_LANES_AVX2_H
#define CK_WIRE_LANES_AVX2_H

#include "../panels/lanes_avx2.h"

INLINE vi shift_right_16_signed(vi a) { return (vi){_mm256_srai_epi32(a.low, 16), _mm256_srai_epi32(a.high, 16)}; }
INLINE vi shift_left_16(vi a) { return (vi){_mm256_slli_epi32(a.low, 16), _mm256_slli_epi32(a.high, 16)}; }

// 16 codes of 8 bits from or to 16 bytes: packing works within halves, so quarters are put in order before the last.
INLINE __m128i narrow_words(__m256i words) {
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xD8);
  return _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
}
INLINE void store_bytes(uint8_t *to, vi a) {
  const vi byte = and_i(a, splat_i(0xFF));
  _mm_storeu_si128((__m128i *)to, narrow_words(_mm256_packus_epi32(byte.low, byte.high)));
}
INLINE vi load_bytes(const uint8_t *p) {
  return (vi){_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)),
              _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)))};
}
// 16 codes in the low nibbles, 16 in the high ones.
INLINE void store_nibbles(uint8_t *to, vi low, vi high) {
  const vi shifted = {_mm256_slli_epi32(high.low, 4), _mm256_slli_epi32(high.high, 4)};
  store_bytes(to, or_i(and_i(low, splat_i(15)), shifted));
}
// code * scale of each nibble.
typedef vf nibble_values;
INLINE nibble_values values_of_nibbles(float scale) { return splat_f(scale); }
INLINE __m256i low_nibbles(__m256i a) { return _mm256_srai_epi32(_mm256_slli_epi32(a, 28), 28); }
INLINE void load_nibbles(const uint8_t *p, nibble_values scale, vf *low, vf *high) {
  const vi a = load_bytes(p);
  *low = mul_f(to_float((vi){low_nibbles(a.low), low_nibbles(a.high)}), scale);
  *high = mul_f(to_float((vi){_mm256_srai_epi32(a.low, 4), _mm256_srai_epi32(a.high, 4)}), scale);
}

// Philox: eight counters, each word in the low half of a 64-bit lane, whatever lies above it.
INLINE vi multiply_low_words(vi a, vi b) {
  return (vi){_mm256_mul_epu32(a.low, b.low), _mm256_mul_epu32(a.high, b.high)};
}
INLINE vi upper_words(vi a) { return (vi){_mm256_srli_epi64(a.low, 32), _mm256_srli_epi64(a.high, 32)}; }
INLINE vi xor_3(vi a, vi b, vi c) { return xor_i(xor_i(a, b), c); }
// Counters `start`... in the order in which store_numbers wants them.
INLINE vi eight_counters(uint64_t start) {
  const __m256i s = _mm256_set1_epi64x((int64_t)start);
  return (vi){_mm256_add_epi64(s, _mm256_setr_epi64x(0, 2, 1, 3)), _mm256_add_epi64(s, _mm256_setr_epi64x(4, 6, 5, 7))};
}
INLINE void store_half(uint16_t *to, __m256i w0, __m256i w1, __m256i w2, __m256i w3) {
  const __m256i first = _mm256_blend_epi32(w0, _mm256_slli_epi64(w1, 32), 0xAA);
  const __m256i second = _mm256_blend_epi32(w2, _mm256_slli_epi64(w3, 32), 0xAA);
  _mm256_storeu_si256((__m256i *)to, _mm256_unpacklo_epi64(first, second));
  _mm256_storeu_si256((__m256i *)(to + 16), _mm256_unpackhi_epi64(first, second));
}
// The words of eight counters as 64 numbers of 16 bits, in order.
INLINE void store_numbers(uint16_t *to, vi w0, vi w1, vi w2, vi w3) {
  store_half(to, w0.low, w1.low, w2.low, w3.low);
  store_half(to + 32, w0.high, w1.high, w2.high, w3.high);
}

#endif
