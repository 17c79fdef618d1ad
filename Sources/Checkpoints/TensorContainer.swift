import Formats
public import Tensors

/// A container opened for reading: manifest checked in full, tensors decoded on demand, chunk by chunk, each against
/// its hash. Not for two threads at once: each makes its own with `init(sharing:)`.
///
/// Memory: the compressed and decoded bytes of one chunk, and the last decoded chunk of each plane kind, so that reading
/// a tensor in small runs of rows decodes each chunk once.
public final class TensorContainer {
  public let directory: String
  public let manifest: ContainerManifest
  let files: [ReadableFile]
  private let positions: [String: Int]
  private let decoder = ChunkDecoder()
  private var decoded: [StoredPlane.Kind: DecodedChunk] = [:]

  private final class DecodedChunk {
    var chunk: StoredChunk?
    let bytes = ScratchBytes(capacity: 1)
  }

  /// Opens the container in `directory`. Checked here: the manifest's hash, form and structure, and the presence and size
  /// of every file. Contents are checked when read; `verify` checks all.
  public init(_ directory: String) throws(CheckpointError) {
    let path = Directories.join(directory, ContainerManifest.fileName)
    guard Directories.kind(of: path) == .file else {
      throw CheckpointError(
        "open the container", path: directory, expected: "a directory with \(ContainerManifest.fileName)", found: "none",
        hint: "Check the path; an interrupted save leaves only a .tmp- directory")
    }
    let file = try ReadableFile(path)
    guard file.size <= ContainerManifest.byteLimit else {
      throw CheckpointError(
        "read the manifest", path: path, expected: "at most \(ContainerManifest.byteLimit) bytes", found: "\(file.size)")
    }
    let manifest = try ContainerManifest(try file.wholeContents(), path: path)
    try manifest.validate(path: path)
    var files: [ReadableFile] = []
    for (index, stored) in (manifest.files + manifest.sidecars).enumerated() {
      let file = try ReadableFile(Directories.join(directory, stored.name))
      guard file.size == stored.size else {
        throw CheckpointError(
          "open the container", path: file.path, expected: "\(stored.size) bytes", found: "\(file.size)",
          hint: "The file is damaged or incomplete: use another copy")
      }
      if index < manifest.files.count { files.append(file) }
    }
    var positions: [String: Int] = [:]
    for (index, tensor) in manifest.tensors.enumerated() { positions[tensor.name] = index }
    self.directory = directory
    self.manifest = manifest
    self.files = files
    self.positions = positions
  }

  /// The same container for another thread: the manifest and the open files are shared, buffers are not.
  public init(sharing other: TensorContainer) {
    directory = other.directory
    manifest = other.manifest
    files = other.files
    positions = other.positions
  }

  public var kind: ContainerKind { manifest.kind }
  public var metadata: JSONObject { manifest.metadata }
  public var tensors: [StoredTensor] { manifest.tensors }

  /// Whether `path` looks like a container: a directory with a manifest.
  public static func isContainer(_ path: String) -> Bool {
    Directories.kind(of: Directories.join(path, ContainerManifest.fileName)) == .file
  }

  /// The tensor `name`, or nil.
  public func tensor(_ name: String) -> StoredTensor? { positions[name].map { manifest.tensors[$0] } }

  /// The tensor `name`, or an error that says so.
  public func requireTensor(_ name: String) throws(CheckpointError) -> StoredTensor {
    guard let tensor = tensor(name) else {
      throw CheckpointError(
        "read", path: directory, tensor: name, expected: "a tensor of that name", found: "\(tensors.count) others")
    }
    return tensor
  }

  /// The bytes of a sidecar file, checked against size and hash.
  public func sidecar(_ name: String) throws(CheckpointError) -> [UInt8] {
    let path = Directories.join(directory, name)
    guard let stored = manifest.sidecars.first(where: { $0.name == name }) else {
      throw CheckpointError(
        "read the sidecar", path: path, expected: "a file of the manifest", found: "none of that name")
    }
    let file = try ReadableFile(path)
    guard file.size == stored.size, file.size <= ContainerWriter.sidecarLimit else {
      throw CheckpointError("read the sidecar", path: path, expected: "\(stored.size) bytes", found: "\(file.size)")
    }
    let bytes = try file.wholeContents()
    guard ContentHash(bytes) == stored.hash else {
      throw CheckpointError(
        "read the sidecar", path: path, expected: "content hash \(stored.hash)", found: "\(ContentHash(bytes))",
        hint: "The file was changed or damaged: use another copy")
    }
    return bytes
  }

