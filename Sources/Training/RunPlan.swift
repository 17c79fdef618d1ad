public import Checkpoints
import Communication
import Formats
import Quantization
import Settings
import Text
import Transformer

/// What a dry run prints: sizes and counts known before the first step.
public struct RunPlan: Sendable {
  typealias Fact = (name: String, value: JSONValue, text: String)

  public let facts: [(name: String, value: JSONValue, text: String)]
  public let memory: MemoryForecast

  public var json: JSONValue {
    var object = JSONObject()
    for fact in facts { object[fact.name] = fact.value }
    var parts = JSONObject()
    for part in memory.parts { parts[part.purpose] = .integer(part.bytes) }
    object["memory_per_rank"] = .object(parts)
    object["memory_per_rank_total"] = .integer(memory.total)
    return .object(object)
  }

  public var text: String {
    let width = facts.map(\.name.count).max() ?? 0
    let lines = facts.map {
      $0.name.replacing("_", with: " ") + String(repeating: " ", count: width - $0.name.count + 2) + $0.text
    }
    return (lines + ["memory per rank"] + memory.lines.map { "  " + $0 }).joined(separator: "\n") + "\n"
  }
}

extension TrainingRun {
  /// Sizes of this run on this number of ranks. Nothing has been loaded yet.
  public var plan: RunPlan {
    let t = settings.training, context = settings.data.context
    let parameters = trainer.model.parameterCount
    let quantized = trainer.quantizedCount
    func fact(_ name: String, _ value: Int, _ text: String? = nil) -> RunPlan.Fact {
      (name, .integer(value), text ?? "\(value)")
    }
    return RunPlan(
      facts: [
        fact("parameters", parameters),
        fact("quantized_parameters", quantized),
        (
          "formats", .array(settings.quantization.formats.map { .string($0.name) }),
          settings.quantization.formats.isEmpty
            ? "none" : settings.quantization.formats.map(\.name).joined(separator: ", ")
        ),
        fact("ranks", communicator.size), fact("lanes", t.lanes), fact("steps", t.steps),
        fact("sequences_per_step", t.batch), fact("tokens_per_step", t.batch * context),
        fact("training_windows", trainer.windowCount),
        fact(
          "epochs_times_1000", t.steps * t.batch * 1000 / trainer.windowCount,
          Figures.fixed(Double(t.steps * t.batch) / Double(trainer.windowCount), 3)),
        fact("checkpoint_bytes", parameters * 12, Figures.bytes(parameters * 12)),
        (
          "products", .array(trainer.linear.decisionLines.map { .string($0) }),
          trainer.linear.decisionLines.isEmpty ? "fp32" : trainer.linear.decisionLines.joined(separator: "; ")
        ),
        fact(
          "gathered_bytes_per_step", trainer.gatheredBytesPerPublish, Figures.bytes(trainer.gatheredBytesPerPublish)),
      ] + trainer.communicationFacts,
      memory: MemoryForecast(trainer.memory, tokenBytes: trainer.tokenBytes, ranks: communicator.size))
  }

  /// What a run says when it ends.
  public var summary: (json: JSONValue, text: String) {
    let isFinished = outcome == .finished
    let anchor = isFinished && hasAnchor ? directory.anchor : nil
    let formats = settings.quantization.formats.map(\.name).joined(separator: ",")
    let next =
      anchor.map { "next: mfqat evaluate \($0) --text FILE --format \(formats)\n" }
      ?? (isFinished ? "" : "stopped before the end: the same command with --resume auto goes on\n")
    return (
      [
        "run": .string(directory.path), "steps": .integer(trainer.stepsDone), "finished": .bool(isFinished),
        "anchor": anchor.map { .string($0) } ?? .null,
        "checkpoint": .string(directory.checkpoints + "/" + trainer.mark.name),
      ],
      "run \(directory.path): \(trainer.stepsDone) of \(settings.training.steps) steps\n" + next
    )
  }

  private var hasAnchor: Bool { settings.checkpoint.anchor && settings.quantization.objective == .quantized }
}

extension Trainer {
  var quantizedCount: Int {
    state.units.flatMap(\.layout.parameters).filter { plan.isQuantized($0.name) }.reduce(0) { $0 + $1.count }
  }

  /// "gradients two_level, weights anchor, sharding layers".
  var wireDescription: String {
    let c = configuration.communication
    return "gradients \(c.gradients.rawValue), weights \(c.weights.rawValue)"
      + (c.sharding == .layers ? ", sharding layers" : "") + (c.overlap ? "" : ", no overlap")
  }

  var windowCount: Int { batches.windowCount }
  var tokenBytes: Int { tokens.byteCount }

  /// Bytes that all ranks together send of their rows when weights are published once, whatever their number: 8.25 bits a
  /// weight as codes. Differences of codes are counted as codes, which is their upper bound.
  var gatheredBytesPerPublish: Int {
    weights.units.indices.reduce(0) { $0 + weights.messages.publishedBytes(ofUnit: $1).reduce(0, +) }
  }
}
