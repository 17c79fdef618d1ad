// The AVX-512 table: sixteen values in a zmm register.
#include "../ck_strict.h"
#include "wire_plan.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#include "lanes_avx512.h"

#include "entries.h"
#pragma clang attribute pop

extern const ck_wire_table ck_wire_avx512;
const ck_wire_table ck_wire_avx512 = {
    pack, unpack, rotate, unrotate, round_bf16, widen_bf16, subtract_bytes, add_bytes,
};
