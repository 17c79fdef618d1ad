import CKernels
public import Tensors

/// y = silu(gate) · up   (Shazeer 2020, eq. 5)
///
/// Shapes: gateUp (T, 2F), gate in the first F columns and up in the last; y (T, F).
public enum SwiGLU {
  /// Rows of a piece: an exponential costs some ten times a copy.
  private static func grain(_ F: Int) -> Int { max(1, rowGrain(columns: F) / 4) }

  public static func forward(_ y: inout Tensor, of gateUp: borrowing Tensor) {
    let F = y.columns
    precondition(gateUp.columns == 2 * F && gateUp.rows == y.rows, "swiglu: \(gateUp.columns) columns into \(F)")
    let operations = KernelTable.current.operations
    let gateUp = unsafe gateUp.unsafeAddress(), out = unsafe y.unsafeMutableAddress()
    ThreadTeam.shared.parallel(y.rows, by: Self.grain(F)) { rows in
      for t in rows {
        let gate = unsafe gateUp + t * 2 * F
        unsafe operations.swiglu_forward(Int64(F), gate, gate + F, out + t * F)
      }
    }
  }

  /// dgate = dy · up · (σ + gate · σ · (1 - σ)),  dup = dy · silu(gate)
  public static func backward(_ dGateUp: inout Tensor, from dy: borrowing Tensor, input gateUp: borrowing Tensor) {
    let F = dy.columns
    precondition(gateUp.columns == 2 * F && dGateUp.columns == 2 * F && dGateUp.rows == dy.rows,
      "swiglu backward: \(gateUp.columns) columns from \(F)")
    let operations = KernelTable.current.operations, T = dy.rows
    let gateUp = unsafe gateUp.unsafeAddress(), dy = unsafe dy.unsafeAddress()
    let dGateUp = unsafe dGateUp.unsafeMutableAddress()
    ThreadTeam.shared.parallel(T, by: Self.grain(F)) { rows in
      for t in rows {
        let gate = unsafe gateUp + t * 2 * F, dGate = unsafe dGateUp + t * 2 * F
        unsafe operations.swiglu_backward(Int64(F), gate, gate + F, dy + t * F, dGate, dGate + F)
      }
    }
  }
}
