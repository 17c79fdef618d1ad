/// A safetensors file opened for reading: header checked in full, data read on demand.
///
/// F32, BF16 and F16 are read as fp32, each exactly; other types are listed, and readable as bytes.
public final class SafeTensorsFile: Sendable {
  public let path: String
  /// In the order of their data.
  public let entries: [SafeTensorsEntry]
  /// `__metadata__` of the header.
  public let metadata: [String: String]
  private let file: ReadableFile
  private let positions: [String: Int]

  public init(_ path: String) throws(CheckpointError) {
    file = try ReadableFile(path)
    let header = try SafeTensorsHeader(file)
    var positions: [String: Int] = [:]
    for (index, entry) in header.entries.enumerated() {
      guard positions.updateValue(index, forKey: entry.name) == nil else {
        throw CheckpointError(
          "read the safetensors header of", path: path, tensor: entry.name, expected: "each name once", found: "two")
      }
    }
    self.path = path
    self.positions = positions
    entries = header.entries
    metadata = header.metadata
  }

  var size: Int { file.size }

  /// The hash of bytes of the file, as they are.
  func contentHash(of range: Range<Int>) throws(CheckpointError) -> ContentHash { try file.contentHash(of: range) }

  /// The tensor `name`, or nil.
  public func entry(_ name: String) -> SafeTensorsEntry? { positions[name].map { entries[$0] } }

  /// The tensor `name`, or an error that says so.
  public func requireEntry(_ name: String) throws(CheckpointError) -> SafeTensorsEntry {
    guard let entry = entry(name) else {
      throw CheckpointError(
        "read", path: path, tensor: name, expected: "a tensor of that name",
        found: "\(entries.count) others" + (entries.first.map { ", the first \"\($0.name)\"" } ?? ""))
    }
    return entry
  }

  /// Rows `rows` of the tensor (see `TensorShape`) as fp32; `destination` holds rows.count x columns.
  public func read(
    _ name: String, rows: Range<Int>, into destination: inout MutableSpan<Float>
  ) throws(CheckpointError) {
    let shape = try requireEntry(name).shape
    precondition(rows.lowerBound >= 0 && rows.upperBound <= shape.rows, "rows \(rows) of \(shape) \"\(name)\"")
    try read(name, elements: rows.lowerBound * shape.columns..<rows.upperBound * shape.columns, into: &destination)
  }

  /// The whole tensor as fp32.
  public func read(_ name: String, into destination: inout MutableSpan<Float>) throws(CheckpointError) {
    try read(name, elements: 0..<(try requireEntry(name).shape.count), into: &destination)
  }

  /// The whole tensor as fp32, for tests and small tensors.
  public func read(_ name: String) throws(CheckpointError) -> [Float] {
    var values = [Float](repeating: 0, count: try requireEntry(name).shape.count)
    var span = values.mutableSpan
    try read(name, into: &span)
    return values
  }

  /// Elements `range` in row-major order as fp32.
  public func read(
    _ name: String, elements range: Range<Int>, into destination: inout MutableSpan<Float>
  ) throws(CheckpointError) {
    let entry = try requireEntry(name)
    precondition(
      range.lowerBound >= 0 && range.upperBound <= entry.shape.count && range.count == destination.count,
      "elements \(range) of \(entry.shape) \"\(name)\" into \(destination.count)")
    switch entry.type {
    case .f32:
      let start = entry.bytes.lowerBound + 4 * range.lowerBound
      try unsafe destination.withUnsafeMutableBytes { (buffer) throws(CheckpointError) in
        try unsafe file.read(at: start, into: buffer)
      }
    case .bf16:
      try readHalves(entry, range) { destination[$0] = FloatConversion.float(bfloat16: $1) }
    case .f16:
      try readHalves(entry, range) { destination[$0] = FloatConversion.float(float16: $1) }
    default:
      throw CheckpointError(
        "read values of", path: path, tensor: name, expected: "dtype F32, BF16 or F16", found: entry.type.rawValue,
        hint: "Models quantized by other tools are not read: use the original floating-point weights")
    }
  }

  /// Passes (index from 0, bits) of every 16-bit element in `range`, in pieces of 1 MiB.
  private func readHalves(
    _ entry: SafeTensorsEntry, _ range: Range<Int>, _ body: (Int, UInt16) -> Void
  ) throws(CheckpointError) {
    let elementsPerPiece = 1 << 19
    let buffer = ScratchBytes(capacity: 2 * min(elementsPerPiece, range.count))
    var done = 0
    while done < range.count {
      let count = min(elementsPerPiece, range.count - done)
      let piece = unsafe buffer.prefix(2 * count)
      try unsafe file.read(at: entry.bytes.lowerBound + 2 * (range.lowerBound + done), into: piece)
      let halves = unsafe piece.bindMemory(to: UInt16.self)
      for index in 0..<count { unsafe body(done + index, UInt16(littleEndian: halves[index])) }
      done += count
    }
  }

  /// The tensor's bytes as stored, `range` counted from its start: for types this module does not convert.
  public func readBytes(
    _ name: String, _ range: Range<Int>, into destination: inout MutableSpan<UInt8>
  ) throws(CheckpointError) {
    let entry = try requireEntry(name)
    precondition(
      range.lowerBound >= 0 && range.upperBound <= entry.bytes.count && range.count == destination.count,
      "bytes \(range) of \(entry.bytes.count) into \(destination.count)")
    try unsafe destination.withUnsafeMutableBytes { (buffer) throws(CheckpointError) in
      try unsafe file.read(at: entry.bytes.lowerBound + range.lowerBound, into: buffer)
    }
  }

  /// The tensor's bytes as stored.
  public func readBytes(_ name: String) throws(CheckpointError) -> [UInt8] {
    try file.bytes(try requireEntry(name).bytes)
  }
}
