// Eight lanes in one ymm register: a panel of the right operand is two vectors. The same names over zmm:
// lanes_avx512.h.
#define INLINE static inline __attribute__((always_inline))

typedef __m256 vf;
typedef __m256i vi;
enum { LANES = 8 };

INLINE vi load_i(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE vi splat_i(int32_t x) { return _mm256_set1_epi32(x); }
INLINE vi splat_group(const uint8_t *p) {
  int32_t x;
  memcpy(&x, p, sizeof x);
  return _mm256_set1_epi32(x);
}
INLINE vf splat_f(float x) { return _mm256_set1_ps(x); }
INLINE vf load_f(const float *p) { return _mm256_loadu_ps(p); }
INLINE vf to_float(vi x) { return _mm256_cvtepi32_ps(x); }
INLINE vf times(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vf times_plus(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vi bits_of(vf a) { return _mm256_castps_si256(a); }
INLINE vf float_of(vi a) { return _mm256_castsi256_ps(a); }
INLINE vi plus_i(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi offset_of(vi x) { return _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(x, 7)); }

INLINE void write(float *p, vf x, int64_t count, bool accumulate) {
  if (count >= LANES) {
    _mm256_storeu_ps(p, accumulate ? _mm256_add_ps(_mm256_loadu_ps(p), x) : x);
  } else if (count > 0) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), lane);
    if (accumulate) x = _mm256_add_ps(_mm256_maskload_ps(p, mask), x);
    _mm256_maskstore_ps(p, mask, x);
  }
}
