// The AVX-512 table with VNNI and BF16.
#include "../ck_strict.h"
#include <immintrin.h>

#include "product.h"

#define CK_ZMM 1
// Sizes of tiles, so that sums and operands fill the registers and no more; groups of the depth in a turn of the loop.
enum {
  PLAIN_ROWS = 8, PLAIN_VECTORS = 3,
  BLOCK_ROWS = 4, BLOCK_VECTORS = 3,
  BF16_ROWS = 8, BF16_VECTORS = 3,
  UNROLLED = 8,
};

#define CK_TARGET "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"
#pragma clang attribute push(__attribute__((target(CK_TARGET))), apply_to = function)
#include "lanes_avx512.h"
#include "dot4_vnni.h"
#include "dot2_bf16.h"
#include "multiply.h"
#include "pack.h"
#pragma clang attribute pop

extern const ck_matmul_table ck_matmul_avx512_bf16;
const ck_matmul_table ck_matmul_avx512_bf16 = {
    pack_rows, pack_columns, ck_matmul_pack_scales, multiply, ck_matmul_multiply_wide, multiply_bf16,
};
