public import Formats
package import Kernels
import Quantization
package import Tensors

/// What the low-precision layers of one workspace share: memory for activations and gradients on their way through a
/// product, and the place of a pass in the run.
package final class LowPrecisionScratch {
  let seed: UInt64
  package let left: Operand
  package let right: Operand
  /// Operands that are rotated before they are packed: HALO's, and those of full width.
  var rotated: Tensor
  /// What a rotation over a whole axis sums in.
  var dense: Tensor
  /// The optimizer step, and the first token of the pass in the tokens of the step.
  package var step = 0
  package var firstToken = 0

  private let tables: [MXFormat: CarrierTable]

  package init(seed: UInt64, left: Operand.Capacity, right: Operand.Capacity, rotatedElements: Int, in arena: Arena) {
    self.seed = seed
    self.left = Operand(.left, left, in: arena)
    self.right = Operand(.right, right, in: arena)
    rotated = Tensor(rows: 1, columns: rotatedElements, in: arena)
    dense = Tensor(rows: 1, columns: rotatedElements > 0 ? 64 * HadamardMatrix.largestOrder : 0, in: arena)
    tables = Dictionary(
      uniqueKeysWithValues: MXFormat.all.filter(\.element.isByteCarried).map { ($0, CarrierTable($0, in: arena)) })
  }

  func carriers(of format: MXFormat) -> CarrierTable {
    guard let table = tables[format] else { preconditionFailure("\(format) is not carried by bytes") }
    return table
  }

  /// The numbers of a stream in this step.
  func random(_ stream: UInt64) -> CounterRandom {
    CounterRandom(seed: seed, stream: stream ^ (UInt64(step) &* 0x9E37_79B9_7F4A_7C15))
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

  /// Whether bf16 holds every value of `count` elements exactly, in `blocks` blocks: the scales of the blocks that are
  /// not all zero lie in the format's range.
  func isExactInBF16(rows: Int, columns: Int) -> Bool {
    let range = format.element.bf16Exponents, blocks = PackedTensor.blockCount(columns)
    for row in 0..<rows {
      for block in 0..<blocks {
        let byte = unsafe scales[row * blocks + block]
        if byte == E8M0.nan || range.contains(Int(byte) - 127) { continue }
        for column in block * MXFormat.blockSize..<min(columns, (block + 1) * MXFormat.blockSize) {
          if unsafe codes[row * columns + column] & format.element.magnitudeMask != 0 { return false }
        }
      }
    }
    return true
  }

  /// - Parameters codes, scales: valid until the unit has been prepared.
  @unsafe public init(format: MXFormat, codes: UnsafePointer<UInt8>, scales: UnsafePointer<UInt8>) {
    self.format = format
    unsafe self.codes = codes
    unsafe self.scales = scales
  }
}
