// Sixteen lanes in one zmm register: a panel of the right operand is one vector. What is special to a table, the dot
// products of bytes (`dot4`) and of bf16 pairs (`dot2`), is in dot_*.h.
#define INLINE static inline __attribute__((always_inline))

typedef __m512 vf;
typedef __m512i vi;
enum { LANES = 16 };

INLINE vi load_i(const uint8_t *p) { return _mm512_loadu_si512(p); }
INLINE vi splat_i(int32_t x) { return _mm512_set1_epi32(x); }
INLINE vi splat_group(const uint8_t *p) {  // four bytes
  int32_t x;
  memcpy(&x, p, sizeof x);
  return _mm512_set1_epi32(x);
}
INLINE vf splat_f(float x) { return _mm512_set1_ps(x); }
INLINE vf load_f(const float *p) { return _mm512_loadu_ps(p); }
INLINE vf to_float(vi x) { return _mm512_cvtepi32_ps(x); }
INLINE vf times(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf times_plus(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vi bits_of(vf a) { return _mm512_castps_si512(a); }
INLINE vf float_of(vi a) { return _mm512_castsi512_ps(a); }
INLINE vi plus_i(vi a, vi b) { return _mm512_add_epi32(a, b); }
// -128 * x.
INLINE vi offset_of(vi x) { return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(x, 7)); }

// p[0 ..< count] = x, or += x. `whole`: = x, all lanes.
INLINE void write(const bool whole, float *p, vf x, int64_t count, bool accumulate) {
  if (whole) {
    _mm512_storeu_ps(p, x);
  } else if (count >= LANES) {
    _mm512_storeu_ps(p, accumulate ? _mm512_add_ps(_mm512_loadu_ps(p), x) : x);
  } else if (count > 0) {
    const __mmask16 mask = (__mmask16)((1u << count) - 1);
    if (accumulate) x = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, p), x);
    _mm512_mask_storeu_ps(p, mask, x);
  }
}

// For packing: bytes, in 128-bit pieces.
INLINE void store_i(uint8_t *p, vi x) { _mm512_storeu_si512(p, x); }
INLINE vi splat_b(int x) { return _mm512_set1_epi8((char)x); }
INLINE vi splat_16(const int8_t *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); }
INLINE vi xor_b(vi a, vi b) { return _mm512_xor_si512(a, b); }
INLINE vi or_b(vi a, vi b) { return _mm512_or_si512(a, b); }
INLINE vi largest_b(vi a, vi b) { return _mm512_max_epi8(a, b); }
INLINE vi plus_saturated_b(vi a, vi b) { return _mm512_adds_epu8(a, b); }
INLINE vi shuffle_b(vi entries, vi index) { return _mm512_shuffle_epi8(entries, index); }
INLINE vi low_dwords(vi a, vi b) { return _mm512_unpacklo_epi32(a, b); }
INLINE vi high_dwords(vi a, vi b) { return _mm512_unpackhi_epi32(a, b); }
INLINE vi low_qwords(vi a, vi b) { return _mm512_unpacklo_epi64(a, b); }
INLINE vi high_qwords(vi a, vi b) { return _mm512_unpackhi_epi64(a, b); }
// Signed bytes added in pairs to 16-bit sums, and those in pairs to the 32 bits of each lane.
INLINE vi add_bytes(vi sums, vi x) { return _mm512_add_epi16(sums, _mm512_maddubs_epi16(_mm512_set1_epi8(1), x)); }
INLINE vi add_words(vi sums) { return _mm512_madd_epi16(sums, _mm512_set1_epi16(1)); }

// Piece i from p + i * step.
INLINE vi load_pieces(const uint8_t *p, int64_t step) {
  vi x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
  x = _mm512_mask_broadcast_i32x4(x, 0x00F0, _mm_loadu_si128((const __m128i *)(p + step)));
  x = _mm512_mask_broadcast_i32x4(x, 0x0F00, _mm_loadu_si128((const __m128i *)(p + 2 * step)));
  return _mm512_mask_broadcast_i32x4(x, 0xF000, _mm_loadu_si128((const __m128i *)(p + 3 * step)));
}
// LANES columns of four rows: lane i has the bytes of column i.
INLINE vi load_columns(const uint8_t *p, int64_t stride) {
  const vi dwords = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const vi bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return shuffle_b(_mm512_permutexvar_epi32(dwords, load_pieces(p, stride)), bytes);
}
