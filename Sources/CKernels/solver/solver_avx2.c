// Rounding with error feedback on AVX2 and FMA: eight rows a vector.
#include "solver_plan.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8 };
typedef __m256 vf;
typedef __m256i vi;

INLINE vf load_f(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store_f(float *p, vf a) { _mm256_storeu_ps(p, a); }
INLINE vi load_i(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE void store_i(int32_t *p, vi a) { _mm256_storeu_si256((__m256i *)p, a); }
INLINE vi load_bytes(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
// The low byte of every lane: four of each half, then both fours side by side.
INLINE void store_bytes(uint8_t *p, vi a) {
  const vi low = _mm256_shuffle_epi8(
      a, _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1,
                          -1, -1, -1, -1, -1, -1, -1));
  _mm_storel_epi64((__m128i *)p,
                   _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}
INLINE vf splat_f(float a) { return _mm256_set1_ps(a); }
INLINE vi splat_i(int32_t a) { return _mm256_set1_epi32(a); }
INLINE vi bits_of(vf a) { return _mm256_castps_si256(a); }
INLINE vf float_of(vi a) { return _mm256_castsi256_ps(a); }

INLINE vf add_f(vf a, vf b) { return _mm256_add_ps(a, b); }
INLINE vf sub_f(vf a, vf b) { return _mm256_sub_ps(a, b); }
INLINE vf mul_f(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vf fma_f(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf min_f(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf max_f(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf round_f(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vi to_int(vf a) { return _mm256_cvtps_epi32(a); }
INLINE vf to_float(vi a) { return _mm256_cvtepi32_ps(a); }

INLINE vi and_i(vi a, vi b) { return _mm256_and_si256(a, b); }
INLINE vi or_i(vi a, vi b) { return _mm256_or_si256(a, b); }
INLINE vi add_i(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi sub_i(vi a, vi b) { return _mm256_sub_epi32(a, b); }
INLINE vi min_i(vi a, vi b) { return _mm256_min_epi32(a, b); }
INLINE vi max_i(vi a, vi b) { return _mm256_max_epi32(a, b); }
INLINE vi shift_left(vi a, int32_t count) { return _mm256_sllv_epi32(a, splat_i(count)); }
INLINE vi shift_right(vi a, int32_t count) { return _mm256_srlv_epi32(a, splat_i(count)); }
INLINE vi select_equal(vi a, vi b, vi equal, vi otherwise) {
  return _mm256_blendv_epi8(otherwise, equal, _mm256_cmpeq_epi32(a, b));
}
INLINE vi select_above(vi a, vi b, vi above, vi otherwise) {
  return _mm256_blendv_epi8(otherwise, above, _mm256_cmpgt_epi32(a, b));
}

#include "solver_lanes.h"
#include "solver_targets.h"

#pragma clang attribute pop

const ck_solver_table ck_solver_avx2 = {choose_scales, round_columns, sweep, sweep_targets};
