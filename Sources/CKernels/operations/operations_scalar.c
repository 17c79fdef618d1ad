// The scalar table: the reference over float.
#include "../ck_strict.h"
#include "../include/ck_operations.h"
#include "entries.h"

typedef float real;
typedef ck_adamw adamw_step;
#include "reference/reference.h"

extern const ck_operation_table ck_operations_scalar;
const ck_operation_table ck_operations_scalar = {CK_OPERATION_ENTRIES};
