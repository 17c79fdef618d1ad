// CKernels: every hot loop of mfqat, in C.
//
// A kernel exists first as a scalar function that *is* the definition of the operation, then in AVX2 and AVX-512
// tables that are held to it. A table is chosen once, at start, by `ck_table_select`; nothing is chosen inside a loop.
// No build flags: a file switches its instruction set on with per-function target attributes, so one build runs on
// every x86-64 processor.
#ifndef CK_KERNELS_H
#define CK_KERNELS_H

#include "ck_codec.h"
#include "ck_matmul.h"
#include "ck_operations.h"
#include "ck_panels.h"
#include "ck_solver.h"
#include "ck_table.h"
#include "ck_team.h"
#include "ck_wire.h"

#endif
