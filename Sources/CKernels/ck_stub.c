#include "include/CKernels.h"
const ck_operation_table ck_operations_scalar, ck_operations_avx2, ck_operations_avx512;
