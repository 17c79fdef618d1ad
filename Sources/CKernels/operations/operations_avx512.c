// The AVX-512 table: sixteen lanes in one zmm register.
#include "../ck_strict.h"
#include "../include/ck_operations.h"
#include "entries.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq"))), apply_to = function)
#include "lanes/lanes_avx512.h"
#include "lanes/operations.h"
#pragma clang attribute pop

extern const ck_operation_table ck_operations_avx512;
const ck_operation_table ck_operations_avx512 = {CK_OPERATION_ENTRIES};
