extension ContainerManifest {
  /// Checks every number and name before anything is allocated or addressed by it.
  ///
  /// Afterwards holds: names are plain, unique and not the manifest's; the pieces of a tensor cover its rows once; its
  /// planes are those of its format; chunks cover a plane's bytes once, each of 1...64 MiB; the chunks of a data file
  /// follow each other without hole or overlap from byte 0 to the seek table; no sum overflows.
  func validate(path: String) throws(CheckpointError) {
    let reader = FieldReader(path: path)
    try validateNames(reader)
    var frames = [[(offset: Int, stored: Int)]](repeating: [], count: files.count)
    var names: Set<String> = []
    for tensor in tensors {
      let reader = reader.within(tensor: tensor.name)
      guard !tensor.name.isEmpty, tensor.name.utf8.count <= 1024 else {
        throw reader.refuse("a name of 1 to 1024 bytes", "\(tensor.name.utf8.count)")
      }
      guard names.insert(tensor.name).inserted else { throw reader.refuse("each tensor once", "two of that name") }
      try Self.validateFormatName(tensor.format, reader)
      guard kind != .checkpoint || tensor.isDense else {
        throw reader.refuse("\(StoredTensor.dense) in a checkpoint", tensor.format)
      }
      var row = 0
      for piece in tensor.pieces {
        guard piece.rowStart == row, piece.rows > 0, piece.rows <= tensor.shape.rows - row else {
          throw reader.refuse(
            "rows from \(row) on, within \(tensor.shape.rows)", "\(piece.rows) rows from \(piece.rowStart) on")
        }
        row += piece.rows
        try validate(piece, of: tensor, &frames, reader)
      }
      guard row == tensor.shape.rows else { throw reader.refuse("\(tensor.shape.rows) rows", "\(row)") }
    }
    for (index, file) in files.enumerated() {
      var end = 0
      for frame in frames[index].sorted(by: { $0.offset < $1.offset }) {
        guard frame.offset == end else {
          throw reader.refuse(
            "a chunk at byte \(end) of \(file.name)", frame.offset < end ? "an overlap" : "a hole up to \(frame.offset)"
          )
        }
        end += frame.stored
      }
      let expected = end + SeekTable.byteCount(entries: frames[index].count)
      guard expected == file.size else {
        throw reader.refuse("\(file.name) of \(expected) bytes", "\(file.size)")
      }
    }
  }

  private func validateNames(_ reader: FieldReader) throws(CheckpointError) {
    if case .anchor(let format, _) = kind { try Self.validateFormatName(format, reader) }
    for file in sidecars where file.size > ContainerWriter.sidecarLimit {
      throw reader.refuse("sidecars of at most \(ContainerWriter.sidecarLimit) bytes", "\(file.size) of \(file.name)")
    }
    var names: Set<String> = [Self.fileName]
    for file in files + sidecars {
      guard Directories.isPlainName(file.name) else {
        throw reader.refuse("names of files inside the directory", "\"\(file.name)\"")
      }
      guard names.insert(file.name).inserted else {
        throw reader.refuse("each file once", "\"\(file.name)\" twice")
      }
    }
  }

  private static func validateFormatName(_ name: String, _ reader: FieldReader) throws(CheckpointError) {
    let allowed = name.utf8.allSatisfy { byte in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        || byte == UInt8(ascii: "_")
    }
    guard (1...32).contains(name.utf8.count), allowed else {
      throw reader.refuse("a format name of lower-case letters, digits and _", "\"\(name)\"")
    }
  }

  private func validate(
    _ piece: StoredPiece, of tensor: StoredTensor, _ frames: inout [[(offset: Int, stored: Int)]],
    _ reader: FieldReader
  ) throws(CheckpointError) {
    let layout = StoredPlane.layout(format: tensor.format, shape: tensor.shape)
    guard piece.planes.map(\.kind) == layout.map(\.kind) else {
      throw reader.refuse(
        "planes \(layout.map(\.kind.rawValue).joined(separator: ", "))",
        piece.planes.map(\.kind.rawValue).joined(separator: ", "))
    }
    for (plane, expected) in zip(piece.planes, layout) {
      guard plane.size == piece.rows * expected.rowBytes else {
        throw reader.refuse("plane \(plane.kind) of \(piece.rows * expected.rowBytes) bytes", "\(plane.size)")
      }
      var start = 0
      for chunk in plane.chunks {
        guard chunk.start == start, chunk.size > 0, chunk.size <= min(plane.size - start, ZstdFrame.contentLimit) else {
          throw reader.refuse(
            "a chunk of plane \(plane.kind) at byte \(start), within \(plane.size)",
            "\(chunk.size) bytes at \(chunk.start)")
        }
        guard files.indices.contains(chunk.file) else {
          throw reader.refuse("a file index below \(files.count)", "\(chunk.file)")
        }
        let limit = chunk.isRaw ? RawFrame.size(content: chunk.size) : ZstdFrame.sizeLimit(content: chunk.size)
        guard chunk.storedSize > 0, chunk.storedSize <= limit, chunk.offset <= files[chunk.file].size,
          chunk.storedSize <= files[chunk.file].size - chunk.offset
        else {
          throw reader.refuse(
            "a frame within \(files[chunk.file].name)", "\(chunk.storedSize) bytes at \(chunk.offset)")
        }
        frames[chunk.file].append((chunk.offset, chunk.storedSize))
        start += chunk.size
      }
      guard start == plane.size else {
        throw reader.refuse("chunks for \(plane.size) bytes of plane \(plane.kind)", "for \(start)")
      }
    }
  }
}
