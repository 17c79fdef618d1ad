// Random numbers of a run: 16 bits for each element, in memory, as the code that rounds wants to read them.
#ifndef CK_WIRE_RANDOM_NUMBERS_H
#define CK_WIRE_RANDOM_NUMBERS_H

#define UNROLLED _Pragma("clang loop unroll(full)")

enum {
  NUMBER_BLOCKS = 64,  // blocks of 32 elements that are filled at once
  AT_ONCE = 64,        // numbers of one vector of counters
};

typedef struct random_numbers {
  uint32_t keys[10][2];  // of each round
  uint64_t first;        // number of element 0 of the run
  int64_t start, end;    // blocks whose numbers lie here
  uint16_t numbers[NUMBER_BLOCKS * CK_WIRE_BLOCK + AT_ONCE];
} random_numbers;

static void set_keys(random_numbers *r, const uint32_t key[2], uint64_t first) {
  for (uint32_t round = 0; round < 10; round++) {
    r->keys[round][0] = key[0] + round * 0x9E3779B9u;
    r->keys[round][1] = key[1] + round * 0xBB67AE85u;
  }
  r->first = first;
  r->start = r->end = 0;
}

// The numbers of eight counters. One vector at a time: the processor itself overlaps one with the next.
INLINE void philox(const uint32_t keys[10][2], uint64_t counter, uint16_t *numbers) {
  const vi a = splat_i((int32_t)0xD2511F53u), b = splat_i((int32_t)0xCD9E8D57u);
  const vi counters = eight_counters(counter), product = multiply_low_words(counters, a);
  // The first round by hand: two words of the counter are 0. Elements count modulo 2^64, counters modulo 2^61.
  vi c0 = xor_i(and_i(upper_words(counters), splat_i(0x1FFFFFFF)), splat_i((int32_t)keys[0][0])), c1 = splat_i(0);
  vi c2 = xor_i(upper_words(product), splat_i((int32_t)keys[0][1])), c3 = product;
  UNROLLED for (int round = 1; round < 10; round++) {
    const vi product_a = multiply_low_words(c0, a), product_b = multiply_low_words(c2, b);
    c0 = xor_3(upper_words(product_b), c1, splat_i((int32_t)keys[round][0]));
    c1 = product_b;
    c2 = xor_3(upper_words(product_a), c3, splat_i((int32_t)keys[round][1]));
    c3 = product_a;
  }
  store_numbers(numbers, c0, c1, c2, c3);
}

static __attribute__((noinline)) void fill_numbers(random_numbers *r, int64_t block, int64_t blocks) {
  const uint64_t first = r->first + (uint64_t)(block * CK_WIRE_BLOCK);
  if (blocks > NUMBER_BLOCKS) blocks = NUMBER_BLOCKS;
  r->start = block;
  r->end = block + blocks;
  const int64_t needed = blocks * CK_WIRE_BLOCK + (int64_t)(first % 8);
  for (int64_t at = 0; at < needed; at += AT_ONCE) philox(r->keys, first / 8 + (uint64_t)at / 8, r->numbers + at);
}

// The numbers of the elements of a block; of a run of `blocks`, taken in ascending order.
INLINE const uint16_t *numbers_of(random_numbers *r, int64_t block, int64_t blocks) {
  if (__builtin_expect(block >= r->end, 0)) fill_numbers(r, block, blocks - block);
  return r->numbers + r->first % 8 + (block - r->start) * CK_WIRE_BLOCK;
}

#endif
