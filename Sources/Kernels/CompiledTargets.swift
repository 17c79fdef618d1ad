import CKernels
package import Formats

/// The formats that one 8-bit code serves, in the form the kernel reads.
@safe package struct CompiledTargets {
  package let anchor: MXFormat
  package let count: Int
  private let ordinals: [UInt8]
  private let values: [Float]
  private let prepared: [ck_target]

  /// - Parameter targets: formats cut from the anchor, or itself, and the weight of each one's squared error.
  package init(anchor: MXFormat, _ targets: [(plan: SlicePlan, weight: Float)]) {
    precondition(!targets.isEmpty && targets.count <= Int(CK_SOLVER_TARGETS), "\(targets.count) targets")
    let element = anchor.element
    // By value, without the negative zero.
    let ordinals = element.finiteCodes.filter { $0 == 0 || element.decode($0) != 0 }
      .sorted { element.decode($0) < element.decode($1) }
    self.anchor = anchor
    self.ordinals = ordinals
    count = targets.count
    values = ordinals.map(element.decode)
    unsafe prepared = targets.map { plan, weight in unsafe Self.target(plan, weight, ordinals) }
  }

  private static func target(_ plan: SlicePlan, _ weight: Float, _ ordinals: [UInt8]) -> ck_target {
    let element = plan.target.element
    var target = unsafe ck_target()
    unsafe target.weight = weight
    unsafe target.element = element.ckElement
    unsafe target.anchor_inverse = Float(sign: .plus, exponent: -plan.scaleDelta, significand: 1)
    let unit = Float(sign: .plus, exponent: plan.scaleDelta, significand: 1)
    let sliced = ordinals.map { element.decode(plan.table[Int($0)]) * unit }
    unsafe withUnsafeMutableBytes(of: &target.value) { bytes in
      let values = unsafe bytes.bindMemory(to: Float.self)
      for (o, value) in sliced.enumerated() { unsafe values[o] = value }
    }
    // Ordinals of every element: those whose slice has its value. Where no slice has (E2M3 cut from E5M2), the neighbours
    // on both sides.
    var first = [UInt8](repeating: 0, count: 256), last = first
    for code in element.finiteCodes {
      let value = element.decode(code) * unit
      let below = sliced.lastIndex { $0 <= value } ?? 0, above = sliced.firstIndex { $0 >= value } ?? sliced.count - 1
      first[Int(code)] = UInt8(min(below, above))
      last[Int(code)] = UInt8(max(below, above))
    }
    unsafe withUnsafeMutableBytes(of: &target.first) { unsafe $0.copyBytes(from: first) }
    unsafe withUnsafeMutableBytes(of: &target.last) { unsafe $0.copyBytes(from: last) }
    return unsafe target
  }

  /// One panel of a tile. `x` and `v` are those of the first target; the next ones' stand `stride` and 128 rows farther.
  @unsafe func sweep(
    _ weights: UnsafePointer<Float>, x: UnsafeMutablePointer<Float>, stride: Int, v: UnsafeMutablePointer<Float>,
    columns: Int, rows: Int, factor: UnsafePointer<Float>, scaleRows: UnsafePointer<Int32>,
    scales: UnsafePointer<UInt8>, codes: UnsafeMutablePointer<UInt8>, _ solver: ck_solver_table
  ) {
    var targets = unsafe prepared
    for t in 0..<count {
      unsafe targets[t].x = x + t * stride
      unsafe targets[t].v = v + t * FeedbackFactor.panel * rows
    }
    unsafe targets.withUnsafeMutableBufferPointer { targets in
      var sweep = unsafe ck_target_sweep()
      unsafe sweep.columns = Int64(columns)
      unsafe sweep.rows = Int64(rows)
      unsafe sweep.factor = factor
      unsafe sweep.targets = Int32(count)
      unsafe sweep.target = targets.baseAddress!
      unsafe sweep.ordinals = Int32(ordinals.count)
      unsafe withUnsafeMutableBytes(of: &sweep.code) { unsafe $0.copyBytes(from: ordinals) }
      unsafe withUnsafeMutableBytes(of: &sweep.value) { bytes in
        unsafe values.withUnsafeBytes { unsafe bytes.copyMemory(from: $0) }
      }
      unsafe sweep.weights = weights
      unsafe sweep.scale_rows = scaleRows
      unsafe sweep.scales = scales
      unsafe sweep.codes = codes
      unsafe solver.sweep_targets(&sweep)
    }
  }
}
