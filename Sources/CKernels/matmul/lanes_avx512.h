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

// p[0 ..< count] = x, or += x.
INLINE void write(float *p, vf x, int64_t count, bool accumulate) {
  if (count >= LANES) {
    _mm512_storeu_ps(p, accumulate ? _mm512_add_ps(_mm512_loadu_ps(p), x) : x);
  } else if (count > 0) {
    const __mmask16 mask = (__mmask16)((1u << count) - 1);
    if (accumulate) x = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, p), x);
    _mm512_mask_storeu_ps(p, mask, x);
  }
}
