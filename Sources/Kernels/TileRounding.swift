import CKernels
package import Formats
package import Tensors

/// Rounds one tile of a weight's rows: loads it transposed, goes through its columns, stores codes and scales.
///
/// A tile makes the same calls whoever owns it, so the bits of a weight depend on neither ranks nor threads.
@safe package struct TileRounding {
  package enum Method { case nearest, columns, blocks }

  package let format: MXFormat
  package let search: ScaleSearch
  package let method: Method
  /// Scales of all blocks from the weights themselves, before anything is rounded.
  package let frozen: Bool
  /// Column `order[j]` is rounded j-th.
  package let order: [Int32]?
  /// Weights of these columns count as zero.
  package let deadColumns: [Int]
  package let factor: FeedbackFactor?
  /// Empty: the format itself.
  package let targets: CompiledTargets?

  package init(
    _ format: MXFormat, search: ScaleSearch, method: Method, frozen: Bool, order: [Int32]?, deadColumns: [Int],
    factor: FeedbackFactor?, targets: CompiledTargets?
  ) {
    precondition(method == .nearest || factor != nil, "error feedback without a factor")
    precondition(order == nil || method == .columns && frozen, "an order of columns needs scales that stand before it")
    precondition(targets == nil || method == .columns && frozen && search.isFloor, "targets need the anchor's own scales")
    self.format = format
    self.search = search
    self.method = method
    self.frozen = frozen
    self.order = order
    self.deadColumns = deadColumns
    self.factor = factor
    self.targets = targets
  }

  /// Rows of memory for `rows` of a weight.
  private static func lanes(_ rows: Int) -> Int {
    let unit = Int(CK_SOLVER_LANES)
    return (rows + unit - 1) / unit * unit
  }

  /// Memory for one tile of up to `rows` rows and K columns, leased once a worker.
  @safe package struct Scratch: ~Copyable {
    /// Weights, then errors: K x lanes for every target; with targets the weights themselves once more.
    var x: Tensor
    /// The same of one panel with feedback: 128 x lanes for every target.
    var v: Tensor
    var codes: HostBuffer<UInt8>
    var scales: HostBuffer<UInt8>
  }

  package func makeScratch(rows: Int, columns K: Int, in arena: Arena) -> Scratch {
    let lanes = Self.lanes(rows), copies = targets?.count ?? 1
    return Scratch(
      x: Tensor(rows: (targets == nil ? 1 : copies + 1) * K, columns: lanes, in: arena),
      v: Tensor(rows: copies * FeedbackFactor.panel, columns: lanes, in: arena),
      codes: HostBuffer(count: K * lanes, in: arena),
      scales: HostBuffer(count: PackedTensor.blockCount(K) * lanes, in: arena))
  }

  /// Rounds `rows` rows of K columns at `weight` into codes and scales of the layout of ``PackedTensor``. False if a weight
  /// is not finite, or did not stay so.
  @unsafe package func run(
    _ weight: UnsafePointer<Float>, rows: Int, columns K: Int, codes: UnsafeMutablePointer<UInt8>,
    scales: UnsafeMutablePointer<UInt8>, scratch: inout Scratch, table: KernelTable = .current
  ) -> Bool {
    let solver = table.solver, lanes = Self.lanes(rows), block = MXFormat.blockSize
    let x = unsafe scratch.x.unsafeMutableAddress()
    let tileCodes = unsafe scratch.codes.unsafeMutableAddress(), tileScales = unsafe scratch.scales.unsafeMutableAddress()
    var element = format.element.ckElement, search = search.ckSearch

    unsafe ck_solver_load(Int64(rows), Int64(K), weight, nil, Int64(lanes), x)
    for column in deadColumns { unsafe (x + column * lanes).update(repeating: 0, count: lanes) }
    if method == .nearest || frozen {
      for first in stride(from: 0, to: K, by: block) {
        unsafe solver.choose_scales(
          &element, &search, Int64(min(block, K - first)), Int64(lanes), x + first * lanes,
          tileScales + first / block * lanes)
      }
    }
    if method == .nearest {
      for first in stride(from: 0, to: K, by: block) {
        unsafe solver.round(
          &element, Int64(min(block, K - first)), Int64(lanes), x + first * lanes, tileScales + first / block * lanes,
          tileCodes + first * lanes)
      }
    } else {
      if let order {
        unsafe order.withUnsafeBufferPointer { order in
          unsafe ck_solver_load(Int64(rows), Int64(K), weight, order.baseAddress!, Int64(lanes), x)
        }
        let isDead = Set(deadColumns)
        for j in 0..<K where isDead.contains(Int(order[j])) {
          unsafe (x + j * lanes).update(repeating: 0, count: lanes)
        }
      }
      if let targets {
        for copy in 1...targets.count { unsafe (x + copy * K * lanes).update(from: x, count: K * lanes) }
      }
      unsafe sweep(x, scratch.v.unsafeMutableAddress(), K, lanes, tileScales, tileCodes, solver)
    }
    unsafe withOrder { order in
      unsafe ck_solver_store(
        Int64(rows), Int64(K), tileCodes, tileScales, order, Int64(lanes), format.element.magnitudeMask, codes, scales)
    }
    // Errors, w - q, or for the nearest the weights: NaN and infinity stay in them.
    var largest: UInt32 = 0
    for i in 0..<K * lanes * (targets.map { $0.count + 1 } ?? 1) {
      largest = unsafe max(largest, x[i].bitPattern & 0x7FFF_FFFF)
    }
    return largest < Float.infinity.bitPattern
  }

  private func withOrder(_ body: (UnsafePointer<Int32>?) -> Void) {
    if let order { unsafe order.withUnsafeBufferPointer { unsafe body($0.baseAddress) } } else { body(nil) }
  }

  /// Panel by panel: the feedback of all columns before in one product, that of the panel's own column by column.
  private func sweep(
    _ x: UnsafeMutablePointer<Float>, _ v: UnsafeMutablePointer<Float>, _ K: Int, _ lanes: Int,
    _ scales: UnsafeMutablePointer<UInt8>, _ codes: UnsafeMutablePointer<UInt8>, _ solver: ck_solver_table
  ) {
    let panel = FeedbackFactor.panel, block = MXFormat.blockSize
    let scaleRows = (0..<K).map { j in Int32((order.map { Int($0[j]) } ?? j) / block) }
    unsafe scaleRows.withUnsafeBufferPointer { scaleRows in
      for first in stride(from: 0, to: K, by: panel) {
        let width = min(panel, K - first), above = unsafe factor!.panel(first / panel)
        for copy in 0..<(targets?.count ?? 1) {
          // With targets the first copy is the weights without feedback.
          let x = unsafe x + (targets == nil ? 0 : copy + 1) * K * lanes, v = unsafe v + copy * panel * lanes
          unsafe v.update(from: x + first * lanes, count: width * lanes)
          if first > 0 {
            unsafe Gemm.multiply(
              v, ldc: lanes, m: width, n: lanes, k: first, above, .transposed, lda: panel, x, ldb: lanes, beta: 1)
          }
        }
        let square = unsafe above + first * panel
        let rowsOfScales = unsafe scaleRows.baseAddress! + first
        if let targets {
          unsafe targets.sweep(
            x + first * lanes, x: x + (K + first) * lanes, stride: K * lanes, v: v, columns: width, rows: lanes,
            factor: square, scaleRows: rowsOfScales, scales: scales, codes: codes + first * lanes, solver)
        } else {
          var sweep = unsafe ck_sweep(
            element: format.element.ckElement, search: search.ckSearch, frozen: frozen, blocks: method == .blocks,
            columns: Int64(width), rows: Int64(lanes), factor: square, x: x + first * lanes, v: v,
            scale_rows: rowsOfScales, scales: scales, codes: codes + first * lanes)
          unsafe solver.sweep(&sweep)
        }
      }
    }
  }
}
