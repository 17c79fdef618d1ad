// Four products of a right byte (unsigned) and a left byte (signed) added to each int32 lane, without VNNI: bytes at
// even and at odd places widened to 16 bits, VPMADDWD for each. Exact at every magnitude, which VPMADDUBSW is not: it
// saturates the sum of two products to 16 bits.
typedef struct pairs { vi even, odd; } right4;
typedef right4 left4;

#if CK_ZMM
#define WORDS(name) _mm512_##name
INLINE vi low_bytes(vi x) { return _mm512_and_si512(x, _mm512_set1_epi16(0xFF)); }
#else
#define WORDS(name) _mm256_##name
INLINE vi low_bytes(vi x) { return _mm256_and_si256(x, _mm256_set1_epi16(0xFF)); }
#endif

INLINE right4 load_right4(const uint8_t *p) {
  const vi x = load_i(p);
  return (right4){low_bytes(x), WORDS(srli_epi16)(x, 8)};
}
INLINE left4 splat_left4(const uint8_t *p) {
  const vi x = splat_group(p);
  return (left4){WORDS(srai_epi16)(WORDS(slli_epi16)(x, 8), 8), WORDS(srai_epi16)(x, 8)};
}
INLINE vi dot4(vi sum, right4 r, left4 l) {
  return plus_i(plus_i(sum, WORDS(madd_epi16)(r.even, l.even)), WORDS(madd_epi16)(r.odd, l.odd));
}
#undef WORDS
