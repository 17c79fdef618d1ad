/// A piece of a plane: one zstd frame of a data file.
public struct StoredChunk: Sendable, Hashable {
  /// Index into the manifest's data files.
  public var file: Int
  /// Where the frame starts in that file, and its length.
  public var offset: Int
  public var storedSize: Int
  /// Where the content starts in the plane of its piece, and its length.
  public var start: Int
  public var size: Int
  /// Hash of the content.
  public var hash: ContentHash
  /// Made of raw blocks: compression did not pay.
  public var isRaw: Bool
}

/// One byte plane of a tensor's rows.
public struct StoredPlane: Sendable, Hashable {
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// Element codes, one a byte.
    case codes
    /// One E8M0 byte a block of 32 columns.
    case scales
    /// Bytes of fp32 values, `byte0` the least significant.
    case byte0, byte1, byte2, byte3
  }

  public var kind: Kind
  public var size: Int
  /// Hash of the whole content.
  public var hash: ContentHash
  public var chunks: [StoredChunk]

  /// The planes a tensor of `format` and `shape` has, with the bytes a row takes in each.
  static func layout(format: String, shape: TensorShape) -> [(kind: Kind, rowBytes: Int)] {
    format == StoredTensor.dense
      ? [.byte0, .byte1, .byte2, .byte3].map { ($0, shape.columns) }
      : [(.codes, shape.columns), (.scales, StoredTensor.blocksPerRow(shape))]
  }
}

/// Consecutive rows of a tensor, written by one writer.
public struct StoredPiece: Sendable, Hashable {
  public var rowStart: Int
  public var rows: Int
  public var planes: [StoredPlane]
}

/// One tensor of a container: its format ("fp32" or the name of a block format) and where its rows are.
public struct StoredTensor: Sendable, Hashable {
  public var name: String
  public var shape: TensorShape
  public var format: String
  /// In ascending row order, covering every row once.
  public var pieces: [StoredPiece]

  /// The format name of dense tensors.
  public static let dense = "fp32"
  public static let blockSize = 32

  public var isDense: Bool { format == Self.dense }

  /// Scale bytes of one row.
  public static func blocksPerRow(_ shape: TensorShape) -> Int { (shape.columns + blockSize - 1) / blockSize }
  public var blocksPerRow: Int { Self.blocksPerRow(shape) }

  /// Bytes of all planes before and after compression.
  public var contentSize: Int { planeSum { $0.size } }
  public var storedSize: Int { planeSum { $0.chunks.reduce(0) { $0 + $1.storedSize } } }

  private func planeSum(_ size: (StoredPlane) -> Int) -> Int {
    pieces.reduce(0) { $0 + $1.planes.reduce(0) { $0 + size($1) } }
  }
}

/// A file of the container other than the manifest.
public struct StoredFile: Sendable, Hashable {
  /// A plain name inside the container's directory.
  public var name: String
  public var size: Int
  /// Hash of the bytes as written.
  public var hash: ContentHash
}

/// What one writer contributed: its data files and tensor pieces. Travels between ranks as JSON.
public struct ContainerPart: Sendable, Equatable {
  public var files: [StoredFile] = []
  public var tensors: [StoredTensor] = []

  public init() {}

  /// Appends another writer's part: its file indices move up, its pieces join the tensors of the same name.
  public mutating func merge(_ other: ContainerPart) throws(CheckpointError) {
    try merge(other, filesFrom: files.count)
    files += other.files
  }

  mutating func merge(_ other: ContainerPart, filesFrom base: Int) throws(CheckpointError) {
    var positions: [ExactKey: Int] = [:]
    for (index, tensor) in tensors.enumerated() { positions[ExactKey(tensor.name)] = index }
    for tensor in other.tensors {
      let pieces = tensor.pieces.map { $0.shifted(files: base) }
      guard let index = positions[ExactKey(tensor.name)] else {
        positions[ExactKey(tensor.name)] = tensors.count
        tensors.append(StoredTensor(name: tensor.name, shape: tensor.shape, format: tensor.format, pieces: pieces))
        continue
      }
      guard tensors[index].shape == tensor.shape, tensors[index].format == tensor.format else {
        throw CheckpointError(
          "join the parts of a container", tensor: tensor.name,
          expected: "\(tensors[index].shape) of \(tensors[index].format)", found: "\(tensor.shape) of \(tensor.format)")
      }
      tensors[index].pieces = (tensors[index].pieces + pieces).sorted { $0.rowStart < $1.rowStart }
    }
  }
}

extension StoredPiece {
  /// The same piece where the file list begins `base` files later.
  fileprivate func shifted(files base: Int) -> StoredPiece {
    var piece = self
    for plane in piece.planes.indices {
      for chunk in piece.planes[plane].chunks.indices { piece.planes[plane].chunks[chunk].file += base }
    }
    return piece
  }
}

/// What a container holds, and what else must be known to use it.
public enum ContainerKind: Sendable, Equatable {
  /// Weights in codes: the name of the block format, and of the rule that chose the block scales.
  case anchor(format: String, scaleRule: String)
  /// The state of a training run, all of it fp32.
  case checkpoint

  public var name: String {
    switch self {
    case .anchor: "anchor"
    case .checkpoint: "checkpoint"
    }
  }
}

/// Everything `manifest.json` says.
public struct ContainerManifest: Sendable, Equatable {
  public static let fileName = "manifest.json"
  /// The container version this module writes and reads.
  public static let version = 1

  public var kind: ContainerKind
  /// Of an anchor its provenance, of a checkpoint where the run stood; free-form.
  public var metadata: JSONObject
  public var sidecars: [StoredFile]
  public var contents: ContainerPart

  public var tensors: [StoredTensor] { contents.tensors }
  public var files: [StoredFile] { contents.files }
}
