// Codecs of runs of fp32 on their way to other ranks: groups of 4- or 8-bit codes with one fp32 scale (SDP4Bit, arXiv
// 2410.15526, and its code), bf16, and differences of bytes.
//
// A run is n consecutive values, any n, counted in blocks of CK_WIRE_BLOCK, the order of the Hadamard rotation: the
// last block is padded with zeros, and *padded* lengths are whole blocks. Groups are whole blocks too; the last one of
// a run may have fewer. A run may be cut between groups: the pieces become what they become in the whole, if `first`
// goes along. Pointers may have any alignment.
//
// Rotation   r = H · v of each block, H Sylvester's matrix of order 32, not normalised: stages of butterflies (a + b,
//            a - b) with distance 1, 2, 4, 8, 16 in this order, each operation rounded once. H · H = 32.
// Scale      a = the group's largest magnitude, top = 7 or 127; scale = a / top, factor = top / a, both in fp32.
// Nearest    code = v * factor to the nearest integer, ties to even.
// Stochastic code = floor((q + r) / 2^16) with q = v * (factor * 2^16) to the nearest integer, ties to even, and r the
//            16 random bits of the element: a number between two codes goes up with a probability that is its distance
//            from the lower one, in whole 2^-16, so that the mean of its codes is q / 2^16. Element i of the run has
//            the bits of number first + i (mod 2^64) under `key`, counted as in ck_panels.h.
// Value      code * scale, one product in fp32.
// No code lies beyond top: the rounding errors of factor and product stay below half a unit of q, for every a.
//
// Tiny       a < 2^-100, zeros too: codes 0, scale 0, so that no quotient overflows. Values are 0.
// Too large  NaN, infinity or a magnitude of 2^127 or more in a group, or out of its rotation: scale NaN, codes 0.
//            Values are NaN throughout, which is how one rank's bad gradient reaches all. (From 2^127 on, code * scale
//            may round to infinity.)
//
// Payload: the scales of all groups (fp32, little-endian), then the codes of all blocks, two's complement. 8 bits: byte
// i of a block is element i. 4 bits: byte i of a block holds element i in its low, element i + 16 in its high nibble,
// so that both halves of a block stay in their lanes. The entries take the address of either part.
#ifndef CK_WIRE_H
#define CK_WIRE_H

#include <stdbool.h>
#include <stdint.h>

enum { CK_WIRE_BLOCK = 32 };

typedef struct ck_wire_format {
  int32_t bits;   // 4 or 8
  int64_t group;  // values that share a scale: a multiple of 32
} ck_wire_format;

// How values become codes.
typedef struct ck_wire_rounding {
  bool rotated;     // the rotation comes first: codes are those of r
  bool stochastic;  // or to nearest
  uint32_t key[2];  // stochastic only, with `first`
  uint64_t first;   // number of element 0
} ck_wire_rounding;

static inline int64_t ck_wire_blocks(int64_t n) { return (n + CK_WIRE_BLOCK - 1) / CK_WIRE_BLOCK; }
static inline int64_t ck_wire_padded(int64_t n) { return ck_wire_blocks(n) * CK_WIRE_BLOCK; }
static inline int64_t ck_wire_groups(const ck_wire_format *format, int64_t n) {
  return (n + format->group - 1) / format->group;
}
// Bytes of the payload of n values.
static inline int64_t ck_wire_bytes(const ck_wire_format *format, int64_t n) {
  return 4 * ck_wire_groups(format, n) + ck_wire_padded(n) / 8 * format->bits;
}

// Contract of every entry: bit-exact in every table, but for sign and payload of a NaN.
typedef struct ck_wire_table {
  // x (n) -> scales, codes. With a residual (padded n; rotated like the codes; zeros at first) v is what was rotated
  // plus the residual, and residual <- v - value of its code. A group that is too large keeps the residual it had:
  // nothing of it was sent.
  void (*pack)(const ck_wire_format *format, const ck_wire_rounding *rounding, int64_t n, const float *x,
               uint8_t *scales, uint8_t *codes, float *residual);
  // y (padded n) = values, or += values: one product, then one sum. Values stay rotated.
  void (*unpack)(const ck_wire_format *format, int64_t n, const uint8_t *scales, const uint8_t *codes, float *y,
                 bool accumulate);

  // y (padded n) = factor * H x, x (n) padded with zeros. y may be x, if that has room for it.
  void (*rotate)(int64_t n, const float *x, float factor, float *y);
  // x (n) = factor * H y, y (padded n); the inverse with factor 1/32. x may be y.
  void (*unrotate)(int64_t n, const float *y, float factor, float *x);

  // To the nearest bf16, ties to even, subnormals kept; NaN stays a quiet NaN.
  void (*round_bf16)(int64_t n, const float *x, uint16_t *y);
  // Exact.
  void (*widen_bf16)(int64_t n, const uint16_t *x, float *y);

  // Modulo 256. difference = a - b, may be either; a += difference.
  void (*subtract_bytes)(int64_t n, const uint8_t *a, const uint8_t *b, uint8_t *difference);
  void (*add_bytes)(int64_t n, const uint8_t *difference, uint8_t *a);
} ck_wire_table;

#endif
