// Rounding with error feedback over vectors of rows: one algorithm, included by solver_avx2.c and solver_avx512.c, each
// of which first defines the vocabulary (vf, vi, LANES and the inline functions used below) for its instruction set.
//
// Rows are taken GROUP vectors at a time: the feedback of a column is a chain of fused sums, and four chains side by side
// keep the multipliers busy. Every element sees the operations of solver_scalar.c in the same order.
#ifndef CK_SOLVER_LANES_H
#define CK_SOLVER_LANES_H

enum { GROUP = 4 };

// What rounding needs of an element, in registers.
typedef struct rounder {
  int32_t bits, mantissa_bits;
  vf limit, units, step;
  vi smallest_normal;
} rounder;

INLINE rounder rounder_of(const ck_element *element) {
  rounder r = {.bits = element->bits, .mantissa_bits = element->mantissa_bits};
  r.limit = splat_f(element->is_float ? element->max_value : (float)element->max_code);
  r.units = splat_f(ck_scale_value(127 + element->bits - 2));
  r.step = splat_f(ck_scale_value(127 - (element->bits - 2)));
  r.smallest_normal = splat_i((1 - element->bias + 127) << 23);
  return r;
}

// 2^(byte-127) of every lane, the subnormal for byte 0.
INLINE vf scale_values(vi bytes) {
  return float_of(select_equal(bytes, splat_i(0), splat_i(0x00400000), shift_left(bytes, 23)));
}

// Codes of w / scale to nearest even, saturating, and their values. Each step is exact or rounds once: see codec_vector.h.
// The magnitude is limited before it is rounded, since a weight may exceed its scale by any factor.
INLINE vi encode(const rounder *f, const bool is_float, vf w, vf inverse, vf scale, vf *value) {
  if (is_float) {
    const int32_t M = f->mantissa_bits;
    const vi sign = and_i(bits_of(w), splat_i((int32_t)CK_SIGN_BIT));
    const vf magnitude = float_of(and_i(bits_of(w), splat_i((int32_t)~CK_SIGN_BIT)));
    const vf scaled = min_f(mul_f(magnitude, inverse), f->limit);
    const vi power = max_i(and_i(bits_of(scaled), splat_i((int32_t)CK_INFINITY_BITS)), f->smallest_normal);
    const vi shift = add_i(power, splat_i((23 - M) << 23));
    const vf sum = add_f(scaled, float_of(shift));
    const vi units = sub_i(bits_of(sum), shift);
    const vi code = add_i(units, shift_right(sub_i(power, f->smallest_normal), 23 - M));
    *value = mul_f(float_of(or_i(bits_of(sub_f(sum, float_of(shift))), sign)), scale);
    return or_i(code, shift_right(sign, 32 - f->bits));
  }
  const vf scaled = mul_f(mul_f(w, inverse), f->units);
  const vf rounded = round_f(max_f(min_f(scaled, f->limit), sub_f(splat_f(0), f->limit)));
  *value = mul_f(mul_f(rounded, f->step), scale);
  return to_int(rounded);
}

INLINE vf error_power(vf e, float norm) {
  const vi bits = and_i(bits_of(e), splat_i((int32_t)~CK_SIGN_BIT));
  const vf t = sub_f(float_of(or_i(and_i(bits, splat_i(CK_MANTISSA_FIELD)), splat_i(0x3F800000))), splat_f(1));
  vf logarithm = splat_f(ck_log2_terms[4]);
  for (int k = 3; k >= 0; k--) logarithm = fma_f(logarithm, t, splat_f(ck_log2_terms[k]));
  logarithm = fma_f(logarithm, t, to_float(sub_i(shift_right(bits, 23), splat_i(127))));
  const vf y = min_f(max_f(mul_f(logarithm, splat_f(norm)), splat_f(-126)), splat_f(126));
  const vf whole = round_f(y), f = sub_f(y, whole);
  vf power = splat_f(ck_exp2_terms[4]);
  for (int k = 3; k >= 0; k--) power = fma_f(power, f, splat_f(ck_exp2_terms[k]));
  power = mul_f(power, float_of(shift_left(add_i(to_int(whole), splat_i(127)), 23)));
  return float_of(select_above(splat_i(0x00800000), bits, splat_i(0), bits_of(power)));
}

