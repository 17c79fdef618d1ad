// The entries of a vector table, over the parts of it.
#ifndef CK_PANELS_ENTRIES_H
#define CK_PANELS_ENTRIES_H

#include "rotate.h"

#include "in_place.h"

#include "random.h"

#include "quantize.h"

#include "bf16.h"

static void quantize_rows(const ck_quantizer *quantizer, ck_side side, int64_t vectors, int64_t depth, const float *x,
                          int64_t stride, const ck_panels *out) {
  const ck_vectors v = ck_vectors_of_rows(vectors, depth, x, stride);
  quantize(quantizer, side, &v, out);
}

static void quantize_columns(const ck_quantizer *quantizer, ck_side side, int64_t vectors, int64_t depth,
                             const float *x, int64_t stride, const ck_panels *out) {
  const ck_vectors v = ck_vectors_of_columns(vectors, depth, x, stride);
  quantize(quantizer, side, &v, out);
}

static void round_rows_bf16(int64_t vectors, int64_t depth, const float *x, int64_t stride, uint8_t *codes) {
  const ck_vectors v = ck_vectors_of_rows(vectors, depth, x, stride);
  round_bf16(true, &v, codes);
}

static void round_columns_bf16(int64_t vectors, int64_t depth, const float *x, int64_t stride, uint8_t *codes) {
  const ck_vectors v = ck_vectors_of_columns(vectors, depth, x, stride);
  round_bf16(false, &v, codes);
}

#endif
