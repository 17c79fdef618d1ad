// Rounding with error feedback, weight by weight: the definition that the vector tables are held to.
#include "solver_plan.h"
#include "solver_targets.h"

static double power_of_two(int32_t exponent) {
  const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static double round_to_even(double x) {
  const double shift = 0x1.8p52;
  return (x + shift) - shift;
}

// The code nearest to w / 2^(byte-127), and its value. As in codec_scalar.c, but a weight may exceed the largest value by
// any factor: its block's scale is older than itself.
static uint8_t encode(const ck_element *element, float w, int32_t byte, float *value) {
  const double scale = power_of_two(byte - 127), limit = (double)element->max_value;
  const double scaled = (double)w * power_of_two(127 - byte);
  uint8_t code;
  if (element->is_float) {
    const bool negative = (ck_bits_of(w) & CK_SIGN_BIT) != 0;
    double magnitude = negative ? -scaled : scaled;
    if (magnitude > limit) magnitude = limit;
    const int32_t M = element->mantissa_bits, smallest = 1 - element->bias;
    int32_t exponent = smallest;
    if (magnitude >= power_of_two(smallest)) {
      uint64_t bits;
      memcpy(&bits, &magnitude, sizeof bits);
      exponent = (int32_t)(bits >> 52) - 1023;
    }
    const int32_t units = (int32_t)round_to_even(magnitude * power_of_two(M - exponent));
    code = (uint8_t)((units + ((exponent - smallest) << M)) | (negative ? 1 << (element->bits - 1) : 0));
  } else {
    const double clamped = scaled > limit ? limit : scaled < -limit ? -limit : scaled;
    code = (uint8_t)(int32_t)round_to_even(clamped * power_of_two(element->bits - 2));
  }
  *value = (float)((double)ck_codec_element_value(element, code) * scale);
  return code;
}

// |e|^norm
static float error_power(float e, float norm) {
  const uint32_t bits = ck_bits_of(e) & ~CK_SIGN_BIT;
  if (bits < 0x00800000u) return 0;
  const float t = ck_float_of((bits & CK_MANTISSA_FIELD) | 0x3F800000u) - 1;
  float logarithm = ck_log2_terms[4];
  for (int k = 3; k >= 0; k--) logarithm = __builtin_fmaf(logarithm, t, ck_log2_terms[k]);
  logarithm = __builtin_fmaf(logarithm, t, (float)((int32_t)(bits >> 23) - 127));
  float y = logarithm * norm;
  y = y < -126 ? -126 : y > 126 ? 126 : y;
  const float whole = (float)round_to_even(y), f = y - whole;
  float power = ck_exp2_terms[4];
  for (int k = 3; k >= 0; k--) power = __builtin_fmaf(power, f, ck_exp2_terms[k]);
  return power * ck_float_of((uint32_t)((int32_t)whole + 127) << 23);
}

// One row's error of a block with that scale, in units of the rule's scale.
static float block_error(const ck_element *element, float norm, int64_t columns, int64_t rows, const float *w,
                         int32_t byte, int32_t rule_byte) {
  const float unit = ck_inverse_scale(rule_byte);
  float sum = 0;
  for (int64_t j = 0; j < columns; j++) {
    float value;
    encode(element, w[j * rows], byte, &value);
    const float e = (w[j * rows] - value) * unit;
    sum = norm == 2 ? __builtin_fmaf(e, e, sum) : sum + error_power(e, norm);
  }
  return sum;
}

static void choose_scales(const ck_element *element, const ck_scale_search *search, int64_t columns, int64_t rows,
                          const float *w, uint8_t *scales) {
  const ck_codec_plan plan = ck_codec_plan_of(element, (ck_scale_rule)search->rule);
  for (int64_t r = 0; r < rows; r++) {
    uint32_t maximum = 0;
    for (int64_t j = 0; j < columns; j++) {
      const uint32_t magnitude = ck_bits_of(w[j * rows + r]) & ~CK_SIGN_BIT;
      if (magnitude > maximum) maximum = magnitude;
    }
    const int32_t rule_byte = ck_scale_byte(&plan, maximum);
    int32_t best = rule_byte;
    if (ck_searches(search)) {
      float least = block_error(element, search->norm, columns, rows, w + r, rule_byte, rule_byte);
      for (int32_t byte = rule_byte + search->from; byte <= rule_byte + search->through; byte++) {
        if (byte == rule_byte || byte < 0 || byte > CK_SCALE_LARGEST) continue;
        const float error = block_error(element, search->norm, columns, rows, w + r, byte, rule_byte);
        if (error < least) least = error, best = byte;
      }
    }
    scales[r] = (uint8_t)best;
  }
}

static void round_columns(const ck_element *element, int64_t columns, int64_t rows, const float *w,
                          const uint8_t *scales, uint8_t *codes) {
  float value;
  for (int64_t j = 0; j < columns; j++)
    for (int64_t r = 0; r < rows; r++) codes[j * rows + r] = encode(element, w[j * rows + r], scales[r], &value);
}

// sum + Σ_{from <= i < to} e_i S_ij
static float feedback(const ck_sweep *s, int64_t j, int64_t r, int64_t from, int64_t to, float sum) {
  for (int64_t i = from; i < to; i++)
    sum = __builtin_fmaf(s->x[i * s->rows + r], s->factor[j * CK_SOLVER_COLUMNS + i], sum);
  return sum;
}

// The weights of block [start, end) as the errors before it leave them: what GPTQ's updates would have made of them.
static void current_weights(const ck_sweep *s, int64_t start, int64_t end, float *current) {
  for (int64_t r = 0; r < s->rows; r++) {
    float e[CK_BLOCK];
    for (int64_t j = start; j < end; j++) {
      float sum = feedback(s, j, r, 0, start, s->v[j * s->rows + r]);
      for (int64_t i = start; i < j; i++)
        sum = __builtin_fmaf(e[i - start], s->factor[j * CK_SOLVER_COLUMNS + i], sum);
      current[(j - start) * s->rows + r] = sum;
      e[j - start] = s->x[j * s->rows + r] - sum;
    }
  }
}

static void sweep(const ck_sweep *s) {
  const int64_t rows = s->rows;
  for (int64_t start = 0; start < s->columns; start += CK_BLOCK) {
    const int64_t end = start + CK_BLOCK < s->columns ? start + CK_BLOCK : s->columns;
    float current[CK_BLOCK * rows];
    if (s->blocks || !s->frozen) current_weights(s, start, end, current);
    if (!s->frozen)
      choose_scales(&s->element, &s->search, end - start, rows, current, s->scales + s->scale_rows[start] * rows);
    for (int64_t j = start; j < end; j++)
      for (int64_t r = 0; r < rows; r++) {
        const float v = s->blocks ? current[(j - start) * rows + r] : feedback(s, j, r, 0, j, s->v[j * rows + r]);
        float value;
        s->codes[j * rows + r] = encode(&s->element, v, s->scales[s->scale_rows[j] * rows + r], &value);
        s->x[j * rows + r] -= value;
      }
  }
}

void ck_solver_load(int64_t count, int64_t columns, const float *w, const int32_t *order, int64_t rows, float *x) {
  for (int64_t start = 0; start < columns; start += CK_BLOCK) {
    const int64_t end = start + CK_BLOCK < columns ? start + CK_BLOCK : columns;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t j = start; j < end; j++)
        x[j * rows + r] = r < count ? w[r * columns + (order ? order[j] : j)] : 0;
  }
}

