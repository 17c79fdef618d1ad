import Foundation
import Tensors

/// Values as weights have them, each a function of its index: Gaussian with one deviation, with one a row, or with heavy
/// tails (Student's t with 4 degrees of freedom).
enum SyntheticValues: String, CaseIterable {
  case gaussian = "Gaussian"
  case rowScales = "Gaussian with row scales"
  case studentT = "Student-t(4)"

  static let deviation = 0.02

  /// Fills `values`, (rows, columns), with deviation 0.02.
  func fill(_ values: inout MutableSpan<Float>, columns: Int, seed: UInt64) {
    let random = CounterRandom(seed: seed, stream: "synthetic")
    for row in 0..<values.count / columns {
      let scale = self == .rowScales ? Self.rowScale(row, seed) : 1
      for column in stride(from: 0, to: columns, by: 2) {
        let index = row * columns + column
        let pair = Self.pair(random, UInt64(index), 0)
        let tails = self == .studentT ? (Self.tail(random, UInt64(index)), Self.tail(random, UInt64(index + 1))) : (1, 1)
        values[index] = Float(Self.deviation * scale * pair.0 * tails.0)
        if column + 1 < columns { values[index + 1] = Float(Self.deviation * scale * pair.1 * tails.1) }
      }
    }
  }

  /// The deviation of a row: log-normal, as those of trained matrices differ.
  static func rowScale(_ row: Int, _ seed: UInt64) -> Double {
    exp(0.5 * pair(CounterRandom(seed: seed, stream: "rows"), UInt64(row), 0).0)
  }

  /// Two Gaussian values (Box-Muller) of one counter.
  static func pair(_ random: CounterRandom, _ low: UInt64, _ high: UInt64) -> (Double, Double) {
    let words = random.words(low, high)
    let radius = sqrt(-2 * log((Double(words.0) + 0.5) * 0x1p-32)), angle = 2 * Double.pi * Double(words.1) * 0x1p-32
    return (radius * cos(angle), radius * sin(angle))
  }

  /// 1 / sqrt(chi² of 4 degrees / 4).
  private static func tail(_ random: CounterRandom, _ index: UInt64) -> Double {
    let first = pair(random, index, 1), second = pair(random, index, 2)
    return 2 / sqrt(first.0 * first.0 + first.1 * first.1 + second.0 * second.0 + second.1 * second.1)
  }
}
