// Counts the allocations of one thread, for tests that claim there are none.
#ifndef CTESTHOOKS_H
#define CTESTHOOKS_H

#include <stdbool.h>
#include <stdint.h>

// Whether this program's C library lets us stand in front of its allocator (glibc does).
bool ctest_counts_allocations(void);
// From here to `ctest_stop_counting`, calls of malloc, calloc, realloc, aligned_alloc, memalign and posix_memalign made
// by this thread are counted, whichever library makes them.
void ctest_start_counting(void);
int64_t ctest_stop_counting(void);
// The largest number of bytes asked for between the last two of these calls, OpenBLAS's own requests included.
int64_t ctest_largest_allocation(void);

#endif