// Scales of one vector of rows.
INLINE void choose_lanes(const ck_element *element, const ck_codec_plan *plan, const ck_scale_search *search,
                         int64_t columns, int64_t rows, const float *w, uint8_t *scales) {
  vi maximum = splat_i(0);
  for (int64_t j = 0; j < columns; j++)
    maximum = max_i(maximum, and_i(bits_of(load_f(w + j * rows)), splat_i((int32_t)~CK_SIGN_BIT)));
  int32_t maxima[LANES], rule[LANES];
  store_i(maxima, maximum);
  for (int l = 0; l < LANES; l++) scales[l] = (uint8_t)(rule[l] = ck_scale_byte(plan, (uint32_t)maxima[l]));
  if (!ck_searches(search)) return;
  const rounder f = rounder_of(element);
  const vi rule_bytes = load_i(rule);
  const vf unit = scale_values(sub_i(splat_i(CK_SCALE_LARGEST), rule_bytes));
  float least[LANES];
  for (int32_t turn = search->from - 1; turn <= search->through; turn++) {
    // The rule's scale first: it wins ties.
    if (turn == 0) continue;
    const int32_t offset = turn < search->from ? 0 : turn;
    const vi bytes = max_i(min_i(add_i(rule_bytes, splat_i(offset)), splat_i(CK_SCALE_LARGEST)), splat_i(0));
    const vf scale = scale_values(bytes), inverse = scale_values(sub_i(splat_i(CK_SCALE_LARGEST), bytes));
    vf sum = splat_f(0);
    for (int64_t j = 0; j < columns; j++) {
      const vf x = load_f(w + j * rows);
      vf value;
      if (element->is_float) encode(&f, true, x, inverse, scale, &value);
      else encode(&f, false, x, inverse, scale, &value);
      const vf e = mul_f(sub_f(x, value), unit);
      sum = search->norm == 2 ? fma_f(e, e, sum) : add_f(sum, error_power(e, search->norm));
    }
    float errors[LANES];
    store_f(errors, sum);
    for (int l = 0; l < LANES; l++) {
      const int32_t byte = rule[l] + offset;
      if (offset != 0 && (byte < 0 || byte > CK_SCALE_LARGEST || !(errors[l] < least[l]))) continue;
      least[l] = errors[l];
      scales[l] = (uint8_t)byte;
    }
  }
}

static void choose_scales(const ck_element *element, const ck_scale_search *search, int64_t columns, int64_t rows,
                          const float *w, uint8_t *scales) {
  const ck_codec_plan plan = ck_codec_plan_of(element, (ck_scale_rule)search->rule);
  for (int64_t r = 0; r < rows; r += LANES) choose_lanes(element, &plan, search, columns, rows, w + r, scales + r);
}

INLINE void round_all(const ck_element *element, const bool is_float, int64_t columns, int64_t rows, const float *w,
                      const uint8_t *scales, uint8_t *codes) {
  const rounder f = rounder_of(element);
  for (int64_t r = 0; r < rows; r += LANES) {
    const vi bytes = load_bytes(scales + r);
    const vf scale = scale_values(bytes), inverse = scale_values(sub_i(splat_i(CK_SCALE_LARGEST), bytes));
    vf value;
    for (int64_t j = 0; j < columns; j++)
      store_bytes(codes + j * rows + r, encode(&f, is_float, load_f(w + j * rows + r), inverse, scale, &value));
  }
}

static void round_columns(const ck_element *element, int64_t columns, int64_t rows, const float *w,
                          const uint8_t *scales, uint8_t *codes) {
  if (element->is_float) round_all(element, true, columns, rows, w, scales, codes);
  else round_all(element, false, columns, rows, w, scales, codes);
}

