// The block codec on AVX-512 (F, BW, VL, DQ): a block is two vectors of floats, two blocks are one vector of codes.
#include "../ck_strict.h"
#include <immintrin.h>

#include "codec_plan.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16, BYTES = 64 };
typedef __m512 vf;
typedef __m512i vi;
typedef __m512i vb;

INLINE vf load_f(const float *x) { return _mm512_loadu_ps(x); }
INLINE void store_f(float *y, vf a) { _mm512_storeu_ps(y, a); }
INLINE vf splat_f(float a) { return _mm512_set1_ps(a); }
INLINE vi splat_i(int32_t a) { return _mm512_set1_epi32(a); }
INLINE vi bits_of(vf a) { return _mm512_castps_si512(a); }
INLINE vf float_of(vi a) { return _mm512_castsi512_ps(a); }

INLINE vf add_f(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf mul_f(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vi round_to_int(vf a) { return _mm512_cvt_roundps_epi32(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf to_float(vi a) { return _mm512_cvtepi32_ps(a); }

INLINE vi and_i(vi a, vi b) { return _mm512_and_si512(a, b); }
INLINE vi or_i(vi a, vi b) { return _mm512_or_si512(a, b); }
INLINE vi add_i(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi sub_i(vi a, vi b) { return _mm512_sub_epi32(a, b); }
INLINE vi min_i(vi a, vi b) { return _mm512_min_epi32(a, b); }
INLINE vi max_i(vi a, vi b) { return _mm512_max_epi32(a, b); }
INLINE vi shift_left(vi a, int32_t count) { return _mm512_sllv_epi32(a, splat_i(count)); }
INLINE vi shift_right(vi a, int32_t count) { return _mm512_srlv_epi32(a, splat_i(count)); }

INLINE vf select_below(vi a, vi b, vf below, vf otherwise) {
  return _mm512_mask_blend_ps(_mm512_cmplt_epi32_mask(a, b), otherwise, below);
}
INLINE bool any_above(vi a, vi b) { return _mm512_cmpgt_epi32_mask(a, b) != 0; }
INLINE bool any_nonzero(vi a) { return _mm512_test_epi32_mask(a, a) != 0; }
INLINE int32_t horizontal_max(vi a) { return _mm512_reduce_max_epi32(a); }

INLINE void store_codes(uint8_t *codes, const vi block[2]) {
  _mm_storeu_si128((__m128i *)codes, _mm512_cvtepi32_epi8(block[0]));
  _mm_storeu_si128((__m128i *)(codes + 16), _mm512_cvtepi32_epi8(block[1]));
}
INLINE void load_codes(const uint8_t *codes, const bool is_float, vi block[2]) {
  for (int i = 0; i < 2; i++) {
    const __m128i narrow = _mm_loadu_si128((const __m128i *)(codes + i * 16));
    block[i] = is_float ? _mm512_cvtepu8_epi32(narrow) : _mm512_cvtepi8_epi32(narrow);
  }
}

INLINE vb load_b(const uint8_t *codes) { return _mm512_loadu_si512(codes); }
INLINE void store_b(uint8_t *codes, vb a) { _mm512_storeu_si512(codes, a); }
INLINE vb splat_16(const uint8_t *entries) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)entries));
}
INLINE vb xor_b(vb a, vb b) { return _mm512_xor_si512(a, b); }
INLINE vb flip_sign(vb a) { return _mm512_xor_si512(a, _mm512_set1_epi8((char)0x80)); }
INLINE vb subtract_16(vb a) { return _mm512_subs_epi8(a, _mm512_set1_epi8(16)); }
INLINE vb shuffle_b(vb entries, vb index) { return _mm512_shuffle_epi8(entries, index); }
INLINE uint64_t nonzero_bytes(vb a, uint8_t mask) { return _mm512_test_epi8_mask(a, _mm512_set1_epi8((char)mask)); }

#include "codec_vector.h"

#pragma clang attribute pop

const ck_codec_table ck_codec_avx512 = {quantize, dequantize, slice, round_trip, clip_gradient};
