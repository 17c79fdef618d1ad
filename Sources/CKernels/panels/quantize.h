// Quantization of rotated vectors into panels, sixteen vectors at a time.
#ifndef CK_PANELS_QUANTIZE_H
#define CK_PANELS_QUANTIZE_H

// One call of an entry, ready for use.
typedef struct packing {
  const ck_quantizer *quantizer;
  ck_vectors v;
  ck_side side;
  ck_carried carried;
  rotate_function *rotate;
  int64_t padded;  // depth
  int32_t unit;
  uint8_t *codes;  // of the panel in work, from here on
  int32_t *sums;
  float *scales;
} packing;

// How a number becomes an integer.
typedef enum grid {
  GRID_VECTOR,   // steps of 1, nothing beyond 127
  GRID_LIMITED,  // steps of 1, limited to 127
  GRID_INTEGER,  // MXINT
  GRID_FLOAT,    // MXFP: steps that grow with the number
} grid;

INLINE vi encode(const grid kind, const bool stochastic, vf y, vf factor, vf u, int32_t mantissa_bits) {
  vf value = mul_f(y, factor);
  if (kind == GRID_LIMITED) value = min_f(max_f(value, splat_f(-127)), splat_f(127));
  if (kind != GRID_FLOAT) return stochastic ? to_lower(add_f(value, u)) : to_nearest(value);
  // The power of two at or below the number, at least the first one whose step is 1.
  const vi exponent = splat_i((int32_t)CK_INFINITY_BITS);
  const vi power = max_i(and_i(bits_of(value), exponent), splat_i((mantissa_bits + 127) << 23));
  if (stochastic) {
    const vf inverse_step = float_of(sub_i(splat_i((254 + mantissa_bits) << 23), power));
    const vf step = float_of(sub_i(power, splat_i(mantissa_bits << 23)));
    return to_nearest(mul_f(floor_f(add_f(mul_f(value, inverse_step), u)), step));
  }
  // 3 * 2^22 steps: a number added to it is rounded to whole steps, and an even number of them at a tie.
  const vf many = float_of(add_i(power, splat_i(((23 - mantissa_bits) << 23) | 0x00400000)));
  return to_nearest(sub_f(add_f(value, many), many, splat_f(1)));
}

// `blocks` blocks of 32 positions of the vectors `vector`... from depth `start` on, to codes and sums; factors and
// masks one for all blocks (step 0) or one for each (step 1). Lanes without their mask get codes 0. `any`: which lanes have a
// nonzero code in a block.
INLINE void encode_blocks(const grid kind, const bool stochastic, packing *p, int64_t vector, int64_t start,
                          int64_t blocks, const float *y, const vf *factor, const vi *mask, int step, vi *any) {
  const ck_quantizer *q = p->quantizer;
  const bool left = p->side == CK_LEFT, by_rows = p->v.depth_stride == 1, in_blocks = kind >= GRID_INTEGER;
  const vb flip = splat_byte(left ? 0 : 0x80);
  const vb most = splat_byte(p->carried.largest), least = splat_byte(in_blocks ? -p->carried.largest : -127);
  const int32_t mantissa_bits = p->carried.mantissa_bits;
  float u[2][256];
  for (int64_t b = 0; b < blocks; b++, y += CK_BLOCK * 16, factor += step, mask += step) {
    if (stochastic)
      for (int i = 0; i < 2; i++) {
        const int64_t d = start + b * CK_BLOCK + i * 16;
        const int64_t offset = vector * p->v.vector_stride + d * p->v.depth_stride;
        const int64_t stride = by_rows ? p->v.vector_stride : p->v.depth_stride;
        random_tile(by_rows, q->key, q->first_element + (uint64_t)offset, (uint64_t)stride, u[i]);
      }
    const vf times = *factor;
    const vi kept = *mask;
    vi sums = splat_i(0), seen = splat_i(0);
    UNROLLED for (int g = 0; g < CK_BLOCK; g += 4) {
      vi code[4];
      UNROLLED for (int i = 0; i < 4; i++)
        code[i] = encode(kind, stochastic, load_f(y + (g + i) * 16), times,
                         stochastic ? load_f(u[0] + (g + i) * 16) : splat_f(0), mantissa_bits);
      vb bytes = max_bytes(pack_bytes(code[0], code[1], code[2], code[3]), least);
      if (in_blocks) {
        bytes = min_bytes(bytes, most);
        seen = or_i(seen, bytes);
      }
      sums = add_byte_pairs(sums, and_i(bytes, kept));
      store_i(p->codes, and_xor(bytes, kept, flip));
      p->codes += 4 * CK_PANEL;
    }
    if (left) {
      store_i(p->sums, add_pairs(sums));
      p->sums += CK_PANEL;
    }
    if (in_blocks) any[b] = and_i(seen, kept);
  }
}

