public import Formats
import Tensors

/// Which format every lane runs at every step: a pure function of (step, lane), so that all ranks agree without a word.
///
/// λ (`weights`) multiplies the loss of every pass in its format, whatever the kind: the lowest width tends to dominate
/// the gradient and may want a λ of its own.
public struct FormatSchedule: Sendable, Hashable {
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// One format, every step.
    case single
    /// Phases from the narrowest format to the widest.
    case curriculum
    /// The next format each step.
    case roundRobin = "round_robin"
    /// A format drawn uniformly per step from (seed, step).
    case random
    /// Every format every step: loss = Σ λ L, one forward and backward each, on the same batch.
    case sum
    /// Lane l runs formats[(l + step) % count]: every format every step at the cost of one, on different sequences.
    case formatParallel = "format_parallel"
  }

  public let kind: Kind
  /// In the order given; narrowest first for `curriculum`.
  public let formats: [MXFormat]
  /// λ of each format, in the same order.
  public let weights: [Double]
  /// First step of each curriculum phase, then the number of steps; empty for other kinds.
  public let phaseStarts: [Int]
  /// Only `random` draws from it.
  public let seed: UInt64

  /// - Parameters:
  ///   - weights: λ for each format; empty means 1 each, for `sum` 1/count each, so that the size of the
  ///     gradient does not depend on the kind.
  ///   - fractions: share of `steps` each format gets under `curriculum`, in the order of `formats`, summing to
  ///     1; empty means equal shares.
  ///   - steps: length of the run. Steps count from 0.
  /// - Throws: `QuantizationError` naming the argument that does not add up.
  public init(
    _ kind: Kind, formats: [MXFormat], weights: [Double] = [], fractions: [Double] = [], steps: Int, seed: UInt64
  ) throws(QuantizationError) {
    let names = formats.map(\.name).joined(separator: ", ")
    guard !formats.isEmpty else {
      throw QuantizationError(.formats, expected: "at least one format", found: "none")
    }
    guard Set(formats).count == formats.count else {
      throw QuantizationError(.formats, expected: "each format once", found: names,
                              hint: "use weights to give a format more influence")
    }
    guard kind != .single || formats.count == 1 else {
      throw QuantizationError(.schedule, expected: "one format for schedule single", found: names,
                              hint: "several formats need one of \(Self.multiFormatKinds)")
    }
    guard weights.isEmpty || weights.count == formats.count else {
      throw QuantizationError(.weights, expected: "one weight for each of the \(formats.count) formats (\(names))",
                              found: "\(weights.count)")
    }
    guard weights.allSatisfy({ $0 > 0 && $0.isFinite }) else {
      throw QuantizationError(.weights, expected: "weights above 0", found: "\(weights)",
                              hint: "leave a format out of formats instead of giving it weight 0")
    }
    guard fractions.isEmpty || kind == .curriculum else {
      throw QuantizationError(.fractions, expected: "none with schedule \(kind.rawValue)", found: "\(fractions)",
                              hint: "fractions divide a curriculum only")
    }
    precondition(steps >= 0, "a schedule over \(steps) steps")

    let equal = kind == .sum ? 1 / Double(formats.count) : 1
    let weights = weights.isEmpty ? formats.map { _ in equal } : weights
    var order = Array(formats.indices)
    if kind == .curriculum {
      // A stable sort: formats of equal width keep the order given.
      order.sort { (formats[$0].element.bits, $0) < (formats[$1].element.bits, $1) }
      phaseStarts = try Self.phases(fractions: fractions, order: order, steps: steps)
    } else {
      phaseStarts = []
    }
    self.kind = kind
    self.formats = order.map { formats[$0] }
    self.weights = order.map { weights[$0] }
    self.seed = seed
  }

  /// Passes of every lane in every step: one, or one for each format under `sum`.
  public var passCount: Int { kind == .sum ? formats.count : 1 }

  /// Pass `index` of `lane` at `step`, all from 0; nothing is allocated. After the last step the last curriculum phase
  /// goes on.
  public func pass(_ index: Int, step: Int, lane: Int) -> FormatPass {
    precondition(index >= 0 && index < passCount, "pass \(index) of \(passCount)")
    precondition(step >= 0 && lane >= 0, "step \(step), lane \(lane)")
    let count = formats.count
    let chosen =
      switch kind {
      case .single: 0
      case .curriculum: phaseStarts.dropLast().lastIndex { $0 <= step } ?? 0
      case .roundRobin: step % count
      case .random: draw(step)
      case .sum: index
      case .formatParallel: (lane % count + step % count) % count
      }
    return FormatPass(format: formats[chosen], weight: weights[chosen])
  }

  /// All passes of `lane` at `step`.
  public func formats(step: Int, lane: Int) -> StepFormats {
    StepFormats(passes: (0..<passCount).map { pass($0, step: step, lane: lane) })
  }

  /// The formats any of `lanes` lanes needs at `step`, each once, in schedule order: what must be cut.
  public func formatsInUse(step: Int, lanes: Int) -> [MXFormat] {
    let used = Set((0..<lanes).flatMap { formats(step: step, lane: $0).passes.map(\.format) })
    return formats.filter(used.contains)
  }

  /// The name of a step's formats for the record: `mxint4`, or `mxint2+mxint4` when several run.
  public func label(step: Int, lanes: Int) -> String {
    formatsInUse(step: step, lanes: lanes).map(\.name).joined(separator: "+")
  }

  private func draw(_ step: Int) -> Int {
    let random = CounterRandom(seed: seed, stream: "format schedule")
    return Int(random.integer(UInt64(step), below: UInt64(formats.count)))
  }

  private static var multiFormatKinds: String {
    Kind.allCases.filter { $0 != .single }.map(\.rawValue).joined(separator: ", ")
  }

  /// First steps of the phases and the end, cumulative fractions rounded to whole steps.
  private static func phases(fractions: [Double], order: [Int], steps: Int) throws(QuantizationError) -> [Int] {
    let count = order.count
    guard fractions.isEmpty || fractions.count == count else {
      throw QuantizationError(.fractions, expected: "one fraction for each of the \(count) formats",
                              found: "\(fractions.count)")
    }
    let sum = fractions.reduce(0, +)
    guard fractions.isEmpty || (fractions.allSatisfy { $0 > 0 } && abs(sum - 1) < 1e-6) else {
      throw QuantizationError(.fractions, expected: "fractions above 0 that sum to 1", found: "\(fractions), sum \(sum)")
    }
    var starts = [0]
    var share = 0.0
    for (position, index) in order.enumerated() {
      share += fractions.isEmpty ? 0 : fractions[index]
      let last = position == count - 1
      let equal = (steps * (position + 1) + count / 2) / count
      starts.append(last ? steps : fractions.isEmpty ? equal : Int((Double(steps) * share).rounded()))
    }
    guard zip(starts, starts.dropFirst()).allSatisfy({ $0 < $1 }) else {
      throw QuantizationError(.fractions, expected: "at least one step for each of the \(count) formats",
                              found: "\(steps) steps, phases starting at \(starts.dropLast())",
                              hint: "train longer, or name fewer formats")
    }
    return starts
  }
}

/// One forward and backward pass: the format of the quantized weights and the factor of its loss.
public struct FormatPass: Sendable, Hashable {
  public let format: MXFormat
  /// λ: multiplies the loss, and with it the gradient.
  public let weight: Double

  public init(format: MXFormat, weight: Double) {
    self.format = format
    self.weight = weight
  }
}

/// What one lane does in one step: a pass for each entry, all on the same sequences.
public struct StepFormats: Sendable, Hashable {
  public let passes: [FormatPass]

  public init(passes: [FormatPass]) { self.passes = passes }
}