  // MARK: Packed tensors

  /// Codes of rows `rows`: rows.count x columns bytes.
  public func readCodes(
    _ name: String, rows: Range<Int>, into codes: inout MutableSpan<UInt8>
  ) throws(CheckpointError) {
    try readPlane(name, .codes, rows, into: &codes)
  }

  /// E8M0 scales of rows `rows`: rows.count x blocks bytes.
  public func readScales(
    _ name: String, rows: Range<Int>, into scales: inout MutableSpan<UInt8>
  ) throws(CheckpointError) {
    try readPlane(name, .scales, rows, into: &scales)
  }

  /// Codes and scales of rows `rows`.
  public func readPacked(
    _ name: String, rows: Range<Int>, codes: inout MutableSpan<UInt8>, scales: inout MutableSpan<UInt8>
  ) throws(CheckpointError) {
    try readCodes(name, rows: rows, into: &codes)
    try readScales(name, rows: rows, into: &scales)
  }

  /// Rows from `rowStart` on, as many as `destination` has; formats must agree.
  public func readPacked(
    _ name: String, rowStart: Int = 0, into destination: inout PackedTensor
  ) throws(CheckpointError) {
    let tensor = try requireTensor(name)
    guard tensor.format == destination.format.name else {
      throw CheckpointError(
        "read", path: directory, tensor: name, expected: "format \(destination.format.name)", found: tensor.format)
    }
    precondition(
      destination.columns == tensor.shape.columns, "\(name): \(tensor.shape) into \(destination.columns) columns")
    let rows = rowStart..<rowStart + destination.rows
    var codes = destination.codes.mutableSpan
    try readCodes(name, rows: rows, into: &codes)
    var scales = destination.scales.mutableSpan
    try readScales(name, rows: rows, into: &scales)
  }

