import CKernels
import Kernels
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// The attention of one head, in tiles, against its definition over double.
@Suite(.keepsOperands) struct OperationsAttentionTileTests {
  struct Shape: CustomTestStringConvertible, Sendable {
    let S: Int, H: Int, d: Int
    var testDescription: String { "\(H) heads of \(d) over \(S)" }
  }

  /// Around groups of 16 and tiles of 64, with widths below, at and between whole lanes.
  static let shapes = [
    Shape(S: 1, H: 1, d: 1), Shape(S: 5, H: 2, d: 8), Shape(S: 16, H: 1, d: 16), Shape(S: 17, H: 3, d: 7),
    Shape(S: 63, H: 1, d: 48), Shape(S: 64, H: 1, d: 64), Shape(S: 65, H: 2, d: 33), Shape(S: 130, H: 1, d: 80),
    Shape(S: 200, H: 1, d: 128), Shape(S: 0, H: 1, d: 4),
  ]

  /// Operands with columns between that nobody may touch: q and k of one stride, v, dy of theirs.
  private struct Case {
    let shape: Shape, stride: Int, valueStride: Int, givenStride: Int, scale: Float
    var q: [Float], k: [Float], v: [Float], dy: [Float]

    init(_ s: Shape) {
      shape = s
      stride = s.H * s.d + 3
      valueStride = s.d + 1
      givenStride = s.H * s.d + 2
      scale = 1 / Float(s.d).squareRoot()
      q = Numbers("q").floats(s.S * stride, 3)
      k = Numbers("k").floats(s.S * stride, 3)
      v = Numbers("v").floats(s.S * valueStride)
      dy = Numbers("dy").floats(s.S * givenStride)
    }
  }

  private func forward(_ c: Case, _ operations: ck_operation_table) -> (y: [Float], lse: [Float]) {
    let s = c.shape, y = F32([Float](repeating: 7, count: s.S * c.givenStride), misalignment: 1), lse = F32(zeros: s.H * s.S)
    let q = F32(c.q, misalignment: 3), k = F32(c.k), v = F32(c.v, misalignment: 1)
    let scratch = F32([Float](repeating: .nan, count: Int(ck_attention_scratch(Int64(s.S), Int64(s.d)))))
    for h in 0..<s.H where s.S > 0 {
      unsafe operations.attention_forward(
        Int64(s.S), Int64(s.d), c.scale, q.pointer + h * s.d, k.pointer, Int64(c.stride), v.pointer, Int64(c.valueStride),
        y.pointer + h * s.d, Int64(c.givenStride), lse.pointer + h * s.S, scratch.pointer)
    }
    return (y.values, lse.values)
  }

  private func backward(
    _ c: Case, lse: [Float], delta: [Float], _ operations: ck_operation_table
  ) -> (q: [Float], k: [Float], v: [Float]) {
    let s = c.shape
    let dq = F32([Float](repeating: 7, count: s.S * c.stride), misalignment: 2)
    let dk = F32([Float](repeating: 7, count: s.S * c.stride), misalignment: 1)
    let dv = F32([Float](repeating: 7, count: s.S * c.valueStride))
    let scratch = F32([Float](repeating: .nan, count: Int(ck_attention_scratch(Int64(s.S), Int64(s.d)))))
    unsafe operations.attention_backward(
      Int64(s.S), Int64(s.H), Int64(s.d), c.scale, F32(c.q, misalignment: 3).pointer, F32(c.k).pointer, Int64(c.stride),
      F32(c.v, misalignment: 1).pointer, Int64(c.valueStride), F32(c.dy).pointer, Int64(c.givenStride),
      F32(lse).pointer, F32(delta).pointer, Int64(s.H), dq.pointer, dk.pointer, Int64(c.stride), dv.pointer,
      Int64(c.valueStride), scratch.pointer)
    return (dq.values, dk.values, dv.values)
  }

