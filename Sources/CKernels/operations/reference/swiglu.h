// SwiGLU (Shazeer 2020): y = silu(gate) * up, silu(g) = g * sigmoid(g).
//
// Both sigmoid(g) and 1 - sigmoid(g) come from e = exp(-|g|) <= 1: nothing overflows, and neither tail cancels.

static void swiglu_forward(int64_t n, const real *gate, const real *up, real *y) {
  for (int64_t i = 0; i < n; i++) {
    const real g = gate[i], e = exponential(-magnitude(g));
    const real numerator = g < 0 ? g * e : g;
    y[i] = numerator / (1 + e) * up[i];
  }
}

// silu'(g) = sigmoid(g) * (1 + g * (1 - sigmoid(g))).
static void swiglu_backward(int64_t n, const real *gate, const real *up, const real *dy, real *dgate, real *dup) {
  for (int64_t i = 0; i < n; i++) {
    const real g = gate[i], u = up[i], e = exponential(-magnitude(g)), larger = 1 / (1 + e), smaller = e * larger;
    const real sigmoid = g < 0 ? smaller : larger, complement = g < 0 ? larger : smaller;
    dgate[i] = dy[i] * u * (sigmoid * (1 + g * complement));
    dup[i] = dy[i] * (g * sigmoid);
  }
}
