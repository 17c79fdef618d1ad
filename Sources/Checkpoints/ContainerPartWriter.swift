import Formats
public import Tensors

/// How a container is cut and compressed.
public struct ContainerOptions: Sendable {
  /// Content of one chunk: 4 to 16 MiB suit whole reads, 1 to 4 MiB reads of few rows. A multiple of 32.
  public var chunkBytes = 4 << 20
  /// A new data file is begun before one grows beyond this.
  public var fileByteLimit = 16 << 30
  /// Level of zstd's search for matches, 1 to 12, for the chunks in which that pays.
  public var level = 3

  public init(chunkBytes: Int = 4 << 20, fileByteLimit: Int = 16 << 30, level: Int = 3) {
    precondition(
      chunkBytes >= 32 && chunkBytes % 32 == 0 && chunkBytes <= ZstdFrame.contentLimit, "chunks of \(chunkBytes) bytes")
    precondition(fileByteLimit > 0 && (1...12).contains(level), "limit \(fileByteLimit), level \(level)")
    self.chunkBytes = chunkBytes
    self.fileByteLimit = fileByteLimit
    self.level = level
  }
}

/// Writes tensor rows into data files of a directory and says what it wrote: the share of one rank, or of all.
///
/// Rows arrive in calls of any number of rows; a call that continues the tensor of the last one where it ended joins
/// its piece, any other begins a new piece. Memory: one chunk a plane of the open piece, one compressed chunk.
public final class ContainerPartWriter {
  private struct OpenPiece {
    var tensor: StoredTensor
    var rowStart: Int
    var rows: Int
    var planes: [PlaneWriter]
  }

  private let options: ContainerOptions
  private let output: FrameFileWriter
  private var open: OpenPiece?
  /// One a plane, for one piece after the other. New ones for each would fragment the heap: with glibc before 2.38 the
  /// memory of freed aligned blocks is often too small by the alignment for the next one of the same size.
  private let buffers = (0..<FloatPlanes.count).map { _ in ScratchBytes(capacity: 1) }
  private var part = ContainerPart()
  private var isFinished = false

  /// Files are named after `writer`, the rank or 0, so that ranks do not meet.
  public init(directory: String, writer: Int = 0, options: ContainerOptions = ContainerOptions()) {
    precondition(writer >= 0, "writer \(writer)")
    self.options = options
    let number = String(writer)
    output = FrameFileWriter(
      directory: directory, prefix: "data-\(String(repeating: "0", count: max(0, 5 - number.utf8.count)))\(number)",
      level: options.level, fileByteLimit: options.fileByteLimit)
  }

  /// Rows `rows` of a tensor in the block format `format`: `codes` holds rows x columns, `scales` rows x blocks.
  public func addPacked(
    name: String, shape: [Int], format: String, rows: Range<Int>, codes: Span<UInt8>, scales: Span<UInt8>
  ) throws(CheckpointError) {
    precondition(format != StoredTensor.dense, "\(name): a packed tensor in \(format)")
    let shape = try begin(name, shape, format, rows)
    precondition(
      codes.count == rows.count * shape.columns && scales.count == rows.count * StoredTensor.blocksPerRow(shape),
      "\(name): \(codes.count) codes and \(scales.count) scales for \(rows.count) rows of \(shape)")
    try append(codes, plane: 0)
    try append(scales, plane: 1)
  }

  /// All rows of `tensor` as the rows from `rowStart` on of a tensor of `shape`.
  public func addPacked(
    name: String, shape: [Int], rowStart: Int = 0, _ tensor: borrowing PackedTensor
  ) throws(CheckpointError) {
    precondition(shape.last == tensor.columns, "\(name): \(tensor.columns) columns for shape \(shape)")
    try addPacked(
      name: name, shape: shape, format: tensor.format.name, rows: rowStart..<rowStart + tensor.rows,
      codes: tensor.codes.span, scales: tensor.scales.span)
  }

