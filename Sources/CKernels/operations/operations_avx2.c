// The AVX2 table: sixteen lanes in two ymm registers.
#include "../ck_strict.h"
#include "../include/ck_operations.h"
#include "entries.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#include "lanes/lanes_avx2.h"
#include "lanes/operations.h"
#pragma clang attribute pop

extern const ck_operation_table ck_operations_avx2;
const ck_operation_table ck_operations_avx2 = {CK_OPERATION_ENTRIES};
