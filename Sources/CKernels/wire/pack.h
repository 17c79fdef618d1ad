// Values to codes. A group of 128 whole values, the one for gradients, stays in registers between its maximum and its
// codes; any other is read twice.
#ifndef CK_WIRE_PACK_H
#define CK_WIRE_PACK_H

enum { HELD = 4 };  // blocks of a group that is held

typedef struct packing {
  int64_t n, blocks;
  const float *x;
  float *residual;
  uint8_t *scales, *codes;
  random_numbers *random;
} packing;

// What is to become codes.
INLINE void block_values(const bool rotated, const packing *p, int64_t block, vf v[2]) {
  load_block(p->n, p->x, block, v);
  if (rotated) rotate_block(v);
  if (p->residual) {
    v[0] = add_f(v[0], load_f(p->residual + block * CK_WIRE_BLOCK));
    v[1] = add_f(v[1], load_f(p->residual + block * CK_WIRE_BLOCK + 16));
  }
}

INLINE vi magnitude(vf a) { return and_i(bits_of(a), splat_i(0x7FFFFFFF)); }

INLINE vi code_of(const bool stochastic, vf value, vf factor, const uint16_t *numbers) {
  const vi nearest = to_nearest(mul_f(value, factor));
  return stochastic ? shift_right_16_signed(add_i(nearest, load_16_bits(numbers))) : nearest;
}

INLINE void put_block(const int bits, const bool stochastic, const packing *p, int64_t block, ck_wire_scale scale,
                      const vf v[2]) {
  const uint16_t *numbers = stochastic ? numbers_of(p->random, block, p->blocks) : NULL;
  const vf factor = splat_f(scale.factor);
  const vi low = code_of(stochastic, v[0], factor, numbers);
  const vi high = code_of(stochastic, v[1], factor, stochastic ? numbers + 16 : NULL);
  if (bits == 4) {
    store_nibbles(p->codes + block * 16, low, high);
  } else {
    store_bytes(p->codes + block * 32, low);
    store_bytes(p->codes + block * 32 + 16, high);
  }
  if (p->residual) {
    float *residual = p->residual + block * CK_WIRE_BLOCK;
    store_f(residual, sub_f(v[0], mul_f(to_float(low), splat_f(scale.scale)), splat_f(1)));
    store_f(residual + 16, sub_f(v[1], mul_f(to_float(high), splat_f(scale.scale)), splat_f(1)));
  }
}

INLINE ck_wire_scale put_scale(const int bits, const bool stochastic, const packing *p, int64_t group, vi largest) {
  const uint32_t a = (uint32_t)horizontal_max(largest);
  const ck_wire_scale scale = ck_wire_scale_of(a, (float)ck_wire_top(bits), stochastic);
  memcpy(p->scales + 4 * group, &scale.scale, sizeof scale.scale);
  return scale;
}

// A group that is not sent: codes 0, and its residual as it was.
static __attribute__((noinline)) void put_nothing(const int bits, const packing *p, int64_t first, int64_t count) {
  const int64_t bytes = ck_wire_block_bytes(bits);
  memset(p->codes + first * bytes, 0, (size_t)(count * bytes));
}

INLINE void pack_held(const int bits, const bool rotated, const bool stochastic, const packing *p, int64_t group) {
  const int64_t first = group * HELD;
  vf v[HELD][2];
  vi largest = splat_i(0);
  UNROLLED for (int b = 0; b < HELD; b++) {
    block_values(rotated, p, first + b, v[b]);
    largest = max_i(largest, max_i(magnitude(v[b][0]), magnitude(v[b][1])));
  }
  const ck_wire_scale scale = put_scale(bits, stochastic, p, group, largest);
  if (__builtin_expect(!scale.sent, 0)) return put_nothing(bits, p, first, HELD);
  UNROLLED for (int b = 0; b < HELD; b++) put_block(bits, stochastic, p, first + b, scale, v[b]);
}

INLINE void pack_read_twice(const int bits, const bool rotated, const bool stochastic, const packing *p,
                            int64_t group, int64_t in_group) {
  const int64_t first = group * in_group, end = first + in_group < p->blocks ? first + in_group : p->blocks;
  vi low = splat_i(0), high = splat_i(0);
  vf v[2];
  for (int64_t block = first; block < end; block++) {
    block_values(rotated, p, block, v);
    low = max_i(low, magnitude(v[0]));
    high = max_i(high, magnitude(v[1]));
  }
  const ck_wire_scale scale = put_scale(bits, stochastic, p, group, max_i(low, high));
  if (__builtin_expect(!scale.sent, 0)) return put_nothing(bits, p, first, end - first);
  for (int64_t block = first; block < end; block++) {
    block_values(rotated, p, block, v);
    put_block(bits, stochastic, p, block, scale, v);
  }
}

INLINE void pack_groups(const int bits, const bool rotated, const bool stochastic, const ck_wire_format *format,
                        const packing *p) {
  const int64_t in_group = format->group / CK_WIRE_BLOCK, groups = ck_wire_groups(format, p->n);
  const int64_t held = in_group == HELD ? p->n / format->group : 0;
  for (int64_t group = 0; group < held; group++) pack_held(bits, rotated, stochastic, p, group);
  for (int64_t group = held; group < groups; group++)
    pack_read_twice(bits, rotated, stochastic, p, group, in_group);
}

#define PACK(name, bits, rotated, stochastic)                                              \
  static __attribute__((noinline)) void name(const ck_wire_format *format, const packing *p) { \
    pack_groups(bits, rotated, stochastic, format, p);                                     \
  }
PACK(pack_4_nearest, 4, false, false)
PACK(pack_4_stochastic, 4, false, true)
PACK(pack_4_rotated_nearest, 4, true, false)
PACK(pack_4_rotated_stochastic, 4, true, true)
PACK(pack_8_nearest, 8, false, false)
PACK(pack_8_stochastic, 8, false, true)
PACK(pack_8_rotated_nearest, 8, true, false)
PACK(pack_8_rotated_stochastic, 8, true, true)
#undef PACK

static void pack(const ck_wire_format *format, const ck_wire_rounding *rounding, int64_t n, const float *x,
                 uint8_t *scales, uint8_t *codes, float *residual) {
  typedef void packer(const ck_wire_format *format, const packing *p);
  static packer *const packers[2][2][2] = {
      {{pack_4_nearest, pack_4_stochastic}, {pack_4_rotated_nearest, pack_4_rotated_stochastic}},
      {{pack_8_nearest, pack_8_stochastic}, {pack_8_rotated_nearest, pack_8_rotated_stochastic}},
  };
  random_numbers random;
  if (rounding->stochastic) set_keys(&random, rounding->key, rounding->first);
  const packing p = {
      .n = n, .blocks = ck_wire_blocks(n), .x = x, .residual = residual, .scales = scales, .codes = codes,
      .random = &random,
  };
  packers[format->bits == 8][rounding->rotated][rounding->stochastic](format, &p);
}

#endif
