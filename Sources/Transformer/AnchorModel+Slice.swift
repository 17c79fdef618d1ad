public import Formats
package import Kernels

/// How every quantized tensor of an anchor becomes `target`.
public struct AnchorSlice: Sendable {
  public let target: MXFormat
  /// Compiled plans of the tensors that change; a tensor in the target format already is left as it is.
  private let plans: [String: CompiledSlice]

  fileprivate init(target: MXFormat, plans: [String: CompiledSlice]) {
    self.target = target
    self.plans = plans
  }

  public var isIdentity: Bool { plans.isEmpty }
  package func compiled(for name: String) -> CompiledSlice? { plans[name] }
}

extension AnchorModel {
  /// The formats that every quantized tensor can be cut to, ascending; the anchor's own is among them.
  public var formatsThatCanBeCut: [MXFormat] {
    guard !quantized.isEmpty else { return [] }
    return MXFormat.all.filter { target in
      quantized.values.allSatisfy { SlicePlan.formatsCut(from: $0).contains(target) && permits($0, target) }
    }
  }

  /// - Throws: `SliceError` with the formats that can be cut; `ModelError` where the scale rule allows no slice.
  public func slice(to target: MXFormat) throws -> AnchorSlice {
    var plans: [MXFormat: CompiledSlice] = [:]
    for stored in Set(quantized.values) where stored != target {
      plans[stored] = CompiledSlice(try SlicePlan(from: stored, to: target))
      guard permits(stored, target) else {
        throw ModelError(path, "\(target) cannot be cut: the scales of this anchor follow the rule '\(scaleRule.name)'",
          hint: "Only the rule 'floor' keeps the scales of two formats a constant apart. Use the anchor as it is, or make "
            + "one with that rule.")
      }
    }
    return AnchorSlice(target: target, plans: quantized.compactMapValues { plans[$0] })
  }

  private func permits(_ stored: MXFormat, _ target: MXFormat) -> Bool { stored == target || scaleRule == .floor }
}
