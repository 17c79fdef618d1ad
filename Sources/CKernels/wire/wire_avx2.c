// The AVX2 table: sixteen values in two ymm registers.
#include "../ck_strict.h"
#include "wire_plan.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#include "lanes_avx2.h"

#include "entries.h"
#pragma clang attribute pop

extern const ck_wire_table ck_wire_avx2;
const ck_wire_table ck_wire_avx2 = {
    pack, unpack, rotate, unrotate, round_bf16, widen_bf16, subtract_bytes, add_bytes,
};
