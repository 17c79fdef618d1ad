// Which tables this processor can run, best first.
#include <stddef.h>
#include <string.h>
#include "include/ck_table.h"

extern const ck_codec_table ck_codec_scalar, ck_codec_avx2, ck_codec_avx512;
extern const ck_operation_table ck_operations_scalar, ck_operations_avx2, ck_operations_avx512;

static const ck_table ck_scalar = {"scalar", &ck_codec_scalar, &ck_operations_scalar};
static const ck_table ck_avx2 = {"avx2", &ck_codec_avx2, &ck_operations_avx2};
static const ck_table ck_avx512 = {"avx512", &ck_codec_avx512, &ck_operations_avx512};

static bool runs_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

static bool runs_avx512(void) {
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

int32_t ck_table_count(void) { return runs_avx512() ? 3 : runs_avx2() ? 2 : 1; }

const ck_table *ck_table_at(int32_t index) {
  static const ck_table *const best_first[] = {&ck_avx512, &ck_avx2, &ck_scalar};
  const int32_t count = ck_table_count();
  return index < 0 || index >= count ? NULL : best_first[3 - count + index];
}

const ck_table *ck_table_named(const char *name) {
  for (int32_t i = 0; i < ck_table_count(); i++)
    if (strcmp(ck_table_at(i)->name, name) == 0) return ck_table_at(i);
  return NULL;
}
