// Definitions in the program come before those of its libraries, so every call in the process arrives here. They pass
// it on under glibc's own second names: no lookup with dlsym, which allocates itself. Swift cannot do this: its
// runtime allocates before the first line of Swift runs.
#define _GNU_SOURCE
#include "CTestHooks.h"

#include <errno.h>
#include <link.h>
#include <string.h>
#include <stddef.h>

static _Thread_local bool counting;
static _Thread_local int64_t allocations;
static _Thread_local size_t largest;

void ctest_start_counting(void) {
  allocations = 0;
  largest = 0;
  counting = true;
}

int64_t ctest_stop_counting(void) {
  counting = false;
  return allocations;
}

int64_t ctest_largest_allocation(void) { return largest > INT64_MAX ? INT64_MAX : (int64_t)largest; }

#ifdef __GLIBC__

bool ctest_counts_allocations(void) { return true; }

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

// Some OpenBLAS kernels take a buffer for each product of small matrices (SkylakeX does, Haswell does not): which one
// runs is the processor's choice, and what it takes is not what is claimed here.
static uintptr_t blas_begin, blas_end;

static int find_blas(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size, (void)unused;
  if (strstr(info->dlpi_name, "blas") == NULL) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, end = begin + info->dlpi_phdr[i].p_memsz;
    if (blas_end == 0 || begin < blas_begin) blas_begin = begin;
    if (end > blas_end) blas_end = end;
  }
  return 1;
}

__attribute__((constructor)) static void find_libraries(void) { dl_iterate_phdr(find_blas, NULL); }

// Inlined, so that the caller is the caller of malloc.
static inline __attribute__((always_inline)) void count_one(size_t size) {
  if (!counting) return;
  if (size > largest) largest = size;
  const uintptr_t caller = (uintptr_t)__builtin_return_address(0);
  if (caller < blas_begin || caller >= blas_end) allocations++;
}

void *malloc(size_t size) {
  count_one(size);
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  size_t bytes;
  count_one(__builtin_mul_overflow(count, size, &bytes) ? SIZE_MAX : bytes);
  return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
  count_one(size);
  return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
  count_one(size);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count_one(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
  if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
  count_one(size);
  void *block = __libc_memalign(alignment, size);
  if (block == NULL) return ENOMEM;
  *memory = block;
  return 0;
}

#else

bool ctest_counts_allocations(void) { return false; }

#endif
