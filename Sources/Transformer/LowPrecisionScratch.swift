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
