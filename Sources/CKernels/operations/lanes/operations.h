// Every operation of the table over `lanes`, one source for AVX2 and AVX-512: the including file has switched its
// instruction set on and included its lanes. Sixteen lanes, fused multiply-adds where they are written, fixed trees: both
// tables give the same bits.

#include "trees.h"
#include "exponential.h"
#include "elementwise.h"
#include "rms_norm.h"
#include "rope.h"
#include "swiglu.h"
#include "softmax_causal.h"
#include "products.h"
#include "attention.h"
#include "logits.h"
#include "adamw.h"
