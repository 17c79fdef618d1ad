import Kernels
public import Tensors
public import Transformer

/// Measures how far a model's outputs have moved from those of its full-precision weights, on windows of calibration text.
///
/// Windows run in fixed batches and are added in order, so that a figure does not depend on who measures it. Memory: one
/// workspace, a second chunk of logits, and the reference's final hidden states, (windows x context, D).
public final class OutputProbe {
  public enum Objective: String, Sendable, Hashable, CaseIterable {
    /// KL(reference ‖ model), nats a token, over all positions that have a successor. It is 0 at the reference and never
    /// below, so it begins with the square of a perturbation, and a single draw of noise says much.
    case divergence = "kl"
    /// Negative log-likelihood less that of the reference, nats a token. On a finite text its gradient is not 0: the
    /// change begins with a linear term of either sign, which only many draws average out.
    case loss = "nll"
  }

  public let objective: Objective
  public let windows: Int
  public let context: Int
  /// Predictions that a figure is the mean of.
  public var tokensScored: Int { windows * (context - 1) }

  private let tokens: [Int32]
  private let space: Workspace
  private var hidden: Tensor  // (windows · context, D) of the reference; empty for the loss
  private var logits: Tensor
  private var kl: HostBuffer<Double>
  private var sameTop: HostBuffer<UInt8>
  private var baseline = 0.0

  /// Runs the reference.
  ///
  /// - Parameters:
  ///   - windows: token ids, all of one length of at least 2.
  ///   - sequences: windows that run together; figures are comparable for one value of it only (to the bit).
  public init(
    _ reference: Parameters, windows: [[Int32]], objective: Objective = .divergence, sequences: Int, in arena: Arena
  ) throws {
    let c = reference.configuration
    guard let context = windows.first?.count, context >= 2, windows.allSatisfy({ $0.count == context }) else {
      throw CalibrationError("calibration windows", "one or more of the same length of at least 2 tokens are needed")
    }
    if let id = windows.joined().first(where: { $0 < 0 || $0 >= c.vocabularySize }) {
      throw CalibrationError("calibration windows", "token \(id) in a vocabulary of \(c.vocabularySize)",
        hint: "Use the model's own tokenizer.")
    }
    self.objective = objective
    self.windows = windows.count
    self.context = context
    tokens = Array(windows.joined())
    space = try Workspace(
      c, sequences: max(1, min(sequences, windows.count)), length: context, purpose: .inference, in: arena)
    let comparedRows = objective == .divergence ? tokens.count : 0
    hidden = Tensor(rows: comparedRows, columns: c.hiddenSize, in: arena)
    logits = Tensor(rows: comparedRows > 0 ? space.head.chunk : 0, columns: c.vocabularySize, in: arena)
    kl = HostBuffer(count: space.tokens, in: arena)
    sameTop = HostBuffer(count: space.tokens, in: arena)
    switch objective {
    case .divergence:
      forEachBatch { first, count in
        DecoderModel.forward(reference, space)
        var kept = hidden.rows(first * context..<(first + count) * context)
        kept.copy(from: space.hidden.rows(0..<count * context))
      }
    case .loss:
      baseline = meanLoss(reference)
    }
  }

  /// The objective at `parameters`, whose final norm and head are the reference's: mean over the scored tokens.
  public func change(_ parameters: Parameters) -> Double {
    switch objective {
    case .divergence: meanDivergence(parameters)
    case .loss: meanLoss(parameters) - baseline
    }
  }

  private func meanLoss(_ parameters: Parameters) -> Double {
    var sum = 0.0
    forEachBatch { _, count in
      DecoderModel.loss(parameters, space)
      sum += total(count) { space.loss[$0] }
    }
    return sum / Double(tokensScored)
  }

  private func meanDivergence(_ parameters: Parameters) -> Double {
    var sum = 0.0
    forEachBatch { first, count in
      DecoderModel.forward(parameters, space)
      space.head.compare(
        kl: &kl, sameTop: &sameTop, reference: hidden.rows(first * context..<(first + count) * context),
        referenceWeight: parameters.head, candidate: space.hidden.rows(0..<count * context),
        candidateWeight: parameters.head, logits: &space.logits, otherLogits: &logits)
      sum += total(count) { kl[$0] }
    }
    return sum / Double(tokensScored)
  }

  /// Sum over the scored tokens of the first `count` windows of the batch: inside a window in order, windows in order.
  private func total(_ count: Int, _ value: (_ token: Int) -> Double) -> Double {
    var sum = 0.0
    for window in 0..<count {
      var part = 0.0
      for t in window * context..<(window + 1) * context - 1 { part += value(t) }
      sum += part
    }
    return sum
  }

  /// Fills the workspace batch by batch. A short last batch repeats its first window, unscored: the shape stays.
  private func forEachBatch(_ body: (_ first: Int, _ count: Int) -> Void) {
    for first in stride(from: 0, to: windows, by: space.sequences) {
      let count = min(space.sequences, windows - first)
      for place in 0..<space.sequences {
        let start = (first + (place < count ? place : 0)) * context
        for t in 0..<context {
          space.ids[place * context + t] = tokens[start + t]
          space.targets[place * context + t] = place < count && t + 1 < context ? tokens[start + t + 1] : -1
        }
      }
      body(first, count)
    }
  }
}
