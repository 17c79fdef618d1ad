#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Wall seconds of a step by phase.
struct PhaseClock {
  enum Phase: Int, CaseIterable {
    case weights, compute, reduce, update
    var name: String {
      switch self {
      case .weights: "weights"
      case .compute: "compute"
      case .reduce: "reduce"
      case .update: "update"
      }
    }
  }

  private var sums: (weights: Double, compute: Double, reduce: Double, update: Double) = (0, 0, 0, 0)

  static var now: Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  mutating func add(_ phase: Phase, _ seconds: Double) {
    switch phase {
    case .weights: sums.weights += seconds
    case .compute: sums.compute += seconds
    case .reduce: sums.reduce += seconds
    case .update: sums.update += seconds
    }
  }

  mutating func measure<Result>(_ phase: Phase, _ work: () throws -> Result) rethrows -> Result {
    let start = Self.now
    defer { add(phase, Self.now - start) }
    return try work()
  }

  var seconds: PhaseSeconds {
    PhaseSeconds(weights: sums.weights, compute: sums.compute, reduce: sums.reduce, update: sums.update)
  }
}

/// Seconds of one step: publishing weights, forward and backward, summing gradients over lanes, norm and optimizer.
public struct PhaseSeconds: Sendable, Hashable {
  public let weights: Double, compute: Double, reduce: Double, update: Double
  public var total: Double { weights + compute + reduce + update }
}
