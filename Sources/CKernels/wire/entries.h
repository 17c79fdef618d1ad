// The entries of a vector table, over the parts of it.
#ifndef CK_WIRE_ENTRIES_H
#define CK_WIRE_ENTRIES_H

#include "random_numbers.h"

#include "rotation.h"

#include "pack.h"

#include "unpack.h"

#include "bf16.h"

#include "bytes.h"

#endif
