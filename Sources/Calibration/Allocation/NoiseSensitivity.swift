public import Communication
public import Tensors
public import Transformer

/// How much a model's outputs move per squared relative error of one group of weights: α of the linearity theorem,
/// E[Δ] ≈ Σ α_g t²_g with t² = ‖Ŵ - W‖² / ‖W‖² (Malinovskii et al., HIGGS, arXiv 2411.17525).
///
/// Noise of a few sizes is put on one group at a time and α fitted by least squares through the origin,
/// α = Σ t²Δ / Σ t⁴. This is the one step of a calibration that needs the model as a whole, in fp32, on every rank; the
/// jobs (group, level, draw) are shared among the ranks, and the figures do not depend on how many there are.
public struct NoiseSensitivity: Sendable, Hashable {
  /// How the noise is spread over a tensor. Of integers of 4, 5 and 6 bits rounded to nearest, KL predicted / measured
  /// was 0.89, 0.95, 0.91 with `blocks` and 1.31, 1.40, 1.35 with `even` on a model of 260 thousand parameters, and
  /// 0.97, 1.01, 1.00 and 0.97, 1.02, 1.00 on one of 11 million.
  public enum Noise: String, Sendable, Hashable, CaseIterable {
    /// The same variance everywhere, as the theorem has it; what errors look like after a rotation.
    case even
    /// In each block of 32 in proportion to its largest weight, as the errors of a block format are without one.
    case blocks
  }

  /// Relative sizes t. Formats of 4 to 6 bits have errors of 0.02 to 0.15.
  public var levels: [Double]
  /// Per level, in pairs of opposite sign: an even number.
  public var draws: Int
  public var noise: Noise
  public var seed: UInt64

  public init(levels: [Double] = [0.05, 0.1], draws: Int = 2, noise: Noise = .blocks, seed: UInt64 = 0) {
    precondition(!levels.isEmpty && levels.allSatisfy { $0 > 0 && $0 < 1 }, "levels \(levels)")
    precondition(draws > 0 && draws % 2 == 0, "\(draws) draws: they come in pairs")
    self.levels = levels
    self.draws = draws
    self.noise = noise
    self.seed = seed
  }

  /// Collective. The weights are changed while it runs, and the same to the bit afterwards, also if it throws.
  ///
  /// - Parameters:
  ///   - parameters: the probe's reference, with memory of its own for every unit.
  ///   - progress: jobs of this rank done, and in all.
  public func measure(
    _ parameters: Parameters, groups: [AllocationGroup], probe: OutputProbe, on communicator: Communicator,
    in arena: Arena, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws -> [GroupSensitivity] {
    let perGroup = levels.count * draws, jobs = groups.count * perGroup
    let slots = OrderedSum(slots: max(jobs, 1), on: communicator, in: arena)
    let source = GroupNoise(groups, seed: seed, shape: noise, in: arena)
    let mine = Array(stride(from: communicator.rank, to: jobs, by: communicator.size))
    for (done, job) in mine.enumerated() {
      let level = levels[job % perGroup / draws]
      let change = source.with(groups[job / perGroup], of: parameters, level: level, draw: job % draws) {
        probe.change(parameters)
      }
      slots.place(change, at: job)
      progress(done + 1, mine.count)
    }
    let changes = try slots.slotsOfAllRanks()
    return try groups.indices.map { index in
      let samples = (0..<perGroup).map { job in
        GroupSensitivity.Sample(level: levels[job / draws], change: changes[index * perGroup + job])
      }
      guard samples.allSatisfy({ $0.change.isFinite }) else {
        throw CalibrationError(groups[index].name, "noise on these weights gives no finite outputs",
          hint: "Are the weights finite? Lower levels of noise may help.")
      }
      return GroupSensitivity(group: groups[index], samples: samples)
    }
  }
}

/// α of one group, and the measurements it is fitted to.
public struct GroupSensitivity: Sendable, Hashable {
  public struct Sample: Sendable, Hashable {
    /// t
    public let level: Double
    /// Of the objective, nats a token.
    public let change: Double

    public init(level: Double, change: Double) {
      self.level = level
      self.change = change
    }
  }

  public let group: AllocationGroup
  public let samples: [Sample]
  /// Nats a token per unit of t². Can be negative where the objective is the loss and the draws are few.
  public let alpha: Double

  public init(group: AllocationGroup, samples: [Sample]) {
    self.group = group
    self.samples = samples
    var weighted = 0.0, squares = 0.0
    for sample in samples {
      let t2 = sample.level * sample.level
      weighted += t2 * sample.change
      squares += t2 * t2
    }
    alpha = weighted / squares
  }
}
