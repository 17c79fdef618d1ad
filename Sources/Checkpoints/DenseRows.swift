import Synchronization

/// Rows of an fp32 tensor in memory that outlives the work on it: what a rank writes into a container and reads back.
///
/// It owns nothing: whoever made it keeps the memory alive, and says by whom it may be touched when.
@safe public struct DenseRows: @unchecked Sendable {
  /// The tensor's name, and its size as a matrix.
  public let name: String
  public let tensorRows: Int
  public let columns: Int
  /// Those of the tensor's rows that it is about.
  public let rows: Range<Int>
  /// (rows, columns). While writers read it nobody writes it; while readers fill it nobody else touches it.
  let values: UnsafeMutablePointer<Float>

  /// - Parameters:
  ///   - name: of the tensor in the container.
  ///   - tensorRows: rows of the whole tensor; a vector of n is n x 1.
  ///   - rows: those of them that lie at `values`, within 0 ..< `tensorRows`.
  ///   - values: (rows, columns), row-major.
  public init(
    _ name: String, tensorRows: Int, columns: Int, rows: Range<Int>, values: UnsafeMutablePointer<Float>
  ) {
    precondition(
      rows.lowerBound >= 0 && rows.upperBound <= tensorRows, "rows \(rows) of \(name), \(tensorRows) x \(columns)")
    (self.name, self.tensorRows, self.columns, self.rows) = (name, tensorRows, columns, rows)
    unsafe self.values = values
  }

  /// Values.
  public var count: Int { rows.count * columns }
  var shape: [Int] { [tensorRows, columns] }

  /// The part of it that is `part` of the tensor's rows.
  func extracting(_ part: Range<Int>) -> DenseRows {
    precondition(rows.lowerBound <= part.lowerBound && part.upperBound <= rows.upperBound, "rows \(part) of \(rows)")
    return unsafe DenseRows(
      name, tensorRows: tensorRows, columns: columns, rows: part,
      values: values + (part.lowerBound - rows.lowerBound) * columns)
  }

  /// The same rows of other memory.
  public func moved(to values: UnsafeMutablePointer<Float>) -> DenseRows {
    unsafe DenseRows(name, tensorRows: tensorRows, columns: columns, rows: rows, values: values)
  }

  /// Copies the values into the memory of `other`, of as many.
  public func copy(to other: DenseRows) {
    precondition(count == other.count, "\(count) values of \(name) to \(other.count) of \(other.name)")
    unsafe other.values.update(from: values, count: count)
  }

  var span: Span<Float> {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(Span(_unsafeStart: values, count: count), borrowing: self) }
  }
}

// MARK: Writing

extension ContainerPartWriter {
  /// Writes `pieces` into data files of `directory`, with `threads` threads that each write files of their own, and says
  /// what is in them. The same pieces and threads give the same files.
  ///
  /// Memory: what `threads` part writers take, whatever the number and size of the pieces.
  ///
  /// - Parameters:
  ///   - pieces: not written by anyone until this returns; those of one tensor need not be in order.
  ///   - directory: the temporary directory of the container, the same for all ranks.
  ///   - writer: the rank; its threads take the names that follow each other from `writer * threads` on: all ranks are
  ///     given the same number of threads.
  /// - Returns: what the root gathers and gives to `ContainerWriter.add`.
  public static func write(
    _ pieces: [DenseRows], into directory: String, writer: Int, threads: Int, options: ContainerOptions
  ) throws -> ContainerPart {
    let shares = DenseRows.shares(of: pieces, threads)
    let parts = Mutex([ContainerPart](repeating: ContainerPart(), count: threads))
    try ParallelWork.run(threads, threads: threads, worker: {}) { _, thread in
      let output = ContainerPartWriter(directory: directory, writer: writer * threads + thread, options: options)
      for piece in shares[thread] {
        try output.addDense(name: piece.name, shape: piece.shape, rows: piece.rows, values: piece.span)
        FaultPoint.middleOfFile.reached()
      }
      let part = try output.finish()
      parts.withLock { $0[thread] = part }
    }
    var whole = ContainerPart()
    for part in parts.withLock(\.self) { try whole.merge(part) }
    return whole
  }
}

