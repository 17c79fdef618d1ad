import Quantization
import Transformer

extension LinearOperators {
  /// One line for each kind of product: what it runs in, and what stays in fp32 because fewer bits would not pay.
  ///
  /// Layers that agree share a line: their names without the layer's number.
  var decisionLines: [String] {
    var lines: [(text: String, count: Int)] = []
    for decision in decisions {
      let size = "\(Self.kind(of: decision.name)) (\(decision.outputs) x \(decision.inputs))"
      let a = decision.arithmetic, speedup = Figures.fixed(decision.predictedSpeedup, 2)
      let text =
        decision.isTooSmall
        ? "\(size) stays in fp32: fewer bits would give \(speedup) times its speed, less than \(LinearPlan.threshold)"
        : "\(size) in \(a.forward.rawValue) forward, \(a.backward.rawValue) backward, "
          + "\(a.weightGradient.rawValue) weight gradient" + (a.usesRotations ? ", \(a.policy.rawValue)" : "")
          + (decision.predictedSpeedup.isFinite ? ", \(speedup) times predicted" : "")
      if let index = lines.firstIndex(where: { $0.text == text }) { lines[index].count += 1 } else { lines.append((text, 1)) }
    }
    return lines.map { $0.count > 1 ? "\($0.count) products: \($0.text)" : $0.text }
  }

  /// What a product is called by the first tensor of its weight.
  private static func kind(of name: String) -> String {
    let kind = name.split(separator: ".").dropLast().last.map(String.init) ?? name
    return switch kind {
    case "q_proj": "q, k, v_proj"
    case "gate_proj": "gate, up_proj"
    default: kind
    }
  }
}
