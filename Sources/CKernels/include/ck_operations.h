// The arithmetic of a decoder, operation by operation, each forward beside its backward.
//
// Legend: T tokens (rows), D width, H heads, d head dimension, V vocabulary. Matrices are row-major; a `stride` counts
// elements from one row to the next. Pointers may be unaligned; outputs never alias inputs unless an entry says so.
//
// Contracts:  [exact] bit-equal in every table.  [ulps n] elementwise, within n ulps of the scalar reference, an ulp
//             being that of the largest term where terms of both signs are added.
//             [sum] reassociated: sums run in fixed lanes, lane i of 16 taking elements i, i+16, ... (long float sums
//             in four such sets, folded into double every 512 elements where a row is a vocabulary), then a fixed tree;
//             the AVX2 and AVX-512 tables agree to the bit, the scalar reference within the derived bound.
// The payload and sign of a NaN are never part of a contract. Sizes may be 0.
#ifndef CK_OPERATIONS_H
#define CK_OPERATIONS_H

#include <stdbool.h>
#include <stdint.h>

// One AdamW update (Loshchilov & Hutter 2019, decoupled decay), constants already resolved for the step.
typedef struct ck_adamw {
  float learning_rate, beta1, beta2, epsilon, weight_decay;
  float correction1, correction2;  // 1 - beta1^t, 1 - beta2^t
  float gradient_scale;            // clipping and averaging, multiplied into the gradient first
} ck_adamw;

// Queries and keys of one tile of attention.
enum { CK_ATTENTION_TILE = 64 };

// Floats of scratch that one call of attention_forward or attention_backward needs: linear in S.
static inline int64_t ck_attention_scratch(int64_t S, int64_t d) {
  const int64_t rows = (S + 15) / 16 * 16, width = (d + 15) / 16 * 16, tile = CK_ATTENTION_TILE;
  return 4 * rows * width + 5 * tile * width + 2 * tile * tile + 3 * tile;
}

