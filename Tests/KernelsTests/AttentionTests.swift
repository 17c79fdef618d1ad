import Kernels
import Tensors
import Testing

/// Tiled attention against the whole matrix of probabilities.
struct AttentionTests {
  /// Around the tile of 128 query rows.
  static let lengths = [1, 5, 127, 128, 129, 300]

  /// Three query heads a key head, two sequences.
  private static let reference = AttentionReference(queryHeads: 6, keyHeads: 2, headDimension: 8)
  private static let sequences = 2

  /// q, k, v, dy of a batch, and what the reference makes of them sequence by sequence.
  private struct Case {
    let S: Int
    let q: Matrix, k: Matrix, v: Matrix, dy: Matrix
    var y: Matrix, lse: Matrix, dq: Matrix, dk: Matrix, dv: Matrix

    init(_ S: Int, seed: UInt64) {
      let r = AttentionTests.reference, sequences = AttentionTests.sequences, T = sequences * S
      self.S = S
      q = .random(T, r.queryWidth, seed: seed, scale: 1.5)
      k = .random(T, r.keyWidth, seed: seed + 1, scale: 1.5)
      v = .random(T, r.keyWidth, seed: seed + 2)
      dy = .random(T, r.queryWidth, seed: seed + 3)
      y = Matrix(T, r.queryWidth)
      lse = Matrix(sequences * r.queryHeads, S)
      dq = y
      dk = Matrix(T, r.keyWidth)
      dv = dk
      for b in 0..<sequences {
        let rows = b * S..<(b + 1) * S
        let forward = r.forward(q.rows(rows), k.rows(rows), v.rows(rows))
        let backward = r.backward(dy.rows(rows), q.rows(rows), k.rows(rows), v.rows(rows))
        y.replace(rows, forward.y)
        lse.replace(b * r.queryHeads..<(b + 1) * r.queryHeads, forward.lse)
        dq.replace(rows, backward.q)
        dk.replace(rows, backward.k)
        dv.replace(rows, backward.v)
      }
    }
  }

  private static func attention(_ S: Int) -> Attention {
    Attention(
      sequences: sequences, length: S, queryHeads: reference.queryHeads, keyHeads: reference.keyHeads,
      headDimension: reference.headDimension)
  }

  @Test(arguments: lengths)
  func sharedTensor(_ S: Int) {
    let arena = Arena("test"), r = Self.reference, c = Case(S, seed: 10), attention = Self.attention(S)
    let H = r.queryWidth, G = r.keyWidth, T = c.q.rows, least = S == 1 ? 1e-6 : 0
    let joined = Matrix(T, H + 2 * G) { t, i in i < H ? c.q[t, i] : i < H + G ? c.k[t, i - H] : c.v[t, i - H - G] }
    let columns = Attention.Columns(query: 0, key: H, value: H + G)
    let input = joined.tensor(in: arena)
    var y = poisoned(T, H, in: arena), lse = poisoned(T, r.queryHeads, in: arena)
    var scratch = poisoned(attention.scratchRows, attention.scratchColumns, in: arena)
    attention.forward(&y, lse: &lse, queryKey: input, values: input, columns: columns, scratch: &scratch)
    #expect(Matrix(y).distance(to: c.y) < 1e-6)
    var lseRows = c.lse
    lseRows.values = Matrix(lse).values
    #expect((lseRows - c.lse).values.allSatisfy { abs($0) < 1e-5 })

    var d = poisoned(T, H + 2 * G, in: arena), delta = poisoned(T, r.queryHeads, in: arena)
    attention.backward(
      &d, columns: columns, from: c.dy.tensor(in: arena), y: y, lse: lse, queryKeyValue: input, delta: &delta,
      scratch: &scratch)
    let gradients = Matrix(d)
    #expect(gradients.columns(0..<H).distance(to: c.dq, or: least) < 2e-6)
    #expect(gradients.columns(H..<H + G).distance(to: c.dk, or: least) < 2e-6)
    #expect(gradients.columns(H + G..<H + 2 * G).distance(to: c.dv) < 2e-6)
  }

