// Sixteen floats in one zmm register. The same names over two ymm registers: lanes_avx2.h.
#ifndef CK_LANES_AVX512_H
#define CK_LANES_AVX512_H

#define INLINE static inline __attribute__((always_inline))

typedef __m512 lanes;  // 16 floats
typedef __m512d wide;  // 8 doubles

enum { LANES = 16 };
// The tile of a product that 32 registers hold.
#define PRODUCT_ROWS 8
#define PRODUCT_LANES 3

INLINE __mmask16 first(int64_t count) { return (__mmask16)((1u << count) - 1); }

INLINE lanes splat(float x) { return _mm512_set1_ps(x); }
// The first `count` elements, zeros behind them; memory behind them is not touched.
INLINE lanes load(const float *p, int64_t count) {
  return count >= LANES ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(first(count), p);
}
INLINE void store(float *p, lanes x, int64_t count) {
  if (count >= LANES) _mm512_storeu_ps(p, x);
  else _mm512_mask_storeu_ps(p, first(count), x);
}
// x with `filler` in the lanes from `count` on.
INLINE lanes pad(lanes x, int64_t count, float filler) {
  return count >= LANES ? x : _mm512_mask_mov_ps(splat(filler), first(count), x);
}

// x with `filler` in the lanes below `count`.
INLINE lanes pad_front(lanes x, int64_t count, float filler) {
  return _mm512_mask_mov_ps(x, first(count), splat(filler));
}

INLINE lanes plus(lanes a, lanes b) { return _mm512_add_ps(a, b); }
INLINE lanes minus(lanes a, lanes b) { return _mm512_sub_ps(a, b); }
INLINE lanes times(lanes a, lanes b) { return _mm512_mul_ps(a, b); }
INLINE lanes over(lanes a, lanes b) { return _mm512_div_ps(a, b); }
INLINE lanes root(lanes a) { return _mm512_sqrt_ps(a); }
INLINE lanes times_plus(lanes a, lanes b, lanes c) { return _mm512_fmadd_ps(a, b, c); }  // a * b + c, one rounding
// b where either is NaN.
INLINE lanes larger(lanes a, lanes b) { return _mm512_max_ps(a, b); }
INLINE lanes smaller(lanes a, lanes b) { return _mm512_min_ps(a, b); }

INLINE lanes minus_magnitude(lanes a) { return _mm512_or_ps(a, splat(-0.0f)); }
// `negative` where the sign bit of x is set, else `other`.
INLINE lanes by_sign(lanes x, lanes negative, lanes other) {
  return _mm512_mask_mov_ps(other, _mm512_movepi32_mask(_mm512_castps_si512(x)), negative);
}
// One bit per lane where a == b, lane 0 lowest.
INLINE uint32_t equal(lanes a, lanes b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }

// p * 2^n with one rounding, also into the subnormals. `n` integral; `shifted` = n + 1.5 * 2^23, unused here.
INLINE lanes times_power_of_two(lanes p, lanes n, lanes shifted) {
  (void)shifted;
  return _mm512_scalef_ps(p, n);
}

INLINE wide wide_zero(void) { return _mm512_setzero_pd(); }
INLINE wide low_half(lanes x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
INLINE wide high_half(lanes x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }
INLINE wide wide_plus(wide a, wide b) { return _mm512_add_pd(a, b); }
INLINE wide wide_times(wide a, wide b) { return _mm512_mul_pd(a, b); }

// The two halves that the trees of trees.h start from.
INLINE __m256 low_lanes(lanes x) { return _mm512_castps512_ps256(x); }
INLINE __m256 high_lanes(lanes x) { return _mm512_extractf32x8_ps(x, 1); }
INLINE __m256d low_wide(wide x) { return _mm512_castpd512_pd256(x); }
INLINE __m256d high_wide(wide x) { return _mm512_extractf64x4_pd(x, 1); }

#endif
