// Rounding one code for several formats at once: an anchor and slices of it, each with its own error feedback.
//
// Plain C, compiled once with every table's instruction set: the compiler may use vectors, and has no leave to change a
// rounding (ck_strict.h).
#ifndef CK_SOLVER_TARGETS_H
#define CK_SOLVER_TARGETS_H

#include "solver_plan.h"

// Nearest element of a target to w, by the definition's rule. Only its code matters here.
static uint8_t nearest(const ck_element *element, float scaled) {
  const double limit = (double)element->max_value, shift = 0x1.8p52;
  const bool negative = (ck_bits_of(scaled) & CK_SIGN_BIT) != 0;
  double magnitude = negative ? -(double)scaled : (double)scaled;
  if (magnitude > limit) magnitude = limit;
  if (!element->is_float) {
    const int32_t units = (int32_t)((magnitude * (double)(1 << (element->bits - 2)) + shift) - shift);
    return (uint8_t)(negative ? -units : units);
  }
  const int32_t M = element->mantissa_bits, smallest = 1 - element->bias;
  int32_t exponent = smallest;
  uint64_t bits;
  memcpy(&bits, &magnitude, sizeof bits);
  if ((int32_t)(bits >> 52) - 1023 > smallest) exponent = (int32_t)(bits >> 52) - 1023;
  const uint64_t unit_bits = (uint64_t)(M - exponent + 1023) << 52;
  double per_unit;
  memcpy(&per_unit, &unit_bits, sizeof per_unit);
  const int32_t units = (int32_t)((magnitude * per_unit + shift) - shift);
  return (uint8_t)((units + ((exponent - smallest) << M)) | (negative ? 1 << (element->bits - 1) : 0));
}

// The ordinal that serves all targets best. Each target is served best by an interval of ordinals, those whose slice is
// nearest to its own compensated weight, and worse the farther away: the best of all lies between the outermost.
static int32_t choose(const ck_target_sweep *s, const float *scaled, float original) {
  int32_t first = 255, last = 0;
  for (int32_t t = 0; t < s->targets; t++) {
    const ck_target *target = &s->target[t];
    const uint8_t code = nearest(&target->element, scaled[t] * target->anchor_inverse);
    if (target->first[code] < first) first = target->first[code];
    if (target->last[code] > last) last = target->last[code];
  }
  float cost[256] = {0};
  if (s->targets > 1 || s->target[0].value[first] != s->target[0].value[last])
    for (int32_t t = 0; t < s->targets; t++) {
      const float w = scaled[t], weight = s->target[t].weight, *value = s->target[t].value;
      for (int32_t o = first; o <= last; o++) {
        const float e = w - value[o];
        cost[o] = cost[o] + weight * (e * e);
      }
    }
  int32_t best = first;
  for (int32_t o = first + 1; o <= last; o++) {
    if (cost[o] > cost[best]) continue;
    const float distance = fabsf(original - s->value[o]), other = fabsf(original - s->value[best]);
    if (cost[o] < cost[best] || distance < other || (distance == other && s->code[o] % 2 == 0)) best = o;
  }
  return best;
}

static void sweep_targets(const ck_target_sweep *s) {
  const int64_t rows = s->rows;
  for (int64_t j = 0; j < s->columns; j++) {
    const float *factor = s->factor + j * CK_SOLVER_COLUMNS;
    for (int32_t t = 0; t < s->targets; t++) {
      float *v = s->target[t].v + j * rows;
      for (int64_t i = 0; i < j; i++) {
        const float *x = s->target[t].x + i * rows;
        for (int64_t r = 0; r < rows; r++) v[r] = __builtin_fmaf(x[r], factor[i], v[r]);
      }
    }
    for (int64_t r = 0; r < rows; r++) {
      const int32_t byte = s->scales[s->scale_rows[j] * rows + r];
      const float inverse = ck_inverse_scale(byte), scale = ck_scale_value(byte);
      float scaled[CK_SOLVER_TARGETS];
      for (int32_t t = 0; t < s->targets; t++) scaled[t] = s->target[t].v[j * rows + r] * inverse;
      const int32_t best = choose(s, scaled, s->weights[j * rows + r] * inverse);
      for (int32_t t = 0; t < s->targets; t++) s->target[t].x[j * rows + r] -= s->target[t].value[best] * scale;
      s->codes[j * rows + r] = s->code[best];
    }
  }
}

#endif
