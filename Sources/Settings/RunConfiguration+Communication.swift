import Formats
import Quantization

/// What of `communication` goes together, with itself and with the rest of a run.
extension RunConfiguration {
  func checkCommunication(_ report: inout SettingsReport) {
    let c = communication, isQuantized = quantization.objective == .quantized
    report.require("communication.check_every", c.checkEvery, "0 or more") { $0 >= 0 }
    report.require("communication.watchdog_seconds", c.watchdogSeconds, "0, or 1 or more") { $0 == 0 || $0 >= 1 }

    if !isQuantized, c.weights == .anchor || c.weights == .codeDelta {
      report.add("communication.weights", expected: "auto, fp32, bf16 or delta under objective full_precision",
                 found: c.weights.rawValue, hint: "codes need quantization.formats and objective: quantized")
    }
    if c.weights == .codeDelta, quantization.path == .direct, quantization.formats.count > 1 {
      report.add("communication.weights", expected: "anchor, fp32, bf16 or delta with path direct and several formats",
                 found: c.weights.rawValue, hint: "differences are taken between codes of one format: use path: via_anchor")
    }
    if c.sharding == .layers, c.weights == .delta || c.weights == .codeDelta {
      report.add("communication.weights", expected: "auto, fp32, bf16 or anchor with sharding layers",
                 found: c.weights.rawValue, hint: "differences need what every rank had before, which layers does not keep")
    }
    if c.sharding == .layers, distillation.isOn {
      report.add("communication.sharding", expected: "replicate with distillation", found: c.sharding.rawValue,
                 hint: "every rank holds the whole teacher")
    }
    if c.errorFeedback, c.gradients != .int8, c.gradients != .twoLevel {
      report.add("communication.error_feedback", expected: "false with gradients \(c.gradients.rawValue)", found: "true",
                 hint: "only codes lose enough to be worth keeping: int8, two_level")
    }
    // A mask of one format cannot be laid on a sum over lanes of several.
    let mixes = quantization.schedule == .formatParallel || quantization.schedule == .sum
    if quantization.estimator == .clipped, isQuantized, c.gradients != .exact, mixes {
      report.add("communication.gradients", expected: "exact with estimator clipped under schedule "
                   + quantization.schedule.rawValue,
                 found: c.gradients.rawValue, hint: "the mask of a format belongs to each lane's gradient")
    }
  }
}
