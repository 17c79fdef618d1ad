#include "include/CKernels.h"
const ck_codec_table ck_codec_scalar, ck_codec_avx2, ck_codec_avx512;
const ck_operation_table ck_operations_scalar, ck_operations_avx2, ck_operations_avx512;
