import Calibration
import Communication
import Foundation
import Kernels
import Tensors
import Testing

/// Second moments as integers on a shared grid: the same bits on any number of ranks, and the sums of doubles.
@Suite struct MomentTests {
  static let columns = 20, outputs = 12, length = 24

  /// What sequences are like.
  enum Course: String, CaseIterable, Sendable {
    case even
    /// Sequences behind the first are a thousand times as loud, which its grid does not hold.
    case louder
    case quieter
    /// Channel 3 is 0 in sequence 0 and alive later, channel 5 always 0.
    case awakening
    /// Sequence 0 is silent.
    case silence

    func factor(sequence: Int, channel: Int) -> Double {
      switch self {
      case .even: 1
      case .louder: sequence == 0 ? 1 : 1000
      case .quieter: sequence == 0 ? 1000 : 1
      case .awakening: channel == 5 || channel == 3 && sequence == 0 ? 0 : 1
      case .silence: sequence == 0 ? 0 : 1
      }
    }

    /// Whether the grid of sequence 0 does.
    var needsSecondPass: Bool { [.louder, .awakening, .silence].contains(self) }
  }

  private static func input(_ sequence: Int, _ course: Course) -> [Float] {
    let draws = Draws(11, "sequence \(sequence)")
    return (0..<length * columns).map { i in
      let j = i % columns
      return Float(course.factor(sequence: sequence, channel: j) * (draws.normal(i) * pow(4, Double(j % 7 - 3)) + 0.3))
    }
  }

  private static func error(_ sequence: Int) -> [Float] {
    let draws = Draws(12, "errors of \(sequence)")
    // The first layer has none in the sequence that the grid follows.
    return (0..<length * outputs).map { sequence == 0 ? 0 : Float(1e-3 * draws.normal($0)) }
  }

  private static func tensor(_ values: [Float], columns: Int) -> Tensor {
    var x = Tensor(rows: values.count / columns, columns: columns, in: Arena("input"))
    x.fill { Double(values[$0]) }
    return x
  }

  private struct Found: Sendable, Equatable {
    var gram: [Double]
    var cross: [Double] = []
    /// Sequences that every rank was asked for.
    var calls: Int
  }

  private static func moments(
    ranks: Int, sequences: Int, _ course: Course, crossed: Bool = false
  ) throws -> [Found] {
    try Communicator.onThreads(ranks) { communicator in
      let arena = Arena("moments"), own = Array(stride(from: communicator.rank, to: sequences, by: communicator.size))
      let moments = MomentAccumulator(
        columns: columns, tokens: length, outputs: crossed ? outputs : nil, on: communicator, in: arena)
      var calls = 0
      let gram = try moments.gram("an input", tokens: sequences * length, in: arena) { moments in
        calls += 1
        for sequence in own {
          let x = tensor(input(sequence, course), columns: columns)
          if crossed {
            try moments.add(x, error: tensor(error(sequence), columns: outputs))
          } else {
            try moments.add(x)
          }
        }
      }
      var found = Found(gram: (0..<gram.values.count).map { gram.values[$0] }, calls: calls)
      #expect(gram.tokens == sequences * length)
      guard crossed else { return found }
      let cross = moments.crossMoments(in: arena)
      found.cross = (0..<cross.count).map { cross[$0] }
      return found
    }
  }

  /// Inputs as the products of this processor see them: to the nearest bf16, ties to even, where it multiplies those.
  private static func asMultiplied(_ values: [Float]) -> [Float] {
    guard MomentProduct.roundsInputs else { return values }
    return values.map { value in
      let bits = value.bitPattern
      return Float(bitPattern: (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000)
    }
  }

  /// Σ aᵀb in double.
  private static func reference(
    _ a: (Int) -> [Float], _ b: (Int) -> [Float], _ n: Int, _ k: Int, sequences: Int
  ) -> [Double] {
    var sums = [Double](repeating: 0, count: n * k)
    for sequence in 0..<sequences {
      let a = a(sequence), b = b(sequence)
      for t in 0..<length {
        for i in 0..<n { for j in 0..<k { sums[i * k + j] += Double(a[t * n + i]) * Double(b[t * k + j]) } }
      }
    }
    return sums
  }

  @Test(arguments: Course.allCases)
  func sumsAreThoseOfDoubleArithmetic(_ course: Course) throws {
    let K = Self.columns, sequences = 5
    let one = try Self.moments(ranks: 1, sequences: sequences, course)[0]
    #expect(one.calls == (course.needsSecondPass ? 2 : 1))
    let multiplied = { (sequence: Int) in Self.asMultiplied(Self.input(sequence, course)) }
    let wanted = Self.reference(multiplied, multiplied, K, K, sequences: sequences)
    for i in 0..<K {
      for j in 0..<K {
        let size = (wanted[i * K + i] * wanted[j * K + j]).squareRoot()
        #expect(abs(one.gram[i * K + j] - wanted[i * K + j]) <= 1e-6 * size, "\(course), \(i), \(j)")
        #expect(one.gram[i * K + j] == one.gram[j * K + i])
      }
    }
    if course == .awakening { #expect(one.gram[3 * K + 3] > 0 && one.gram[5 * K + 5] == 0) }
    for ranks in 2...6 {
      for found in try Self.moments(ranks: ranks, sequences: sequences, course) {
        #expect(found == one, "\(course) on \(ranks) ranks")
      }
    }
  }

  @Test(arguments: [Course.even, .louder, .awakening])
  func momentsWithErrors(_ course: Course) throws {
    let K = Self.columns, N = Self.outputs, sequences = 4
    let one = try Self.moments(ranks: 1, sequences: sequences, course, crossed: true)[0]
    #expect(one.calls == 2, "the first sequence has no errors")
    let wanted = Self.reference(Self.error, { Self.input($0, course) }, N, K, sequences: sequences)
    let errors = Self.reference(Self.error, Self.error, N, N, sequences: sequences)
    for n in 0..<N {
      for k in 0..<K {
        let size = (errors[n * N + n] * one.gram[k * K + k]).squareRoot()
        #expect(abs(one.cross[n * K + k] - wanted[n * K + k]) <= 1e-6 * size, "\(course), \(n), \(k)")
      }
    }
    for ranks in 2...5 {
      for found in try Self.moments(ranks: ranks, sequences: sequences, course, crossed: true) {
        #expect(found == one, "\(course) on \(ranks) ranks")
      }
    }
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity, 1e30], [0, 2])
  func whatIsNoNumberIsNamed(_ value: Float, sequence: Int) throws {
    for ranks in [1, 3] {
      Calibrating.refused("layer 7, input of o", "NaN or infinity") {
        _ = try Communicator.onThreads(ranks) { communicator in
          let moments = MomentAccumulator(
            columns: Self.columns, tokens: Self.length, on: communicator, in: Arena("moments"))
          let own = Array(stride(from: communicator.rank, to: 4, by: communicator.size))
          _ = try moments.gram("layer 7, input of o", tokens: 4 * Self.length, in: Arena("gram")) { moments in
            for s in own {
              var values = Self.input(s, .even)
              if s == sequence { values[7] = value }
              try moments.add(Self.tensor(values, columns: Self.columns))
            }
          }
        }
      }
    }
  }
}
