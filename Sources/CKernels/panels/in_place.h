// Rotation in place, and the largest magnitude after one.
#ifndef CK_PANELS_IN_PLACE_H
#define CK_PANELS_IN_PLACE_H

// Within a register: each lane meets its partner, the upper one with its own sign turned.
INLINE vf meet(vf a, vf partner, vf signs) { return mul_add_f(a, signs, partner); }

// A block of one vector along its memory.
INLINE void rotate_registers(const int parts, vf t[]) {
  const vf one = hidden_one(), factor = splat_f(ck_rotation_factor(parts * 16));
  float alternating[4][16];
  UNROLLED for (int s = 0; s < 4; s++)
    UNROLLED for (int i = 0; i < 16; i++) alternating[s][i] = i >> s & 1 ? -1.0f : 1.0f;
  const vf by_1 = load_f(alternating[0]), by_2 = load_f(alternating[1]);
  const vf by_4 = load_f(alternating[2]), by_8 = load_f(alternating[3]);
  UNROLLED for (int p = 0; p < parts; p++) {
    t[p] = meet(t[p], swap_1(t[p]), by_1);
    t[p] = meet(t[p], swap_2(t[p]), by_2);
    t[p] = meet(t[p], swap_4(t[p]), by_4);
    t[p] = meet(t[p], swap_8(t[p]), by_8);
  }
  if (parts > 1) butterflies(1, parts, t, one);
  if (parts > 2) butterflies(2, parts, t, one);
  if (parts > 4) butterflies(4, parts, t, one);
  UNROLLED for (int p = 0; p < parts; p++) t[p] = mul_f(t[p], factor);
}

INLINE vf flip(vf a, const uint32_t *signs) { return float_of(xor_i(bits_of(a), load_i(signs))); }

INLINE void rotate_blocks_of_rows(const int parts, const uint32_t *signs, int64_t rows, int64_t columns, float *x,
                                  int64_t stride, bool inverse) {
  for (int64_t row = 0; row < rows; row++, x += stride)
    for (int64_t at = 0; at < columns; at += parts * 16) {
      const uint32_t *flips = signs ? signs + at : no_signs;
      vf t[8];
      UNROLLED for (int p = 0; p < parts; p++) t[p] = load_f(x + at + p * 16);
      if (!inverse) {
        UNROLLED for (int p = 0; p < parts; p++) t[p] = flip(t[p], flips + p * 16);
      }
      rotate_registers(parts, t);
      if (inverse) {
        UNROLLED for (int p = 0; p < parts; p++) t[p] = flip(t[p], flips + p * 16);
      }
      UNROLLED for (int p = 0; p < parts; p++) store_f(x + at + p * 16, t[p]);
    }
}

static void rotate_rows(const ck_rotation *rotation, int64_t rows, int64_t columns, float *x, int64_t stride,
                        bool inverse) {
  const uint32_t *signs = rotation->signs;
  switch (rotation->block) {
    case 16: rotate_blocks_of_rows(1, signs, rows, columns, x, stride, inverse); break;
    case 32: rotate_blocks_of_rows(2, signs, rows, columns, x, stride, inverse); break;
    case 64: rotate_blocks_of_rows(4, signs, rows, columns, x, stride, inverse); break;
    case 128: rotate_blocks_of_rows(8, signs, rows, columns, x, stride, inverse); break;
    default: break;
  }
}

static void rotate_columns(const ck_rotation *rotation, int64_t rows, int64_t columns, float *x, int64_t stride,
                           bool inverse) {
  if (rotation->block == 0) return;
  const ck_vectors v = ck_vectors_of_columns(columns, rows, x, stride);
  const int32_t unit = ck_panel_unit(rotation->block);
  rotate_function *rotate = rotation_of(&v, rotation->block);
  float y[CK_ROTATION_LARGEST * 16] __attribute__((aligned(64)));
  vi largest[4];
  for (int64_t start = 0; start < rows; start += unit) {
    const uint32_t *flips = inverse && rotation->signs ? rotation->signs + start : no_signs;
    const int64_t positions = rows - start < unit ? rows - start : unit;
    for (int64_t column = 0; column < columns; column += 16) {
      rotate(&v, inverse ? NULL : rotation->signs, column, start, y, largest);
      float *to = x + start * stride + column;
      for (int64_t i = 0; i < positions; i++, to += stride) {
        const vf value = float_of(xor_i(bits_of(load_f(y + i * 16)), splat_i((int32_t)flips[i])));
        if (column + 16 <= columns) store_f(to, value);
        else store_first(to, value, columns - column);
      }
    }
  }
}

INLINE float largest_float(vi most) {
  const uint32_t bits = (uint32_t)horizontal_max(most);
  return ck_float_of(bits >= CK_INFINITY_BITS ? CK_NAN_BITS : bits);
}

// A block of a row in registers, zeros behind the row's end.
INLINE void load_block(const int parts, const float *x, const uint32_t *signs, int64_t left, vf t[]) {
  UNROLLED for (int p = 0; p < parts; p++) {
    const int64_t count = left - p * 16;
    if (count >= 16) {
      t[p] = load_f(x + p * 16);
      if (signs) t[p] = flip(t[p], signs + p * 16);
    } else {
      t[p] = count > 0 ? load_first(x + p * 16, count) : splat_f(0);
      if (signs && count > 0) {
        const vi flips = bits_of(load_first((const float *)signs + p * 16, count));
        t[p] = float_of(xor_i(bits_of(t[p]), flips));
      }
    }
  }
}

INLINE vi largest_in_row(const int parts, const int block, const float *x, const uint32_t *signs, int64_t columns,
                         vi most) {
  for (int64_t at = 0; at < columns; at += parts * 16) {
    vf t[8];
    load_block(parts, x + at, block && signs ? signs + at : NULL, columns - at, t);
    if (block) rotate_registers(parts, t);
    UNROLLED for (int p = 0; p < parts; p++) most = max_i(most, magnitude(t[p]));
  }
  return most;
}

static float largest_rows(const ck_rotation *rotation, int64_t rows, int64_t columns, const float *x, int64_t stride) {
  const uint32_t *signs = rotation->signs;
  vi most = splat_i(0);
  for (int64_t row = 0; row < rows; row++, x += stride) switch (rotation->block) {
      case 16: most = largest_in_row(1, 16, x, signs, columns, most); break;
      case 32: most = largest_in_row(2, 32, x, signs, columns, most); break;
      case 64: most = largest_in_row(4, 64, x, signs, columns, most); break;
      case 128: most = largest_in_row(8, 128, x, signs, columns, most); break;
      default: most = largest_in_row(4, 0, x, signs, columns, most); break;
    }
  return largest_float(most);
}

static float largest_columns(const ck_rotation *rotation, int64_t rows, int64_t columns, const float *x,
                             int64_t stride) {
  const ck_rotation *r = rotation;
  if (r->block == 0) return largest_rows(rotation, rows, columns, x, stride);
  const ck_vectors v = ck_vectors_of_columns(columns, rows, x, stride);
  const int32_t unit = ck_panel_unit(r->block);
  rotate_function *rotate = rotation_of(&v, r->block);
  float y[CK_ROTATION_LARGEST * 16] __attribute__((aligned(64)));
  vi most = splat_i(0), largest[4];
  for (int64_t start = 0; start < rows; start += unit)
    for (int64_t column = 0; column < columns; column += 16) {
      rotate(&v, r->signs, column, start, y, largest);
      for (int i = 0; i < unit / CK_BLOCK; i++) most = max_i(most, largest[i]);
    }
  return largest_float(most);
}

#endif
