// What the wire needs of zmm registers beyond the lanes of the panels.
#ifndef CK_WIRE_LANES_AVX512_H
#define CK_WIRE_LANES_AVX512_H

#include "../panels/lanes_avx512.h"

INLINE vi shift_right_16_signed(vi a) { return _mm512_srai_epi32(a, 16); }
INLINE vi shift_left_16(vi a) { return _mm512_slli_epi32(a, 16); }

// 16 codes from or to 16 bytes.
INLINE void store_bytes(uint8_t *to, vi a) { _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8(a)); }
INLINE vi load_bytes(const uint8_t *p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)); }
// 16 codes in the low nibbles, 16 in the high ones.
INLINE void store_nibbles(uint8_t *to, vi low, vi high) {
  store_bytes(to, _mm512_ternarylogic_epi32(low, splat_i(15), _mm512_slli_epi32(high, 4), 0xEA));  // (low & 15) | high
}
// code * scale of each nibble. A product for each of the 16 codes, made once a group, and a permutation that picks.
typedef vf nibble_values;
INLINE nibble_values values_of_nibbles(float scale) {
  const vf codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
  return mul_f(codes, splat_f(scale));
}
INLINE void load_nibbles(const uint8_t *p, nibble_values values, vf *low, vf *high) {
  const vi a = load_bytes(p);
  *low = _mm512_permutexvar_ps(a, values);
  *high = _mm512_permutexvar_ps(_mm512_srli_epi32(a, 4), values);
}

// Philox: eight counters, each word in the low half of a 64-bit lane, whatever lies above it.
INLINE vi multiply_low_words(vi a, vi b) { return _mm512_mul_epu32(a, b); }
INLINE vi upper_words(vi a) { return _mm512_srli_epi64(a, 32); }
INLINE vi xor_3(vi a, vi b, vi c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
// Counters `start`... in the order in which store_numbers wants them.
INLINE vi eight_counters(uint64_t start) {
  return _mm512_add_epi64(_mm512_set1_epi64((int64_t)start), _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
}
// The words of eight counters as 64 numbers of 16 bits, in order.
INLINE void store_numbers(uint16_t *to, vi w0, vi w1, vi w2, vi w3) {
  const vi first = _mm512_mask_shuffle_epi32(w0, 0xAAAA, w1, 0xA0);
  const vi second = _mm512_mask_shuffle_epi32(w2, 0xAAAA, w3, 0xA0);
  store_i(to, _mm512_unpacklo_epi64(first, second));
  store_i(to + 32, _mm512_unpackhi_epi64(first, second));
}

#endif