extension DenseRows {
  /// The pieces in order, cut into `count` runs of about as many values each; only whole rows.
  static func shares(of pieces: [DenseRows], _ count: Int) -> [[DenseRows]] {
    let total = pieces.reduce(0) { $0 + $1.count }
    var shares = [[DenseRows]](repeating: [], count: count)
    var share = 0, done = 0
    for piece in pieces where piece.count > 0 {
      var row = piece.rows.lowerBound
      while row < piece.rows.upperBound {
        let room = total * (share + 1) / count - done
        let rows = share == count - 1
          ? piece.rows.upperBound - row
          : min(piece.rows.upperBound - row, max(0, room + piece.columns - 1) / piece.columns)
        if rows > 0 { shares[share].append(piece.extracting(row..<row + rows)) }
        row += rows
        done += rows * piece.columns
        if done >= total * (share + 1) / count, share < count - 1 { share += 1 }
      }
    }
    return shares
  }
}

// MARK: Reading

extension TensorContainer {
  /// Fills `destinations`, with `threads` threads that each take a run of chunks. Every chunk is checked against its hash.
  ///
  /// Each thread has a reader of its own, with a chunk of each plane. Values are those that were written, whatever the
  /// pieces and chunks of the container. After an error what has been filled is undefined.
  ///
  /// - Throws: `CheckpointError` where the container has no such tensor or one of another size, and for damage.
  public func read(_ destinations: [DenseRows], threads: Int) throws {
    var jobs: [DenseRows] = []
    for destination in destinations where destination.count > 0 {
      let tensor = try requireTensor(destination.name)
      guard tensor.shape.dimensions == destination.shape, tensor.isDense else {
        throw CheckpointError(
          "read", path: directory, tensor: destination.name, expected: "\(destination.shape) of \(StoredTensor.dense)",
          found: "\(tensor.shape) of \(tensor.format)")
      }
      jobs += tensor.cuts(in: destination.rows).map { destination.extracting($0) }
    }
    let container = SharedContainer(self), cut = jobs
    try ParallelWork.run(jobs.count, threads: threads, worker: { container.another() }) { reader, index in
      let job = cut[index]
      // While this run is decoded the disk fetches the one that this thread will probably take next.
      if index == 0 { for first in cut.indices.prefix(threads) { try reader.prefetch(cut[first]) } }
      if index + threads < cut.count { try reader.prefetch(cut[index + threads]) }
      var values = unsafe MutableSpan(_unsafeStart: job.values, count: job.count)
      try reader.readDense(job.name, rows: job.rows, into: &values)
    }
  }
}

extension TensorContainer {
  /// Lets the system begin to read the chunks of these rows.
  fileprivate func prefetch(_ rows: DenseRows) throws(CheckpointError) {
    for piece in try requireTensor(rows.name).pieces {
      let part = rows.rows.clamped(to: piece.rowStart..<piece.rowStart + piece.rows)
      guard !part.isEmpty else { continue }
      let first = (part.lowerBound - piece.rowStart) * rows.columns
      let wanted = first..<first + part.count * rows.columns
      for chunk in piece.planes.lazy.flatMap(\.chunks) where wanted.overlaps(chunk.start..<chunk.start + chunk.size) {
        files[chunk.file].prefetch(chunk.range)
      }
    }
  }
}

/// Gives each thread a reader of its own.
private struct SharedContainer: @unchecked Sendable {
  private let container: TensorContainer
  init(_ container: TensorContainer) { self.container = container }
  func another() -> TensorContainer { TensorContainer(sharing: container) }
}

extension StoredTensor {
  /// `rows` cut where chunks of the first plane begin, so that no chunk is decoded for two of the parts.
  fileprivate func cuts(in rows: Range<Int>) -> [Range<Int>] {
    var starts: [Int] = [rows.lowerBound]
    for piece in pieces {
      for chunk in piece.planes[0].chunks where chunk.start % shape.columns == 0 {
        let row = piece.rowStart + chunk.start / shape.columns
        if row > starts.last!, row < rows.upperBound { starts.append(row) }
      }
    }
    return zip(starts, starts.dropFirst() + [rows.upperBound]).map { $0..<$1 }
  }
}
