// Two products of bf16 added to each fp32 lane, the odd element first: two fused multiply-adds, since the product
// of two bf16 is exact. Subnormal sums stay.
typedef struct halves { vf even, odd; } right2;
typedef right2 left2;

#if CK_ZMM
INLINE right2 widen2(vi x) {
  return (right2){_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
                  _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32((int32_t)0xFFFF0000)))};
}
#else
INLINE right2 widen2(vi x) {
  return (right2){_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)),
                  _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32((int32_t)0xFFFF0000)))};
}
#endif
INLINE right2 load_right2(const uint8_t *p) { return widen2(load_i(p)); }
INLINE left2 splat_left2(const uint8_t *p) { return widen2(splat_group(p)); }
INLINE vf dot2(vf sum, right2 r, left2 l) { return times_plus(l.even, r.even, times_plus(l.odd, r.odd, sum)); }
