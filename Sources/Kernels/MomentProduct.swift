import CKernels
import COpenBLAS
public import Tensors

/// xᵀx of one sequence, (K, K), on and above the diagonal; what is below it is undefined.
///
/// Where the processor multiplies bf16 twice as fast as fp32, inputs are rounded to bf16 and their products summed in fp32:
/// moments of inputs that are off by 2^-9 of themselves at most, which the damping of a solver is far above. Elsewhere
/// products are fp32. Bits depend on that choice, and neither on threads nor on what was computed before.
public final class MomentProduct {
  private let tokens: Int
  private let columns: Int
  private let operands: (left: Operand, right: Operand)?

  /// Rows of one product: whole panels of the bf16 kernels, and whole tiles of them.
  private static let bf16Rows = 192
  private static let fp32Rows = 512

  /// Whether inputs are rounded to bf16 on this processor.
  public static var roundsInputs: Bool { KernelTable.current.name == "avx512_bf16" }

  /// - Parameters:
  ///   - tokens: of every sequence.
  ///   - columns: K
  ///   - rounds: inputs to bf16.
  public init(tokens T: Int, columns K: Int, rounds: Bool = MomentProduct.roundsInputs, in arena: Arena) {
    tokens = T
    columns = K
    func operand(_ side: Operand.Side) -> Operand {
      Operand(side, Operand.Capacity(side, .bf16, vectors: K, depth: T), in: arena)
    }
    operands = rounds ? (operand(.left), operand(.right)) : nil
  }

  public func compute(_ moments: inout Tensor, of x: borrowing Tensor) {
    precondition(x.rows == tokens && x.columns == columns && moments.rows == columns && moments.columns == columns,
      "moments \(moments.rows) x \(moments.columns) of \(x.rows) x \(x.columns), made for \(tokens) x \(columns)")
    if let operands { inBF16(&moments, of: x, operands.left, operands.right) } else { inFP32(&moments, of: x) }
  }

  private func inBF16(_ moments: inout Tensor, of x: borrowing Tensor, _ left: Operand, _ right: Operand) {
    left.pack(x, contracting: .rows, by: Quantizer(.bf16))
    right.pack(x, contracting: .rows, by: Quantizer(.bf16))
    let K = columns, rows = Self.bf16Rows, kernels = KernelTable.current.matmul, depth = Int64(left.depth)
    let out = unsafe moments.unsafeMutableAddress()
    // Sound: item i covers its rows of `out`, from the diagonal to the right edge; both begin at whole panels.
    ThreadTeam.shared.parallel((K + rows - 1) / rows) { i, _ in
      let first = i * rows, panel = first / WorkSplit.panel
      let l = unsafe left.raw(fromPanel: panel), r = unsafe right.raw(fromPanel: panel)
      unsafe kernels.multiply_bf16(
        Int64(min(rows, K - first)), Int64(K - first), depth, l.codes, r.codes, out + first * K + first, Int64(K), false)
    }
  }

  private func inFP32(_ moments: inout Tensor, of x: borrowing Tensor) {
    BLAS.singleThreaded
    let K = columns, T = blasint(tokens), panel = Self.fp32Rows, leading = blasint(K)
    let x = unsafe x.unsafeAddress(), out = unsafe moments.unsafeMutableAddress()
    // Sound: item i covers its rows of `out`, from the diagonal to the right edge.
    ThreadTeam.shared.parallel((K + panel - 1) / panel) { i, _ in
      let first = i * panel, rows = min(panel, K - first), rest = K - first - rows
      let own = unsafe x + first, corner = unsafe out + first * K + first
      unsafe cblas_ssyrk(
        CblasRowMajor, CblasUpper, CblasTrans, blasint(rows), T, 1, own, leading, 0, corner, leading)
      guard rest > 0 else { return }
      unsafe cblas_sgemm(
        CblasRowMajor, CblasTrans, CblasNoTrans, blasint(rows), blasint(rest), T, 1, own, leading, own + rows, leading, 0,
        corner + rows, leading)
    }
  }
}
