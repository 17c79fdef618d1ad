// The block codec on AVX2: a block is four vectors of floats or one of codes.
#include "../ck_strict.h"
#include <immintrin.h>

#include "codec_plan.h"

#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8, BYTES = 32 };
typedef __m256 vf;
typedef __m256i vi;
typedef __m256i vb;

INLINE vf load_f(const float *x) { return _mm256_loadu_ps(x); }
INLINE void store_f(float *y, vf a) { _mm256_storeu_ps(y, a); }
INLINE vf splat_f(float a) { return _mm256_set1_ps(a); }
INLINE vi splat_i(int32_t a) { return _mm256_set1_epi32(a); }
INLINE vi bits_of(vf a) { return _mm256_castps_si256(a); }
INLINE vf float_of(vi a) { return _mm256_castsi256_ps(a); }

INLINE vf add_f(vf a, vf b) { return _mm256_add_ps(a, b); }
INLINE vf mul_f(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vi round_to_int(vf a) { return _mm256_cvtps_epi32(a); }
INLINE vf to_float(vi a) { return _mm256_cvtepi32_ps(a); }

INLINE vi and_i(vi a, vi b) { return _mm256_and_si256(a, b); }
INLINE vi or_i(vi a, vi b) { return _mm256_or_si256(a, b); }
INLINE vi add_i(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi sub_i(vi a, vi b) { return _mm256_sub_epi32(a, b); }
INLINE vi min_i(vi a, vi b) { return _mm256_min_epi32(a, b); }
INLINE vi max_i(vi a, vi b) { return _mm256_max_epi32(a, b); }
INLINE vi shift_left(vi a, int32_t count) { return _mm256_sllv_epi32(a, splat_i(count)); }
INLINE vi shift_right(vi a, int32_t count) { return _mm256_srlv_epi32(a, splat_i(count)); }

INLINE vf select_below(vi a, vi b, vf below, vf otherwise) {
  return _mm256_blendv_ps(otherwise, below, float_of(_mm256_cmpgt_epi32(b, a)));
}
INLINE bool any_above(vi a, vi b) { return _mm256_movemask_ps(float_of(_mm256_cmpgt_epi32(a, b))) != 0; }
INLINE bool any_nonzero(vi a) { return !_mm256_testz_si256(a, a); }
INLINE int32_t horizontal_max(vi a) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtsi128_si32(m);
}

// Codes keep their low byte: packing saturates, so the sign extension of MXINT is masked away first.
INLINE void store_codes(uint8_t *codes, const vi block[4]) {
  const vi low = splat_i(0xFF);
  const vi first = _mm256_packus_epi32(and_i(block[0], low), and_i(block[1], low));
  const vi second = _mm256_packus_epi32(and_i(block[2], low), and_i(block[3], low));
  const vi packed = _mm256_packus_epi16(first, second);
  // Packing works within 128-bit halves: groups of four codes come out as 0 2 4 6 1 3 5 7.
  const vi order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256((__m256i *)codes, _mm256_permutevar8x32_epi32(packed, order));
}
INLINE void load_codes(const uint8_t *codes, const bool is_float, vi block[4]) {
  for (int i = 0; i < 4; i++) {
    const __m128i narrow = _mm_loadl_epi64((const __m128i *)(codes + i * 8));
    block[i] = is_float ? _mm256_cvtepu8_epi32(narrow) : _mm256_cvtepi8_epi32(narrow);
  }
}

INLINE vb load_b(const uint8_t *codes) { return _mm256_loadu_si256((const __m256i *)codes); }
INLINE void store_b(uint8_t *codes, vb a) { _mm256_storeu_si256((__m256i *)codes, a); }
INLINE vb splat_16(const uint8_t *entries) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)entries));
}
INLINE vb xor_b(vb a, vb b) { return _mm256_xor_si256(a, b); }
INLINE vb flip_sign(vb a) { return _mm256_xor_si256(a, _mm256_set1_epi8((char)0x80)); }
INLINE vb subtract_16(vb a) { return _mm256_subs_epi8(a, _mm256_set1_epi8(16)); }
INLINE vb shuffle_b(vb entries, vb index) { return _mm256_shuffle_epi8(entries, index); }
INLINE uint64_t nonzero_bytes(vb a, uint8_t mask) {
  const vi zero = _mm256_cmpeq_epi8(and_i(a, _mm256_set1_epi8((char)mask)), _mm256_setzero_si256());
  return ~(uint32_t)_mm256_movemask_epi8(zero);
}

#include "codec_vector.h"

#pragma clang attribute pop

const ck_codec_table ck_codec_avx2 = {quantize, dequantize, slice, round_trip, clip_gradient};
