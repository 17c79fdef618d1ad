import Tensors

/// Starting weights of a model that is trained from nothing.
///
/// Every value is a function of (seed, tensor name, element): any rank can fill any rows. Normal deviates are sums of
/// twelve uniforms minus six, which every machine computes alike; libm's log and cos are not that portable.
public struct Initialization: Sendable {
  public let seed: UInt64
  /// Of matrices; norms start at one, biases at zero.
  public let standardDeviation: Float

  public init(seed: UInt64, standardDeviation: Float = 0.02) {
    self.seed = seed
    self.standardDeviation = standardDeviation
  }

  /// Fills `values` with rows `rows` of `parameter`.
  public func fill(_ values: inout MutableSpan<Float>, at start: Int, rows: Range<Int>, of parameter: ParameterSpec) {
    let count = rows.count * parameter.columns
    precondition(start + count <= values.count, "\(count) values at \(start) of \(values.count)")
    switch parameter.role {
    case .norm: for i in 0..<count { values[start + i] = 1 }
    case .bias: for i in 0..<count { values[start + i] = 0 }
    case .embedding, .linear, .head:
      let random = CounterRandom(seed: seed, stream: "initialization:" + parameter.name)
      let first = rows.lowerBound * parameter.columns
      for i in 0..<count { values[start + i] = standardDeviation * Self.normal(random, UInt64(first + i)) }
    }
  }

  private static func normal(_ random: CounterRandom, _ element: UInt64) -> Float {
    var sum = 0.0
    for draw in 0..<3 as Range<UInt64> {
      let w = random.words(element, draw)
      sum += Double(w.0) + Double(w.1) + Double(w.2) + Double(w.3)
    }
    return Float(sum * 0x1p-32 - 6)
  }
}
