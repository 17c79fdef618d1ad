import Kernels
import Quantization
package import Tensors

/// Which products a weight is packed for; F and E as in ``LowPrecisionLinear``.
public struct WeightUses: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }

  /// F
  public static let forward = WeightUses(rawValue: 1)
  /// E
  public static let inputGradient = WeightUses(rawValue: 2)
  public static let all: WeightUses = [.forward, .inputGradient]
}

/// Memory that preparing a layer's weight fills: the packed operands of F and E, and the signs of its rotations.
///
/// It is one layer's own, or serves the same product of all layers, one after the other. Whoever filled it last holds it:
/// a product with what another layer has left there would be a plausible wrong number, so it is refused.
package final class WeightMemory {
  let forward: Operand
  let backward: Operand
  let rotations: RotationMemory
  private(set) var rotationsHolder: ObjectIdentifier?
  private var forwardHolder: ObjectIdentifier?
  private var backwardHolder: ObjectIdentifier?

  /// Room for the weight of any layer with one of these needs.
  package init(_ needs: [LowPrecisionLinear.Capacities], in arena: Arena) {
    var forward = Operand.Capacity(), backward = Operand.Capacity()
    for need in needs {
      forward.include(need.forwardWeights)
      backward.include(need.backwardWeights)
    }
    self.forward = Operand(.right, forward, in: arena)
    self.backward = Operand(.right, backward, in: arena)
    rotations = RotationMemory(in: arena)
  }

  /// What `layer` was not prepared for now is not its own any more, even if it was before: values have changed since.
  func take(for uses: WeightUses, by layer: LowPrecisionLinear) {
    let holder = ObjectIdentifier(layer)
    rotationsHolder = holder
    forwardHolder = uses.contains(.forward) ? holder : nil
    backwardHolder = uses.contains(.inputGradient) ? holder : nil
  }

  func isHeld(by layer: LowPrecisionLinear, for uses: WeightUses) -> Bool {
    let holder = ObjectIdentifier(layer)
    return rotationsHolder == holder && (!uses.contains(.forward) || forwardHolder == holder)
      && (!uses.contains(.inputGradient) || backwardHolder == holder)
  }
}

/// Memory for rotations, by what makes two of them fit the same place: axis, size and kind. Drawing fills it with signs.
package final class RotationMemory {
  struct Key: Hashable {
    let axis: RotationSigns.Axis
    let length: Int
    /// 0 for the whole axis.
    let block: Int
    let isSigned: Bool
  }

  final class Entry {
    let blocks: BlockRotation?
    var full: FullHadamard?

    init(_ key: Key, in arena: Arena) {
      blocks = key.block > 0 ? BlockRotation(block: key.block, length: key.length, in: arena) : nil
    }
  }

  private let arena: Arena
  private var entries: [Key: Entry] = [:]

  init(in arena: Arena) { self.arena = arena }

  func entry(_ key: Key) -> Entry {
    if let entry = entries[key] { return entry }
    let entry = Entry(key, in: arena)
    entries[key] = entry
    return entry
  }
}
