// The definition of every operation over double: the same source as the scalar table (operations/reference), compiled
// for double. Gradients are checked on it against finite differences; tolerances of the float tables are stated against
// it. Entries, shapes and aliasing are those of ck_operation_table.
#ifndef CK_REFERENCE_H
#define CK_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct ck_adamw_f64 {
  double learning_rate, beta1, beta2, epsilon, weight_decay, correction1, correction2, gradient_scale;
} ck_adamw_f64;

typedef struct ck_reference_table {
  void (*rms_norm_forward)(int64_t T, int64_t D, double epsilon, const double *x, int64_t x_stride, const double *gain,
                           double *y, int64_t y_stride, double *rstd);
  void (*rms_norm_backward)(int64_t T, int64_t D, const double *x, int64_t x_stride, const double *gain,
                            const double *rstd, const double *dy, int64_t dy_stride, double *dx, double *dgain);
  void (*rope)(int64_t T, int64_t H, int64_t d, double *x, int64_t stride, const double *cosines, const double *sines,
               int64_t first, int64_t period, int32_t direction);
  void (*swiglu_forward)(int64_t n, const double *gate, const double *up, double *y);
  void (*swiglu_backward)(int64_t n, const double *gate, const double *up, const double *dy, double *dgate,
                          double *dup);
  void (*softmax_causal_forward)(int64_t rows, int64_t keys, int64_t visible, double scale, double *scores,
                                 int64_t stride, double *lse);
  void (*attention_forward)(int64_t S, int64_t d, double scale, const double *q, const double *k, int64_t stride,
                            const double *v, int64_t v_stride, double *y, int64_t y_stride, double *lse,
                            double *scratch);
  void (*attention_backward)(int64_t S, int64_t H, int64_t d, double scale, const double *q, const double *k,
                             int64_t stride, const double *v, int64_t v_stride, const double *dy, int64_t dy_stride,
                             const double *lse, const double *delta, int64_t delta_stride, double *dq, double *dk,
                             int64_t d_stride, double *dv, int64_t dv_stride, double *scratch);
  void (*attention_delta)(int64_t T, int64_t H, int64_t d, const double *y, const double *dy, int64_t stride,
                          double *delta);
  void (*cross_entropy)(int64_t T, int64_t V, double *logits, const int32_t *targets, double scale, bool gradient,
                        double *loss);
  void (*distillation)(int64_t T, int64_t V, double *student, const double *teacher, const int32_t *targets,
                       double scale, double hard_weight, double soft_weight, double temperature, double *loss);
  void (*compare_logits)(int64_t T, int64_t V, const double *reference, const double *candidate, double *kl,
                         uint8_t *same_top);
  void (*embedding_forward)(int64_t T, int64_t D, const double *table, const int32_t *ids, double *y);
  void (*embedding_backward)(int64_t T, int64_t D, const double *dy, const int32_t *ids, double *dtable);
  void (*add)(int64_t n, const double *a, const double *b, double *y);
  void (*accumulate)(int64_t n, const double *x, double *y);
  void (*scale)(int64_t n, double factor, double *x);
  void (*bias_forward)(int64_t T, int64_t D, const double *bias, double *y, int64_t stride);
  void (*bias_backward)(int64_t T, int64_t D, const double *dy, int64_t stride, double *dbias);
  void (*adamw)(const ck_adamw_f64 *step, int64_t n, double *master, double *m, double *v, const double *gradient);
  void (*row_sums_of_squares)(int64_t rows, int64_t columns, const double *x, double *sums);
  bool (*all_finite)(int64_t n, const double *x);
} ck_reference_table;

extern const ck_reference_table ck_reference_f64;

#endif
