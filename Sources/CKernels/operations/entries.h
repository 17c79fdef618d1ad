// The entries of a table of operations, by name: every table defines a static function of each name, then fills itself.
#ifndef CK_OPERATION_ENTRIES_H
#define CK_OPERATION_ENTRIES_H

#define CK_OPERATION_ENTRIES                                                                                        \
  .rms_norm_forward = rms_norm_forward, .rms_norm_backward = rms_norm_backward, .rope = rope,                       \
  .swiglu_forward = swiglu_forward, .swiglu_backward = swiglu_backward,                                             \
  .softmax_causal_forward = softmax_causal_forward,                                                                 \
  .attention_forward = attention_forward, .attention_backward = attention_backward,                                 \
  .attention_delta = attention_delta, .cross_entropy = cross_entropy, .distillation = distillation,                 \
  .compare_logits = compare_logits, .embedding_forward = embedding_forward,                                         \
  .embedding_backward = embedding_backward, .add = add, .accumulate = accumulate, .scale = scale,                   \
  .bias_forward = bias_forward, .bias_backward = bias_backward, .adamw = adamw,                                     \
  .row_sums_of_squares = row_sums_of_squares, .all_finite = all_finite

#endif
