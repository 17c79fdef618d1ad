import Communication
import Foundation
import Tensors

/// Values as gradients have them, by what they are for and where they stand.
struct Samples {
  private let random: CounterRandom

  init(stream: Int) { random = CounterRandom(seed: 23, stream: UInt64(stream)) }

  /// Standard normal (Box and Muller).
  func normal(_ count: Int) -> [Float] {
    (0..<count).map { index in
      let radius = (-2 * log(1 - random.uniform(2 * UInt64(index)))).squareRoot()
      return Float(radius * cos(2 * .pi * random.uniform(2 * UInt64(index) + 1)))
    }
  }

  /// Student-t with any number of degrees of freedom (Bailey's polar method, Mathematics of Computation 62, 1994).
  func student(_ freedom: Double, _ count: Int) -> [Float] {
    (0..<count).map { index in
      let u = 1 - random.uniform(2 * UInt64(index))
      let radius = (freedom * (pow(u, -2 / freedom) - 1)).squareRoot()
      return Float(radius * cos(2 * .pi * random.uniform(2 * UInt64(index) + 1)))
    }
  }
}

/// What workers' gradients have in common: the rows of section 3's table.
enum GradientModel: String, CaseIterable, Sendable {
  case gaussian, student, agreeing

  /// A worker's gradient.
  func gradient(ofWorker worker: Int, _ count: Int) -> [Float] {
    switch self {
    case .gaussian: return Samples(stream: 100 + worker).normal(count)
    case .student: return Samples(stream: 200 + worker).student(3, count)
    case .agreeing:
      // Noise of heavy tails, which is smaller than the signal over most of the gradient.
      let signal = Samples(stream: 300).normal(count), noise = Samples(stream: 301 + worker).student(2.2, count)
      return zip(signal, noise).map { $0 + 0.3 * $1 }
    }
  }
}

/// The sum of gradients in double precision.
func exactSum(_ gradients: [[Float]]) -> [Double] {
  var sum = [Double](repeating: 0, count: gradients[0].count)
  for gradient in gradients { for index in sum.indices { sum[index] += Double(gradient[index]) } }
  return sum
}

/// |found - expected| / |expected| over the shards of all ranks. Collective.
func relativeError(_ found: [Double], _ expected: [Double], _ communicator: Communicator) throws -> Double {
  let squares = OrderedSum(slots: communicator.size, on: communicator, in: Arena("test"))
  func total(_ values: [Double]) throws -> Double {
    squares.place(values.reduce(0) { $0 + $1 * $1 }, at: communicator.rank)
    return try squares.total()
  }
  let noise = try total(zip(found, expected).map { $0 - $1 })
  return (noise / (try total(expected))).squareRoot()
}
