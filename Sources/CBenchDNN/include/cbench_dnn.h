// oneDNN's matrix products, for comparison in `mfqat-bench gemm`: found at run time, never linked.
//
// Every product is C (m x n) = A (m x k) · Bᵀ, B (n x k), all row-major and dense, on one thread.
#ifndef CBENCH_DNN_H
#define CBENCH_DNN_H

#include <stdbool.h>
#include <stdint.h>

// Loads libdnnl.so.2; NULL, or its version such as "2.6.3".
const char *cbench_dnn_version(void);

// False if the library refuses.
bool cbench_dnn_s8s8s32(int64_t m, int64_t n, int64_t k, const int8_t *a, const int8_t *b, int32_t *c);
bool cbench_dnn_sgemm(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c);

// bf16 times bf16 to fp32, through the matmul primitive: prepared once, run again and again. NULL where there is none.
typedef struct cbench_dnn_matmul cbench_dnn_matmul;
cbench_dnn_matmul *cbench_dnn_bf16(int64_t m, int64_t n, int64_t k, uint16_t *a, uint16_t *b, float *c);
bool cbench_dnn_run(cbench_dnn_matmul *matmul);
void cbench_dnn_free(cbench_dnn_matmul *matmul);

#endif
