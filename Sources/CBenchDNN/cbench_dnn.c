#include "include/cbench_dnn.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

// What oneDNN 2 calls them (oneapi/dnnl/dnnl_types.h). Descriptors are structures that only it looks into.
enum { CPU = 1, BF16 = 2, F32 = 3, SOURCE = 1, WEIGHTS = 33, DESTINATION = 17, DIMENSIONS = 12, DESCRIPTOR = 16384 };
typedef int64_t dimensions[DIMENSIONS];
typedef union descriptor {
  char bytes[DESCRIPTOR];
  max_align_t alignment;
} descriptor;
typedef struct argument {
  int index;
  void *memory;
} argument;
typedef struct version {
  int major, minor, patch;
} version;

// The functions in use; all return 0 if all is well.
static struct library {
  const version *(*version)(void);
  int (*gemm_s8s8s32)(char, char, char, int64_t, int64_t, int64_t, float, const int8_t *, int64_t, int8_t,
                      const int8_t *, int64_t, int8_t, float, int32_t *, int64_t, const int32_t *);
  int (*sgemm)(char, char, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t, float,
               float *, int64_t);
  int (*engine_create)(void **, int, size_t);
  int (*stream_create)(void **, void *, unsigned);
  int (*stream_wait)(void *);
  int (*memory_desc_init_by_strides)(descriptor *, int, const dimensions, int, const dimensions);
  int (*matmul_desc_init)(descriptor *, const descriptor *, const descriptor *, const descriptor *, const descriptor *);
  int (*primitive_desc_create)(void **, const descriptor *, const void *, void *, const void *);
  int (*primitive_desc_destroy)(void *);
  int (*primitive_create)(void **, const void *);
  int (*primitive_execute)(const void *, void *, int, const argument *);
  int (*primitive_destroy)(void *);
  int (*memory_create)(void **, const descriptor *, void *, void *);
  int (*memory_destroy)(void *);
  void *engine, *stream;
  char name[32];
} dnnl;

static bool load(void) {
  // Read when the library's OpenMP runtime starts.
  setenv("OMP_NUM_THREADS", "1", 1);
  void *library = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library) return false;
#define FIND(function) \
  if (!(*(void **)&dnnl.function = dlsym(library, "dnnl_" #function))) return false
  FIND(version);
  FIND(gemm_s8s8s32);
  FIND(sgemm);
  FIND(engine_create);
  FIND(stream_create);
  FIND(stream_wait);
  FIND(memory_desc_init_by_strides);
  FIND(matmul_desc_init);
  FIND(primitive_desc_create);
  FIND(primitive_desc_destroy);
  FIND(primitive_create);
  FIND(primitive_execute);
  FIND(primitive_destroy);
  FIND(memory_create);
  FIND(memory_destroy);
#undef FIND
  const version *v = dnnl.version();
  snprintf(dnnl.name, sizeof dnnl.name, "%d.%d.%d", v->major, v->minor, v->patch);
  return v->major == 2 && dnnl.engine_create(&dnnl.engine, CPU, 0) == 0 &&
         dnnl.stream_create(&dnnl.stream, dnnl.engine, 1) == 0;  // 1: the default flags
}

const char *cbench_dnn_version(void) {
  static int loaded = -1;
  if (loaded < 0) loaded = load();
  return loaded ? dnnl.name : NULL;
}

bool cbench_dnn_s8s8s32(int64_t m, int64_t n, int64_t k, const int8_t *a, const int8_t *b, int32_t *c) {
  const int32_t offset = 0;
  return dnnl.gemm_s8s8s32('N', 'T', 'F', m, n, k, 1, a, k, 0, b, k, 0, 0, c, n, &offset) == 0;
}

bool cbench_dnn_sgemm(int64_t m, int64_t n, int64_t k, const float *a, const float *b, float *c) {
  return dnnl.sgemm('N', 'T', m, n, k, 1, a, k, b, k, 0, c, n) == 0;
}

struct cbench_dnn_matmul {
  void *primitive;
  argument arguments[3];
};

cbench_dnn_matmul *cbench_dnn_bf16(int64_t m, int64_t n, int64_t k, uint16_t *a, uint16_t *b, float *c) {
  // B as (k x n) whose columns lie contiguous.
  const dimensions size[3] = {{m, k}, {k, n}, {m, n}}, strides[3] = {{k, 1}, {1, k}, {n, 1}};
  void *const data[3] = {a, b, c};
  const int index[3] = {SOURCE, WEIGHTS, DESTINATION};
  static descriptor operand[3], product;
  cbench_dnn_matmul *matmul = calloc(1, sizeof *matmul);
  if (!matmul) return NULL;
  bool good = true;
  for (int i = 0; good && i < 3; i++) {
    matmul->arguments[i].index = index[i];
    good = dnnl.memory_desc_init_by_strides(&operand[i], 2, size[i], i == 2 ? F32 : BF16, strides[i]) == 0 &&
           dnnl.memory_create(&matmul->arguments[i].memory, &operand[i], dnnl.engine, data[i]) == 0;
  }
  void *chosen = NULL;
  good = good && dnnl.matmul_desc_init(&product, &operand[0], &operand[1], NULL, &operand[2]) == 0 &&
         dnnl.primitive_desc_create(&chosen, &product, NULL, dnnl.engine, NULL) == 0 &&
         dnnl.primitive_create(&matmul->primitive, chosen) == 0;
  if (chosen) dnnl.primitive_desc_destroy(chosen);
  if (good) return matmul;
  cbench_dnn_free(matmul);
  return NULL;
}

bool cbench_dnn_run(cbench_dnn_matmul *matmul) {
  return dnnl.primitive_execute(matmul->primitive, dnnl.stream, 3, matmul->arguments) == 0 &&
         dnnl.stream_wait(dnnl.stream) == 0;
}

void cbench_dnn_free(cbench_dnn_matmul *matmul) {
  if (!matmul) return;
  for (int i = 0; i < 3; i++)
    if (matmul->arguments[i].memory) dnnl.memory_destroy(matmul->arguments[i].memory);
  if (matmul->primitive) dnnl.primitive_destroy(matmul->primitive);
  free(matmul);
}
