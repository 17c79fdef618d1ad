/// `hashes.json` of a model folder: what safetensors lacks. Every file that was written beside it, and every tensor,
/// with the XXH3-128 of its bytes.
///
/// Folders of other tools have none and are read as they are. Where it lies, a tensor is read only as it was written.
public struct FolderHashes: Sendable, Equatable {
  public static let fileName = "hashes.json"
  /// The version this module writes and reads.
  public static let version = 1

  /// A file of the folder.
  public struct File: Sendable, Equatable {
    /// A plain name.
    public var name: String
    public var size: Int
    /// Of all its bytes.
    public var hash: ContentHash
    /// Of a safetensors file: its bytes before the data.
    public var header: Header?
  }

  public struct Header: Sendable, Equatable {
    public var size: Int
    public var hash: ContentHash
  }

  /// A tensor: where its bytes lie, counted from the start of the file.
  public struct Tensor: Sendable, Equatable {
    public var name: String
    public var file: String
    public var bytes: Range<Int>
    public var hash: ContentHash
  }

  public private(set) var files: [File] = []
  public private(set) var tensors: [Tensor] = []

  public init() {}

  init(files: [File], tensors: [Tensor]) {
    self.files = files
    self.tensors = tensors
  }

  /// Whether `folder` has hashes.
  public static func arePresent(in folder: String) -> Bool {
    Directories.kind(of: Directories.join(folder, fileName)) != .absent
  }

  /// Those of `folder`: form, hash and structure checked, the files themselves not.
  public init(folder: String) throws(CheckpointError) {
    let path = Directories.join(folder, Self.fileName)
    let file = try ReadableFile(path)
    guard file.size <= Self.sizeLimit else {
      throw CheckpointError(
        "use the hashes", path: path, expected: "at most \(Self.sizeLimit) bytes", found: "\(file.size)")
    }
    try self.init(try file.wholeContents(), path: path)
  }

  static let sizeLimit = 100_000_000

  /// A file without tensors.
  public mutating func add(file name: String, bytes: [UInt8]) {
    files.append(File(name: name, size: bytes.count, hash: ContentHash(bytes)))
  }

  /// The file of a writer to which everything has been appended, before its commit.
  public mutating func add(_ writer: SafeTensorsWriter) throws(CheckpointError) {
    let written = try writer.hashes()
    files.append(written.file)
    tensors += written.tensors
  }

  /// What to do when the bytes are not those that were hashed.
  static let hint = "The folder was changed or damaged after it was written: use another copy, or delete \(fileName) "
    + "if the change was meant"
}