  /// Queries and keys in one tensor, values in another, in unusual places, with columns between that nobody may touch.
  @Test(arguments: lengths)
  func separateTensors(_ S: Int) {
    let arena = Arena("test"), r = Self.reference, c = Case(S, seed: 20), attention = Self.attention(S)
    let H = r.queryWidth, G = r.keyWidth, T = c.q.rows, least = S == 1 ? 1e-6 : 0
    let columns = Attention.Columns(query: G + 3, key: 1, value: 5), dColumns = Attention.Columns(query: 0, key: H, value: 2)
    var queryKey = Matrix(T, G + H + 4) { _, _ in .nan }, values = Matrix(T, G + 6) { _, _ in .nan }
    queryKey.replaceColumns(columns.query, c.q)
    queryKey.replaceColumns(columns.key, c.k)
    values.replaceColumns(columns.value, c.v)
    let qk = queryKey.tensor(in: arena), v = values.tensor(in: arena)
    var y = poisoned(T, H, in: arena), lse = poisoned(T, r.queryHeads, in: arena)
    var scratch = poisoned(attention.scratchRows, attention.scratchColumns, in: arena)
    attention.forward(&y, lse: &lse, queryKey: qk, values: v, columns: columns, scratch: &scratch)
    #expect(Matrix(y).distance(to: c.y) < 1e-6)

    var dQueryKey = Matrix(T, H + G + 1) { _, _ in 7 }.tensor(in: arena)
    var dValues = Matrix(T, G + 3) { _, _ in 7 }.tensor(in: arena)
    var delta = poisoned(T, r.queryHeads, in: arena)
    attention.backward(
      dQueryKey: &dQueryKey, dColumns: dColumns, dValues: &dValues, from: c.dy.tensor(in: arena), y: y, lse: lse,
      queryKey: qk, values: v, columns: columns, delta: &delta, scratch: &scratch)
    let dqk = Matrix(dQueryKey), dv = Matrix(dValues)
    #expect(dqk.columns(0..<H).distance(to: c.dq, or: least) < 2e-6)
    #expect(dqk.columns(H..<H + G).distance(to: c.dk, or: least) < 2e-6)
    #expect(dv.columns(2..<2 + G).distance(to: c.dv) < 2e-6)
    #expect(dqk.columns(H + G..<H + G + 1).values.allSatisfy { $0 == 7 })
    #expect((dv.columns(0..<2).values + dv.columns(G + 2..<G + 3).values).allSatisfy { $0 == 7 })
  }

  /// A prompt in two pieces, the first longer than a tile, then token by token: the same rows as one forward pass.
  @Test(arguments: [[1], [5, 1, 1], [127, 1, 1], [128, 1, 130, 1, 40], [300], [260, 1, 39]])
  func decodeEqualsForward(_ pieces: [Int]) {
    let S = pieces.reduce(0, +), arena = Arena("test"), r = Self.reference, c = Case(S, seed: 30)
    for b in 0..<Self.sequences {
      let rows = b * S..<(b + 1) * S
      // A cache with room to spare; what is beyond the present holds NaN and must not be read.
      var keys = poisoned(S + 3, r.keyWidth, in: arena), values = poisoned(S + 3, r.keyWidth, in: arena)
      let k = c.k.rows(rows), v = c.v.rows(rows)
      let queries = Matrix(S, r.queryWidth + 2) { $1 < 2 ? .nan : c.q[b * S + $0, $1 - 2] }
      var past = 0
      for count in pieces {
        write(k, past..<past + count, into: &keys)
        write(v, past..<past + count, into: &values)
        let q = queries.rows(past..<past + count).tensor(in: arena)
        var y = poisoned(count, r.queryWidth, in: arena)
        var scratch = poisoned(min(128, count), past + count + 1, in: arena)
        Attention.decode(
          &y, queries: q, queryColumn: 2, rows: count, past: past, keys: keys, values: values,
          queryHeads: r.queryHeads, keyHeads: r.keyHeads, headDimension: r.headDimension, scratch: &scratch)
        #expect(Matrix(y).distance(to: c.y.rows(b * S + past..<b * S + past + count)) < 1e-6, "\(count) after \(past)")
        past += count
      }
    }
  }

  private func write(_ matrix: Matrix, _ rows: Range<Int>, into cache: inout Tensor) {
    var span = cache.mutableSpan
    for i in rows.lowerBound * matrix.columns..<rows.upperBound * matrix.columns { span[i] = Float(matrix.values[i]) }
  }

  /// The reference's own gradient, by central differences of its forward.
  @Test func referenceIsTheDerivative() {
    let r = AttentionReference(queryHeads: 4, keyHeads: 2, headDimension: 3), S = 5
    let inputs = [
      Matrix.random(S, r.queryWidth, seed: 41), Matrix.random(S, r.keyWidth, seed: 42), Matrix.random(S, r.keyWidth, seed: 43),
    ]
    let dy = Matrix.random(S, r.queryWidth, seed: 44)
    let gradient = r.backward(dy, inputs[0], inputs[1], inputs[2])
    func value(_ x: [Matrix]) -> Double { zip(r.forward(x[0], x[1], x[2]).y.values, dy.values).reduce(0) { $0 + $1.0 * $1.1 } }
    for (index, expected) in [gradient.q, gradient.k, gradient.v].enumerated() {
      for i in expected.values.indices {
        var up = inputs, down = inputs
        up[index].values[i] += 1e-5
        down[index].values[i] -= 1e-5
        let difference = (value(up) - value(down)) / 2e-5
        #expect(abs(difference - expected.values[i]) < 1e-8, "input \(index), element \(i)")
      }
    }
  }
}

extension Matrix {
  fileprivate mutating func replace(_ rows: Range<Int>, _ other: Matrix) {
    values.replaceSubrange(rows.lowerBound * columns..<rows.upperBound * columns, with: other.values)
  }

  fileprivate mutating func replaceColumns(_ first: Int, _ other: Matrix) {
    for row in 0..<rows { for i in 0..<other.columns { self[row, first + i] = other[row, i] } }
  }

  /// Distance relative to ‖other‖, or to `least` an element where that is more: one token attends to itself alone,
  /// whatever queries and keys are, and their gradient is zero.
  fileprivate func distance(to other: Matrix, or least: Double) -> Double {
    let difference = (self - other).norm
    return difference <= least * Double(values.count).squareRoot() ? 0 : difference / other.norm
  }
}
