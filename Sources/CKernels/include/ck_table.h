#ifndef CK_TABLE_H
#define CK_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include "ck_codec.h"
#include "ck_operations.h"

// One instruction set's kernels. `codec` moves numbers between fp32 and block formats (bit-exact in every table);
// `operations` is the arithmetic of the model (each entry states its contract in ck_operations.h).
typedef struct ck_table {
  const char *name;  // "scalar", "avx2", "avx512"
  const ck_codec_table *codec;
  const ck_operation_table *operations;
} ck_table;

// The tables this processor can run, best first; the scalar reference is always last.
int32_t ck_table_count(void);
const ck_table *ck_table_at(int32_t index);
// The table of that name, or NULL if the processor cannot run it or the name is unknown.
const ck_table *ck_table_named(const char *name);

#endif