  /// One head's numbers in double, and what their roundings may add up to, all in roundoffs.
  private struct Head {
    let s: (Int, Int) -> Double, magnitude: (Int, Int) -> Double, dp: (Int, Int) -> Double, dpMagnitude: (Int, Int) -> Double

    init(_ c: Case, _ h: Int) {
      let d = c.shape.d
      func dot(_ a: [Float], _ i: Int, _ b: [Float], _ j: Int, _ f: (Double) -> Double) -> Double {
        (0..<d).reduce(0) { $0 + f(Double(a[i + $1]) * Double(b[j + $1])) }
      }
      s = { i, j in Double(c.scale) * dot(c.q, i * c.stride + h * d, c.k, j * c.stride, { $0 }) }
      magnitude = { i, j in Double(c.scale) * dot(c.q, i * c.stride + h * d, c.k, j * c.stride, abs) }
      dp = { i, j in dot(c.dy, i * c.givenStride + h * d, c.v, j * c.valueStride, { $0 }) }
      dpMagnitude = { i, j in dot(c.dy, i * c.givenStride + h * d, c.v, j * c.valueStride, abs) }
    }
  }

  @Test(arguments: shapes) func forward(shape: Shape) {
    let c = Case(shape), S = shape.S, H = shape.H, d = shape.d
    let y = F64(wide([Float](repeating: 7, count: S * c.givenStride))), lse = F64(zeros: H * S), q = F64(wide(c.q))
    var yBounds = [Double](repeating: 0, count: y.count), lseBounds = [Double](repeating: 0, count: H * S)
    for h in 0..<H {
      unsafe reference.attention_forward(
        Int64(S), Int64(d), Double(c.scale), q.pointer + h * d, F64(wide(c.k)).pointer, Int64(c.stride),
        F64(wide(c.v)).pointer, Int64(c.valueStride), y.pointer + h * d, Int64(c.givenStride), lse.pointer + h * S,
        F64(zeros: S).pointer)
      let head = Head(c, h)
      for i in 0..<S {
        // Scores: d products, each fused, and the scaled query. The exponential's argument, at most twice the largest
        // score, is rounded; exp is 2 roundoffs. The running maximum rescales at every tile: again such an argument.
        let scores = (0...i).map { head.s(i, $0) }, most = scores.map(abs).max()!
        let tiles = Double(i / 64 + 1)
        let each = Double(d + 2) * (0...i).map { head.magnitude(i, $0) }.max()! + (4 * most + 4) * tiles
        let log = lse.values[h * S + i]
        lseBounds[h * S + i] = roundoff * (each + Double(i + 8) + abs(log))
        for n in 0..<d {
          let mean = (0...i).reduce(0.0) { $0 + exp(scores[$1] - log) * abs(Double(c.v[$1 * c.valueStride + n])) }
          yBounds[i * c.givenStride + h * d + n] = roundoff * (2 * each + 2 * Double(i + 8)) * mean + leastFloat
        }
      }
    }
    let expected = [Expected("y", y.values) { yBounds[$0] }, Expected("lse", lse.values) { lseBounds[$0] }]
    checkTables(.sum, expected, shape.testDescription) { operations in
      let result = forward(c, operations)
      return [result.y, result.lse]
    }
  }

