/// Writes a safetensors file as its values are produced: names, types and shapes first, then rows, tensor by tensor or
/// in turns. Memory: one conversion buffer of 1 MiB, whatever the tensors' sizes.
///
/// Data lie in the reference order (larger element types first, then by name) and start at a multiple of 8 bytes.
/// The file appears under its name at `commit` only (see `AtomicFile`).
public final class SafeTensorsWriter {
  public struct Declaration: Sendable {
    public var name: String
    public var type: SafeTensorsType
    public var shape: [Int]

    public init(_ name: String, _ type: SafeTensorsType, _ shape: [Int]) {
      self.name = name
      self.type = type
      self.shape = shape
    }
  }

  private struct Slot {
    let declaration: Declaration
    let bytes: Range<Int>
    var filled = 0
    /// Of what was appended so far: a tensor's bytes arrive in order.
    let hasher = ContentHasher()
  }

  private let file: AtomicFile
  private var slots: [Slot] = []
  private var positions: [ExactKey: Int] = [:]
  private let scratch = ScratchBytes(capacity: 1 << 20)
  /// Bytes of the data section: what an index calls `total_size`, summed over shards.
  public let dataSize: Int
  private let dataStart: Int

  /// Precondition: names unique, shapes valid, sub-byte tensors end on a byte.
  public init(
    _ path: String, tensors: [Declaration], metadata: [String: String] = ["format": "pt"], replacing: Bool = false
  ) throws(CheckpointError) {
    let ordered = tensors.sorted { a, b in
      a.type.bits != b.type.bits ? a.type.bits > b.type.bits : a.name.utf8.lexicographicallyPrecedes(b.name.utf8)
    }
    var header = JSONObject()
    if !metadata.isEmpty {
      var object = JSONObject()
      for (key, value) in metadata.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
        object[key] = .string(value)
      }
      header["__metadata__"] = .object(object)
    }
    var end = 0
    for tensor in ordered {
      guard let shape = TensorShape(tensor.shape) else {
        preconditionFailure("shape \(tensor.shape) of \(tensor.name)")
      }
      let bits = shape.count * tensor.type.bits
      precondition(bits % 8 == 0, "\(tensor.name) of \(shape) \(tensor.type.rawValue) ends inside a byte")
      precondition(header[tensor.name] == nil, "tensor \(tensor.name) declared twice")
      let range = end..<end + bits / 8
      header[tensor.name] = [
        "dtype": .string(tensor.type.rawValue), "shape": .array(tensor.shape.map { .integer($0) }),
        "data_offsets": [.integer(range.lowerBound), .integer(range.upperBound)],
      ]
      positions[ExactKey(tensor.name)] = slots.count
      slots.append(Slot(declaration: tensor, bytes: range))
      end = range.upperBound
    }
    dataSize = end
    var text = JSONValue.object(header).serialized(order: .given)
    while text.count % 8 != 0 { text.append(0x20) }
    precondition(text.count <= SafeTensorsHeader.lengthLimit, "a header of \(text.count) bytes")
    let dataStart = 8 + text.count
    self.dataStart = dataStart
    slots = slots.map { slot in
      Slot(
        declaration: slot.declaration, bytes: dataStart + slot.bytes.lowerBound..<dataStart + slot.bytes.upperBound)
    }
    file = try AtomicFile(target: path, replacing: replacing)
    try file.append((0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text)
  }

  /// The next values of an F32, BF16 or F16 tensor, in row-major order; 16-bit types are rounded to nearest even.
  public func append(_ name: String, _ values: Span<Float>) throws(CheckpointError) {
    let position = slot(name)
    switch slots[position].declaration.type {
    case .f32:
      try unsafe values.withUnsafeBytes { (buffer) throws(CheckpointError) in try unsafe write(buffer, position) }
    case .bf16: try appendHalves(values, position) { FloatConversion.bfloat16($0) }
    case .f16: try appendHalves(values, position) { FloatConversion.float16($0) }
    case let type: preconditionFailure("\(name) is \(type.rawValue): append its bytes")
    }
  }

  /// The next bytes of a tensor of any type.
  public func append(_ name: String, bytes: Span<UInt8>) throws(CheckpointError) {
    let position = slot(name)
    try unsafe bytes.withUnsafeBytes { (buffer) throws(CheckpointError) in try unsafe write(buffer, position) }
  }

  /// Checks that every tensor is complete and makes the file visible.
  public func commit() throws(CheckpointError) {
    requireComplete()
    try file.commit()
  }

  /// What a folder's hashes say of this file when everything has been appended. Tensors were hashed as they came; the
  /// file is read back, because tensors come in any order.
  func hashes() throws(CheckpointError) -> (file: FolderHashes.File, tensors: [FolderHashes.Tensor]) {
    requireComplete()
    let name = Directories.lastName(of: file.target)
    let written = try ReadableFile(file.temporary)
    let header = FolderHashes.Header(size: dataStart, hash: try written.contentHash(of: 0..<dataStart))
    return (
      FolderHashes.File(name: name, size: written.size, hash: try written.contentHash(), header: header),
      slots.map { .init(name: $0.declaration.name, file: name, bytes: $0.bytes, hash: $0.hasher.value) }
    )
  }

  private func requireComplete() {
    for slot in slots {
      precondition(
        slot.filled == slot.bytes.count,
        "\(slot.declaration.name): \(slot.filled) of \(slot.bytes.count) bytes appended")
    }
  }

  public func abandon() { file.abandon() }

  private func slot(_ name: String) -> Int {
    guard let position = positions[ExactKey(name)] else { preconditionFailure("tensor \(name) was not declared") }
    return position
  }

  private func appendHalves(
    _ values: Span<Float>, _ position: Int, _ convert: (Float) -> UInt16
  ) throws(CheckpointError) {
    var done = 0
    while done < values.count {
      let count = min(scratch.capacity / 2, values.count - done)
      let piece = unsafe scratch.prefix(2 * count)
      let halves = unsafe piece.bindMemory(to: UInt16.self)
      for index in 0..<count { unsafe halves[index] = convert(values[done + index]).littleEndian }
      try unsafe write(UnsafeRawBufferPointer(piece), position)
      done += count
    }
  }

  private func write(_ bytes: UnsafeRawBufferPointer, _ position: Int) throws(CheckpointError) {
    let slot = slots[position]
    precondition(
      slot.filled + bytes.count <= slot.bytes.count,
      "\(slot.declaration.name): \(slot.filled + bytes.count) bytes for \(slot.bytes.count)")
    try unsafe file.write(bytes, at: slot.bytes.lowerBound + slot.filled)
    unsafe slot.hasher.update(bytes)
    slots[position].filled += bytes.count
  }

  /// The text of `model.safetensors.index.json`: which shard holds which tensor.
  public static func index(totalSize: Int, shards: [(tensor: String, file: String)]) -> [UInt8] {
    var map = JSONObject()
    for (tensor, file) in shards { map[tensor] = .string(file) }
    let index: JSONValue = ["metadata": ["total_size": .integer(totalSize)], "weight_map": .object(map)]
    return index.serialized(order: .given, indent: 2)
  }
}
