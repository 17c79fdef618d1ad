import Communication
import Formats
import Kernels
import Settings
import Tensors
import Transformer

/// How the rows of a unit travel from their owners to all ranks.
enum WeightWire: Hashable {
  /// Codes and scales of the quantized tensors in the format that is asked for; the rest in fp32. To the byte what
  /// encoding the gathered rows would give.
  case codes
  /// The same as lossless differences to the codes before.
  case codeDelta
  /// All rows as they are, or rounded to bf16; every rank encodes them.
  case fp32, bf16
  /// 4-bit differences of all rows to a replica that every rank holds (SDP4Bit's qWD, arXiv 2410.15526, section 3.1);
  /// every rank encodes the replica.
  case delta

  /// Groups of 2048 values share an fp32 scale: 4.016 bits a value.
  static let deltaCodec = WireCodec(bits: .four, group: 2048)

  init(_ transport: WeightTransport, isQuantized: Bool) {
    self =
      switch transport {
      case .auto: isQuantized ? .codes : .fp32
      case .anchor: .codes
      case .codeDelta: .codeDelta
      case .fp32: .fp32
      case .bf16: .bf16
      case .delta: .delta
      }
  }

  /// Whether codes are made by the owners, or by every rank from the rows that arrive.
  var carriesCodes: Bool { self == .codes || self == .codeDelta }
}
