// Which tables this processor can run, best first.
#include <stddef.h>
#include <string.h>
#include "include/ck_table.h"

extern const ck_codec_table ck_codec_scalar, ck_codec_avx2, ck_codec_avx512;
extern const ck_operation_table ck_operations_scalar, ck_operations_avx2, ck_operations_avx512;
extern const ck_panel_table ck_panels_scalar, ck_panels_avx2, ck_panels_avx512;
extern const ck_matmul_table ck_matmul_scalar, ck_matmul_avx2, ck_matmul_avx512, ck_matmul_avx512_vnni,
    ck_matmul_avx512_bf16;
extern const ck_wire_table ck_wire_scalar, ck_wire_avx2, ck_wire_avx512;
extern const ck_solver_table ck_solver_scalar, ck_solver_avx2, ck_solver_avx512;

static const ck_table tables[] = {
    {"avx512_bf16", &ck_codec_avx512, &ck_operations_avx512, &ck_panels_avx512,
     &ck_matmul_avx512_bf16, &ck_wire_avx512, &ck_solver_avx512},
    {"avx512_vnni", &ck_codec_avx512, &ck_operations_avx512, &ck_panels_avx512,
     &ck_matmul_avx512_vnni, &ck_wire_avx512, &ck_solver_avx512},
    {"avx512", &ck_codec_avx512, &ck_operations_avx512, &ck_panels_avx512,
     &ck_matmul_avx512, &ck_wire_avx512, &ck_solver_avx512},
    {"avx2", &ck_codec_avx2, &ck_operations_avx2, &ck_panels_avx2,
     &ck_matmul_avx2, &ck_wire_avx2, &ck_solver_avx2},
    {"scalar", &ck_codec_scalar, &ck_operations_scalar, &ck_panels_scalar,
     &ck_matmul_scalar, &ck_wire_scalar, &ck_solver_scalar},
};
enum { TABLES = sizeof tables / sizeof *tables };

static bool runs_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

static bool runs_avx512(void) {
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool runs_vnni(void) { return runs_avx512() && __builtin_cpu_supports("avx512vnni"); }

static bool runs_bf16(void) { return runs_vnni() && __builtin_cpu_supports("avx512bf16"); }

// Each table needs what the one after it needs, and more.
int32_t ck_table_count(void) {
  return runs_bf16() ? TABLES : runs_vnni() ? TABLES - 1 : runs_avx512() ? TABLES - 2 : runs_avx2() ? TABLES - 3 : 1;
}

const ck_table *ck_table_at(int32_t index) {
  const int32_t count = ck_table_count();
  return index < 0 || index >= count ? NULL : &tables[TABLES - count + index];
}

const ck_table *ck_table_named(const char *name) {
  for (int32_t i = 0; i < ck_table_count(); i++)
    if (strcmp(ck_table_at(i)->name, name) == 0) return ck_table_at(i);
  return NULL;
}
