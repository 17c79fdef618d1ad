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
  /// The formats that every quantized tensor can be cut to, ascending. The anchor's own is among them unless it mixes
  /// several, of which the lowest may be all that is common, or nothing is.
  public var formatsThatCanBeCut: [MXFormat] {
    guard !quantized.isEmpty else { return [] }
    return MXFormat.all.filter { target in
      quantized.values.allSatisfy { SlicePlan.formatsCut(from: $0).contains(target) && permits($0, target) }
    }
  }

  /// - Throws: `SliceError` with the formats that can be cut; `ModelError` where the scale rule allows no slice.
  public func slice(to target: MXFormat) throws -> AnchorSlice {
    var plans: [MXFormat: CompiledSlice] = [:]
    for stored in mix.shares.map(\.format) where stored != target {
      plans[stored] = CompiledSlice(try plan(from: stored, to: target))
      guard permits(stored, target) else {
        throw ModelError(path, "\(target) cannot be cut: the scales of this anchor \(scales)",
          hint: "Only the rule 'floor' keeps the scales of two formats a constant apart. Use the anchor as it is, or make "
            + "one with that rule.")
      }
    }
    return AnchorSlice(target: target, plans: quantized.compactMapValues { plans[$0] })
  }

  /// The anchor as it is, whatever its formats.
  public var asStored: AnchorSlice { AnchorSlice(target: format, plans: [:]) }

  /// - Throws: `SliceError`; of a mix, with the tensors at fault and what all of them can give.
  private func plan(from stored: MXFormat, to target: MXFormat) throws -> SlicePlan {
    do { return try SlicePlan(from: stored, to: target) } catch {
      guard mix.isMixed, let tensor = layout.names.first(where: { quantized[$0] == stored }) else { throw error }
      let possible = formatsThatCanBeCut.map(\.name).joined(separator: ", ")
      throw ModelError(path, "\(target) cannot be cut from \(mix): of tensor '\(tensor)', \(error)",
        hint: possible.isEmpty
          ? "The tensors have no format in common: use the anchor as it is."
          : "All tensors can give \(possible); or use the anchor as it is.")
    }
  }

  private func permits(_ stored: MXFormat, _ target: MXFormat) -> Bool { stored == target || scales.permitsSlices }
}