  private func readPlane(
    _ name: String, _ kind: StoredPlane.Kind, _ rows: Range<Int>, into destination: inout MutableSpan<UInt8>
  ) throws(CheckpointError) {
    let tensor = try requireTensor(name)
    guard !tensor.isDense else {
      throw CheckpointError(
        "read codes of", path: directory, tensor: name, expected: "a block format", found: tensor.format)
    }
    let rowBytes = kind == .codes ? tensor.shape.columns : tensor.blocksPerRow
    precondition(
      rows.lowerBound >= 0 && rows.upperBound <= tensor.shape.rows && destination.count == rows.count * rowBytes,
      "\(kind) of rows \(rows) of \(name), \(tensor.shape), into \(destination.count) bytes")
    try unsafe destination.withUnsafeMutableBytes { (buffer) throws(CheckpointError) in
      try unsafe forEachChunk(of: tensor, plane: kind == .codes ? 0 : 1, rows, rowBytes: rowBytes) {
        (first, bytes) throws(CheckpointError) in
        unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[first..<first + bytes.count]).copyMemory(from: bytes)
      }
    }
  }

  // MARK: Dense tensors

  /// Values of rows `rows`: rows.count x columns, the bits that were written.
  public func readDense(
    _ name: String, rows: Range<Int>, into destination: inout MutableSpan<Float>
  ) throws(CheckpointError) {
    let tensor = try requireTensor(name)
    guard tensor.isDense else {
      throw CheckpointError(
        "read values of", path: directory, tensor: name, expected: StoredTensor.dense, found: tensor.format)
    }
    let columns = tensor.shape.columns
    precondition(
      rows.lowerBound >= 0 && rows.upperBound <= tensor.shape.rows && destination.count == rows.count * columns,
      "rows \(rows) of \(name), \(tensor.shape), into \(destination.count) values")
    try unsafe destination.withUnsafeMutableBytes { (buffer) throws(CheckpointError) in
      let words = unsafe buffer.bindMemory(to: UInt32.self)
      defer { unsafe _ = buffer.bindMemory(to: Float.self) }
      for piece in tensor.pieces {
        let part = rows.clamped(to: piece.rowStart..<piece.rowStart + piece.rows)
        guard !part.isEmpty else { continue }
        let first = (part.lowerBound - rows.lowerBound) * columns
        let wanted = (part.lowerBound - piece.rowStart) * columns..<(part.upperBound - piece.rowStart) * columns
        try unsafe readDense(
          tensor.name, piece, wanted, into: UnsafeMutableBufferPointer(rebasing: words[first..<first + wanted.count]))
      }
    }
  }

  /// Values `wanted` of a piece. Where the planes are cut alike, as they are written, all four are put together at once.
  private func readDense(
    _ name: String, _ piece: StoredPiece, _ wanted: Range<Int>, into words: UnsafeMutableBufferPointer<UInt32>
  ) throws(CheckpointError) {
    let planes = piece.planes
    let cuts = planes.map { $0.chunks.map { $0.start..<$0.start + $0.size } }
    func part(_ plane: Int, _ index: Int, _ part: Range<Int>) throws(CheckpointError) -> UnsafeRawBufferPointer {
      let chunk = planes[plane].chunks[index]
      let bytes = try unsafe decode(chunk, tensor: name, planes[plane].kind)
      return unsafe UnsafeRawBufferPointer(rebasing: bytes[part.lowerBound - chunk.start..<part.upperBound - chunk.start])
    }
    if cuts.dropFirst().allSatisfy({ $0 == cuts[0] }) {
      for (index, cut) in cuts[0].enumerated() where cut.overlaps(wanted) {
        let range = wanted.clamped(to: cut)
        let bytes = try unsafe (
          part(0, index, range), part(1, index, range), part(2, index, range), part(3, index, range)
        )
        let target = range.lowerBound - wanted.lowerBound..<range.upperBound - wanted.lowerBound
        unsafe FloatPlanes.merge(bytes, into: UnsafeMutableBufferPointer(rebasing: words[target]))
      }
      return
    }
    unsafe words.update(repeating: 0)
    for plane in planes.indices {
      for (index, cut) in cuts[plane].enumerated() where cut.overlaps(wanted) {
        let range = wanted.clamped(to: cut)
        let bytes = try unsafe part(plane, index, range)
        let first = range.lowerBound - wanted.lowerBound
        for offset in 0..<range.count { unsafe words[first + offset] |= UInt32(bytes[offset]) << UInt32(8 * plane) }
      }
    }
  }

  /// The whole tensor.
  public func readDense(_ name: String, into destination: inout MutableSpan<Float>) throws(CheckpointError) {
    try readDense(name, rows: 0..<(try requireTensor(name).shape.rows), into: &destination)
  }

  // MARK: Chunks

  /// Passes the bytes of rows `rows` of one plane, in order: index of the first byte counted from the first row
  /// wanted, and the bytes, valid during the call.
  func forEachChunk(
    of tensor: StoredTensor, plane: Int, _ rows: Range<Int>, rowBytes: Int,
    _ body: (Int, UnsafeRawBufferPointer) throws(CheckpointError) -> Void
  ) throws(CheckpointError) {
    let wanted = rows.lowerBound * rowBytes..<rows.upperBound * rowBytes
    for piece in tensor.pieces {
      let pieceStart = piece.rowStart * rowBytes
      guard pieceStart < wanted.upperBound, pieceStart + piece.rows * rowBytes > wanted.lowerBound else { continue }
      for chunk in piece.planes[plane].chunks {
        let start = pieceStart + chunk.start
        let part = wanted.clamped(to: start..<start + chunk.size)
        guard !part.isEmpty else { continue }
        let bytes = try unsafe decode(chunk, tensor: tensor.name, piece.planes[plane].kind)
        try unsafe body(
          part.lowerBound - wanted.lowerBound,
          UnsafeRawBufferPointer(rebasing: bytes[part.lowerBound - start..<part.upperBound - start]))
      }
    }
  }

  /// The content of `chunk`, checked; valid until the next chunk of that plane kind.
  func decode(
    _ chunk: StoredChunk, tensor: String, _ kind: StoredPlane.Kind
  ) throws(CheckpointError) -> UnsafeRawBufferPointer {
    let slot = decoded[kind] ?? DecodedChunk()
    decoded[kind] = slot
    if slot.chunk == chunk { return unsafe UnsafeRawBufferPointer(slot.bytes.prefix(chunk.size)) }
    slot.chunk = nil
    let content = try unsafe decoder.decode(chunk, of: files[chunk.file], into: slot.bytes, tensor: tensor, kind, checksums: false)
    slot.chunk = chunk
    return unsafe content
  }
}
