public import Formats
import Kernels
import Quantization
import Tensors

/// What the low-precision layers of one workspace share: memory for activations and gradients on their way through a
/// product, and the place of a pass in the run.
final class LowPrecisionScratch {
  let seed: UInt64
  let left: Operand
  let right: Operand
  /// HALO: operands that are rotated before they are packed, (tokens, width) and (outputs, inputs).
  var rotated: Tensor
  /// The optimizer step, and the first token of the pass in the tokens of the step.
  var step = 0
  var firstToken = 0

  private let tables: [MXFormat: CarrierTable]

  init(seed: UInt64, left: Operand.Capacity, right: Operand.Capacity, rotatedElements: Int, in arena: Arena) {
    self.seed = seed
    self.left = Operand(.left, left, in: arena)
    self.right = Operand(.right, right, in: arena)
    rotated = Tensor(rows: 1, columns: rotatedElements, in: arena)
    tables = Dictionary(
      uniqueKeysWithValues: MXFormat.all.filter(\.element.isByteCarried).map { ($0, CarrierTable($0, in: arena)) })
  }

  func carriers(of format: MXFormat) -> CarrierTable {
    guard let table = tables[format] else { preconditionFailure("\(format) is not carried by bytes") }
    return table
  }

  /// Numbers for one purpose of one layer in this step.
  func random(_ name: String, _ purpose: StaticString) -> CounterRandom {
    // No text is built here: this runs inside a step, which allocates nothing.
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    purpose.withUTF8Buffer { bytes in
      for unsafe byte in unsafe bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    }
    return CounterRandom(seed: seed, stream: hash ^ (UInt64(step) &* 0x9E37_79B9_7F4A_7C15))
  }
}

/// Codes of a format to the integers they stand for.
final class CarrierTable {
  let values: HostBuffer<Int8>

  init(_ format: MXFormat, in arena: Arena) {
    var values = HostBuffer<Int8>(count: 256, in: arena)
    for (code, value) in format.element.carriers.enumerated() { values[code] = value }
    self.values = values
  }
}

/// The codes of one weight in the format of a pass: rows x columns bytes, rows x blocks scale bytes.
@safe public struct WeightCodes {
  public let format: MXFormat
  let codes: UnsafePointer<UInt8>
  let scales: UnsafePointer<UInt8>

  /// - Parameters codes, scales: valid until the unit has been prepared.
  @unsafe public init(format: MXFormat, codes: UnsafePointer<UInt8>, scales: UnsafePointer<UInt8>) {
    self.format = format
    unsafe self.codes = codes
    unsafe self.scales = scales
  }
}

/// The rotations of one layer, one for each axis that can be contracted.
final class RotationAxes {
  let input: BlockRotation?
  let output: BlockRotation?
  let tokens: BlockRotation?
  /// HALO-1 and 2 rotate features; HALO-2 the tokens of a gradient, too.
  var halo: BlockRotation? { isHALORotated ? input : nil }
  private let isHALORotated: Bool

  init(_ name: String, _ a: LinearArithmetic, inputs: Int, outputs: Int, tokens count: Int, in arena: Arena) {
    isHALORotated = a.policy == .halo1 || a.policy == .halo2
    func axis(_ length: Int, isUsed: Bool) -> BlockRotation? {
      guard isUsed, let block = a.block(forAxis: length) else { return nil }
      return BlockRotation(block: block, length: length, in: arena)
    }
    let isContraction = a.policy == .contraction
    input = axis(inputs, isUsed: isContraction && a.forward.isInteger || isHALORotated)
    output = axis(outputs, isUsed: isContraction && a.backward.isInteger)
    // Tokens are padded with zeros to whole blocks, so that every count can be rotated.
    let padded = (count + a.rotationBlock - 1) / a.rotationBlock * a.rotationBlock
    tokens = axis(padded, isUsed: isContraction && a.weightGradient.isInteger || a.policy == .halo2)
    self.arithmetic = a
  }

  private let arithmetic: LinearArithmetic

  /// - Parameter step: of signs that are drawn anew; 0 of fixed ones.
  func draw(seed: UInt64, name: String, step: Int) {
    guard arithmetic.signs != .none else { return }
    if let input { RotationSigns(seed: seed, name: name, axis: .input, step: step).fill(&input.signs) }
    if let output { RotationSigns(seed: seed, name: name, axis: .output, step: step).fill(&output.signs) }
    if let tokens { RotationSigns(seed: seed, name: name, axis: .tokens, step: step).fill(&tokens.signs) }
  }
}
