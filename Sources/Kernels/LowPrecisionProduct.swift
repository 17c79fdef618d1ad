import CKernels
public import Tensors

/// C (m x n) = L · Rᵀ of packed operands. Contract: bit-exact integers, the same bits in every table and for any number
/// of threads (`ck_matmul.h` states the order of every sum).
public enum LowPrecisionProduct {
  public static func multiply(
    _ c: inout Tensor, left: Operand, right: Operand, output: Linear.Output = .overwrite,
    on table: KernelTable = .current
  ) {
    precondition(left.side == .left && right.side == .right, "operands are a left one and a right one")
    precondition(left.depth == right.depth, "depths \(left.depth) and \(right.depth) differ")
    precondition((left.elements == .bf16) == (right.elements == .bf16), "bf16 multiplies bf16 only")
    precondition(c.rows == left.vectors && c.columns == right.vectors,
      "product of \(left.vectors) x \(right.vectors) in \(c.rows) x \(c.columns)")
    let kernels = table.matmul, (m, n, depth) = (left.vectors, right.vectors, Int64(left.depth))
    let target = unsafe c.unsafeMutableAddress(), accumulates = output == .accumulate
    let isWide = needsWideExponents(left, right)

    // Whole panels of the longer side are the work items: every output is one item's alone.
    let splitsLeft = m >= n
    WorkSplit.overPanels(splitsLeft ? m : n) { first, count in
      let panel = first / WorkSplit.panel
      var l = unsafe left.raw(fromPanel: splitsLeft ? panel : 0), r = unsafe right.raw(fromPanel: splitsLeft ? 0 : panel)
      let rows = Int64(splitsLeft ? count : m), columns = Int64(splitsLeft ? n : count)
      let part = unsafe target + (splitsLeft ? first * n : first)
      if left.elements == .bf16 {
        unsafe kernels.multiply_bf16(rows, columns, depth, l.codes, r.codes, part, Int64(n), accumulates)
      } else if isWide {
        unsafe kernels.multiply_wide(rows, columns, depth, &l, &r, part, Int64(n), accumulates)
      } else {
        unsafe kernels.multiply(rows, columns, depth, &l, &r, part, Int64(n), accumulates)
      }
    }
  }

  /// Products of block scales must be normal numbers; gradients of 1e-30 would not be.
  private static func needsWideExponents(_ left: Operand, _ right: Operand) -> Bool {
    let l = left.exponents ?? 0...0, r = right.exponents ?? 0...0
    // 2^20 bounds a block's dot product (516,128), so sums stay finite below 2^107.
    return l.lowerBound + r.lowerBound < -126 || l.upperBound + r.upperBound > 106 || l.lowerBound < -126
      || r.lowerBound < -126
  }
}

/// Work on vectors, in runs of whole panels: no output depends on where a run begins.
enum WorkSplit {
  static let panel = Int(CK_PANEL)
  /// The products' tiles are three panels wide and half a panel high.
  private static let unit = 6

  static func overPanels(_ vectors: Int, _ body: (_ first: Int, _ count: Int) -> Void) {
    let panels = (vectors + panel - 1) / panel, threads = ThreadTeam.shared.threads
    // Three runs a thread even out what other processes take.
    let run = max(unit, (panels + 3 * threads * unit - 1) / (3 * threads * unit) * unit)
    ThreadTeam.shared.parallel(panels, by: run) { range in
      let first = range.lowerBound * panel
      body(first, min(vectors, range.upperBound * panel) - first)
    }
  }
}