  @Test(arguments: shapes) func backward(shape: Shape) {
    let c = Case(shape), S = shape.S, H = shape.H, d = shape.d
    let (y, lse) = forward(c, KernelTable.available.last!.operations)
    let delta = (0..<S * H).map { i in
      (0..<d).reduce(Float(0)) { $0 + y[i / H * c.givenStride + i % H * d + $1] * c.dy[i / H * c.givenStride + i % H * d + $1] }
    }
    let dq = F64([Double](repeating: 7, count: S * c.stride)), dk = F64([Double](repeating: 7, count: S * c.stride))
    let dv = F64([Double](repeating: 7, count: S * c.valueStride))
    unsafe reference.attention_backward(
      Int64(S), Int64(H), Int64(d), Double(c.scale), F64(wide(c.q)).pointer, F64(wide(c.k)).pointer, Int64(c.stride),
      F64(wide(c.v)).pointer, Int64(c.valueStride), F64(wide(c.dy)).pointer, Int64(c.givenStride),
      F64(wide(lse)).pointer, F64(wide(delta)).pointer, Int64(H), dq.pointer, dk.pointer, Int64(c.stride), dv.pointer,
      Int64(c.valueStride), F64(zeros: S).pointer)
    var qBounds = [Double](repeating: 0, count: dq.count), kBounds = qBounds
    var vBounds = [Double](repeating: 0, count: dv.count)
    let additions = Double(S * H + 4)
    for h in 0..<H {
      let head = Head(c, h)
      for i in 0..<S {
        for j in 0...i {
          let log = Double(lse[h * S + i]), s = head.s(i, j), p = exp(s - log), slope = head.dp(i, j) - Double(delta[i * H + h])
          let relative = Double(d + 2) * head.magnitude(i, j) + 2 * abs(s) + abs(log) + 4
          let pBound = p * (relative + additions)
          let dsBound = Double(c.scale) * p * ((relative + additions + 2) * abs(slope) + Double(d + 2) * head.dpMagnitude(i, j))
          for n in 0..<d {
            qBounds[i * c.stride + h * d + n] += roundoff * dsBound * abs(Double(c.k[j * c.stride + n])) + leastFloat
            kBounds[j * c.stride + n] += roundoff * dsBound * abs(Double(c.q[i * c.stride + h * d + n])) + leastFloat
            vBounds[j * c.valueStride + n] += roundoff * pBound * abs(Double(c.dy[i * c.givenStride + h * d + n])) + leastFloat
          }
        }
      }
    }
    let expected = [
      Expected("dq", dq.values) { qBounds[$0] }, Expected("dk", dk.values) { kBounds[$0] },
      Expected("dv", dv.values) { vBounds[$0] },
    ]
    checkTables(.sum, expected, shape.testDescription) { operations in
      let result = backward(c, lse: lse, delta: delta, operations)
      return [result.q, result.k, result.v]
    }
  }

  /// A NaN stays in the rows that see it, and in the group of 16 it stands in.
  @Test func aNaNReachesWhoSeesIt() {
    let shape = Shape(S: 150, H: 1, d: 16), place = 70, group = 64
    for table in KernelTable.available {
      for operand in [\Case.q, \Case.k, \Case.v] {
        var c = Case(shape)
        c[keyPath: operand][place * (operand == \Case.v ? c.valueStride : c.stride)] = .nan
        let y = forward(c, table.operations).y
        let isNaN = (0..<shape.S).map { y[$0 * c.givenStride].isNaN }
        #expect(!isNaN[..<group].contains(true), "\(table.name)")
        if operand == \Case.q {
          #expect(isNaN.indices.filter { isNaN[$0] } == [place], "\(table.name)")
        } else {
          #expect(isNaN[place...].allSatisfy { $0 }, "\(table.name)")
        }
      }
    }
  }

  @Test func largeScoresDoNotOverflow() {
    for table in KernelTable.available {
      let q = F32([0x1p50, 0x1p50, -0x1p50]), k = F32([0x1p50, 0x1p50, 0x1p50]), v = F32([1, 3, 8]), y = F32(zeros: 3), lse = F32(zeros: 3)
      let scratch = F32(zeros: Int(ck_attention_scratch(3, 1)))
      unsafe table.operations.attention_forward(
        3, 1, 1, q.pointer, k.pointer, 1, v.pointer, 1, y.pointer, 1, lse.pointer, scratch.pointer)
      #expect(y.values == [1, 2, 4] && lse.values[0] == 0x1p100 && lse.values[2] == -0x1p100, "\(table.name)")
    }
  }
}
