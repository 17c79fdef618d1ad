// The block codec over vectors: one algorithm, included by codec_avx2.c and codec_avx512.c, each of which first defines
// the vocabulary (vf, vi, vb, LANES, BYTES and the inline functions used below) for its instruction set.
//
//   vf, vi   LANES floats, LANES 32-bit integers; a block of 32 is VECTORS of them
//   vb       BYTES codes
//
// Every step is exact or rounds once, to nearest even, so the result is the scalar definition's to the bit. A row's
// last short block is copied into a zero-padded one: zeros change neither the maximum nor any code.
#ifndef CK_CODEC_VECTOR_H
#define CK_CODEC_VECTOR_H

enum { VECTORS = CK_BLOCK / LANES, CHUNK_BLOCKS = BYTES / CK_BLOCK };

// Largest magnitude of a block, as bits: magnitudes order like integers, NaN above infinity above everything finite.
INLINE uint32_t largest_magnitude(const float *x, vi bits[VECTORS]) {
  const vi magnitude = splat_i((int32_t)~CK_SIGN_BIT);
  vi maximum = splat_i(0);
  for (int i = 0; i < VECTORS; i++) {
    bits[i] = bits_of(load_f(x + i * LANES));
    maximum = max_i(maximum, and_i(bits[i], magnitude));
  }
  return (uint32_t)horizontal_max(maximum);
}

// Element codes of a block, sign-extended (MXINT) or zero-extended (MXFP), and its scale byte.
INLINE int32_t encode_block(const ck_codec_plan *plan, const bool is_float, const float *x, vi codes[VECTORS]) {
  vi bits[VECTORS];
  const uint32_t maximum = largest_magnitude(x, bits);
  int32_t byte = CK_SCALE_NAN;
  vi any = splat_i(0);
  if (__builtin_expect(maximum < CK_INFINITY_BITS, 1)) {
    byte = ck_scale_byte(plan, maximum);
    // 2^(127-byte): finite for every byte, subnormal for 254 alone. The product is exact unless it is subnormal
    // itself, far below half of any element's smallest step.
    const vf inverse_scale = splat_f(ck_scale_value(CK_SCALE_LARGEST - byte));
    for (int i = 0; i < VECTORS; i++) {
      if (is_float) {
        const int32_t M = plan->mantissa_bits;
        const vi smallest_normal = splat_i((plan->emin + 127) << 23);
        const vf scaled = mul_f(float_of(and_i(bits[i], splat_i((int32_t)~CK_SIGN_BIT))), inverse_scale);
        // The power of two at or below the value, at least the smallest normal; 2^(23-M) times that has the element's
        // step as its own unit in the last place, so adding it rounds to the element's grid and the difference of the
        // bit patterns counts steps.
        const vi power = max_i(and_i(bits_of(scaled), splat_i((int32_t)CK_INFINITY_BITS)), smallest_normal);
        const vi shift = add_i(power, splat_i((23 - M) << 23));
        const vi units = sub_i(bits_of(add_f(scaled, float_of(shift))), shift);
        const vi carried = add_i(units, shift_right(sub_i(power, smallest_normal), 23 - M));
        const vi magnitude = min_i(carried, splat_i(plan->max_code));
        any = or_i(any, magnitude);
        codes[i] = or_i(magnitude, shift_left(shift_right(bits[i], 31), plan->bits - 1));
      } else {
        // Two factors: the reciprocal of the step, up to 2^133, is beyond fp32.
        const vf units = splat_f(ck_scale_value(127 + plan->bits - 2));
        const vi rounded = round_to_int(mul_f(mul_f(float_of(bits[i]), inverse_scale), units));
        codes[i] = max_i(min_i(rounded, splat_i(plan->max_code)), splat_i(-plan->max_code));
        any = or_i(any, codes[i]);
      }
    }
  }
  if (__builtin_expect(any_nonzero(any), 1)) return byte;
  for (int i = 0; i < VECTORS; i++) codes[i] = splat_i(0);
  return byte == CK_SCALE_NAN ? CK_SCALE_NAN : 0;
}

