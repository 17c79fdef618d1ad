// Rows of logits over lanes; definitions and the way of a NaN are in reference/logits.h. A vocabulary is long: sums go
// through long_sum. Softmax is the exponential less the row's maximum, times the inverse of the sum.

// e = exp((x - most) * inverse), zeros behind `count`
INLINE lanes logit_step(const float *x, lanes most, lanes inverse, int64_t count) {
  return pad(exponential(times(minus(load(x, count), most), inverse)), count, 0);
}

// sum of exp(x - most); with `keep`, x becomes the exponentials
INLINE double exponential_sum(int64_t n, float *x, float most, bool keep) {
  const lanes mosts = splat(most), one = splat(1);
  long_sum total = long_zero();
  for (int64_t start = 0; start < n; start += CHUNK) {
    const int64_t end = start + CHUNK < n ? start + CHUNK : n;
    lanes sum = splat(0);
    int64_t i = start;
    for (; i + LANES <= end; i += LANES) {
      const lanes e = logit_step(x + i, mosts, one, LANES);
      if (keep) store(x + i, e, LANES);
      sum = plus(sum, e);
    }
    if (i < end) {
      const lanes e = logit_step(x + i, mosts, one, end - i);
      if (keep) store(x + i, e, end - i);
      sum = plus(sum, e);
    }
    long_add(&total, sum);
  }
  return long_total(&total);
}

static void cross_entropy(int64_t T, int64_t V, float *logits, const int32_t *targets, float factor, bool gradient,
                          double *loss) {
  for (int64_t t = 0; t < T; t++, logits += V) {
    const int32_t target = targets[t];
    if (target < 0) {
      loss[t] = 0;
      if (gradient) memset(logits, 0, (size_t)V * sizeof(float));
      continue;
    }
    const float most = largest_scaled(V, logits, 1);
    const double distance = (double)most - (double)logits[target];
    const double sum = gradient ? exponential_sum(V, logits, most, true) : exponential_sum(V, logits, most, false);
    loss[t] = log(sum) + distance;
    if (!gradient) continue;
    const float share = (float)(1 / sum), hit = factor * (logits[target] * share - 1);
    scale(V, factor * share, logits);
    logits[target] = hit;
  }
}

// What a pair of rows has in common with a definition of KL: sums of exponentials of both at one temperature, and of
// the first's exponentials times the difference of the exponents.
typedef struct divergence {
  double first_sum, second_sum, hard_sum, nats;
} divergence;

typedef struct divergence_lanes {
  lanes first, second, hard, difference;
} divergence_lanes;

INLINE void divergence_step(divergence_lanes *sums, const float *first, const float *second, lanes most_first,
                            lanes most_second, lanes inverse, bool hard, int64_t count) {
  const lanes a = times(minus(load(first, count), most_first), inverse);
  const lanes shifted = minus(load(second, count), most_second), b = times(shifted, inverse);
  const lanes e = pad(exponential(a), count, 0);
  sums->first = plus(sums->first, e);
  sums->second = plus(sums->second, pad(exponential(b), count, 0));
  sums->difference = plus(sums->difference, pad(times(e, minus(a, b)), count, 0));
  if (hard) sums->hard = plus(sums->hard, pad(exponential(shifted), count, 0));
}

// KL(softmax(first * inverse) || softmax(second * inverse)). hard_sum: the sum of exp(second - most) with `hard`, else
// second_sum again.
INLINE divergence divergence_of_rows(int64_t n, const float *first, const float *second, float most_first,
                                     float most_second, float inverse, bool hard) {
  const lanes m1 = splat(most_first), m2 = splat(most_second), factor = splat(inverse);
  long_sum firsts = long_zero(), seconds = long_zero(), hards = long_zero(), differences = long_zero();
  for (int64_t start = 0; start < n; start += CHUNK) {
    const int64_t end = start + CHUNK < n ? start + CHUNK : n;
    divergence_lanes sums = {splat(0), splat(0), splat(0), splat(0)};
    int64_t i = start;
    for (; i + LANES <= end; i += LANES) divergence_step(&sums, first + i, second + i, m1, m2, factor, hard, LANES);
    if (i < end) divergence_step(&sums, first + i, second + i, m1, m2, factor, hard, end - i);
    long_add(&firsts, sums.first);
    long_add(&seconds, sums.second);
    long_add(&differences, sums.difference);
    if (hard) long_add(&hards, sums.hard);
  }
  divergence d = {.first_sum = long_total(&firsts), .second_sum = long_total(&seconds)};
  d.hard_sum = hard ? long_total(&hards) : d.second_sum;
  d.nats = long_total(&differences) / d.first_sum + log(d.second_sum) - log(d.first_sum);
  return d;
}

