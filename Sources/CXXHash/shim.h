#pragma once
#include <xxhash.h>

// XXH3 as the library's own build has it uses what every processor of the architecture has: SSE2 on x86-64. Where the
// library brings its dispatcher, these use the widest vectors of this processor. The hashes are the same.
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#define XXH_DISPATCH_DISABLE_REPLACE
#include <xxh_x86dispatch.h>
static inline XXH128_hash_t XXH3_128bits_widest(const void *bytes, size_t count) {
  return XXH3_128bits_dispatch(bytes, count);
}
static inline XXH_errorcode XXH3_128bits_update_widest(XXH3_state_t *state, const void *bytes, size_t count) {
  return XXH3_128bits_update_dispatch(state, bytes, count);
}
#else
static inline XXH128_hash_t XXH3_128bits_widest(const void *bytes, size_t count) { return XXH3_128bits(bytes, count); }
static inline XXH_errorcode XXH3_128bits_update_widest(XXH3_state_t *state, const void *bytes, size_t count) {
  return XXH3_128bits_update(state, bytes, count);
}
#endif
