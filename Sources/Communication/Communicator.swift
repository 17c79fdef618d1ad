import CMPIShims
import Tensors

/// The ranks of a job, as seen by one of them.
///
/// Three carriers with identical semantics: MPI processes (`world()` under a launcher), a single rank without MPI
/// (`solo()`), and the threads of one process (`onThreads`, for tests). All calls are collective and blocking: every rank
/// makes the same calls in the same order. A communicator belongs to the thread that made it, which is why it is not
/// `Sendable`.
///
/// Determinism: nothing here adds floats of different ranks, except `sumDisjoint`, which is exact because every slot
/// has one owner. Gradients are summed by `GradientReducer`, on the exact wire in the order of lanes, losses and norms by
/// `OrderedSum` in the order of slots: neither knows the number of ranks.
///
/// - Note: One lives as long as the process; its MPI communicators are not freed.
public final class Communicator {
  public let rank: Int
  public let size: Int
  public var isRoot: Bool { rank == 0 }
  /// Bytes, calls and seconds since this communicator was made, those of its parts included.
  public var statistics: CommunicationStatistics { book.statistics }
  /// The nodes of the job; of a communicator that is a part of another there is none.
  public private(set) var topology: Topology?

  /// What carries the bytes.
  public enum Carrier: Sendable, Hashable { case solo, threads, mpi }
  public var carrier: Carrier { transport is MPITransport ? .mpi : transport is SoloTransport ? .solo : .threads }

  let transport: any Transport
  /// Room for small control messages, so that none of them allocates: `size` digests of `ContentDigest.wordCount` words.
  var digests: HostBuffer<UInt64>
  var digestCounts: HostBuffer<Int64>
  var integer: HostBuffer<Int64>
  var byteCounts: HostBuffer<Int64>
  /// Node of every rank, once it is known.
  var nodes: [Int]
  private let book: StatisticsBook
  private var sequences: [Int]

  init(_ transport: any Transport, book: StatisticsBook = StatisticsBook()) {
    self.transport = transport
    self.book = book
    nodes = Array(repeating: 0, count: transport.size)
    sequences = Array(repeating: 0, count: Traffic.allCases.count)
    rank = transport.rank
    size = transport.size
    let arena = Arena("communicator")
    digests = HostBuffer(count: transport.size * ContentDigest.wordCount, in: arena)
    digestCounts = HostBuffer(count: transport.size, in: arena)
    integer = HostBuffer(count: 1, in: arena)
    byteCounts = HostBuffer(count: transport.size, in: arena)
    for rank in 0..<transport.size { digestCounts[rank] = Int64(ContentDigest.wordCount * 8) }
  }

  /// One rank, no MPI.
  public static func solo() -> Communicator {
    let communicator = Communicator(SoloTransport())
    do { try communicator.findNodes() } catch { preconditionFailure("\(error)") }
    return communicator
  }

  /// Finds out which ranks share memory and makes the communicators along and across nodes. Collective.
  ///
  /// - Parameter map: instead of what is found.
  func findNodes(_ map: NodeMap? = nil) throws(CommunicationError) {
    var given = map
    if given == nil { given = try NodeMap.fromEnvironment(ranks: size) }
    if let given {
      topology = try Topology(self, given)
      return
    }
    // A node's name is the lowest of its ranks.
    let lowest = try Communicator(try transport.sharingMemory(), book: book).minimum(Int64(rank))
    let arena = Arena("nodes")
    var own = HostBuffer<Int64>(count: 1, in: arena), all = HostBuffer<Int64>(count: size, in: arena)
    var counts = HostBuffer<Int64>(count: size, in: arena)
    own[0] = lowest
    for rank in 0..<size { counts[rank] = 1 }
    try allGather(own, into: &all, counts: counts)
    topology = try Topology(self, NodeMap(labels: (0..<size).map { all[$0] }))
  }

