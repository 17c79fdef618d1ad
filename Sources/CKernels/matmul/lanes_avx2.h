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

INLINE void write(const bool whole, float *p, vf x, int64_t count, bool accumulate) {
  if (whole) {
    _mm256_storeu_ps(p, x);
  } else if (count >= LANES) {
    _mm256_storeu_ps(p, accumulate ? _mm256_add_ps(_mm256_loadu_ps(p), x) : x);
  } else if (count > 0) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), lane);
    if (accumulate) x = _mm256_add_ps(_mm256_maskload_ps(p, mask), x);
    _mm256_maskstore_ps(p, mask, x);
  }
}

INLINE void store_i(uint8_t *p, vi x) { _mm256_storeu_si256((__m256i *)p, x); }
INLINE vi splat_b(int x) { return _mm256_set1_epi8((char)x); }
INLINE vi splat_16(const int8_t *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)); }
INLINE vi xor_b(vi a, vi b) { return _mm256_xor_si256(a, b); }
INLINE vi or_b(vi a, vi b) { return _mm256_or_si256(a, b); }
INLINE vi largest_b(vi a, vi b) { return _mm256_max_epi8(a, b); }
INLINE vi plus_saturated_b(vi a, vi b) { return _mm256_adds_epu8(a, b); }
INLINE vi shuffle_b(vi entries, vi index) { return _mm256_shuffle_epi8(entries, index); }
INLINE vi low_dwords(vi a, vi b) { return _mm256_unpacklo_epi32(a, b); }
INLINE vi high_dwords(vi a, vi b) { return _mm256_unpackhi_epi32(a, b); }
INLINE vi low_qwords(vi a, vi b) { return _mm256_unpacklo_epi64(a, b); }
INLINE vi high_qwords(vi a, vi b) { return _mm256_unpackhi_epi64(a, b); }
INLINE vi add_bytes(vi sums, vi x) { return _mm256_add_epi16(sums, _mm256_maddubs_epi16(_mm256_set1_epi8(1), x)); }
INLINE vi add_words(vi sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

INLINE vi load_pieces(const uint8_t *p, int64_t step) {
  return _mm256_loadu2_m128i((const __m128i *)(p + step), (const __m128i *)p);
}
INLINE vi load_columns(const uint8_t *p, int64_t stride) {
  const __m128i first = _mm_unpacklo_epi64(_mm_loadu_si64(p), _mm_loadu_si64(p + stride));
  const __m128i last = _mm_unpacklo_epi64(_mm_loadu_si64(p + 2 * stride), _mm_loadu_si64(p + 3 * stride));
  const vi dwords = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
  const vi bytes = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return shuffle_b(_mm256_permutevar8x32_epi32(_mm256_set_m128i(last, first), dwords), bytes);
}
