// What the panel tables share: a rotation, a quantizer and an axis turned into the constants they use.
#ifndef CK_PANELS_PLAN_H
#define CK_PANELS_PLAN_H

#include "../ck_strict.h"
#include "../codec/codec_plan.h"
#include "../include/ck_panels.h"

enum {
  CK_ROTATION_LARGEST = 128,  // positions of the longest rotation block
};

// A vector whose largest magnitude is below this has codes 0.
#define CK_LEAST_MAXIMUM 0x1p-100f

// The float nearest to 1/sqrt(block).
static inline float ck_rotation_factor(int32_t block) {
  return block == 16 ? 0.25f : block == 32 ? 0x1.6a09e6p-3f : block == 64 ? 0.125f : 0x1.6a09e6p-4f;
}

// Depth positions that are packed at once: whole blocks of scales and whole blocks of the rotation.
static inline int32_t ck_panel_unit(int32_t block) { return block > CK_BLOCK ? block : CK_BLOCK; }

static inline int64_t ck_rounded_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

// Where element d of vector v lies: x[v * vector_stride + d * depth_stride]. One of the strides is 1.
typedef struct ck_vectors {
  const float *x;
  int64_t count, depth;
  int64_t vector_stride, depth_stride;
} ck_vectors;

static inline ck_vectors ck_vectors_of_rows(int64_t vectors, int64_t depth, const float *x, int64_t stride) {
  return (ck_vectors){.x = x, .count = vectors, .depth = depth, .vector_stride = stride, .depth_stride = 1};
}

static inline ck_vectors ck_vectors_of_columns(int64_t vectors, int64_t depth, const float *x, int64_t stride) {
  return (ck_vectors){.x = x, .count = vectors, .depth = depth, .vector_stride = 1, .depth_stride = stride};
}

// A block format whose elements are integers times 2^-shift. Its grid: steps of 1, for MXFP steps that double with
// every power of two from 2^(mantissa_bits + 1) on.
typedef struct ck_carried {
  bool is_float;
  int32_t mantissa_bits;
  int32_t emax;
  int32_t shift;
  int32_t largest;  // integer of the largest element
  float shrink;
} ck_carried;

static inline ck_carried ck_carried_of(const ck_quantizer *quantizer) {
  const ck_element *element = &quantizer->element;
  const int32_t shift = element->is_float ? element->mantissa_bits + element->bias - 1 : element->bits - 2;
  return (ck_carried){
      .is_float = element->is_float != 0,
      .mantissa_bits = element->mantissa_bits,
      .emax = element->emax,
      .shift = shift,
      .largest = element->is_float ? (int32_t)(element->max_value * (float)(1 << shift)) : element->max_code,
      .shrink = quantizer->shrink,
  };
}

// Memory of the calling thread for rotated vectors, CK_SCRATCH floats, aligned to 64 bytes. Taken at a thread's first
// call, given back when it ends.
enum { CK_SCRATCH = 1 << 17 };
float *ck_panel_scratch(void);

#endif