// sums += Σ_{i < count} e_i factor_i, for `width` vectors.
INLINE void feedback(const int width, int64_t count, const float *e, int64_t stride, const float *factor, vf *sums) {
  for (int64_t i = 0; i < count; i++) {
    const vf s = splat_f(factor[i]);
    for (int k = 0; k < width; k++) sums[k] = fma_f(load_f(e + i * stride + k * LANES), s, sums[k]);
  }
}

// Rounds column j of a group, whose feedback is complete, and leaves its error in x.
INLINE void round_column(const ck_sweep *s, const rounder *f, const bool is_float, const int width, int64_t j,
                         int64_t r, const vf *v) {
  const uint8_t *scales = s->scales + s->scale_rows[j] * s->rows + r;
  float *x = s->x + j * s->rows + r;
  for (int k = 0; k < width; k++) {
    const vi bytes = load_bytes(scales + k * LANES);
    const vf scale = scale_values(bytes), inverse = scale_values(sub_i(splat_i(CK_SCALE_LARGEST), bytes));
    vf value;
    store_bytes(s->codes + j * s->rows + r + k * LANES, encode(f, is_float, v[k], inverse, scale, &value));
    store_f(x + k * LANES, sub_f(load_f(x + k * LANES), value));
  }
}

INLINE void sweep_group(const ck_sweep *s, const rounder *f, const ck_codec_plan *plan, const bool is_float,
                        const int width, int64_t r) {
  const int64_t rows = s->rows;
  const bool looks_ahead = s->blocks || !s->frozen;
  float current[CK_BLOCK * GROUP * LANES], e[CK_BLOCK * GROUP * LANES];
  for (int64_t start = 0; start < s->columns; start += CK_BLOCK) {
    const int64_t end = start + CK_BLOCK < s->columns ? start + CK_BLOCK : s->columns;
    // Columns before `done` are in v already.
    const int64_t done = looks_ahead ? start : 0;
    if (looks_ahead) {
      for (int64_t j = start; j < end; j++) {
        const float *factor = s->factor + j * CK_SOLVER_COLUMNS;
        float *v = s->v + j * rows + r;
        vf sums[GROUP];
        for (int k = 0; k < width; k++) sums[k] = load_f(v + k * LANES);
        feedback(width, start, s->x + r, rows, factor, sums);
        for (int k = 0; k < width; k++) store_f(v + k * LANES, sums[k]);
        feedback(width, j - start, e, width * LANES, factor + start, sums);
        for (int k = 0; k < width; k++) {
          const int64_t at = ((j - start) * width + k) * LANES;
          store_f(current + at, sums[k]);
          store_f(e + at, sub_f(load_f(s->x + j * rows + r + k * LANES), sums[k]));
        }
      }
      if (!s->frozen)
        for (int k = 0; k < width; k++)
          choose_lanes(&s->element, plan, &s->search, end - start, width * LANES, current + k * LANES,
                       s->scales + s->scale_rows[start] * rows + r + k * LANES);
    }
    for (int64_t j = start; j < end; j++) {
      vf sums[GROUP];
      const float *v = s->blocks ? current + (j - start) * width * LANES : s->v + j * rows + r;
      for (int k = 0; k < width; k++) sums[k] = load_f(v + k * LANES);
      if (!s->blocks)
        feedback(width, j - done, s->x + done * rows + r, rows, s->factor + j * CK_SOLVER_COLUMNS + done, sums);
      round_column(s, f, is_float, width, j, r, sums);
    }
  }
}

INLINE void sweep_rows(const ck_sweep *s, const bool is_float) {
  const rounder f = rounder_of(&s->element);
  const ck_codec_plan plan = ck_codec_plan_of(&s->element, (ck_scale_rule)s->search.rule);
  int64_t r = 0;
  for (; r + GROUP * LANES <= s->rows; r += GROUP * LANES) sweep_group(s, &f, &plan, is_float, GROUP, r);
  for (; r < s->rows; r += LANES) sweep_group(s, &f, &plan, is_float, 1, r);
}

static void sweep(const ck_sweep *s) {
  if (s->element.is_float) sweep_rows(s, true);
  else sweep_rows(s, false);
}

#endif
