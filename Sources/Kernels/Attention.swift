import CKernels
public import Tensors

/// Causal grouped-query attention, tile by tile: nothing of size tokens² is stored.
///
/// Legend: B sequences, S their length, H query heads, G key/value heads (H a multiple of G), d head dimension.
///   q (B·S, ·) H heads from `queryColumn`, k and v (B·S, ·) G heads each, y (B·S, H·d), lse (B·S, H) by rows [b][h][s].
/// Forward:   P = softmax(q kᵀ / √d, causal),  y = P v,  lse = log Σ exp
/// Backward:  P again from lse; δ = Σ dy·y;  dS = P (dy vᵀ - δ) / √d;  dq = dS k, dk = dSᵀ q, dv = Pᵀ dy
/// (Dao et al. 2022, algorithms 1 and 4; the tiles are those of `attention_forward` in ck_operations.h)
public struct Attention: Sendable {
  public let sequences: Int, length: Int, queryHeads: Int, keyHeads: Int, headDimension: Int

  /// Query rows that `decode` takes at a time.
  static let tile = 64

  public init(sequences: Int, length: Int, queryHeads: Int, keyHeads: Int, headDimension: Int) {
    precondition(queryHeads % keyHeads == 0, "\(queryHeads) query heads over \(keyHeads) key heads")
    self.sequences = sequences
    self.length = length
    self.queryHeads = queryHeads
    self.keyHeads = keyHeads
    self.headDimension = headDimension
  }

  /// Rows x columns of the scratch: a row for each thread of the team, linear in the length. With fewer rows, fewer
  /// threads take part.
  public var scratchRows: Int { ThreadTeam.shared.threads }
  public var scratchColumns: Int { Int(ck_attention_scratch(Int64(length), Int64(headDimension))) }

  private var scale: Float { 1 / Float(headDimension).squareRoot() }

  /// Where queries, keys and values stand in the columns of the tensors that hold them.
  public struct Columns: Sendable {
    public let query: Int, key: Int, value: Int
    public init(query: Int, key: Int, value: Int) {
      self.query = query
      self.key = key
      self.value = value
    }
  }

  public func forward(
    _ y: inout Tensor, lse: inout Tensor, queryKey: borrowing Tensor, values: borrowing Tensor, columns: Columns,
    scratch: inout Tensor
  ) {
    check(y: y, lse: lse, scratch: scratch)
    let d = headDimension, S = length, width = queryHeads * d, ld = queryKey.columns, ldv = values.columns
    let operations = KernelTable.current.operations, room = scratch.columns
    let queryKey = unsafe queryKey.unsafeAddress(), values = unsafe values.unsafeAddress()
    let out = unsafe y.unsafeMutableAddress(), sums = unsafe lse.unsafeMutableAddress()
    let space = unsafe scratch.unsafeMutableAddress()
    ThreadTeam.shared.parallel(sequences * queryHeads, workers: scratch.rows) { item, worker in
      let (b, h) = item.quotientAndRemainder(dividingBy: queryHeads), group = h / (queryHeads / keyHeads)
      let row = unsafe queryKey + b * S * ld
      unsafe operations.attention_forward(
        Int64(S), Int64(d), scale, row + columns.query + h * d, row + columns.key + group * d, Int64(ld),
        values + b * S * ldv + columns.value + group * d, Int64(ldv), out + b * S * width + h * d, Int64(width),
        sums + item * S, space + worker * room)
    }
  }

