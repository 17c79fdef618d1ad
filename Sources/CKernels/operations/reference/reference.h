// The definition of every operation, written once for a type `real`. The including file defines `real` and `adamw_step`
// and fills a table with the static functions declared here.
//
// Sums are double whatever `real` is: a definition should not owe its digits to the order of its additions.

static inline real exponential(real x) {
  return sizeof(real) == sizeof(float) ? (real)expf((float)x) : (real)exp((double)x);
}

static inline real magnitude(real x) { return x < 0 ? -x : x; }

// How many keys row r of a causal tile sees.
static inline int64_t visible_keys(int64_t r, int64_t keys, int64_t visible) {
  const int64_t n = visible + r + 1;
  return n < 0 ? 0 : n > keys ? keys : n;
}

#include "rms_norm.h"
#include "rope.h"
#include "swiglu.h"
#include "softmax_causal.h"
#include "attention.h"
#include "logits.h"
#include "embedding.h"
#include "elementwise.h"
#include "adamw.h"
#include "reductions.h"
