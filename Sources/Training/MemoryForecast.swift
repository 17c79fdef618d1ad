import Communication

/// What a rank's peak memory will be, before the first page is touched.
public struct MemoryForecast: Sendable {
  public let parts: [(purpose: String, bytes: Int)]

  /// Memory of the process besides the arenas: program and libraries, OpenBLAS's packing buffer, MPI's segments.
  ///
  /// Measured as peak less arenas: 29 MiB for a model of 0.1 million parameters, whose products touch little of the
  /// packing buffer, 32 for 15 million, 36 for 160 million; 7 more under MPI on 2 to 6 ranks of one node.
  static let programBytes = 32 << 20
  static let mpiBytes = 8 << 20

  public var total: Int { parts.reduce(0) { $0 + $1.bytes } }

  init(_ memory: TrainerMemory, tokenBytes: Int, ranks: Int) {
    parts = memory.byPurpose.filter { $0.bytes > 0 } + [
      ("text", tokenBytes), ("program", Self.programBytes + (ranks > 1 ? Self.mpiBytes : 0)),
    ]
  }

  public var lines: [String] {
    parts.map { "\(Figures.bytes($0.bytes))  \($0.purpose)" } + ["\(Figures.bytes(total))  in all, per rank"]
  }
}

extension Trainer {
  /// What the peak will be; known before the first step.
  public var memoryForecast: MemoryForecast {
    MemoryForecast(memory, tokenBytes: tokenBytes, ranks: communicator.size)
  }
}
