// Differences of bytes. Plain loops: the compiler knows how to vectorise them for whichever table includes them.
#ifndef CK_WIRE_BYTES_H
#define CK_WIRE_BYTES_H

static void subtract_bytes(int64_t n, const uint8_t *a, const uint8_t *b, uint8_t *difference) {
  for (int64_t i = 0; i < n; i++) difference[i] = (uint8_t)(a[i] - b[i]);
}

static void add_bytes(int64_t n, const uint8_t *difference, uint8_t *a) {
  for (int64_t i = 0; i < n; i++) a[i] = (uint8_t)(a[i] + difference[i]);
}

#endif
