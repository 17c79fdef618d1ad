// What the tables of the wire share: where a payload's parts lie, and what a group's maximum makes of its scale.
#ifndef CK_WIRE_PLAN_H
#define CK_WIRE_PLAN_H

#include "../ck_strict.h"
#include "../codec/codec_plan.h"
#include "../include/ck_wire.h"

// A group whose largest magnitude is below this has codes 0: 127 * 2^16 / a stays far from infinity, and a / 127 far
// from the subnormals.
#define CK_WIRE_LEAST 0x1p-100f
// One whose largest magnitude has these bits, 2^127, or larger ones is sent as NaN.
#define CK_WIRE_LIMIT_BITS 0x7F000000u

static inline int32_t ck_wire_top(int32_t bits) { return bits == 4 ? 7 : 127; }
// Bytes of a block's codes.
static inline int64_t ck_wire_block_bytes(int32_t bits) { return CK_WIRE_BLOCK / 8 * bits; }

typedef struct ck_wire_scale {
  float scale;   // as it is sent
  float factor;  // from values to codes, or to codes * 2^16; 0 where the scale is 0
  bool sent;     // or the group is NaN
} ck_wire_scale;

// `largest`: bits of the largest magnitude. They order like integers, NaN above infinity above everything finite.
static inline __attribute__((always_inline)) ck_wire_scale ck_wire_scale_of(uint32_t largest, float top,
                                                                            bool stochastic) {
  const float a = ck_float_of(largest);
  if (largest >= CK_WIRE_LIMIT_BITS) return (ck_wire_scale){ck_float_of(CK_NAN_BITS), 0, false};
  if (a < CK_WIRE_LEAST) return (ck_wire_scale){0, 0, true};
  return (ck_wire_scale){a / top, (stochastic ? top * 0x1p16f : top) / a, true};
}

#endif
