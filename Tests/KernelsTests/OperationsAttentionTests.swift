import CKernels
import Kernels
import Testing

#if canImport(Glibc)
  import Glibc
#endif

@Suite(.keepsOperands) struct OperationsAttentionTests {
  /// Tiles at, above and below the diagonal: (rows, keys, visible).
  static let tiles: [(rows: Int, keys: Int, visible: Int)] = [
    (33, 33, 0), (16, 48, 32), (5, 70, 40), (7, 20, -3), (4, 16, 15), (4, 17, 100), (3, 600, 513), (1, 1, 0), (2, 0, 0),
    (0, 5, 1),
  ]

  private func seen(_ tile: (rows: Int, keys: Int, visible: Int), _ r: Int) -> Int {
    max(0, min(tile.keys, tile.visible + r + 1))
  }

  @Test(arguments: 0..<tiles.count) func causalSoftmax(index: Int) {
    let tile = Self.tiles[index], (rows, keys, _) = tile, stride = keys + 3, scale: Float = 0.3
    // Behind the mask stands what must never be read.
    var scores = Numbers("scores").floats(rows * stride, 20)
    for r in 0..<rows { for k in seen(tile, r)..<keys { scores[r * stride + k] = .nan } }
    let p = F64(wide(scores)), lse = F64(zeros: rows)
    unsafe reference.softmax_causal_forward(
      Int64(rows), Int64(keys), Int64(tile.visible), Double(scale), p.pointer, Int64(stride), lse.pointer)
    let probabilities = p.values, logs = lse.values
    let largest = Double(scale) * 20
    // The exponent scale * s - max carries two roundings of numbers up to 2 * largest, exp 2 roundoffs, the sum
    // keys / 16 additions in a lane and 5 in the tree, the quotient 2.
    let exponent = 3 * largest, sum = Double(keys / 16 + 8) + exponent
    let expected = [
      Expected("p", probabilities) { i in
        i % stride < keys ? roundoff * (exponent + sum + 5) * probabilities[i] + leastFloat : 0
      },
      Expected("lse", logs) { roundoff * (sum + 3 + abs(logs[$0].isFinite ? logs[$0] : 0)) },
    ]
    checkTables(.sum, expected, "\(tile)") { operations in
      let x = F32(scores, misalignment: 1), lse = F32(zeros: rows)
      unsafe operations.softmax_causal_forward(
        Int64(rows), Int64(keys), Int64(tile.visible), scale, x.pointer, Int64(stride), lse.pointer)
      for r in 0..<rows where seen(tile, r) == 0 { #expect(lse.values[r] == -.infinity) }
      for r in 0..<rows {
        let padding = (r * stride + keys)..<((r + 1) * stride)
        #expect(x.values[padding] == scores[padding])
      }
      return [x.values, lse.values]
    }
  }

  @Test func aVisibleNaNMakesItsRowNaNAndNoOther() {
    let keys = 40
    var scores = Numbers("s").floats(3 * keys)
    scores[keys + 33] = .nan
    for table in KernelTable.available {
      let x = F32(scores), lse = F32(zeros: 3)
      unsafe table.operations.softmax_causal_forward(3, Int64(keys), 50, 1, x.pointer, Int64(keys), lse.pointer)
      #expect(lse.values[1].isNaN && row(x.values, 1, keys).allSatisfy { $0.isNaN })
      #expect(lse.values[0].isFinite && lse.values[2].isFinite && row(x.values, 2, keys).allSatisfy { $0.isFinite })
    }
  }

  /// One token, d 1, scale 1, lse 0, dy 1: dv is exp(q k) itself, within 0.9 ulp (of the least normal number below it),
  /// from the smallest result to overflow.
  @Test func theExponentialIsWithinOneUlp() {
    let n = 20_011, special: [Float] = [-.infinity, -1e30, -103.98, 88.73, 1e30, .infinity, .nan, 0, -0.0]
    let x = (0..<n).map { Float(-104 + 192.7 * Double($0) / Double(n)) } + special
    for table in KernelTable.available {
      let one = F32([1]), zero = F32([0]), dq = F32([0]), dk = F32([0]), dv = F32([0])
      let q = F32([0]), scratch = F32(zeros: Int(ck_attention_scratch(1, 1)))
      let got = x.map { x -> Float in
        unsafe q.pointer[0] = x
        unsafe table.operations.attention_backward(
          1, 1, 1, 1, q.pointer, one.pointer, 1, one.pointer, 1, one.pointer, 1, zero.pointer, zero.pointer, 1,
          dq.pointer, dk.pointer, 1, dv.pointer, 1, scratch.pointer)
        return unsafe dv.pointer[0]
      }
      let worst = (0..<n).map { i -> Double in
        let want = exp(Double(x[i])), ulp = Double(max(Float(want), .leastNormalMagnitude).ulp)
        return abs(Double(got[i]) - want) / ulp
      }.max()!
      #expect(worst < 0.9, "\(table.name): \(worst) ulps")
      #expect(got[n..<n + 6] == [0, 0, 0, .infinity, .infinity, .infinity] && got[n + 6].isNaN, "\(table.name)")
      #expect(got[(n + 7)...] == [1, 1])
    }
  }

  @Test func largeScoresDoNotOverflow() {
    for table in KernelTable.available {
      let x = F32([1e30, 1e30, -1e30, 0]), lse = F32(zeros: 1)
      unsafe table.operations.softmax_causal_forward(1, 4, 3, 1, x.pointer, 4, lse.pointer)
      #expect(x.values == [0.5, 0.5, 0, 0] && lse.values[0] == 1e30)
    }
  }

  @Test(arguments: [1, 8, 16, 31, 64, 100, 128]) func attentionDelta(d: Int) {
    let T = 4, H = 3, stride = H * d + 2
    let y = Numbers("y").floats(T * stride), dy = Numbers("dy").floats(T * stride)
    let delta = F64(zeros: T * H)
    unsafe reference.attention_delta(
      Int64(T), Int64(H), Int64(d), F64(wide(y)).pointer, F64(wide(dy)).pointer, Int64(stride), delta.pointer)
    let magnitudes = (0..<T * H).map { i in
      (0..<d).reduce(0.0) { total, j in
        let at = i / H * stride + i % H * d + j
        return total + abs(Double(y[at]) * Double(dy[at]))
      }
    }
    checkTables(
      .sum, [Expected("delta", delta.values) { roundoff * Double(d / 16 + 7) * magnitudes[$0] }], "d \(d)"
    ) { operations in
      let delta = F32(zeros: T * H)
      unsafe operations.attention_delta(
        Int64(T), Int64(H), Int64(d), F32(y, misalignment: 1).pointer, F32(dy).pointer, Int64(stride), delta.pointer)
      return [delta.values]
    }
  }
}