void ck_solver_store(int64_t count, int64_t columns, const uint8_t *tile_codes, const uint8_t *tile_scales,
                     const int32_t *order, int64_t rows, uint8_t zero_mask, uint8_t *codes, uint8_t *scales) {
  const int64_t blocks = ck_blocks(columns);
  for (int64_t start = 0; start < columns; start += CK_BLOCK) {
    const int64_t end = start + CK_BLOCK < columns ? start + CK_BLOCK : columns;
    for (int64_t r = 0; r < count; r++)
      for (int64_t j = start; j < end; j++) codes[r * columns + (order ? order[j] : j)] = tile_codes[j * rows + r];
  }
  for (int64_t r = 0; r < count; r++)
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t at = r * columns + b * CK_BLOCK;
      const int64_t length = columns - b * CK_BLOCK < CK_BLOCK ? columns - b * CK_BLOCK : CK_BLOCK;
      uint8_t any = 0;
      for (int64_t j = at; j < at + length; j++) any |= codes[j] & zero_mask;
      scales[r * blocks + b] = any ? tile_scales[b * rows + r] : 0;
      if (!any) memset(codes + at, 0, (size_t)length);
    }
}

const ck_solver_table ck_solver_scalar = {choose_scales, round_columns, sweep, sweep_targets};
