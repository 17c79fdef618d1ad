// Sums across lanes, in a fixed tree: lanes i and i + 8 first, then i and i + 4, i + 2, i + 1.

INLINE float lanes_sum(lanes x) {
  const __m256 eight = _mm256_add_ps(low_lanes(x), high_lanes(x));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

INLINE float lanes_largest(lanes x) {
  const __m256 eight = _mm256_max_ps(low_lanes(x), high_lanes(x));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

INLINE double wide_sum(wide x) {
  const __m256d four = _mm256_add_pd(low_wide(x), high_wide(x));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// A long sum: 16 float lanes for at most CHUNK elements at a time, folded into 16 double lanes.
enum { CHUNK = 512 };

typedef struct long_sum { wide low, high; } long_sum;

INLINE long_sum long_zero(void) { return (long_sum){wide_zero(), wide_zero()}; }
INLINE void long_add(long_sum *sum, lanes chunk) {
  sum->low = wide_plus(sum->low, low_half(chunk));
  sum->high = wide_plus(sum->high, high_half(chunk));
}
INLINE double long_total(const long_sum *sum) { return wide_sum(wide_plus(sum->low, sum->high)); }
