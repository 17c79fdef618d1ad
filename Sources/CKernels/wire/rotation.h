// The Hadamard rotation of blocks of 32 along memory.
#ifndef CK_WIRE_ROTATION_H
#define CK_WIRE_ROTATION_H

// Signs of the lanes in a butterfly with distance 1, 2, 4, 8.
static const float alternating[4][16] = {
    {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1},
    {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1},
    {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1},
    {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1},
};

// Each lane meets its partner, the upper one with its own sign turned: a product with 1 or -1 is exact, so that the
// fused operation rounds just as the sum does.
INLINE vf meet(vf a, vf partner, int stage) { return mul_add_f(a, load_f(alternating[stage]), partner); }

INLINE void rotate_block(vf v[2]) {
  UNROLLED for (int half = 0; half < 2; half++) {
    v[half] = meet(v[half], swap_1(v[half]), 0);
    v[half] = meet(v[half], swap_2(v[half]), 1);
    v[half] = meet(v[half], swap_4(v[half]), 2);
    v[half] = meet(v[half], swap_8(v[half]), 3);
  }
  const vf a = v[0], b = v[1];
  v[0] = add_f(a, b);
  v[1] = sub_f(a, b, splat_f(1));
}

// Block `block` of a run of n values, padded with zeros.
INLINE void load_block(int64_t n, const float *x, int64_t block, vf v[2]) {
  const int64_t left = n - block * CK_WIRE_BLOCK;
  const float *from = x + block * CK_WIRE_BLOCK;
  float copy[CK_WIRE_BLOCK];
  if (__builtin_expect(left < CK_WIRE_BLOCK, 0)) {
    memset(copy, 0, sizeof copy);
    memcpy(copy, from, (size_t)left * sizeof *x);
    from = copy;
  }
  v[0] = load_f(from);
  v[1] = load_f(from + 16);
}

static void rotate(int64_t n, const float *x, float factor, float *y) {
  for (int64_t block = 0; block < ck_wire_blocks(n); block++) {
    vf v[2];
    load_block(n, x, block, v);
    rotate_block(v);
    store_f(y + block * CK_WIRE_BLOCK, mul_f(v[0], splat_f(factor)));
    store_f(y + block * CK_WIRE_BLOCK + 16, mul_f(v[1], splat_f(factor)));
  }
}

static void unrotate(int64_t n, const float *y, float factor, float *x) {
  const int64_t whole = n - n % CK_WIRE_BLOCK;
  rotate(whole, y, factor, x);
  if (whole == n) return;
  float last[CK_WIRE_BLOCK];
  rotate(CK_WIRE_BLOCK, y + whole, factor, last);
  memcpy(x + whole, last, (size_t)(n - whole) * sizeof *x);
}

#endif
