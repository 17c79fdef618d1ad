import Communication
import Formats
import Tensors
import Text
import Transformer

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

  init(
    tokens: TokenStream, maximumWindows: Int?, model: ModelConfiguration, context: Int, activationFormat: MXFormat?,
    communicator: Communicator, memory: TrainerMemory
  ) throws {
    self.tokens = tokens
    self.communicator = communicator
    windows = min(tokens.count / context, maximumWindows ?? .max)
    guard windows > 0 else { throw ValidationError(found: tokens.count, needed: context) }
    space = try Workspace(
      model, sequences: 1, length: context, purpose: .inference, activationFormat: activationFormat,
      in: memory.validation)
    sum = OrderedSum(slots: windows, on: communicator, in: memory.validation)
  }

  /// Mean nats a scored token. Collective.
  func score(_ parameters: Parameters) throws -> Double {
    let context = space.length
    for window in stride(from: communicator.rank, to: windows, by: communicator.size) {
      for t in 0..<context {
        let at = window * context + t
        space.ids[t] = tokens[at]
        space.targets[t] = t + 1 < context ? tokens[at + 1] : -1
      }
      DecoderModel.loss(parameters, space)
      var loss = 0.0
      for t in 0..<context { loss += space.loss[t] }
      sum.place(loss, at: window)
    }
    return try sum.total() / Double(windows * (context - 1))
  }
}

struct ValidationError: Error, CustomStringConvertible {
  let found: Int, needed: Int
  var description: String {
    "the validation text has \(found) tokens, one window needs \(needed). Give more text or a smaller data.context."
  }
}