typedef void encode_function(packing *p, int64_t vector, int64_t start, int64_t blocks, const float *y,
                             const vf *factor, const vi *mask, int step, vi *any);

#define ENCODE(name, kind, stochastic)                                                                              \
  static void name(packing *p, int64_t vector, int64_t start, int64_t blocks, const float *y, const vf *factor,     \
                   const vi *mask, int step, vi *any) {                                                             \
    encode_blocks(kind, stochastic, p, vector, start, blocks, y, factor, mask, step, any);                          \
  }
ENCODE(vector_nearest, GRID_VECTOR, false)
ENCODE(limited_nearest, GRID_LIMITED, false)
ENCODE(limited_stochastic, GRID_LIMITED, true)
ENCODE(integer_nearest, GRID_INTEGER, false)
ENCODE(integer_stochastic, GRID_INTEGER, true)
ENCODE(float_nearest, GRID_FLOAT, false)
ENCODE(float_stochastic, GRID_FLOAT, true)
#undef ENCODE

// What is known of 16 vectors before they are encoded.
typedef struct vector_scales {
  vf factor;
  vi mask;
} vector_scales;

// From the largest magnitudes, as bits; scales go to p->scales.
INLINE vector_scales scales_of(packing *p, vi largest, int64_t vector) {
  const float given = p->quantizer->maximum;
  const vm finite = below_i(largest, splat_i((int32_t)CK_INFINITY_BITS));
  vf a = float_of(largest);
  if (given > 0) a = splat_f(given);
  // Bits of numbers that are not negative order like the numbers.
  const vm tiny = below_i(bits_of(a), bits_of(splat_f(CK_LEAST_MAXIMUM)));
  const vf zero = splat_f(0);
  vf scale = select_f(tiny, zero, div_f(a, splat_f(127)));
  scale = select_f(finite, scale, float_of(splat_i((int32_t)CK_NAN_BITS)));
  store_f(p->scales, scale);
  for (int64_t i = p->v.count - vector; i < CK_PANEL; i++) p->scales[i] = 0;
  const vi mask = and_i(ones_where(finite), xor_i(ones_where(tiny), splat_i(-1)));
  return (vector_scales){float_of(and_i(bits_of(div_f(splat_f(127), a)), mask)), mask};
}

// Clears what was written of vectors that turned out not to be finite. The panel's codes and sums end where p stands.
static __attribute__((noinline)) void clear_lanes(const packing *p, vi mask) {
  const vb flip = splat_byte(p->side == CK_LEFT ? 0 : 0x80);
  for (int64_t d = 4; d <= p->padded; d += 4) {
    uint8_t *group = p->codes - d * CK_PANEL;
    store_i(group, and_xor(xor_i(load_i(group), flip), mask, flip));
  }
  if (p->side == CK_LEFT)
    for (int64_t b = 1; b <= p->padded / CK_BLOCK; b++)
      store_i(p->sums - b * CK_PANEL, and_i(load_i(p->sums - b * CK_PANEL), mask));
}

