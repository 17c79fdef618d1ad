// Sixteen floats in two ymm registers, operation by operation what lanes_avx512.h does in one zmm: the code over them
// is written once and gives the same bits on both.
#ifndef CK_LANES_AVX2_H
#define CK_LANES_AVX2_H

#define INLINE static inline __attribute__((always_inline))

typedef struct lanes { __m256 low, high; } lanes;   // 16 floats
typedef struct wide { __m256d low, high; } wide;    // 8 doubles

enum { LANES = 16 };
// The tile of a product that 16 registers hold.
#define PRODUCT_ROWS 4
#define PRODUCT_LANES 1

static const int32_t mask_window[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

INLINE __m256i first_low(int64_t count) { return _mm256_loadu_si256((const __m256i *)(mask_window + 16 - count)); }
INLINE __m256i first_high(int64_t count) { return _mm256_loadu_si256((const __m256i *)(mask_window + 24 - count)); }

INLINE lanes splat(float x) { return (lanes){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
// The first `count` elements, zeros behind them; memory behind them is not touched.
INLINE lanes load(const float *p, int64_t count) {
  if (count >= LANES) return (lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
  return (lanes){_mm256_maskload_ps(p, first_low(count)), _mm256_maskload_ps(p + 8, first_high(count))};
}
INLINE void store(float *p, lanes x, int64_t count) {
  if (count >= LANES) {
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
  } else {
    _mm256_maskstore_ps(p, first_low(count), x.low);
    _mm256_maskstore_ps(p + 8, first_high(count), x.high);
  }
}
// x with `filler` in the lanes from `count` on.
INLINE lanes pad(lanes x, int64_t count, float filler) {
  if (count >= LANES) return x;
  const __m256 f = _mm256_set1_ps(filler);
  return (lanes){_mm256_blendv_ps(f, x.low, _mm256_castsi256_ps(first_low(count))),
                 _mm256_blendv_ps(f, x.high, _mm256_castsi256_ps(first_high(count)))};
}

// x with `filler` in the lanes below `count`.
INLINE lanes pad_front(lanes x, int64_t count, float filler) {
  const __m256 f = _mm256_set1_ps(filler);
  return (lanes){_mm256_blendv_ps(x.low, f, _mm256_castsi256_ps(first_low(count))),
                 _mm256_blendv_ps(x.high, f, _mm256_castsi256_ps(first_high(count)))};
}

#define CK_BINARY(name, operation) \
  INLINE lanes name(lanes a, lanes b) { return (lanes){operation(a.low, b.low), operation(a.high, b.high)}; }
CK_BINARY(plus, _mm256_add_ps)
CK_BINARY(minus, _mm256_sub_ps)
CK_BINARY(times, _mm256_mul_ps)
CK_BINARY(over, _mm256_div_ps)
// b where either is NaN.
CK_BINARY(larger, _mm256_max_ps)
CK_BINARY(smaller, _mm256_min_ps)
#undef CK_BINARY

INLINE lanes root(lanes a) { return (lanes){_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }
INLINE lanes times_plus(lanes a, lanes b, lanes c) {  // a * b + c, one rounding
  return (lanes){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

INLINE lanes minus_magnitude(lanes a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return (lanes){_mm256_or_ps(a.low, sign), _mm256_or_ps(a.high, sign)};
}
// `negative` where the sign bit of x is set, else `other`.
INLINE lanes by_sign(lanes x, lanes negative, lanes other) {
  return (lanes){_mm256_blendv_ps(other.low, negative.low, x.low), _mm256_blendv_ps(other.high, negative.high, x.high)};
}
// One bit per lane where a == b, lane 0 lowest.
INLINE uint32_t equal(lanes a, lanes b) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ));
  return (uint32_t)low | (uint32_t)high << 8;
}

// p * 2^n in two steps, 2^(n >> 1) first: p near 1 stays normal after it, so only the second product rounds.
INLINE __m256 half_times_power_of_two(__m256 p, __m256 shifted) {
  const __m256i n = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(0x4B400000));
  const __m256i n1 = _mm256_srai_epi32(n, 1), n2 = _mm256_sub_epi32(n, n1), bias = _mm256_set1_epi32(127);
  const __m256 power1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n1, bias), 23));
  const __m256 power2 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n2, bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(p, power1), power2);
}
// p * 2^n with one rounding, also into the subnormals; 0.5 < p < 2, |n| < 200. `shifted` = n + 1.5 * 2^23, whose low
// bits are the integer.
INLINE lanes times_power_of_two(lanes p, lanes n, lanes shifted) {
  (void)n;
  return (lanes){half_times_power_of_two(p.low, shifted.low), half_times_power_of_two(p.high, shifted.high)};
}

INLINE wide wide_widen(__m256 x) {
  return (wide){_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}
INLINE wide wide_zero(void) { return (wide){_mm256_setzero_pd(), _mm256_setzero_pd()}; }
INLINE wide low_half(lanes x) { return wide_widen(x.low); }
INLINE wide high_half(lanes x) { return wide_widen(x.high); }
INLINE wide wide_plus(wide a, wide b) { return (wide){_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)}; }
INLINE wide wide_times(wide a, wide b) { return (wide){_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)}; }

// The two halves that the trees of trees.h start from.
INLINE __m256 low_lanes(lanes x) { return x.low; }
INLINE __m256 high_lanes(lanes x) { return x.high; }
INLINE __m256d low_wide(wide x) { return x.low; }
INLINE __m256d high_wide(wide x) { return x.high; }

#endif
