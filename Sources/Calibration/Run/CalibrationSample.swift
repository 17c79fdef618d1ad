import Checkpoints
public import Text

/// The token sequences that a calibration looks at: windows of the text, drawn without repetition.
public struct CalibrationSample: Sendable {
  public let context: Int
  /// (sequences, context)
  public let sequences: [[Int32]]
  /// What tells this sample from others.
  public let identity: String

  public var tokenCount: Int { sequences.count * context }

  /// - Parameters:
  ///   - name: of the text, for messages; the stream's own where nil.
  ///   - count: sequences wanted; 128 is what GPTQ uses.
  ///   - seed: of the draw.
  /// - Throws: `CalibrationError` for a text with fewer windows than asked for, `TextError` for one without any.
  public init(_ tokens: TokenStream, name: String? = nil, count: Int, context: Int, seed: UInt64) throws {
    precondition(count > 0 && context >= 2, "\(count) sequences of \(context) tokens")
    let name = name ?? tokens.name
    guard tokens.count > 0 else {
      throw CalibrationError(name, "the text is empty", hint: "Give text like that the model will be used on.")
    }
    let plan = try BatchPlan(tokenCount: tokens.count, context: context, seed: seed, source: name)
    guard plan.windowCount >= count else {
      throw CalibrationError(
        name, "has \(plan.windowCount) windows of \(context) tokens, \(count) sequences were asked for",
        hint: "Give more text, or fewer or shorter sequences.")
    }
    guard count <= MomentAccumulator.sequenceLimit else {
      throw CalibrationError(
        name, "\(count) sequences, at most \(MomentAccumulator.sequenceLimit) are summed",
        hint: "Take longer sequences.")
    }
    self.context = context
    sequences = (0..<count).map { sample in
      plan.tokens(window: plan.windowIndex(sample: sample)).map { tokens[$0] }
    }
    identity = "\(count) x \(context) tokens, seed \(seed), of \(tokens.identity)"
  }
}
