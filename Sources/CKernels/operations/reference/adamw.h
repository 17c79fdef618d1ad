// AdamW (Loshchilov & Hutter 2019, algorithm 2). The order of the roundings below is the definition: no product is
// fused with a sum, and division and square root are correctly rounded on every processor, so every table gives these
// bits and a resumed run continues where another machine stopped.

static void adamw(const adamw_step *step, int64_t n, real *master, real *m, real *v, const real *gradient) {
  const real keep = 1 - step->learning_rate * step->weight_decay;
  const real fresh1 = 1 - step->beta1, fresh2 = 1 - step->beta2;
  for (int64_t i = 0; i < n; i++) {
    const real g = gradient[i] * step->gradient_scale;
    m[i] = step->beta1 * m[i] + fresh1 * g;
    v[i] = step->beta2 * v[i] + fresh2 * g * g;
    const real direction = m[i] / step->correction1;
    const real denominator = __builtin_elementwise_sqrt(v[i] / step->correction2) + step->epsilon;
    master[i] = master[i] * keep - step->learning_rate * direction / denominator;
  }
}
