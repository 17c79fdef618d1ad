// What every matrix product of this folder is given, and what its parts share.
#ifndef CK_PRODUCT_H
#define CK_PRODUCT_H

#include "../include/ck_matmul.h"

// The arguments of one product, with what follows from them.
typedef struct product {
  int64_t m, n;
  int64_t blocks;       // blocks of CK_BLOCK along the depth
  int64_t panel_bytes;  // of one panel of either operand
  const ck_panels *left, *right;
  float *c;
  int64_t c_stride;
  bool accumulate;
} product;

static inline int64_t ck_least(int64_t a, int64_t b) { return a < b ? a : b; }

// Entries that are the same in every table (matmul_scalar.c).
void ck_matmul_pack_scales(int64_t vectors, int64_t blocks, const uint8_t *bytes, int32_t shift, float *scales);
void ck_matmul_multiply_wide(int64_t m, int64_t n, int64_t depth, const ck_panels *left, const ck_panels *right,
                             float *c, int64_t c_stride, bool accumulate);

#endif
