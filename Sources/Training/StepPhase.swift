/// What a rank is doing, for the line that a watchdog writes.
public enum StepPhase: UInt8, Sendable, Hashable, CaseIterable {
  case starting, forward, backward, waitingForWeights, waitingForGradients, waitingForControl
  case updating, saving, validating

  /// As in "no progress for 60 s in step 12, waiting for gradients of unit 4".
  public var words: String {
    switch self {
    case .starting: "starting"
    case .forward: "computing forward"
    case .backward: "computing backward"
    case .waitingForWeights: "waiting for weights"
    case .waitingForGradients: "waiting for gradients"
    case .waitingForControl: "waiting for control"
    case .updating: "updating"
    case .saving: "saving"
    case .validating: "validating"
    }
  }

  /// Phases in which one unit of work may take many times that of a step.
  public var isLong: Bool {
    switch self {
    case .starting, .saving, .validating: true
    default: false
    }
  }
}

/// Where a rank is, in one word that a thread can store while another reads it:
///
///     bits 0…31  step     32…47  unit, 0xFFFF for none     48…55  phase     56…63  number of the note
///
/// The number, modulo 256, makes two notes of the same place differ.
struct ProgressWord: Equatable {
  var bits: UInt64

  init(bits: UInt64) { self.bits = bits }

  init(step: Int, phase: StepPhase, unit: Int?, number: UInt8) {
    let unit = UInt64(truncatingIfNeeded: min(unit ?? 0xFFFF, 0xFFFF)) & 0xFFFF
    bits =
      UInt64(UInt32(truncatingIfNeeded: step)) | unit << 32 | UInt64(phase.rawValue) << 48 | UInt64(number) << 56
  }

  var step: Int { Int(bits & 0xFFFF_FFFF) }
  var unit: Int? { bits >> 32 & 0xFFFF == 0xFFFF ? nil : Int(bits >> 32 & 0xFFFF) }
  var phase: StepPhase { StepPhase(rawValue: UInt8(bits >> 48 & 0xFF))! }
  var number: UInt8 { UInt8(bits >> 56) }

  /// "before step 1, starting", "in step 12, waiting for gradients of unit 4".
  var words: String {
    (step == 0 ? "before step 1, " : "in step \(step), ") + phase.words + (unit.map { " of unit \($0)" } ?? "")
  }
}
