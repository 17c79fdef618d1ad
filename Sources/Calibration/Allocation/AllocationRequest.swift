public import Formats
import Transformer

/// A wish for one format a group, within a budget of bits a weight.
public struct AllocationRequest: Sendable, Hashable {
  /// Scales and row tails included, over the weights of all groups.
  public var bitsPerWeight: Double
  /// Formats to choose from.
  public var candidates: [MXFormat]
  /// Sequences of the sample, from its first on, that sensitivities are measured on.
  public var windows: Int

  /// The integer formats. 8 bits leave weights as good as they were; an anchor of several formats is not sliced anyway.
  public static let defaultCandidates: [MXFormat] = [.mxint2, .mxint3, .mxint4, .mxint5, .mxint6, .mxint7, .mxint8]

  public init(bitsPerWeight: Double, candidates: [MXFormat] = defaultCandidates, windows: Int = 16) {
    self.bitsPerWeight = bitsPerWeight
    self.candidates = candidates
    self.windows = windows
  }

  /// Refuses what no allocation can meet, before anything is measured.
  public func check(_ groups: [AllocationGroup], sample: CalibrationSample) throws(CalibrationError) {
    guard !groups.isEmpty else {
      throw CalibrationError("allocation", "no linear layer is selected", hint: "Select some with --include and --exclude.")
    }
    guard !candidates.isEmpty, Set(candidates).count == candidates.count else {
      throw CalibrationError("choices", "\(candidates.map(\.name).joined(separator: ",")): expected formats, each once")
    }
    guard bitsPerWeight.isFinite, bitsPerWeight > 0 else {
      throw CalibrationError("bits per weight", "a budget of \(bitsPerWeight), expected a positive number such as 4.25")
    }
    guard (1...sample.sequences.count).contains(windows) else {
      throw CalibrationError("sensitivity windows", "\(windows), the sample has \(sample.sequences.count) sequences",
        hint: "Choose 1 to \(sample.sequences.count).")
    }
    let sizes = candidates.map { format in (format: format, bits: Self.bits(groups, format)) }.sorted { $0.bits < $1.bits }
    // A group of short rows may be smallest in another format than the whole model.
    let least = Self.bits(groups) { group in candidates.map { group.bytes(in: $0) }.min() ?? 0 }
    let most = Self.bits(groups) { group in candidates.map { group.bytes(in: $0) }.max() ?? 0 }
    guard bitsPerWeight * (1 + 0x1p-40) >= least else {
      throw CalibrationError(
        "bits per weight", "the budget of \(bitsPerWeight) is less than \(Self.text(least, .up)), which \(sizes[0].format) takes",
        hint: "Allow more, or name smaller formats with --choices.")
    }
    guard bitsPerWeight <= most * (1 + 0x1p-40) else {
      throw CalibrationError(
        "bits per weight",
        "the budget of \(bitsPerWeight) is more than \(Self.text(most, .down)), which \(sizes[sizes.count - 1].format) takes everywhere",
        hint: "There is nothing to choose: calibrate with --format \(sizes[sizes.count - 1].format), or name larger formats with --choices.")
    }
  }

  private static func bits(_ groups: [AllocationGroup], _ format: MXFormat) -> Double {
    bits(groups) { $0.bytes(in: format) }
  }

  private static func bits(_ groups: [AllocationGroup], _ bytes: (AllocationGroup) -> Int) -> Double {
    8 * Double(groups.reduce(0) { $0 + bytes($1) }) / Double(groups.reduce(0) { $0 + $1.weights })
  }

  private static func text(_ bits: Double, _ rule: FloatingPointRoundingRule) -> String {
    "\((bits * 1000).rounded(rule) / 1000)"
  }
}