  /// The ranks that pass the same color, in the order of `key`. Collective.
  func split(color: Int, key: Int) throws(CommunicationError) -> Communicator {
    Communicator(try transport.split(color: color, key: key), book: book)
  }

  /// Numbers the exchanges of a kind, which start in the same order on every rank.
  func nextSequence(_ kind: Traffic) -> Int {
    defer { sequences[kind.rawValue] += 1 }
    return sequences[kind.rawValue]
  }

  func isOnOtherNode(_ other: Int) -> Bool { nodes[other] != nodes[rank] }
  /// Ranks that do not share this one's memory.
  private var remoteCount: Int { nodes.count { $0 != nodes[rank] } }

  // MARK: Calls on raw memory

  /// Returns once every rank has called it.
  public func barrier() throws(CommunicationError) {
    let start = cmpi_wtime()
    defer { record(.control, bytes: 0, betweenNodes: 0, since: start) }
    try transport.barrier()
  }

  /// `count` bytes of `root` to every rank.
  package func broadcast(
    _ kind: Traffic, _ bytes: UnsafeMutableRawPointer, count: Int, from root: Int
  ) throws(CommunicationError) {
    precondition(count >= 0 && root >= 0 && root < size, "broadcast of \(count) bytes from rank \(root) of \(size)")
    let start = cmpi_wtime()
    defer {
      record(
        kind, bytes: rank == root ? count * (size - 1) : 0, betweenNodes: rank == root ? count * remoteCount : 0, since: start)
    }
    unsafe try transport.broadcast(kind, bytes, count: count, root: root)
  }

  /// The ranks' bytes one after another into `all`, `counts[r]` of rank r; `own == nil`: mine already lie in place.
  package func allGather(
    _ kind: Traffic, own: UnsafeRawPointer?, into all: UnsafeMutableRawPointer, counts: UnsafePointer<Int64>
  ) throws(CommunicationError) {
    let start = cmpi_wtime()
    let count = unsafe Int(counts[rank])
    defer { record(kind, bytes: count * (size - 1), betweenNodes: count * remoteCount, since: start) }
    unsafe try transport.allGather(kind, own: own, all: all, counts: counts)
  }

  func reduce(
    _ kind: Traffic, _ values: UnsafeMutableRawPointer, count: Int, by reduction: Reduction
  ) throws(CommunicationError) {
    let start = cmpi_wtime()
    defer {
      record(kind, bytes: size > 1 ? count * 8 : 0, betweenNodes: remoteCount > 0 ? count * 8 : 0, since: start)
    }
    unsafe try transport.reduce(kind, values, count: count, by: reduction)
  }

  func gather(
    _ kind: Traffic, own: UnsafeRawPointer, count: Int, all: UnsafeMutableRawPointer,
    counts: UnsafePointer<Int64>, root: Int
  ) throws(CommunicationError) {
    let start = cmpi_wtime()
    defer {
      record(kind, bytes: rank == root ? 0 : count, betweenNodes: isOnOtherNode(root) ? count : 0, since: start)
    }
    unsafe try transport.gather(kind, own: own, count: count, all: all, counts: counts, root: root)
  }

  private func record(_ kind: Traffic, bytes: Int, betweenNodes: Int, since start: Double) {
    let seconds = cmpi_wtime() - start
    record(kind, bytes: bytes, betweenNodes: betweenNodes, seconds: seconds, span: seconds)
  }

  /// - Parameters:
  ///   - seconds: in which this rank did nothing else.
  ///   - span: from the start to the end that was seen.
  func record(_ kind: Traffic, bytes: Int, betweenNodes: Int, seconds: Double, span: Double) {
    var flow = book.statistics[kind]
    flow.bytesSent += bytes
    flow.bytesBetweenNodes += betweenNodes
    flow.calls += 1
    flow.seconds += seconds
    flow.span += span
    book.statistics[kind] = flow
  }
}

/// What a communicator and its parts count together.
final class StatisticsBook {
  var statistics = CommunicationStatistics()
}