typedef struct ck_operation_table {
  // y = x * rstd * gain, rstd = 1/sqrt(mean(x^2) + epsilon).  x, y (T, D) with strides; gain (D); rstd (T)  [sum]
  void (*rms_norm_forward)(int64_t T, int64_t D, float epsilon, const float *x, int64_t x_stride, const float *gain,
                           float *y, int64_t y_stride, float *rstd);
  // dx += ..., dgain += ...  dx has x's stride, dy has y's. dgain accumulates over tokens in ascending order.   [sum]
  void (*rms_norm_backward)(int64_t T, int64_t D, const float *x, int64_t x_stride, const float *gain,
                            const float *rstd, const float *dy, int64_t dy_stride, float *dx, float *dgain);

  // Rotary embedding, half-split pairs (i, i + d/2), in place over (T, H*d). Row t has position (first + t) % period
  // (period = sequence length in training, > 0). cosines, sines: (positions, d/2).
  // `direction` +1 forward, -1 backward                                                                    [exact]
  void (*rope)(int64_t T, int64_t H, int64_t d, float *x, int64_t stride, const float *cosines, const float *sines,
               int64_t first, int64_t period, int32_t direction);

  // y = silu(gate) * up, n elements                                                                        [ulps 4]
  void (*swiglu_forward)(int64_t n, const float *gate, const float *up, float *y);
  // dgate, dup from dy; dgate may be gate, dup may be up (in place)                                        [ulps 8]
  void (*swiglu_backward)(int64_t n, const float *gate, const float *up, const float *dy, float *dgate, float *dup);

  // Causal softmax of a tile of scores, in place. Row r may see keys 0 ... visible + r (inclusive); the rest become 0.
  // p = exp(scale * s - lse), lse (rows) = log sum exp(scale * s)                                          [sum]
  // `visible` may be negative: a row that sees nothing gets zeros and lse -infinity. Masked scores are never read.
  void (*softmax_causal_forward)(int64_t rows, int64_t keys, int64_t visible, float scale, float *scores,
                                 int64_t stride, float *lse);
  // Causal attention of one head over a sequence of S: y = softmax(scale * q k^T) v, row i over keys 0 ... i.    [sum]
  // q, k (S, d) with one stride; v, y (S, d); lse (S) = log sum exp(scale * q . k). In the fast tables an output is one
  // accumulator over keys ascending, rescaled at every tile of 64 keys where the row's maximum has risen.
  // A NaN or an infinity among the keys or values may reach rows up to 15 before it.
  // scratch: ck_attention_scratch(S, d) floats, here and below.
  void (*attention_forward)(int64_t S, int64_t d, float scale, const float *q, const float *k, int64_t stride,
                            const float *v, int64_t v_stride, float *y, int64_t y_stride, float *lse, float *scratch);
  // Its gradients, for a key head and the H query heads that share it: head h at columns h * d of q, dy and dq, lse at
  // h * S, delta (attention_delta's) at [i * delta_stride + h]. With p = exp(scale * q . k - lse) and
  // ds = p * (dy . v - delta):  dq = scale * sum ds k,  dk = sum ds scale q,  dv = sum p dy, all three overwritten.
  // dk and dv sum over heads, then queries, ascending. lse must be that of attention_forward.                   [sum]
  void (*attention_backward)(int64_t S, int64_t H, int64_t d, float scale, const float *q, const float *k,
                             int64_t stride, const float *v, int64_t v_stride, const float *dy, int64_t dy_stride,
                             const float *lse, const float *delta, int64_t delta_stride, float *dq, float *dk,
                             int64_t d_stride, float *dv, int64_t dv_stride, float *scratch);
  // delta[t * H + h] = dot over d of dy and y; y, dy (T, H*d)                                              [sum]
  void (*attention_delta)(int64_t T, int64_t H, int64_t d, const float *y, const float *dy, int64_t stride,
                          float *delta);

  // Cross entropy of rows of logits (T, V), in place: loss[t] = lse - logit[target] (nats, double); logits <-
  // scale * (softmax - onehot). target < 0: loss 0 and gradient 0. gradient false: logits are left as they are. [sum]
  // A NaN or +infinity in a row with a target makes its loss NaN, here and in `distillation`. target < V.
  void (*cross_entropy)(int64_t T, int64_t V, float *logits, const int32_t *targets, float scale, bool gradient,
                        double *loss);
  // Distillation: adds temperature^2 * KL(teacher || student) at that temperature. `student` holds logits and receives
  // scale * (hard_weight * dCE + soft_weight * dKL); loss[t] = hard*CE + soft*KL. Rows with target < 0 give 0.  [sum]
  // KL in the loss is the temperature^2 * KL above; CE is at temperature 1 and left out altogether at hard_weight 0.
  void (*distillation)(int64_t T, int64_t V, float *student, const float *teacher, const int32_t *targets, float scale,
                       float hard_weight, float soft_weight, float temperature, double *loss);
  // Comparison for evaluation: kl[t] = KL(reference || candidate) in nats, same_top[t] = 1 if argmax agrees. [sum]
  // The first of equal logits is the top one. A row with a NaN has kl NaN and same_top 0. Equal rows may come out a
  // few 1e-8 from zero on either side.
  void (*compare_logits)(int64_t T, int64_t V, const float *reference, const float *candidate, double *kl,
                         uint8_t *same_top);

  // y[t] = table[ids[t]];  dtable[ids[t]] += dy[t] in token order                                          [exact]
  void (*embedding_forward)(int64_t T, int64_t D, const float *table, const int32_t *ids, float *y);
  void (*embedding_backward)(int64_t T, int64_t D, const float *dy, const int32_t *ids, float *dtable);

  void (*add)(int64_t n, const float *a, const float *b, float *y);          // y = a + b; y may be a or b      [exact]
  void (*accumulate)(int64_t n, const float *x, float *y);                   // y += x                          [exact]
  void (*scale)(int64_t n, float factor, float *x);                          // x *= factor                     [exact]
  void (*bias_forward)(int64_t T, int64_t D, const float *bias, float *y, int64_t stride);  // y[t] += bias     [exact]
  void (*bias_backward)(int64_t T, int64_t D, const float *dy, int64_t stride, float *dbias);  // dbias += sum_t, t ascending [exact]

  // master = master * (1 - lr * weight_decay) - lr * mhat / (sqrt(vhat) + eps), each rounding in the order written in
  // operations/reference/adamw.h                                                                        [exact]
  void (*adamw)(const ck_adamw *step, int64_t n, float *master, float *m, float *v, const float *gradient);
  // sums[r] = sum over columns of x[r]^2 in double, 8 fixed lanes then a fixed tree                        [exact]
  void (*row_sums_of_squares)(int64_t rows, int64_t columns, const float *x, double *sums);
  // true if every element is finite                                                                        [exact]
  bool (*all_finite)(int64_t n, const float *x);
} ck_operation_table;

#include "ck_reference.h"

#endif