  /// dQueryKey and dValues receive their gradients in the columns given (overwritten); delta is (B·S, H) scratch.
  public func backward(
    dQueryKey: inout Tensor, dColumns: Columns, dValues: inout Tensor, from dy: borrowing Tensor,
    y: borrowing Tensor, lse: borrowing Tensor, queryKey: borrowing Tensor, values: borrowing Tensor,
    columns: Columns, delta: inout Tensor, scratch: inout Tensor
  ) {
    check(y: y, lse: lse, scratch: scratch)
    let d = headDimension, S = length, width = queryHeads * d, ld = queryKey.columns, ldv = values.columns
    let ldq = dQueryKey.columns, lddv = dValues.columns, shared = queryHeads / keyHeads
    let operations = KernelTable.current.operations, room = scratch.columns
    let y = unsafe y.unsafeAddress(), dy = unsafe dy.unsafeAddress(), sums = unsafe lse.unsafeAddress()
    let delta = unsafe delta.unsafeMutableAddress()
    ThreadTeam.shared.parallel(sequences * S, by: 256) { rows in
      unsafe operations.attention_delta(
        Int64(rows.count), Int64(queryHeads), Int64(d), y + rows.lowerBound * width, dy + rows.lowerBound * width,
        Int64(width), delta + rows.lowerBound * queryHeads)
    }
    let queryKey = unsafe queryKey.unsafeAddress(), values = unsafe values.unsafeAddress()
    let dQueryKey = unsafe dQueryKey.unsafeMutableAddress(), dValues = unsafe dValues.unsafeMutableAddress()
    let space = unsafe scratch.unsafeMutableAddress()
    // One key head and all of its query heads at a time: dk and dv are sums over them.
    ThreadTeam.shared.parallel(sequences * keyHeads, workers: scratch.rows) { item, worker in
      let (b, group) = item.quotientAndRemainder(dividingBy: keyHeads), h = group * shared
      let row = unsafe queryKey + b * S * ld, dRow = unsafe dQueryKey + b * S * ldq
      unsafe operations.attention_backward(
        Int64(S), Int64(shared), Int64(d), scale, row + columns.query + h * d, row + columns.key + group * d, Int64(ld),
        values + b * S * ldv + columns.value + group * d, Int64(ldv), dy + b * S * width + h * d, Int64(width),
        sums + (b * queryHeads + h) * S, delta + b * S * queryHeads + h, Int64(queryHeads),
        dRow + dColumns.query + h * d, dRow + dColumns.key + group * d, Int64(ldq),
        dValues + b * S * lddv + dColumns.value + group * d, Int64(lddv), space + worker * room)
    }
  }

  /// Backward where queries, keys and values share one tensor, and so do their gradients.
  public func backward(
    _ dQueryKeyValue: inout Tensor, columns: Columns, from dy: borrowing Tensor, y: borrowing Tensor,
    lse: borrowing Tensor, queryKeyValue: borrowing Tensor, delta: inout Tensor, scratch: inout Tensor
  ) {
    // Two names for one buffer: the columns are disjoint, so the kernels never write what they read.
    var dValues = dQueryKeyValue.rows(0..<dQueryKeyValue.rows)
    backward(
      dQueryKey: &dQueryKeyValue, dColumns: columns, dValues: &dValues, from: dy, y: y, lse: lse,
      queryKey: queryKeyValue, values: queryKeyValue, columns: columns, delta: &delta, scratch: &scratch)
  }

  /// One step of generation: `rows` new queries against `past + rows` cached keys and values.
  ///
  /// Shapes: queries (rows, H·d); keys, values (capacity, G·d) of one sequence; y (rows, H·d).
  public static func decode(
    _ y: inout Tensor, queries: borrowing Tensor, queryColumn: Int, rows: Int, past: Int, keys: borrowing Tensor,
    values: borrowing Tensor, queryHeads: Int, keyHeads: Int, headDimension d: Int, scratch: inout Tensor
  ) {
    let width = queryHeads * d, total = past + rows, ld = keys.columns
    precondition(total <= keys.rows && scratch.count >= min(tile, rows) * (total + 1), "decode: \(total) keys of \(keys.rows)")
    let scale = 1 / Float(d).squareRoot(), scores = unsafe scratch.unsafeMutableAddress()
    for h in 0..<queryHeads {
      let group = h / (queryHeads / keyHeads)
      let k = unsafe keys.unsafeAddress() + group * d, v = unsafe values.unsafeAddress() + group * d
      for first in stride(from: 0, to: rows, by: tile) {
        let count = min(tile, rows - first), seen = past + first + count
        let q = unsafe queries.unsafeAddress() + first * queries.columns + queryColumn + h * d
        unsafe Gemm.multiply(scores, ldc: seen, m: count, n: seen, k: d, q, lda: queries.columns, k, .transposed, ldb: ld)
        unsafe KernelTable.current.operations.softmax_causal_forward(
          Int64(count), Int64(seen), Int64(past + first), scale, scores, Int64(seen), scores + count * seen)
        unsafe Gemm.multiply(
          y.unsafeMutableAddress() + first * width + h * d, ldc: width, m: count, n: d, k: seen, scores, lda: seen, v,
          ldb: ld)
      }
    }
  }

  private func check(y: borrowing Tensor, lse: borrowing Tensor, scratch: borrowing Tensor) {
    precondition(scratch.columns >= scratchColumns && scratch.rows >= 1,
      "attention scratch \(scratch.rows) x \(scratch.columns), at least \(scratchRows) x \(scratchColumns) needed")
    precondition(y.rows == sequences * length && y.columns == queryHeads * headDimension
      && lse.count >= sequences * length * queryHeads,
      "attention of \(sequences) x \(length), \(queryHeads) heads of \(headDimension): y \(y.rows) x \(y.columns)")
  }
}
