// The AVX2 table: sixteen vectors in two ymm registers.
#include "../ck_strict.h"
#include "panels_plan.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#include "lanes_avx2.h"

#include "entries.h"
#pragma clang attribute pop

extern const ck_panel_table ck_panels_avx2;
const ck_panel_table ck_panels_avx2 = {
    rotate_rows,      rotate_columns,  largest_rows,       largest_columns, quantize_rows,
    quantize_columns, round_rows_bf16, round_columns_bf16,
};