// One scale a vector: the whole vector is rotated before its first code is known, and waits in the scratch. Where it is
// too long for that, the matrix is read twice.
static void quantize_vectors(packing *p, int64_t vector) {
  const ck_quantizer *q = p->quantizer;
  const uint32_t *signs = q->rotation.signs;
  const int64_t blocks = p->unit / CK_BLOCK;
  const bool given = q->maximum > 0;
  const bool held = !given && p->padded * CK_PANEL <= CK_SCRATCH;
  float *scratch = held ? ck_panel_scratch() : NULL;
  float y[CK_ROTATION_LARGEST * 16] __attribute__((aligned(64)));
  vi most = splat_i(0), largest[4];
  if (!given)
    for (int64_t start = 0; start < p->padded; start += p->unit) {
      p->rotate(&p->v, signs, vector, start, held ? scratch + start * 16 : y, largest);
      for (int64_t b = 0; b < blocks; b++) most = max_i(most, largest[b]);
    }
  encode_function *encode = q->rounding == CK_STOCHASTIC ? limited_stochastic
                            : given                      ? limited_nearest
                                                         : vector_nearest;
  const vector_scales scales = scales_of(p, most, vector);
  if (held) {
    encode(p, vector, 0, p->padded / CK_BLOCK, scratch, &scales.factor, &scales.mask, 0, NULL);
  } else {
    for (int64_t start = 0; start < p->padded; start += p->unit) {
      p->rotate(&p->v, signs, vector, start, y, largest);
      for (int64_t b = 0; b < blocks; b++) most = max_i(most, largest[b]);
      encode(p, vector, start, blocks, y, &scales.factor, &scales.mask, 0, NULL);
    }
    if (given && !all_below(most, splat_i((int32_t)CK_INFINITY_BITS)))
      clear_lanes(p, scales_of(p, most, vector).mask);
  }
  p->scales += CK_PANEL;
}

// A scale for each block of 32, from its largest magnitude alone: one pass.
static void quantize_blocks(packing *p, int64_t vector) {
  const ck_quantizer *q = p->quantizer;
  const ck_carried *c = &p->carried;
  encode_function *encode = q->rounding == CK_STOCHASTIC ? c->is_float ? float_stochastic : integer_stochastic
                            : c->is_float                ? float_nearest
                                                         : integer_nearest;
  const vi shifted = splat_i(c->emax + c->shift), one = splat_i(1);
  const vf shrink = splat_f(c->shrink), grow = splat_f(1 / c->shrink);
  for (int64_t start = 0; start < p->padded; start += p->unit) {
    float y[CK_ROTATION_LARGEST * 16] __attribute__((aligned(64)));
    vi largest[4], mask[4], any[4];
    vf factor[4], scale[4];
    p->rotate(&p->v, q->rotation.signs, vector, start, y, largest);
    const int blocks = p->unit / CK_BLOCK;
    for (int b = 0; b < blocks; b++) {
      const vi exponent = sub_i(shift_right_23(largest[b]), shifted);  // of the scale, biased
      const vm finite = below_i(largest[b], splat_i((int32_t)CK_INFINITY_BITS)), low = below_i(exponent, one);
      mask[b] = and_i(ones_where(finite), xor_i(ones_where(low), splat_i(-1)));
      // 2^(254 - exponent), of which the last is subnormal.
      vi reciprocal = sub_i(splat_i(254), exponent);
      reciprocal = select_i(below_i(reciprocal, one), splat_i(0x00400000), shift_left_23(reciprocal));
      factor[b] = float_of(and_i(bits_of(mul_f(float_of(reciprocal), shrink)), mask[b]));
      scale[b] = mul_f(float_of(shift_left_23(exponent)), grow);
    }
    encode(p, vector, start, blocks, y, factor, mask, 1, any);
    for (int b = 0; b < blocks; b++, p->scales += CK_PANEL) {
      const vm finite = below_i(largest[b], splat_i((int32_t)CK_INFINITY_BITS));
      const vf nonzero = select_f(is_zero(any[b]), splat_f(1), scale[b]);
      store_f(p->scales, select_f(finite, nonzero, float_of(splat_i((int32_t)CK_NAN_BITS))));
    }
  }
}

static void quantize(const ck_quantizer *quantizer, ck_side side, const ck_vectors *v, const ck_panels *out) {
  const int32_t unit = ck_panel_unit(quantizer->rotation.block);
  packing p = {
      .quantizer = quantizer,
      .v = *v,
      .side = side,
      .rotate = rotation_of(v, quantizer->rotation.block),
      .padded = ck_rounded_up(v->depth, unit),
      .unit = unit,
      .codes = out->codes,
      .sums = out->sums,
      .scales = out->scales,
  };
  if (quantizer->scaling == CK_SCALE_BLOCK) p.carried = ck_carried_of(quantizer);
  for (int64_t vector = 0; vector < v->count; vector += CK_PANEL)
    if (quantizer->scaling == CK_SCALE_BLOCK) quantize_blocks(&p, vector);
    else quantize_vectors(&p, vector);
}

#endif