typedef struct distillation_row {
  lanes most_student, most_teacher, inverse, student_share, teacher_share, hard_share, soft, hard, factor;
} distillation_row;

INLINE void distillation_step(const distillation_row *row, float *student, const float *teacher, bool separate,
                              int64_t count) {
  const lanes shifted = minus(load(student, count), row->most_student);
  const lanes q = times(exponential(times(shifted, row->inverse)), row->student_share);
  const lanes p = times(logit_step(teacher, row->most_teacher, row->inverse, count), row->teacher_share);
  const lanes h = separate ? times(exponential(shifted), row->hard_share) : q;
  store(student, times(row->factor, times_plus(row->hard, h, times(row->soft, minus(q, p)))), count);
}

static void distillation(int64_t T, int64_t V, float *student, const float *teacher, const int32_t *targets,
                         float factor, float hard_weight, float soft_weight, float temperature, double *loss) {
  const bool separate = hard_weight != 0 && temperature != 1;  // else the hard softmax is the soft one, or unused
  const float inverse = 1 / temperature;
  for (int64_t t = 0; t < T; t++, student += V, teacher += V) {
    const int32_t target = targets[t];
    if (target < 0) {
      loss[t] = 0;
      memset(student, 0, (size_t)V * sizeof(float));
      continue;
    }
    const float most_student = largest_scaled(V, student, 1), most_teacher = largest_scaled(V, teacher, 1);
    const divergence d = divergence_of_rows(V, teacher, student, most_teacher, most_student, inverse, separate);
    const double distance = (double)most_student - (double)student[target];
    const double hard_loss = hard_weight != 0 ? (double)hard_weight * (log(d.hard_sum) + distance) : 0;
    loss[t] = hard_loss + (double)soft_weight * (double)temperature * (double)temperature * d.nats;

    const distillation_row row = {
        .most_student = splat(most_student),
        .most_teacher = splat(most_teacher),
        .inverse = splat(inverse),
        .student_share = splat((float)(1 / d.second_sum)),
        .teacher_share = splat((float)(1 / d.first_sum)),
        .hard_share = splat((float)(1 / d.hard_sum)),
        .soft = splat(soft_weight * temperature),
        .hard = splat(hard_weight),
        .factor = splat(factor),
    };
    int64_t i = 0;
    for (; i + LANES <= V; i += LANES) distillation_step(&row, student + i, teacher + i, separate, LANES);
    if (i < V) distillation_step(&row, student + i, teacher + i, separate, V - i);
    student[target] -= factor * hard_weight;
  }
}

// The first place of `value` in a row, n if there is none.
INLINE int64_t first_place(int64_t n, const float *x, float value) {
  const lanes wanted = splat(value);
  for (int64_t i = 0; i < n; i += LANES) {
    const int64_t count = n - i < LANES ? n - i : LANES;
    const uint32_t hits = equal(load(x + i, count), wanted) & ((1u << count) - 1);
    if (hits) return i + __builtin_ctz(hits);
  }
  return n;
}

static void compare_logits(int64_t T, int64_t V, const float *reference, const float *candidate, double *kl,
                           uint8_t *same_top) {
  for (int64_t t = 0; t < T; t++, reference += V, candidate += V) {
    const float most_r = largest_scaled(V, reference, 1), most_c = largest_scaled(V, candidate, 1);
    const divergence d = divergence_of_rows(V, reference, candidate, most_r, most_c, 1, false);
    kl[t] = d.nats;
    const int64_t top_r = first_place(V, reference, most_r), top_c = first_place(V, candidate, most_c);
    same_top[t] = top_r == top_c && top_r < V && !isnan(d.first_sum) && !isnan(d.second_sum);
  }
}
