import CKernels
public import Tensors

/// Causal grouped-query attention, tile by tile: nothing of size tokens² is stored.
///
/// Legend: B sequences, S their length, H query heads, G key/value heads (H a multiple of G), d head dimension.
///   q (B·S, ·) H heads from `queryColumn`, k and v (B·S, ·) G heads each, y (B·S, H·d), lse (B·S, H) by rows [b][h][s].
/// Forward:   P = softmax(q kᵀ / √d, causal),  y = P v,  lse = log Σ exp
/// Backward:  P again from lse; δ = Σ dy·y;  dS = P (dy vᵀ - δ) / √d;  dq = dS k, dk = dSᵀ q, dv = Pᵀ dy
/// (the recomputation of Dao et al. 2022, algorithm 4, with one level of tiles)
public struct Attention: Sendable {
  public let sequences: Int, length: Int, queryHeads: Int, keyHeads: Int, headDimension: Int

  /// Query rows of one tile. A tile of scores is `tile` x length. Half of a tile's last square lies above the diagonal and
  /// is computed for nothing: small tiles waste less, and from 64 rows on the products are no faster.
  static let tile = 64

  public init(sequences: Int, length: Int, queryHeads: Int, keyHeads: Int, headDimension: Int) {
    precondition(queryHeads % keyHeads == 0, "\(queryHeads) query heads over \(keyHeads) key heads")
    self.sequences = sequences
    self.length = length
    self.queryHeads = queryHeads
    self.keyHeads = keyHeads
    self.headDimension = headDimension
  }

  /// Rows x columns of the scratch for one tile of scores (two of them in backward).
  public var scratchRows: Int { 2 * min(Self.tile, length) + 1 }
  public var scratchColumns: Int { max(length, Self.tile) }

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
    check(y: y, lse: lse)
    let d = headDimension, S = length, width = queryHeads * d, ld = queryKey.columns, ldv = values.columns
    let scores = unsafe scratch.unsafeMutableAddress()
    for b in 0..<sequences {
      for h in 0..<queryHeads {
        let group = h / (queryHeads / keyHeads)
        let q = unsafe queryKey.unsafeAddress() + b * S * ld + columns.query + h * d
        let k = unsafe queryKey.unsafeAddress() + b * S * ld + columns.key + group * d
        let v = unsafe values.unsafeAddress() + b * S * ldv + columns.value + group * d
        let out = unsafe y.unsafeMutableAddress() + b * S * width + h * d
        let sums = unsafe lse.unsafeMutableAddress() + (b * queryHeads + h) * S
        for first in stride(from: 0, to: S, by: Self.tile) {
          let rows = min(Self.tile, S - first), keys = first + rows
          unsafe Gemm.multiply(scores, ldc: S, m: rows, n: keys, k: d, q + first * ld, lda: ld, k, .transposed, ldb: ld)
          unsafe KernelTable.current.operations.softmax_causal_forward(
            Int64(rows), Int64(keys), Int64(first), scale, scores, Int64(S), sums + first)
          unsafe Gemm.multiply(out + first * width, ldc: width, m: rows, n: d, k: keys, scores, lda: S, v, ldb: ldv)
        }
      }
    }
  }

  /// dQueryKey and dValues receive their gradients in the columns given (overwritten); delta is (B·S, H) scratch.
  public func backward(
    dQueryKey: inout Tensor, dColumns: Columns, dValues: inout Tensor, from dy: borrowing Tensor,
    y: borrowing Tensor, lse: borrowing Tensor, queryKey: borrowing Tensor, values: borrowing Tensor,
    columns: Columns, delta: inout Tensor, scratch: inout Tensor
  ) {
    check(y: y, lse: lse)
    let d = headDimension, S = length, width = queryHeads * d, ld = queryKey.columns, ldv = values.columns
    let ldq = dQueryKey.columns, lddv = dValues.columns
    let tileRows = min(Self.tile, S)
    let scores = unsafe scratch.unsafeMutableAddress(), dScores = unsafe scores + tileRows * S
    unsafe KernelTable.current.operations.attention_delta(
      Int64(y.rows), Int64(queryHeads), Int64(d), y.unsafeAddress(), dy.unsafeAddress(), Int64(width),
      delta.unsafeMutableAddress())
    let column = unsafe scratch.unsafeMutableAddress() + 2 * tileRows * S
    for b in 0..<sequences {
      let dk0 = unsafe dQueryKey.unsafeMutableAddress() + b * S * ldq + dColumns.key
      let dv0 = unsafe dValues.unsafeMutableAddress() + b * S * lddv + dColumns.value
      for t in 0..<S {
        unsafe (dk0 + t * ldq).update(repeating: 0, count: keyHeads * d)
        unsafe (dv0 + t * lddv).update(repeating: 0, count: keyHeads * d)
      }
      for h in 0..<queryHeads {
        let group = h / (queryHeads / keyHeads)
        let q = unsafe queryKey.unsafeAddress() + b * S * ld + columns.query + h * d
        let k = unsafe queryKey.unsafeAddress() + b * S * ld + columns.key + group * d
        let v = unsafe values.unsafeAddress() + b * S * ldv + columns.value + group * d
        let dq = unsafe dQueryKey.unsafeMutableAddress() + b * S * ldq + dColumns.query + h * d
        let dk = unsafe dk0 + group * d
        let dv = unsafe dv0 + group * d
        let dOut = unsafe dy.unsafeAddress() + b * S * width + h * d
        let sums = unsafe lse.unsafeAddress() + (b * queryHeads + h) * S
        for first in stride(from: 0, to: S, by: Self.tile) {
          let rows = min(Self.tile, S - first), keys = first + rows
          unsafe Gemm.multiply(scores, ldc: S, m: rows, n: keys, k: d, q + first * ld, lda: ld, k, .transposed, ldb: ld)
          unsafe Gemm.multiply(
            dScores, ldc: S, m: rows, n: keys, k: d, dOut + first * width, lda: width, v, .transposed, ldb: ldv)
          for r in 0..<rows {
            unsafe column[r] = unsafe delta.unsafeAddress()[(b * S + first + r) * queryHeads + h]
          }
          unsafe KernelTable.current.operations.softmax_causal_backward(
            Int64(rows), Int64(keys), Int64(first), scale, scores, dScores, Int64(S), sums + first, column)
          unsafe Gemm.multiply(
            dv, ldc: lddv, m: keys, n: d, k: rows, scores, .transposed, lda: S, dOut + first * width, ldb: width, beta: 1)
          unsafe Gemm.multiply(dq + first * ldq, ldc: ldq, m: rows, n: d, k: keys, dScores, lda: S, k, ldb: ld)
          unsafe Gemm.multiply(
            dk, ldc: ldq, m: keys, n: d, k: rows, dScores, .transposed, lda: S, q + first * ld, ldb: ld, beta: 1)
        }
      }
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

  private func check(y: borrowing Tensor, lse: borrowing Tensor) {
    precondition(y.rows == sequences * length && y.columns == queryHeads * headDimension
      && lse.count >= sequences * length * queryHeads,
      "attention of \(sequences) x \(length), \(queryHeads) heads of \(headDimension): y \(y.rows) x \(y.columns)")
  }
}
