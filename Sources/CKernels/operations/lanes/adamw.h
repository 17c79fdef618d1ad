// AdamW over lanes: the roundings of reference/adamw.h, one by one.

typedef struct adamw_constants {
  lanes keep, beta1, beta2, fresh1, fresh2, correction1, correction2, epsilon, learning_rate, gradient_scale;
} adamw_constants;

INLINE void adamw_step(const adamw_constants *k, float *master, float *m, float *v, const float *gradient,
                       int64_t count) {
  const lanes g = times(load(gradient, count), k->gradient_scale);
  const lanes m1 = plus(times(k->beta1, load(m, count)), times(k->fresh1, g));
  const lanes v1 = plus(times(k->beta2, load(v, count)), times(times(k->fresh2, g), g));
  const lanes denominator = plus(root(over(v1, k->correction2)), k->epsilon);
  const lanes move = over(times(k->learning_rate, over(m1, k->correction1)), denominator);
  store(m, m1, count);
  store(v, v1, count);
  store(master, minus(times(load(master, count), k->keep), move), count);
}

static void adamw(const ck_adamw *step, int64_t n, float *master, float *m, float *v, const float *gradient) {
  const adamw_constants k = {
      .keep = splat(1 - step->learning_rate * step->weight_decay),
      .beta1 = splat(step->beta1),
      .beta2 = splat(step->beta2),
      .fresh1 = splat(1 - step->beta1),
      .fresh2 = splat(1 - step->beta2),
      .correction1 = splat(step->correction1),
      .correction2 = splat(step->correction2),
      .epsilon = splat(step->epsilon),
      .learning_rate = splat(step->learning_rate),
      .gradient_scale = splat(step->gradient_scale),
  };
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) adamw_step(&k, master + i, m + i, v + i, gradient + i, LANES);
  if (i < n) adamw_step(&k, master + i, m + i, v + i, gradient + i, n - i);
}
