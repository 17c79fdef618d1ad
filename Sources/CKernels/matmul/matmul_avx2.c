// The AVX2 table: words for bytes, fp32 for bf16.
#include "../ck_strict.h"
#include <immintrin.h>

#include "product.h"

#define CK_ZMM 0
// Sizes of tiles, so that sums and operands fill the registers and no more; groups of the depth in a turn of the loop.
enum {
  PLAIN_ROWS = 4, PLAIN_VECTORS = 2,
  BLOCK_ROWS = 2, BLOCK_VECTORS = 2,
  BF16_ROWS = 4, BF16_VECTORS = 2,
  UNROLLED = 1,
};

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#include "lanes_avx2.h"
#include "dot4_words.h"
#include "dot2_fma.h"
#include "multiply.h"
#include "pack.h"
#pragma clang attribute pop

extern const ck_matmul_table ck_matmul_avx2;
const ck_matmul_table ck_matmul_avx2 = {
    pack_rows, pack_columns, ck_matmul_pack_scales, multiply, ck_matmul_multiply_wide, multiply_bf16,
};
