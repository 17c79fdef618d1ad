/// How far a run has come, and so what its checkpoint is called: optimizer steps, and micro-batches of the next one
/// whose gradients are summed already.
///
/// Under schedule `sum` the micro-batches of all formats are numbered through.
public struct StepMark: Sendable, Hashable, Comparable {
  public let step: Int
  public let microBatches: Int

  public init(step: Int, microBatches: Int = 0) {
    (self.step, self.microBatches) = (step, microBatches)
  }

  /// `step-000500`, or `step-000500+003` in the middle of a step.
  public var name: String {
    func digits(_ number: Int, _ width: Int) -> String {
      let text = String(number)
      return String(repeating: "0", count: max(0, width - text.count)) + text
    }
    return "step-" + digits(step, 6) + (microBatches == 0 ? "" : "+" + digits(microBatches, 3))
  }

  /// nil for temporaries, refused ones and all else.
  public init?(name: String) {
    guard name.hasPrefix("step-") else { return nil }
    let numbers = name.dropFirst(5).split(separator: "+", omittingEmptySubsequences: false).map { Int($0) }
    guard (1...2).contains(numbers.count), let step = numbers[0] else { return nil }
    guard let microBatches = numbers.count == 2 ? numbers[1] : 0 else { return nil }
    self.init(step: step, microBatches: microBatches)
    guard self.name == name else { return nil }
  }

  /// "step 500", "step 500 and 3 micro-batches of the next".
  public var words: String {
    "step \(step)"
      + (microBatches == 0 ? "" : " and \(microBatches) micro-batch\(microBatches == 1 ? "" : "es") of the next")
  }

  public static func < (a: StepMark, b: StepMark) -> Bool { (a.step, a.microBatches) < (b.step, b.microBatches) }
}
