import Calibration
import Checkpoints
import Evaluation
import Formats
import Quantization
import Tensors
import Transformer

/// Losses and distances of models made from one start. Memory: the candidate, a point of the line, the evaluator.
final class PathMeasurement {
  struct Candidate {
    let format: FormatChoice
    let weights: FormattedWeights
    /// Names of its tensors in codes, or rounded to them.
    let quantized: Set<String>
    let nll: Double
    let distances: WeightDistances
    let line: LossLine
    /// Σ ‖(W - Ŵ)X‖² / ‖WX‖² over its products, as its calibration has recorded it; nil for other models.
    let outputError: Double?
  }

  /// Of the start, in the arithmetic of the candidates.
  let startScore: Score
  /// The linear weights of the layers.
  let linears: Set<String>
  private let start: any ModelSource
  private let tokens: [Int32]
  private let end: Parameters
  private let point: Parameters
  private let evaluator: Evaluator
  private let arena = Arena("path")

  init(_ start: any ModelSource, tokens: [Int32], context: Int, activations: MXFormat?) throws {
    guard tokens.count >= context else {
      throw EvaluationError.tooFewTokens(found: tokens.count, needed: context)
    }
    self.start = start
    self.tokens = tokens
    end = Parameters(start.configuration, in: arena)
    point = Parameters(start.configuration, in: arena)
    linears = try start.quantizedNames(TensorSelection(), point.layout)
    evaluator = try Evaluator(
      start.configuration, context: context, sequences: min(max(1, 2048 / context), tokens.count / context),
      activationFormat: activations)
    try start.load(into: point)
    startScore = try evaluator.score(point, tokens: tokens)
  }

  /// - Parameters:
  ///   - places: along the line, 0 first and 1 among them.
  ///   - progress: called with (windows done, windows in all).
  func measure(
    _ model: any ModelSource, as format: FormatChoice, at places: [Double], progress: (Int, Int) -> Void
  ) throws -> Candidate {
    let weights = try model.load(into: end, as: format.block)
    let distances = try WeightDistances(from: start, to: end)
    let windows = startScore.windows, total = (places.count - 1) * windows
    var done = 0
    func loss(_ parameters: Parameters) throws -> Double {
      defer { done += windows }
      return try evaluator.score(parameters, tokens: tokens) { windows, _ in progress(done + windows, total) }.nll
    }
    let line = try LossLine(
      places.map { t in
        if t == 0 { return LossLine.Point(t: t, loss: startScore.nll) }
        if t == 1 { return LossLine.Point(t: t, loss: try loss(end)) }
        try point.interpolate(from: start, to: end, at: t)
        return LossLine.Point(t: t, loss: try loss(point))
      })
    return Candidate(
      format: format, weights: weights, quantized: try quantized(model, format),
      nll: line.points.first { $0.t == 1 }?.loss ?? .nan, distances: distances, line: line,
      outputError: Self.outputError(model, format))
  }

  /// Of an anchor as it was calibrated: a slice of it has other errors.
  private static func outputError(_ model: any ModelSource, _ format: FormatChoice) -> Double? {
    guard let anchor = model as? AnchorModel, format == .stored || format == .block(anchor.format) && !anchor.mix.isMixed,
      let products = anchor.metadata["calibration"]?["products"]?.array
    else { return nil }
    let errors = products.compactMap { $0["output_error"]?.double }
    return errors.isEmpty || errors.count < products.count ? nil : errors.reduce(0, +)
  }

  private func quantized(_ model: any ModelSource, _ format: FormatChoice) throws -> Set<String> {
    if let anchor = model as? AnchorModel { return Set(anchor.quantized.keys) }
    return format == .fullPrecision ? [] : linears
  }
}
