// Random numbers for a tile of 16 x 16 elements: Philox4x32-10 with one counter a lane, which gives the 16 bits of
// eight elements that follow each other in memory.
#ifndef CK_PANELS_RANDOM_H
#define CK_PANELS_RANDOM_H

// Counters in `low`, `high` of each run; the four words of each come out.
INLINE void philox(const int runs, const uint32_t key[2], const vi low[], const vi high[], vi c[][4]) {
  UNROLLED for (int r = 0; r < runs; r++) {
    c[r][0] = low[r];
    c[r][1] = high[r];
    c[r][2] = c[r][3] = splat_i(0);
  }
  uint32_t k[2] = {key[0], key[1]};
  for (int round = 0; round < 10; round++) {
    UNROLLED for (int r = 0; r < runs; r++) {
      vi a_high, a_low, b_high, b_low;
      multiply_wide(c[r][0], 0xD2511F53u, &a_high, &a_low);
      multiply_wide(c[r][2], 0xCD9E8D57u, &b_high, &b_low);
      c[r][0] = xor_i(xor_i(b_high, c[r][1]), splat_i((int32_t)k[0]));
      c[r][1] = b_low;
      c[r][2] = xor_i(xor_i(a_high, c[r][3]), splat_i((int32_t)k[1]));
      c[r][3] = a_low;
    }
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
}

// u[position][vector] = (16 random bits + 0.5) / 2^16 for a tile of which the first element has number `first`, and in
// which memory rows are `stride` elements apart. Sixteen elements of a row lie in two runs of eight, or in three.
static void random_tile(bool by_rows, const uint32_t key[2], uint64_t first, uint64_t stride, float u[256]) {
  vi low[3], high[3], words[3][4], t[16];
  block_counters(first, stride, &low[0], &high[0]);
  for (int r = 1; r < 3; r++) {
    low[r] = add_i(low[r - 1], splat_i(1));
    high[r] = carry_of_zero(low[r], high[r - 1]);
  }
  for (int w = 0; w < 4; w++) words[2][w] = splat_i(0);
  if (first % 8 == 0 && stride % 8 == 0) philox(2, key, low, high, words);
  else philox(3, key, low, high, words);
  UNROLLED for (int i = 0; i < 12; i++) t[i] = words[i / 4][i % 4];
  UNROLLED for (int i = 12; i < 16; i++) t[i] = splat_i(0);
  transpose(t);
  uint16_t bits[16][32];
  UNROLLED for (int i = 0; i < 16; i++) store_i(bits[i], t[i]);
  UNROLLED for (int i = 0; i < 16; i++) t[i] = load_16_bits(bits[i] + (first + (uint64_t)i * stride) % 8);
  if (by_rows) transpose(t);
  const vf unit = splat_f(0x1p-16f), half = splat_f(0x1p-17f);
  UNROLLED for (int i = 0; i < 16; i++) store_f(u + i * 16, mul_add_f(to_float(t[i]), unit, half));
}

#endif
