import CKernels
public import Tensors

/// y = silu(gate) · up   (Shazeer 2020, eq. 5)
///
/// Shapes: gateUp (T, 2F), gate in the first F columns and up in the last; y (T, F).
public enum SwiGLU {
  public static func forward(_ y: inout Tensor, of gateUp: borrowing Tensor) {
    let F = y.columns
    precondition(gateUp.columns == 2 * F && gateUp.rows == y.rows, "swiglu: \(gateUp.columns) columns into \(F)")
    for t in 0..<y.rows {
      let gate = unsafe gateUp.unsafeAddress() + t * 2 * F
      unsafe KernelTable.current.operations.swiglu_forward(
        Int64(F), gate, gate + F, y.unsafeMutableAddress() + t * F)
    }
  }

  /// dgate = dy · up · (σ + gate · σ · (1 - σ)),  dup = dy · silu(gate)
  public static func backward(_ dGateUp: inout Tensor, from dy: borrowing Tensor, input gateUp: borrowing Tensor) {
    let F = dy.columns
    precondition(gateUp.columns == 2 * F && dGateUp.columns == 2 * F && dGateUp.rows == dy.rows,
      "swiglu backward: \(gateUp.columns) columns from \(F)")
    for t in 0..<dy.rows {
      let gate = unsafe gateUp.unsafeAddress() + t * 2 * F
      let dGate = unsafe dGateUp.unsafeMutableAddress() + t * 2 * F
      unsafe KernelTable.current.operations.swiglu_backward(
        Int64(F), gate, gate + F, dy.unsafeAddress() + t * F, dGate, dGate + F)
    }
  }
}
