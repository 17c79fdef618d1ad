#ifndef CK_TABLE_H
#define CK_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include "ck_codec.h"
#include "ck_matmul.h"
#include "ck_operations.h"
#include "ck_panels.h"
#include "ck_solver.h"
#include "ck_wire.h"

// One instruction set's kernels. `codec` moves numbers between fp32 and block formats (bit-exact in every table);
// `operations` is the arithmetic of the model (each entry states its contract in ck_operations.h); `panels` rotates,
// quantizes and packs the operands of the low-precision products of `matmul`; `wire` codes what travels between ranks;
// `solver` rounds weights with error feedback.
typedef struct ck_table {
  const char *name;  // "scalar", "avx2", "avx512", "avx512_vnni", "avx512_bf16" (which has VNNI too)
  const ck_codec_table *codec;
  const ck_operation_table *operations;
  const ck_panel_table *panels;
  const ck_matmul_table *matmul;
  const ck_wire_table *wire;
  const ck_solver_table *solver;
} ck_table;

// The tables this processor can run, best first; the scalar reference is always last.
int32_t ck_table_count(void);
const ck_table *ck_table_at(int32_t index);
// The table of that name, or NULL if the processor cannot run it or the name is unknown.
const ck_table *ck_table_named(const char *name);

#endif
