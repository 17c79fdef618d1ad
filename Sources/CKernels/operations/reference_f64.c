// The reference over double: what finite differences and tolerances are measured against.
#include "../ck_strict.h"
#include "../include/ck_reference.h"
#include "entries.h"

typedef double real;
typedef ck_adamw_f64 adamw_step;
#include "reference/reference.h"

const ck_reference_table ck_reference_f64 = {CK_OPERATION_ENTRIES};
