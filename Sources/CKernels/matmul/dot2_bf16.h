// Two products of bf16 added to each fp32 lane, the odd element first: one VDPBF16PS.
typedef vi right2;
typedef vi left2;

INLINE right2 load_right2(const uint8_t *p) { return load_i(p); }
INLINE left2 splat_left2(const uint8_t *p) { return splat_group(p); }
INLINE vf dot2(vf sum, right2 r, left2 l) { return _mm512_dpbf16_ps(sum, (__m512bh)l, (__m512bh)r); }
