/// Element types a safetensors header may name.
public enum SafeTensorsType: String, Sendable, Hashable, CaseIterable {
  case f64 = "F64", i64 = "I64", u64 = "U64", c64 = "C64"
  case f32 = "F32", i32 = "I32", u32 = "U32"
  case f16 = "F16", bf16 = "BF16", i16 = "I16", u16 = "U16"
  case i8 = "I8", u8 = "U8", bool = "BOOL"
  case f8e4m3 = "F8_E4M3", f8e5m2 = "F8_E5M2", f8e8m0 = "F8_E8M0"
  case f8e4m3fnuz = "F8_E4M3FNUZ", f8e5m2fnuz = "F8_E5M2FNUZ"
  case f6e2m3 = "F6_E2M3", f6e3m2 = "F6_E3M2", f4 = "F4"

  public var bits: Int {
    switch self {
    case .f64, .i64, .u64, .c64: 64
    case .f32, .i32, .u32: 32
    case .f16, .bf16, .i16, .u16: 16
    case .i8, .u8, .bool, .f8e4m3, .f8e5m2, .f8e8m0, .f8e4m3fnuz, .f8e5m2fnuz: 8
    case .f6e2m3, .f6e3m2: 6
    case .f4: 4
    }
  }

  /// Whether values can be read as fp32 without loss.
  public var isReadable: Bool { self == .f32 || self == .bf16 || self == .f16 }
}

/// One tensor of a safetensors file.
public struct SafeTensorsEntry: Sendable, Hashable {
  public let name: String
  public let type: SafeTensorsType
  public let shape: TensorShape
  /// Where the data lie in the file (not relative to the data section).
  public let bytes: Range<Int>
}

/// The parsed and checked header of a safetensors file.
///
/// Layout: u64 length N, N bytes of JSON, data. Data offsets count from the end of the header; together they must
/// cover the data section exactly, without holes or overlap.
struct SafeTensorsHeader: Sendable {
  static let lengthLimit = 100_000_000

  /// In the order of their data.
  var entries: [SafeTensorsEntry] = []
  var metadata: [String: String] = [:]

  init(_ file: ReadableFile) throws(CheckpointError) {
    let operation = "read the safetensors header of"
    func refuse(_ expected: String, _ found: String, tensor: String? = nil, hint: String? = nil) -> CheckpointError {
      CheckpointError(operation, path: file.path, tensor: tensor, expected: expected, found: found, hint: hint)
    }
    let damaged = "The file is damaged or incomplete: copy it again"

    guard file.size >= 8 else { throw refuse("at least 8 bytes", "\(file.size)", hint: damaged) }
    var length: UInt64 = 0
    for (index, byte) in try file.bytes(0..<8).enumerated() { length |= UInt64(byte) << UInt64(8 * index) }
    guard length <= UInt64(Self.lengthLimit) else {
      throw refuse("a header of at most \(Self.lengthLimit) bytes", "\(length)", hint: "This is no safetensors file")
    }
    let dataStart = 8 + Int(length)
    guard dataStart <= file.size else {
      throw refuse("a header of \(length) bytes", "a file of \(file.size)", hint: damaged)
    }
    let text = try file.bytes(8..<dataStart)
    guard text.first == UInt8(ascii: "{") else {
      throw refuse("a header that starts with '{'", "another byte", hint: "This is no safetensors file")
    }
    guard let members = try JSONScanner.parse(text, path: file.path, origin: 8).object else {
      throw refuse("an object", "another value")
    }

    let dataSize = file.size - dataStart
    for (name, value) in members.members {
      if name == "__metadata__" {
        guard let object = value.object else { throw refuse("__metadata__ as an object", value.kind) }
        for (key, value) in object.members {
          guard let text = value.string else { throw refuse("strings in __metadata__", "\(value.kind) at \"\(key)\"") }
          metadata[key] = text
        }
        continue
      }
      guard let typeName = value["dtype"]?.string else {
        throw refuse("a string \"dtype\"", value["dtype"]?.kind ?? "none", tensor: name)
      }
      guard let type = SafeTensorsType(rawValue: typeName) else {
        throw refuse("a dtype of the safetensors format", "\"\(typeName)\"", tensor: name)
      }
      let dimensions = value["shape"]?.array?.map { element in if case .integer(let n) = element { n } else { -1 } }
      guard let dimensions, let shape = TensorShape(dimensions) else {
        throw refuse(
          "a shape of at most \(TensorShape.rankLimit) counts", value["shape"].map { Self.brief($0) } ?? "none",
          tensor: name)
      }
      let offsets = value["data_offsets"]?.array?.map { element in if case .integer(let n) = element { n } else { -1 } }
      guard let offsets, offsets.count == 2, 0 <= offsets[0], offsets[0] <= offsets[1] else {
        throw refuse(
          "two ascending data_offsets", value["data_offsets"].map { Self.brief($0) } ?? "none", tensor: name)
      }
      guard offsets[1] <= dataSize else {
        throw refuse("data within \(dataSize) bytes", "data up to \(offsets[1])", tensor: name, hint: damaged)
      }
      let bits = shape.count * type.bits
      guard bits % 8 == 0, bits / 8 == offsets[1] - offsets[0] else {
        throw refuse(
          "\(shape) of \(typeName) to take \(bits / 8) bytes", "\(offsets[1] - offsets[0])", tensor: name)
      }
      entries.append(
        SafeTensorsEntry(
          name: name, type: type, shape: shape, bytes: dataStart + offsets[0]..<dataStart + offsets[1]))
    }

    entries.sort {
      ($0.bytes.lowerBound, $0.bytes.upperBound, $0.name) < ($1.bytes.lowerBound, $1.bytes.upperBound, $1.name)
    }
    var end = dataStart
    for entry in entries {
      guard entry.bytes.lowerBound == end else {
        throw refuse(
          "data at byte \(end - dataStart) of the data section",
          "\(entry.bytes.lowerBound < end ? "an overlap" : "a hole") before byte \(entry.bytes.lowerBound - dataStart)",
          tensor: entry.name)
      }
      end = entry.bytes.upperBound
    }
    guard end == file.size else {
      throw refuse("data of \(end - dataStart) bytes", "\(dataSize)", hint: damaged)
    }
  }

  private static func brief(_ value: JSONValue) -> String {
    printable(String(decoding: value.serialized(), as: UTF8.self), limit: 60)
  }
}
