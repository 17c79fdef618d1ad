// Included first by every file of kernels: what the floating point of this library is allowed to do.
//
// Products and sums are not contracted behind our back: bit equality across tables depends on a fused multiply-add
// being written where it is meant (`__builtin_fmaf` or the intrinsic) and nowhere else. Subnormals are never flushed:
// the block scale of byte 0 is the subnormal 2^-127.
#ifndef CK_STRICT_H
#define CK_STRICT_H

#pragma STDC FP_CONTRACT OFF
#if defined(__FAST_MATH__)
#error "CKernels must not be built with fast-math: its numbers are defined to the bit"
#endif

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#endif
