// Rounding of weights with error feedback (GPTQ): one tile of weight rows, column after column.
//
// A tile lies transposed: a column of the weight is a row of memory, `rows` floats long, so that a vector holds the same
// column of several weight rows. Rows of a weight do not know of each other; columns do.
//
// The recurrence. With the damped second moments of the input H = R Rᵀ, R upper triangular, the squared error of a row
// is ‖e R‖² for e = w - q, and its term of column j is R_jj times
//     e_j + Σ_{i<j} e_i S_ij,   S_ij = R_ij / R_jj
// Columns behind j can make their own terms zero as long as they are not rounded, so rounding
//     v_j = w_j + Σ_{i<j} e_i S_ij
// to nearest is what GPTQ (arXiv 2210.17323) does with the Cholesky factor U = R⁻¹ of H⁻¹: v_j is the weight that all
// its updates leave. This form needs no inverse, and its errors are those of the stored weights.
//
// Contract: bit-exact. Every table returns what the scalar one returns for finite inputs. A product and its sum are one
// fused operation. `rows` is a multiple of CK_SOLVER_LANES; rows beyond a weight's are zeros. Pointers have any alignment.
#ifndef CK_SOLVER_H
#define CK_SOLVER_H

#include <stdbool.h>
#include <stdint.h>
#include "ck_codec.h"

enum {
  CK_SOLVER_LANES = 16,   // rows of a tile are a multiple of it
  CK_SOLVER_COLUMNS = 128,  // most columns of a sweep
  CK_SOLVER_TARGETS = 8,    // most formats that one code serves
};

// How the scale of a block is found: the rule's byte, and those from `from` below (<= 0) to `through` above it, of which the
// one with the least Σ|w - q|^norm wins; on a tie the rule's, then the smaller. from = through = 0 is the rule alone.
// Powers other than 2 are computed to about 1e-4, in the same operations everywhere.
typedef struct ck_scale_search {
  int32_t rule;  // ck_scale_rule
  int32_t from, through;
  float norm;
} ck_scale_search;

// Up to CK_SOLVER_COLUMNS neighbouring columns of a tile.
typedef struct ck_sweep {
  ck_element element;
  ck_scale_search search;
  bool frozen;   // the scales are given; otherwise a block's is chosen when its first column is reached, from the weights
                 // as the feedback of all columns before leaves them
  bool blocks;   // a block of 32 is rounded at once; otherwise every column feels the error of the one before
  int64_t columns, rows;
  const float *factor;        // S_ij at [j * CK_SOLVER_COLUMNS + i], i < j < columns; others are not read
  float *x;                   // columns x rows: weights; on return w - q
  float *v;                   // columns x rows: weights + feedback of all columns before these; used up
  const int32_t *scale_rows;  // columns: where a column's scales stand in `scales`, in rows. If not frozen or in blocks:
                              // column j belongs to block j / 32 of these columns
  uint8_t *scales;            // rows bytes for each block
  uint8_t *codes;             // columns x rows
} ck_sweep;

// One 8-bit code that has to serve several formats: the anchor's own and those cut from it.
typedef struct ck_target {
  float weight;              // of its squared error; > 0
  float value[256];          // what an ordinal is in this format, in units of the anchor's block scale
  float anchor_inverse;      // 2^-(scale shift): the anchor's unit over the target's
  ck_element element;
  uint8_t first[256];        // ordinals whose slice is this code of the format
  uint8_t last[256];
  float *x;                  // columns x rows, as in ck_sweep, of this format's own error feedback
  float *v;
} ck_target;

typedef struct ck_target_sweep {
  int64_t columns, rows;
  const float *factor;
  int32_t targets;
  ck_target *target;
  int32_t ordinals;           // finite codes of the anchor by value, without the negative zero
  uint8_t code[256];          // the anchor's code of an ordinal
  float value[256];           // its value, unscaled
  const float *weights;       // columns x rows: the weights without any feedback, by which ties are broken
  const int32_t *scale_rows;
  const uint8_t *scales;      // the anchor's, given
  uint8_t *codes;
} ck_target_sweep;

typedef struct ck_solver_table {
  // Scales of one block: `columns` <= 32 columns of w.
  void (*choose_scales)(const ck_element *element, const ck_scale_search *search, int64_t columns, int64_t rows,
                        const float *w, uint8_t *scales);
  // Columns that share their scales, to nearest.
  void (*round)(const ck_element *element, int64_t columns, int64_t rows, const float *w, const uint8_t *scales,
                uint8_t *codes);
  void (*sweep)(const ck_sweep *sweep);
  // For every weight the code that adds least to the weighted errors of all targets; on a tie the one nearest to the
  // weight itself.
  void (*sweep_targets)(const ck_target_sweep *sweep);
} ck_solver_table;

// x[j, r] = w[r, order[j]] for r < count, 0 for count <= r < rows. `order` may be NULL: columns as they are.
void ck_solver_load(int64_t count, int64_t columns, const float *w, const int32_t *order, int64_t rows, float *x);

// The inverse for codes, and scales from blocks x rows to count x blocks. A block without a nonzero code (code &
// zero_mask) gets byte 0 and codes +0.
void ck_solver_store(int64_t count, int64_t columns, const uint8_t *tile_codes, const uint8_t *tile_scales,
                     const int32_t *order, int64_t rows, uint8_t zero_mask, uint8_t *codes, uint8_t *scales);

#endif