  /// Rows `rows` of an fp32 tensor; `values` holds rows x columns.
  public func addDense(
    name: String, shape: [Int], rows: Range<Int>, values: Span<Float>
  ) throws(CheckpointError) {
    let shape = try begin(name, shape, StoredTensor.dense, rows)
    precondition(
      values.count == rows.count * shape.columns, "\(name): \(values.count) values for \(rows.count) rows of \(shape)")
    guard let planes = open?.planes else { return }
    try unsafe values.withUnsafeBytes { (bytes) throws(CheckpointError) in
      let words = unsafe bytes.bindMemory(to: UInt32.self)
      defer { unsafe _ = bytes.bindMemory(to: Float.self) }
      var done = 0
      while done < words.count {
        // The planes are cut alike, so one has as much room as the others.
        let take = min(planes[0].room, words.count - done)
        unsafe FloatPlanes.split(
          UnsafeBufferPointer(rebasing: words[done..<done + take]),
          into: (planes[0].next(take), planes[1].next(take), planes[2].next(take), planes[3].next(take)))
        for plane in planes { try plane.advance(take, to: output) }
        done += take
      }
    }
  }

  /// A whole fp32 tensor.
  public func addDense(name: String, shape: [Int], values: Span<Float>) throws(CheckpointError) {
    try addDense(name: name, shape: shape, rows: 0..<checked(shape, name).rows, values: values)
  }

  /// Ends the data files and says what is in them.
  public func finish() throws(CheckpointError) -> ContainerPart {
    precondition(!isFinished, "finished already")
    try closePiece()
    try output.finishFile()
    isFinished = true
    part.files = output.files
    return part
  }

  // MARK: Pieces

  private func checked(_ shape: [Int], _ name: String) -> TensorShape {
    guard let shape = TensorShape(shape) else { preconditionFailure("shape \(shape) of \(name)") }
    return shape
  }

  /// Makes the open piece the one that `rows` continues.
  private func begin(
    _ name: String, _ dimensions: [Int], _ format: String, _ rows: Range<Int>
  ) throws(CheckpointError) -> TensorShape {
    precondition(!isFinished, "\(name) added after the end")
    let shape = checked(dimensions, name)
    precondition(rows.lowerBound >= 0 && rows.upperBound <= shape.rows, "rows \(rows) of \(name), \(shape)")
    if let piece = open, ExactKey(piece.tensor.name) == ExactKey(name), piece.rowStart + piece.rows == rows.lowerBound,
      piece.tensor.shape == shape, piece.tensor.format == format
    {
      open!.rows += rows.count
      return shape
    }
    try closePiece()
    let tensor = StoredTensor(name: name, shape: shape, format: format, pieces: [])
    if rows.isEmpty {
      // A tensor without rows has no piece but is there.
      try add(tensor)
      return shape
    }
    let most = shape.rows - rows.lowerBound
    open = OpenPiece(
      tensor: tensor, rowStart: rows.lowerBound, rows: rows.count,
      planes: zip(StoredPlane.layout(format: format, shape: shape), buffers).map { layout, buffer in
        PlaneWriter(
          layout.kind, rowBytes: layout.rowBytes, most: most * layout.rowBytes, chunkBytes: options.chunkBytes,
          buffer: buffer)
      })
    return shape
  }

  private func append(_ bytes: Span<UInt8>, plane: Int) throws(CheckpointError) {
    guard !bytes.isEmpty else { return }
    try unsafe bytes.withUnsafeBytes { (source) throws(CheckpointError) in
      try unsafe open!.planes[plane].append(source, to: output)
    }
  }

  private func closePiece() throws(CheckpointError) {
    guard let piece = open else { return }
    open = nil
    var planes: [StoredPlane] = []
    for plane in piece.planes { planes.append(try plane.finish(to: output)) }
    var tensor = piece.tensor
    tensor.pieces = [StoredPiece(rowStart: piece.rowStart, rows: piece.rows, planes: planes)]
    try add(tensor)
  }

  private func add(_ tensor: StoredTensor) throws(CheckpointError) {
    var addition = ContainerPart()
    addition.tensors = [tensor]
    try part.merge(addition, filesFrom: 0)
  }
}
