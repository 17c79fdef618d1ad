// What the last layer asks of a row of logits. Every softmax subtracts the row's maximum first; sums are double.
//
// NaN anywhere in a row that counts, or +infinity, makes its loss NaN: the comparison that finds the maximum passes a
// NaN over, and exp(NaN - maximum) then brings it into the sum.

static real largest(int64_t n, const real *x) {
  real most = -(real)INFINITY;
  for (int64_t i = 0; i < n; i++)
    if (x[i] > most) most = x[i];
  return most;
}

// sum of exp((x - most) / temperature)
static double exponential_sum(int64_t n, const real *x, real most, real temperature) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)exponential((x[i] - most) / temperature);
  return sum;
}

// loss = log sum exp z - z[target];  dz = softmax(z) - onehot(target).
static void cross_entropy(int64_t T, int64_t V, real *logits, const int32_t *targets, real scale, bool gradient,
                          double *loss) {
  for (int64_t t = 0; t < T; t++, logits += V) {
    const int32_t target = targets[t];
    if (target < 0) {
      loss[t] = 0;
      for (int64_t i = 0; gradient && i < V; i++) logits[i] = 0;
      continue;
    }
    const real most = largest(V, logits);
    const double sum = exponential_sum(V, logits, most, 1);
    loss[t] = log(sum) + ((double)most - (double)logits[target]);
    const real share = (real)(1 / sum);
    for (int64_t i = 0; gradient && i < V; i++)
      logits[i] = scale * (exponential(logits[i] - most) * share - (i == target ? 1 : 0));
  }
}

// Hinton et al. 2015. With p = softmax(teacher / temperature), q = softmax(student / temperature), h = softmax(student):
// loss = hard * CE(h) + soft * temperature^2 * sum p log(p / q), and since d KL / d student = (q - p) / temperature,
// gradient = scale * (hard * (h - onehot) + soft * temperature * (q - p)).
static void distillation(int64_t T, int64_t V, real *student, const real *teacher, const int32_t *targets, real scale,
                         real hard_weight, real soft_weight, real temperature, double *loss) {
  for (int64_t t = 0; t < T; t++, student += V, teacher += V) {
    const int32_t target = targets[t];
    if (target < 0) {
      loss[t] = 0;
      for (int64_t i = 0; i < V; i++) student[i] = 0;
      continue;
    }
    const real most_student = largest(V, student), most_teacher = largest(V, teacher);
    const double hard_sum = hard_weight != 0 ? exponential_sum(V, student, most_student, 1) : 1;
    const double student_sum = exponential_sum(V, student, most_student, temperature);
    const double teacher_sum = exponential_sum(V, teacher, most_teacher, temperature);
    double difference = 0;  // sum over p of (teacher - student) / temperature, both less their maximum
    for (int64_t i = 0; i < V; i++) {
      const real a = (teacher[i] - most_teacher) / temperature, b = (student[i] - most_student) / temperature;
      difference += (double)exponential(a) / teacher_sum * ((double)a - (double)b);
    }
    const double divergence = difference + log(student_sum) - log(teacher_sum);
    const double hard_loss =
        hard_weight != 0 ? log(hard_sum) + ((double)most_student - (double)student[target]) : 0;
    loss[t] = (double)hard_weight * hard_loss +
              (double)soft_weight * (double)temperature * (double)temperature * divergence;

    const real hard_share = (real)(1 / hard_sum), student_share = (real)(1 / student_sum),
               teacher_share = (real)(1 / teacher_sum), soft = soft_weight * temperature;
    for (int64_t i = 0; i < V; i++) {
      const real q = exponential((student[i] - most_student) / temperature) * student_share;
      const real p = exponential((teacher[i] - most_teacher) / temperature) * teacher_share;
      real slope = soft * (q - p);
      if (hard_weight != 0) {
        const real h = exponential(student[i] - most_student) * hard_share;
        slope += hard_weight * (h - (i == target ? 1 : 0));
      }
      student[i] = scale * slope;
    }
  }
}

// KL(reference || candidate) at temperature 1, and whether both rows have their largest logit in the same place (the
// first of equals). A row with a NaN agrees with nothing.
static void compare_logits(int64_t T, int64_t V, const real *reference, const real *candidate, double *kl,
                           uint8_t *same_top) {
  for (int64_t t = 0; t < T; t++, reference += V, candidate += V) {
    const real most_r = largest(V, reference), most_c = largest(V, candidate);
    const double sum_r = exponential_sum(V, reference, most_r, 1), sum_c = exponential_sum(V, candidate, most_c, 1);
    double difference = 0;
    for (int64_t i = 0; i < V; i++) {
      const real a = reference[i] - most_r, b = candidate[i] - most_c;
      difference += (double)exponential(a) / sum_r * ((double)a - (double)b);
    }
    kl[t] = difference + log(sum_c) - log(sum_r);
    int64_t top_r = 0, top_c = 0;
    while (top_r < V && !(reference[top_r] == most_r)) top_r++;
    while (top_c < V && !(candidate[top_c] == most_c)) top_c++;
    same_top[t] = top_r == top_c && top_r < V && !isnan(sum_r) && !isnan(sum_c);
  }
}
