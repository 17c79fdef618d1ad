// Four products of a right byte (unsigned) and a left byte (signed) added to each int32 lane: one VPDPBUSD.
typedef vi right4;
typedef vi left4;

INLINE right4 load_right4(const uint8_t *p) { return load_i(p); }
INLINE left4 splat_left4(const uint8_t *p) { return splat_group(p); }
INLINE vi dot4(vi sum, right4 r, left4 l) { return _mm512_dpbusd_epi32(sum, r, l); }
