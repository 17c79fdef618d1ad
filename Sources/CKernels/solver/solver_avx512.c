// Rounding with error feedback on AVX-512 (F, BW, VL, DQ): sixteen rows a vector.
#include "solver_plan.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))), apply_to = function)
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };
typedef __m512 vf;
typedef __m512i vi;

INLINE vf load_f(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store_f(float *p, vf a) { _mm512_storeu_ps(p, a); }
INLINE vi load_i(const int32_t *p) { return _mm512_loadu_si512(p); }
INLINE void store_i(int32_t *p, vi a) { _mm512_storeu_si512(p, a); }
INLINE vi load_bytes(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
INLINE void store_bytes(uint8_t *p, vi a) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a)); }
INLINE vf splat_f(float a) { return _mm512_set1_ps(a); }
INLINE vi splat_i(int32_t a) { return _mm512_set1_epi32(a); }
INLINE vi bits_of(vf a) { return _mm512_castps_si512(a); }
INLINE vf float_of(vi a) { return _mm512_castsi512_ps(a); }

INLINE vf add_f(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf sub_f(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf mul_f(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf fma_f(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf min_f(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf max_f(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf round_f(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vi to_int(vf a) { return _mm512_cvtps_epi32(a); }
INLINE vf to_float(vi a) { return _mm512_cvtepi32_ps(a); }

INLINE vi and_i(vi a, vi b) { return _mm512_and_si512(a, b); }
INLINE vi or_i(vi a, vi b) { return _mm512_or_si512(a, b); }
INLINE vi add_i(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi sub_i(vi a, vi b) { return _mm512_sub_epi32(a, b); }
INLINE vi min_i(vi a, vi b) { return _mm512_min_epi32(a, b); }
INLINE vi max_i(vi a, vi b) { return _mm512_max_epi32(a, b); }
INLINE vi shift_left(vi a, int32_t count) { return _mm512_sllv_epi32(a, splat_i(count)); }
INLINE vi shift_right(vi a, int32_t count) { return _mm512_srlv_epi32(a, splat_i(count)); }
INLINE vi select_equal(vi a, vi b, vi equal, vi otherwise) {
  return _mm512_mask_blend_epi32(_mm512_cmpeq_epi32_mask(a, b), otherwise, equal);
}
INLINE vi select_above(vi a, vi b, vi above, vi otherwise) {
  return _mm512_mask_blend_epi32(_mm512_cmpgt_epi32_mask(a, b), otherwise, above);
}

#include "solver_lanes.h"
#include "solver_targets.h"

#pragma clang attribute pop

const ck_solver_table ck_solver_avx512 = {choose_scales, round_columns, sweep, sweep_targets};
