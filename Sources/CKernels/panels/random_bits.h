// The random number of an element, one at a time: 16 bits, Philox4x32-10 (Salmon et al., SC 2011) as in CounterRandom of
// Tensors. Element i takes bits 16 * (i % 8) and up of the block with counter i / 8; words in order, low half first.
#ifndef CK_RANDOM_BITS_H
#define CK_RANDOM_BITS_H

#include "../ck_strict.h"

static inline uint32_t ck_random_bits(const uint32_t key[2], uint64_t element) {
  const uint64_t counter = element / 8;
  uint32_t c[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 0, 0}, k[2] = {key[0], key[1]};
  for (int round = 0; round < 10; round++) {
    const uint64_t a = c[0] * (uint64_t)0xD2511F53u, b = c[2] * (uint64_t)0xCD9E8D57u;
    c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k[0];
    c[1] = (uint32_t)b;
    c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k[1];
    c[3] = (uint32_t)a;
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return (c[element % 8 / 2] >> (16 * (element % 2))) & 0xFFFF;
}

#endif
