#include "include/CKernels.h"
const ck_codec_table ck_codec_scalar, ck_codec_avx2, ck_codec_avx512;