// Values of a block of codes as encode_block leaves them.
INLINE void decode_block(const ck_element *element, const bool is_float, const vi codes[VECTORS], int32_t byte,
                         float *y) {
  if (__builtin_expect(byte == CK_SCALE_NAN, 0)) {
    for (int i = 0; i < VECTORS; i++) store_f(y + i * LANES, float_of(splat_i((int32_t)CK_NAN_BITS)));
    return;
  }
  const int32_t M = element->mantissa_bits;
  vf values[VECTORS];
  for (int i = 0; i < VECTORS; i++) {
    if (is_float) {
      const vi magnitude = and_i(codes[i], splat_i((1 << (element->bits - 1)) - 1));
      if (__builtin_expect(any_above(magnitude, splat_i(element->max_code)), 0)) {
        // Infinity or NaN among the codes: leave it to the definition.
        uint8_t block[CK_BLOCK];
        store_codes(block, codes);
        const double scale = (double)ck_scale_value(byte);
        for (int j = 0; j < CK_BLOCK; j++) y[j] = (float)((double)ck_codec_element_value(element, block[j]) * scale);
        return;
      }
      const vf normal = float_of(add_i(shift_left(magnitude, 23 - M), splat_i((127 - element->bias) << 23)));
      const vf subnormal = mul_f(to_float(magnitude), splat_f(ck_scale_value(128 - element->bias - M)));
      const vf value = select_below(magnitude, splat_i(1 << M), subnormal, normal);
      const vi sign = shift_left(shift_right(codes[i], element->bits - 1), 31);
      values[i] = float_of(or_i(bits_of(value), sign));
    } else {
      values[i] = mul_f(to_float(codes[i]), splat_f(ck_scale_value(127 - (element->bits - 2))));
    }
  }
  if (__builtin_expect(byte == 0, 0)) {
    // 2^-127 in two normal factors: zero blocks carry byte 0, and a subnormal factor would slow each of them down.
    const vf half = splat_f(0x1p-63f), rest = splat_f(0x1p-64f);
    for (int i = 0; i < VECTORS; i++) store_f(y + i * LANES, mul_f(mul_f(values[i], half), rest));
  } else {
    const vf scale = splat_f(ck_scale_value(byte));
    for (int i = 0; i < VECTORS; i++) store_f(y + i * LANES, mul_f(values[i], scale));
  }
}

INLINE void quantize_rows(const ck_codec_plan plan, const bool is_float, int64_t rows, int64_t columns, const float *x,
                          uint8_t *codes, uint8_t *scales) {
  const int64_t tail = columns % CK_BLOCK;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t left = columns; left >= CK_BLOCK; left -= CK_BLOCK, x += CK_BLOCK, codes += CK_BLOCK) {
      vi block[VECTORS];
      *scales++ = (uint8_t)encode_block(&plan, is_float, x, block);
      store_codes(codes, block);
    }
    if (tail) {
      float padded[CK_BLOCK] = {0};
      uint8_t padded_codes[CK_BLOCK];
      vi block[VECTORS];
      memcpy(padded, x, (size_t)tail * sizeof *x);
      *scales++ = (uint8_t)encode_block(&plan, is_float, padded, block);
      store_codes(padded_codes, block);
      memcpy(codes, padded_codes, (size_t)tail);
      x += tail, codes += tail;
    }
  }
}

INLINE void dequantize_rows(const ck_element element, const bool is_float, int64_t rows, int64_t columns,
                            const uint8_t *codes, const uint8_t *scales, float *y) {
  const int64_t tail = columns % CK_BLOCK;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t left = columns; left >= CK_BLOCK; left -= CK_BLOCK, y += CK_BLOCK, codes += CK_BLOCK) {
      vi block[VECTORS];
      load_codes(codes, is_float, block);
      decode_block(&element, is_float, block, *scales++, y);
    }
    if (tail) {
      float padded[CK_BLOCK];
      uint8_t padded_codes[CK_BLOCK] = {0};
      vi block[VECTORS];
      memcpy(padded_codes, codes, (size_t)tail);
      load_codes(padded_codes, is_float, block);
      decode_block(&element, is_float, block, *scales++, padded);
      memcpy(y, padded, (size_t)tail * sizeof *y);
      y += tail, codes += tail;
    }
  }
}

INLINE void round_trip_rows(const ck_codec_plan plan, const ck_element element, const bool is_float, int64_t rows,
                            int64_t columns, const float *x, float *y) {
  const int64_t tail = columns % CK_BLOCK;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t left = columns; left >= CK_BLOCK; left -= CK_BLOCK, x += CK_BLOCK, y += CK_BLOCK) {
      vi block[VECTORS];
      const int32_t byte = encode_block(&plan, is_float, x, block);
      decode_block(&element, is_float, block, byte, y);
    }
    if (tail) {
      float padded[CK_BLOCK] = {0};
      vi block[VECTORS];
      memcpy(padded, x, (size_t)tail * sizeof *x);
      const int32_t byte = encode_block(&plan, is_float, padded, block);
      decode_block(&element, is_float, block, byte, padded);
      memcpy(y, padded, (size_t)tail * sizeof *y);
      x += tail, y += tail;
    }
  }
}

// Clears the gradient beyond the clip. Most blocks clip nothing, which their maximum tells: those are not touched.
INLINE void clip_block(const ck_codec_plan *plan, const float *x, float *gradient) {
  vi bits[VECTORS];
  const uint32_t maximum = largest_magnitude(x, bits);
  if (maximum >= CK_INFINITY_BITS) return;
  const uint32_t largest = ck_clip_bits(plan, ck_scale_byte(plan, maximum));
  if (maximum <= largest) return;
  const vi limit = splat_i((int32_t)largest);
  for (int i = 0; i < VECTORS; i++) {
    const vi magnitude = and_i(bits[i], splat_i((int32_t)~CK_SIGN_BIT));
    const vf kept = load_f(gradient + i * LANES);
    store_f(gradient + i * LANES, select_below(limit, magnitude, splat_f(0), kept));
  }
}

