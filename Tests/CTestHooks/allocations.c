// Definitions in the program come before those of its libraries, so every call in the process arrives here. They pass
// it on under glibc's own second names: no lookup with dlsym, which allocates itself. Swift cannot do this: its
// runtime allocates before the first line of Swift runs.
#include "CTestHooks.h"

#include <errno.h>
#include <stddef.h>

static _Thread_local bool counting;
static _Thread_local int64_t allocations;

void ctest_start_counting(void) {
  allocations = 0;
  counting = true;
}

int64_t ctest_stop_counting(void) {
  counting = false;
  return allocations;
}

#ifdef __GLIBC__

bool ctest_counts_allocations(void) { return true; }

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static void count_one(void) {
  if (counting) allocations++;
}

void *malloc(size_t size) {
  count_one();
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  count_one();
  return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
  count_one();
  return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
  count_one();
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count_one();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
  if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
  count_one();
  void *block = __libc_memalign(alignment, size);
  if (block == NULL) return ENOMEM;
  *memory = block;
  return 0;
}

#else

bool ctest_counts_allocations(void) { return false; }

#endif
