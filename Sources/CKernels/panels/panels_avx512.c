// The AVX-512 table (F, BW, VL, DQ): sixteen vectors in a zmm register.
#include "../ck_strict.h"
#include "panels_plan.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#include "lanes_avx512.h"

#include "entries.h"
#pragma clang attribute pop

extern const ck_panel_table ck_panels_avx512;
const ck_panel_table ck_panels_avx512 = {
    rotate_rows,      rotate_columns,  largest_rows,       largest_columns, quantize_rows,
    quantize_columns, round_rows_bf16, round_columns_bf16,
};
