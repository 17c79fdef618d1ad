import Communication
import Formats
import Kernels
import Quantization
import Settings
import Tensors
import Text
package import Transformer

/// Held-out loss during training, per format, windows shared by the ranks.
///
/// The protocol of `mfqat evaluate`: consecutive windows of `context`, every token but the first scored. Window w runs on
/// rank w mod N, its loss has a slot of its own, and slots are added in order: the figure does not depend on N.
final class Validation {
  private let tokens: TokenStream
  private let windows: Int
  private let communicator: Communicator
  private let space: Workspace
  private let sum: OrderedSum
  /// What is rounded for the formats that a full-precision run reports.
  private let rounded: Set<String>

  init(tokens: TokenStream, of trainer: Trainer) throws {
    let settings = trainer.configuration, context = settings.data.context
    self.tokens = tokens
    communicator = trainer.communicator
    windows = min(tokens.count / context, settings.data.validationWindows ?? .max)
    precondition(windows > 0, "a validation text of \(tokens.count) tokens, a context of \(context)")
    space = try Workspace(
      trainer.model, sequences: 1, length: context, purpose: .inference, activationFormat: trainer.plan.activations,
      in: trainer.memory.validation)
    sum = OrderedSum(slots: windows, on: communicator, in: trainer.memory.validation)
    rounded =
      trainer.schedule == nil && !settings.quantization.formatsToEvaluate.isEmpty
      ? Set(try settings.quantization.selection.resolve(trainer.weights.parameters.layout.names).quantized) : []
  }

  /// Mean nats a scored token: under quantization of each format to report, with the weights a training step would
  /// use; in full precision of the weights as they are, then rounded directly to each format. Collective.
  func scores(of trainer: Trainer) throws -> [(format: String, nll: Double)] {
    let formats = trainer.configuration.quantization.formatsToEvaluate
    if trainer.schedule != nil {
      return try formats.map { ($0.name, try score(ValidationVisit(trainer: trainer, format: $0, rounded: []))) }
    }
    var scores = [("fp32", try score(ValidationVisit(trainer: trainer, format: nil, rounded: [])))]
    for format in formats {
      // Weights are rounded where they come, so they have to come for every format, and again for the next step.
      trainer.weights.valuesChanged()
      scores.append((format.name, try score(ValidationVisit(trainer: trainer, format: format, rounded: rounded))))
    }
    if !formats.isEmpty { trainer.weights.valuesChanged() }
    return scores
  }

  /// Mean nats a scored token. Collective: ranks without a window in the last round bring their rows in, too.
  private func score(_ visit: ValidationVisit) throws -> Double {
    let context = space.length, weights = visit.trainer.weights
    for first in stride(from: 0, to: windows, by: communicator.size) {
      let window = first + communicator.rank
      visit.trainer.note(.validating)
      try weights.begin(CollectionOfOne(visit.isRounding ? nil : visit.format), training: false)
      guard window < windows else {
        for unit in weights.units.indices { try weights.bring(unit) }
        continue
      }
      for t in 0..<context {
        let at = window * context + t
        space.ids[t] = tokens[at]
        space.targets[t] = t + 1 < context ? tokens[at + 1] : -1
      }
      try DecoderModel.loss(weights.parameters, space, visiting: visit)
      var loss = 0.0
      for t in 0..<context { loss += space.loss[t] }
      sum.place(loss, at: window)
    }
    return try sum.total() / Double(windows * (context - 1))
  }
}

/// Follows a forward pass in one format.
private struct ValidationVisit: UnitVisitor {
  typealias Failure = any Error

  let trainer: Trainer
  let format: MXFormat?
  /// In a run without formats: the tensors that are rounded in place.
  let rounded: Set<String>

  var isRounding: Bool { !rounded.isEmpty }

  func willUse(unit: Int, _ direction: PassDirection) throws {
    // Validation multiplies in fp32: nothing is packed.
    let isFresh = try trainer.weights.use(unit, as: isRounding ? nil : format, for: [])
    guard isRounding, isFresh, let format else { return }
    let parameters = trainer.weights.parameters
    for spec in parameters.layout.units[unit].parameters where rounded.contains(spec.name) {
      var region = parameters.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      BlockCodec.roundTrip(inPlace: &region, format: format, rule: trainer.configuration.quantization.scaleRule)
    }
  }

  func poll() throws { try trainer.poll() }
}

extension Trainer {
  /// The weights as the last pass or validation left them.
  package var currentWeights: Parameters { weights.parameters }

  /// Refuses patterns that would quantize a vector.
  func requireMatrices() throws {
    let quantization = configuration.quantization
    guard quantization.objective == .quantized || !quantization.formats.isEmpty else { return }
    let layout = weights.parameters.layout
    let names = Set(try quantization.selection.resolve(layout.names).quantized)
    if let vector = layout.all.first(where: { names.contains($0.spec.name) && $0.spec.shape.count != 2 }) {
      throw ModelError(
        "quantization.include", "'\(vector.spec.name)' is a vector and cannot be quantized",
        hint: "Blocks run along the rows of matrices: exclude it.")
    }
  }
}
