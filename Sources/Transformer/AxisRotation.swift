import Kernels
import Quantization
import Tensors

/// The rotation of one axis of one layer: in blocks, fused with quantization, or over the whole axis.
final class AxisRotation {
  private enum Shape {
    case blocks(BlockRotation)
    case full(HadamardSize)
  }

  let length: Int
  private let shape: Shape
  private let memory: RotationMemory.Entry
  private let signs: RotationSigns
  private let kind: LinearArithmetic.Signs

  /// Nil where no block of 16 or more divides the axis.
  init?(
    _ name: String, _ axis: RotationSigns.Axis, _ a: LinearArithmetic, length: Int, seed: UInt64, in memory: RotationMemory
  ) {
    func entry(block: Int) -> RotationMemory.Entry {
      memory.entry(.init(axis: axis, length: length, block: block, isSigned: a.signs != .none))
    }
    if a.rotatesFullWidth, let size = HadamardSize(length) {
      shape = .full(size)
      self.memory = entry(block: 0)
    } else {
      let block = HadamardSize.block(dividing: length, atMost: a.rotationBlock)
      guard block > 0 else { return nil }
      self.memory = entry(block: block)
      guard let blocks = self.memory.blocks else { preconditionFailure("memory of a rotation in blocks") }
      shape = .blocks(blocks)
    }
    self.length = length
    signs = RotationSigns(seed: seed, layer: name, axis: axis)
    kind = a.signs
  }

  /// - Parameter step: used where signs are drawn anew every step.
  func draw(step: Int) {
    let redraw = kind == .redraw ? UInt64(step) : nil
    switch shape {
    case .blocks(let rotation):
      if kind != .none { signs.fill(&rotation.signs, redraw: redraw) }
    case .full(let size):
      let matrix = size.matrix
      memory.full = FullHadamard(
        matrix: matrix.entries, order: size.order, power: size.power,
        signs: kind == .none ? [] : signs.masks(count: size.size, redraw: redraw))
    }
  }

  /// Packs `x` rotated along the contracted axis.
  func pack(
    _ x: borrowing Tensor, into operand: Operand, contracting: Operand.Contraction, by quantizer: Quantizer,
    _ scratch: LowPrecisionScratch
  ) {
    switch shape {
    case .blocks(let rotation): operand.pack(x, contracting: contracting, by: quantizer, rotation: rotation)
    case .full:
      // Tokens are padded with zeros to the length of the axis, in both operands alike.
      let rows = contracting == .columns ? x.rows : length
      var rotated = scratch.rotated.region(0, rows: rows, columns: x.columns)
      if rows > x.rows { rotated.fillWithZeros() }
      var occupied = rotated.rows(0..<x.rows)
      occupied.copy(from: x)
      apply(to: &rotated, along: contracting == .columns ? .columns : .rows, .forward, scratch)
      operand.pack(rotated, contracting: contracting, by: quantizer)
    }
  }

  /// In place.
  func apply(
    to x: inout Tensor, along axis: BlockRotation.Axis, _ direction: BlockRotation.Direction, _ scratch: LowPrecisionScratch
  ) {
    switch shape {
    case .blocks(let rotation): rotation.apply(to: &x, along: axis, direction)
    case .full:
      guard let transform = memory.full else { preconditionFailure("a rotation is drawn before it is used") }
      switch axis {
      case .columns: transform.rotateRows(&x, inverse: direction == .inverse, scratch: &scratch.dense)
      case .rows: transform.rotateColumns(&x, inverse: direction == .inverse, scratch: &scratch.dense)
      }
    }
  }

  /// The largest magnitude of a matrix rotated along its columns.
  func largest(of x: borrowing Tensor, _ scratch: LowPrecisionScratch) -> Float {
    switch shape {
    case .blocks(let rotation): return Largest.magnitude(of: x, contracting: .columns, rotation: rotation)
    case .full:
      var rotated = scratch.rotated.region(0, rows: x.rows, columns: x.columns)
      rotated.copy(from: x)
      apply(to: &rotated, along: .columns, .forward, scratch)
      return Largest.magnitude(of: rotated, contracting: .columns)
    }
  }
}

/// The rotations of one layer, one for each axis that can be contracted; nil where the policy has none.
package final class RotationAxes {
  let input: AxisRotation?
  let output: AxisRotation?
  let tokens: AxisRotation?

  init(
    _ name: String, _ a: LinearArithmetic, inputs: Int, outputs: Int, tokens count: Int, seed: UInt64,
    in memory: RotationMemory
  ) {
    let isContraction = a.policy == .contraction
    func axis(_ axis: RotationSigns.Axis, _ length: Int, isUsed: Bool) -> AxisRotation? {
      isUsed ? AxisRotation(name, axis, a, length: length, seed: seed, in: memory) : nil
    }
    input = axis(.input, inputs, isUsed: isContraction && a.forward.isInteger || a.policy.rotatesInputs)
    output = axis(.output, outputs, isUsed: isContraction && a.backward.isInteger)
    // Tokens are padded with zeros to whole blocks, so that every count can be rotated.
    let padded = (count + a.rotationBlock - 1) / a.rotationBlock * a.rotationBlock
    tokens = axis(.tokens, padded, isUsed: isContraction && a.weightGradient.isInteger || a.policy == .halo2)
  }

  package func draw(step: Int) {
    input?.draw(step: step)
    output?.draw(step: step)
    tokens?.draw(step: step)
  }
}

extension RotationPolicy {
  /// HALO-1 and 2 rotate the inputs and undo it on the outputs.
  fileprivate var rotatesInputs: Bool { self == .halo1 || self == .halo2 }
}