// A code's table entry without a gather: 16 lookups of 16 entries each. `steps` holds every 16-entry run XORed with the
// run before it (within each half of the table), so that the lookups at or below a code's own run add up to its entry;
// the index saturates below zero for the runs above, where a byte shuffle returns zero.
INLINE vb look_up(const vb steps[16], vb codes) {
  vb lower = codes, upper = flip_sign(codes), entries = shuffle_b(steps[0], lower);
  entries = xor_b(entries, shuffle_b(steps[8], upper));
  for (int run = 1; run < 8; run++) {
    lower = subtract_16(lower);
    upper = subtract_16(upper);
    entries = xor_b(entries, xor_b(shuffle_b(steps[run], lower), shuffle_b(steps[8 + run], upper)));
  }
  return entries;
}

// BYTES codes at once, of which the first `count` are the tensor's, and the scales of their blocks.
INLINE void slice_chunk(const ck_slice *slice, const vb steps[16], int64_t count, const uint8_t *codes,
                        const uint8_t *scales, uint8_t *sliced_codes, uint8_t *sliced_scales) {
  const vb entries = look_up(steps, load_b(codes));
  const uint64_t counted = count == BYTES ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
  const uint64_t nonzero = nonzero_bytes(entries, slice->zero_mask) & counted;
  store_b(sliced_codes, entries);
  for (int64_t b = 0; b * CK_BLOCK < count; b++) {
    const bool any = (uint32_t)(nonzero >> (b * CK_BLOCK)) != 0;
    const int32_t byte = ck_sliced_byte(scales[b], slice->scale_delta, any);
    sliced_scales[b] = (uint8_t)byte;
    if (__builtin_expect(!any || byte == CK_SCALE_NAN, 0)) memset(sliced_codes + b * CK_BLOCK, 0, CK_BLOCK);
  }
}

static void quantize(const ck_element *element, ck_scale_rule rule, int64_t rows, int64_t columns, const float *x,
                     uint8_t *codes, uint8_t *scales) {
  const ck_codec_plan plan = ck_codec_plan_of(element, rule);
  if (element->is_float)
    quantize_rows(plan, true, rows, columns, x, codes, scales);
  else
    quantize_rows(plan, false, rows, columns, x, codes, scales);
}

static void dequantize(const ck_element *element, int64_t rows, int64_t columns, const uint8_t *codes,
                       const uint8_t *scales, float *y) {
  if (element->is_float)
    dequantize_rows(*element, true, rows, columns, codes, scales, y);
  else
    dequantize_rows(*element, false, rows, columns, codes, scales, y);
}

static void slice(const ck_slice *slice, int64_t rows, int64_t columns, const uint8_t *codes, const uint8_t *scales,
                  uint8_t *sliced_codes, uint8_t *sliced_scales) {
  vb steps[16];
  for (int run = 0; run < 16; run++) {
    uint8_t step[16];
    for (int i = 0; i < 16; i++)
      step[i] = slice->table[run * 16 + i] ^ (run % 8 ? slice->table[run * 16 - 16 + i] : 0);
    steps[run] = splat_16(step);
  }
  const ck_slice local = *slice;
  const int64_t blocks = ck_blocks(columns);
  for (int64_t r = 0; r < rows; r++) {
    int64_t at = 0, b = 0;
    for (; at + BYTES <= columns; at += BYTES, b += CHUNK_BLOCKS)
      slice_chunk(&local, steps, BYTES, codes + at, scales + b, sliced_codes + at, sliced_scales + b);
    if (at < columns) {
      uint8_t padded[BYTES] = {0}, sliced[BYTES];
      memcpy(padded, codes + at, (size_t)(columns - at));
      slice_chunk(&local, steps, columns - at, padded, scales + b, sliced, sliced_scales + b);
      memcpy(sliced_codes + at, sliced, (size_t)(columns - at));
    }
    codes += columns, sliced_codes += columns, scales += blocks, sliced_scales += blocks;
  }
}

static void round_trip(const ck_element *element, ck_scale_rule rule, int64_t rows, int64_t columns, const float *x,
                       float *y) {
  const ck_codec_plan plan = ck_codec_plan_of(element, rule);
  if (element->is_float)
    round_trip_rows(plan, *element, true, rows, columns, x, y);
  else
    round_trip_rows(plan, *element, false, rows, columns, x, y);
}

static void clip_gradient(const ck_element *element, ck_scale_rule rule, int64_t rows, int64_t columns, const float *x,
                          float *gradient) {
  const ck_codec_plan plan = ck_codec_plan_of(element, rule);
  const int64_t tail = columns % CK_BLOCK;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t left = columns; left >= CK_BLOCK; left -= CK_BLOCK, x += CK_BLOCK, gradient += CK_BLOCK)
      clip_block(&plan, x, gradient);
    if (tail) {
      float padded[CK_BLOCK] = {0}, padded_gradient[CK_BLOCK] = {0};
      memcpy(padded, x, (size_t)tail * sizeof *x);
      memcpy(padded_gradient, gradient, (size_t)tail * sizeof *x);
      clip_block(&plan, padded, padded_gradient);
      memcpy(gradient, padded_gradient, (size_t)tail * sizeof *x);
      x += tail, gradient += tail;
    }
  }
}

#endif
