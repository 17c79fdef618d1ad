
/// What a rank's peak memory will be, before the first page is touched.
public struct MemoryForecast: Sendable {
  public let parts: [(purpose: String, bytes: Int)]

  /// Memory of the process besides the arenas: program and libraries, MPI's segments, OpenBLAS's packing buffer.
  static let programBytes = 36 << 20
  static let mpiBytes = 24 << 20

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
