// Codes to values, or to sums of them.
#ifndef CK_WIRE_UNPACK_H
#define CK_WIRE_UNPACK_H

INLINE void put_values(const bool accumulate, float *y, vf low, vf high) {
  store_f(y, accumulate ? add_f(load_f(y), low) : low);
  store_f(y + 16, accumulate ? add_f(load_f(y + 16), high) : high);
}

INLINE void unpack_groups(const int bits, const bool accumulate, const ck_wire_format *format, int64_t n,
                          const uint8_t *scales, const uint8_t *codes, float *y) {
  const int64_t blocks = ck_wire_blocks(n), in_group = format->group / CK_WIRE_BLOCK;
  for (int64_t group = 0; group < ck_wire_groups(format, n); group++) {
    const int64_t first = group * in_group, end = first + in_group < blocks ? first + in_group : blocks;
    float scale;
    memcpy(&scale, scales + 4 * group, sizeof scale);
    const nibble_values values = values_of_nibbles(scale);
    for (int64_t block = first; block < end; block++, y += CK_WIRE_BLOCK) {
      vf low, high;
      if (bits == 4) {
        load_nibbles(codes, values, &low, &high);
        codes += 16;
      } else {
        low = mul_f(to_float(load_bytes(codes)), splat_f(scale));
        high = mul_f(to_float(load_bytes(codes + 16)), splat_f(scale));
        codes += 32;
      }
      put_values(accumulate, y, low, high);
    }
  }
}

static void unpack(const ck_wire_format *format, int64_t n, const uint8_t *scales, const uint8_t *codes, float *y,
                   bool accumulate) {
  if (format->bits == 4 && accumulate) unpack_groups(4, true, format, n, scales, codes, y);
  else if (format->bits == 4) unpack_groups(4, false, format, n, scales, codes, y);
  else if (accumulate) unpack_groups(8, true, format, n, scales, codes, y);
  else unpack_groups(8, false, format, n, scales, codes, y);
}

#endif
