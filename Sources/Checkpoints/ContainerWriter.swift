public import Tensors

/// Writes a container: tensors, sidecar files, metadata, and at `commit` the manifest, after which the directory appears.
///
/// With several ranks the first makes a `ContainerWriter`, the others a `ContainerPartWriter` on its `temporary` directory
/// each; their parts come back through `add(_:)` before the commit. An error, or dropping the writer, removes
/// everything.
public final class ContainerWriter {
  private let directory: AtomicDirectory
  private let writer: ContainerPartWriter
  private let kind: ContainerKind
  private let metadata: JSONObject
  private var sidecars: [StoredFile] = []
  private var parts: [ContainerPart] = []
  private var isSealed = false

  /// `directory` must be absent or empty.
  public init(
    directory: String, kind: ContainerKind, metadata: JSONObject = JSONObject(),
    options: ContainerOptions = ContainerOptions()
  ) throws(CheckpointError) {
    self.directory = try AtomicDirectory(target: directory)
    writer = ContainerPartWriter(directory: self.directory.temporary, writer: 0, options: options)
    self.kind = kind
    self.metadata = metadata
  }

  /// An anchor.
  public convenience init(
    directory: String, format: String, scaleRule: String, metadata: JSONObject = JSONObject(),
    options: ContainerOptions = ContainerOptions()
  ) throws(CheckpointError) {
    try self.init(
      directory: directory, kind: .anchor(format: format, scaleRule: scaleRule), metadata: metadata, options: options)
  }

  /// Where other ranks write their parts.
  public var temporary: String { directory.temporary }

  /// As `ContainerPartWriter.addPacked`.
  public func addPacked(
    name: String, shape: [Int], format: String, rows: Range<Int>, codes: Span<UInt8>, scales: Span<UInt8>
  ) throws(CheckpointError) {
    do {
      try writer.addPacked(name: name, shape: shape, format: format, rows: rows, codes: codes, scales: scales)
    } catch { throw abandoned(error) }
  }

  public func addPacked(
    name: String, shape: [Int], rowStart: Int = 0, _ tensor: borrowing PackedTensor
  ) throws(CheckpointError) {
    do {
      try writer.addPacked(name: name, shape: shape, rowStart: rowStart, tensor)
    } catch { throw abandoned(error) }
  }

  /// As `ContainerPartWriter.addDense`.
  public func addDense(
    name: String, shape: [Int], rows: Range<Int>, values: Span<Float>
  ) throws(CheckpointError) {
    do {
      try writer.addDense(name: name, shape: shape, rows: rows, values: values)
    } catch { throw abandoned(error) }
  }

  public func addDense(name: String, shape: [Int], values: Span<Float>) throws(CheckpointError) {
    do { try writer.addDense(name: name, shape: shape, values: values) } catch { throw abandoned(error) }
  }

  /// A file to keep beside the tensors, byte for byte (config.json, tokenizer.json …).
  public func addSidecar(name: String, bytes: [UInt8]) throws(CheckpointError) {
    precondition(name != ContainerManifest.fileName, "a sidecar cannot be named \(name)")
    try directory.write(bytes, to: name)
    sidecars.append(StoredFile(name: name, size: bytes.count, hash: ContentHash(bytes)))
  }

  /// Copies the file at `path` under its own name.
  public func addSidecar(file path: String) throws(CheckpointError) {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    let bytes = try directory.cleaningUp { () throws(CheckpointError) in
      let file = try ReadableFile(path)
      guard file.size <= Self.sidecarLimit else {
        throw CheckpointError(
          "copy", path: path, expected: "a sidecar of at most \(Self.sidecarLimit) bytes", found: "\(file.size)")
      }
      return try file.wholeContents()
    }
    try addSidecar(name: name, bytes: bytes)
  }

  static let sidecarLimit = 1 << 30

  /// Another writer's share.
  public func add(_ part: ContainerPart) { parts.append(part) }

  /// Writes the manifest and makes the container visible. With `verifying`, everything is read back and checked first.
  public func commit(verifying: Bool = false) throws(CheckpointError) {
    try seal()
    try directory.cleaningUp { () throws(CheckpointError) in
      if verifying { try Self.verify(directory.temporary) }
    }
    try directory.commit()
  }

  /// Writes the manifest, after which the container is complete under its temporary name, for whoever wants to check it
  /// before the commit. Does nothing the second time.
  public func seal() throws(CheckpointError) {
    guard !isSealed else { return }
    isSealed = true
    try directory.cleaningUp { () throws(CheckpointError) in
      var contents = try writer.finish()
      for part in parts { try contents.merge(part) }
      let manifest = ContainerManifest(
        kind: kind, metadata: metadata, sidecars: sidecars, contents: contents)
      let path = directory.path(ContainerManifest.fileName)
      try manifest.validate(path: path)
      let bytes = manifest.serialized
      guard bytes.count <= ContainerManifest.byteLimit else {
        throw CheckpointError(
          "write the manifest", path: path, expected: "at most \(ContainerManifest.byteLimit) bytes", found: "\(bytes.count)",
          hint: "Take larger chunks")
      }
      try directory.write(bytes, to: ContainerManifest.fileName)
    }
  }

  /// Reads a share of a sealed container back, of as many shares as there are ranks.
  public static func verify(
    _ temporary: String, share: Int = 0, of count: Int = 1, threads: Int = ParallelWork.processors
  ) throws(CheckpointError) {
    let container = try TensorContainer(temporary)
    for file in container.files { file.dropFromCache() }
    let problems = try container.verify(share: share, of: count, threads: threads)
    guard let problem = problems.first else { return }
    throw CheckpointError(
      "verify after writing", path: temporary, tensor: problem.tensor, found: problem.description,
      hint: "The storage does not keep what is written: use another device")
  }

  /// Removes everything written so far.
  public func abandon() { directory.abandon() }

  private func abandoned(_ error: CheckpointError) -> CheckpointError {
    directory.abandon()
    return error
  }
}
