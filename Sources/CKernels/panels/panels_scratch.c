// The scratch memory of a thread: a training step must not allocate, and half a megabyte is too much for a stack.
#include "../ck_strict.h"
#include "panels_plan.h"
#include <pthread.h>
#include <stdlib.h>

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local float *scratch;

static void make_key(void) {
  if (pthread_key_create(&key, free) != 0) abort();
}

float *ck_panel_scratch(void) {
  if (scratch) return scratch;
  pthread_once(&once, make_key);
  void *memory = NULL;
  if (posix_memalign(&memory, 64, CK_SCRATCH * sizeof(float)) != 0) abort();
  if (pthread_setspecific(key, memory) != 0) abort();
  return scratch = memory;
}
