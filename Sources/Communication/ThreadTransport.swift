#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Ranks that are threads of this process: for tests of what must not depend on the number of ranks.
///
/// A collective is: everybody publishes where its bytes are, meets, reads what the others published, meets again.
final class ThreadTransport: Transport {
  let rank: Int
  var size: Int { meeting.size }
  private let meeting: Meeting

  init(rank: Int, meeting: Meeting) {
    self.rank = rank
    self.meeting = meeting
  }

  func barrier() throws(CommunicationError) { try meet("barrier") }

  func broadcast(_ kind: Traffic, _ bytes: UnsafeMutableRawPointer, count: Int, root: Int) throws(CommunicationError) {
    unsafe meeting.published[rank] = UnsafeRawPointer(bytes)
    try meet("broadcast")
    if rank != root { unsafe bytes.copyMemory(from: meeting.published[root]!, byteCount: count) }
    try meet("broadcast")
  }

  func allGather(
    _ kind: Traffic, own: UnsafeRawPointer?, all: UnsafeMutableRawPointer, counts: UnsafePointer<Int64>
  ) throws(CommunicationError) {
    let place = unsafe all + offset(of: rank, counts)
    unsafe meeting.published[rank] = own ?? UnsafeRawPointer(place)
    try meet("allGather")
    for other in 0..<size where unsafe other != rank || own != nil {
      unsafe (all + offset(of: other, counts))
        .copyMemory(from: meeting.published[other]!, byteCount: Int(counts[other]))
    }
    try meet("allGather")
  }

  func reduce(
    _ kind: Traffic, _ values: UnsafeMutableRawPointer, count: Int, by reduction: Reduction
  ) throws(CommunicationError) {
    unsafe meeting.published[rank] = UnsafeRawPointer(values)
    try meet("reduce")
    let result = (0..<count).map { index in
      var combined: UInt64 = unsafe meeting.published[0]!.load(fromByteOffset: 8 * index, as: UInt64.self)
      for other in 1..<size {
        let next = unsafe meeting.published[other]!.load(fromByteOffset: 8 * index, as: UInt64.self)
        combined = Self.combine(combined, next, by: reduction)
      }
      return combined
    }
    try meet("reduce")
    for index in 0..<count { unsafe values.storeBytes(of: result[index], toByteOffset: 8 * index, as: UInt64.self) }
  }

  func gather(
    _ kind: Traffic, own: UnsafeRawPointer, count: Int, all: UnsafeMutableRawPointer,
    counts: UnsafePointer<Int64>, root: Int
  ) throws(CommunicationError) {
    unsafe meeting.published[rank] = own
    try meet("gather")
    if rank == root {
      for other in 0..<size {
        unsafe (all + offset(of: other, counts))
          .copyMemory(from: meeting.published[other]!, byteCount: Int(counts[other]))
      }
    }
    try meet("gather")
  }

  func sharingMemory() throws(CommunicationError) -> any Transport { self }

  func split(color: Int, key: Int) throws(CommunicationError) -> any Transport {
    meeting.colors[rank] = (color, key)
    try meet("split")
    let members = meeting.colors.indices.filter { meeting.colors[$0].color == color }
      .sorted { (meeting.colors[$0].key, $0) < (meeting.colors[$1].key, $1) }
    if members[0] == rank { meeting.addPart(color, Meeting(size: members.count)) }
    try meet("split")
    let part = meeting.part(color)
    try meet("split")
    return ThreadTransport(rank: members.firstIndex(of: rank)!, meeting: part)
  }

  func makeExchange(_ kind: Traffic) throws(CommunicationError) -> any Exchange {
    ThreadExchange(rank: rank, board: meeting.board, kind)
  }

  func abort(code: Int32) -> Never { exit(code) }

  private func meet(_ call: String) throws(CommunicationError) {
    if !meeting.wait() {
      throw CommunicationError(call: call, rank: rank, size: size, found: Meeting.peerGone)
    }
  }

  private func offset(of rank: Int, _ counts: UnsafePointer<Int64>) -> Int {
    var offset = 0
    for other in 0..<rank { unsafe offset += Int(counts[other]) }
    return offset
  }

  private static func combine(_ a: UInt64, _ b: UInt64, by reduction: Reduction) -> UInt64 {
    let (x, y) = (Int64(bitPattern: a), Int64(bitPattern: b))
    return switch reduction {
    case .sumDouble: (Double(bitPattern: a) + Double(bitPattern: b)).bitPattern
    case .sumInt64: UInt64(bitPattern: x &+ y)
    case .maximumInt64: UInt64(bitPattern: max(x, y))
    case .minimumInt64: UInt64(bitPattern: min(x, y))
    }
  }
}

/// Where the threads of one simulated job wait for one another.
///
/// Sendable by protocol of use: a rank writes its own slot before it waits, others read it between that wait and the
/// next; the lock inside `wait` orders the two.
@safe final class Meeting: @unchecked Sendable {
  static let peerGone = "another rank gave up"

  let size: Int
  /// What every rank passed to the split in progress.
  var colors: [(color: Int, key: Int)]
  /// Exchanges in flight.
  let board: ExchangeBoard
  /// Where every rank's bytes of the collective in progress are.
  let published: UnsafeMutablePointer<UnsafeRawPointer?>
  private let monitor = Monitor()
  // Guarded by `monitor`. The last split's parts by color, and all there ever were:
  private var parts: [Int: Meeting] = [:]
  private var everyPart: [Meeting] = []
  private var waiting = 0
  private var generation = 0
  private var broken = false

  init(size: Int) {
    self.size = size
    colors = Array(repeating: (0, 0), count: size)
    board = ExchangeBoard(ranks: size)
    unsafe published = .allocate(capacity: size)
    unsafe published.initialize(repeating: nil, count: size)
  }

  deinit { unsafe published.deallocate() }

  /// Returns true once all threads have called it; false as soon as one has given up.
  func wait() -> Bool {
    monitor.locked {
      let mine = generation
      waiting += 1
      if waiting == size {
        waiting = 0
        generation += 1
        monitor.wakeAll()
      }
      while generation == mine && !broken { monitor.wait() }
      return generation != mine
    }
  }

  func giveUp() {
    let parts = monitor.locked {
      broken = true
      monitor.wakeAll()
      return everyPart
    }
    board.giveUp()
    for part in parts { part.giveUp() }
  }

  func addPart(_ color: Int, _ part: Meeting) {
    monitor.locked {
      parts[color] = part
      everyPart.append(part)
    }
  }

  func part(_ color: Int) -> Meeting { monitor.locked { parts[color]! } }
}

extension Communicator {
  /// Runs `body` on `ranks` threads of this process, each with a communicator of its own, and returns their results in
  /// rank order. Once a body throws, the others' next collective throws too; the first cause is rethrown.
  ///
  /// For tests: it shows on one machine, without a launcher, whether a result depends on the number of ranks.
  ///
  /// - Parameter nodes: how the ranks lie on nodes; one node unless said otherwise.
  public static func onThreads<Result: Sendable>(
    _ ranks: Int, nodes: NodeMap? = nil, _ body: @escaping @Sendable (Communicator) throws -> Result
  ) throws -> [Result] {
    precondition(ranks > 0, "\(ranks) ranks")
    let meeting = Meeting(size: ranks)
    let work = (0..<ranks).map { rank in
      RankThread {
        do {
          let communicator = Communicator(ThreadTransport(rank: rank, meeting: meeting))
          try communicator.findNodes(nodes ?? NodeMap(sizes: [ranks]))
          return .success(try body(communicator))
        } catch {
          meeting.giveUp()
          return .failure(error)
        }
      }
    }
    let results = work.map { $0.join() }
    let errors = results.compactMap { result in
      if case .failure(let error) = result { error } else { nil }
    }
    let cause = errors.first { ($0 as? CommunicationError)?.found != Meeting.peerGone }
    if let error = cause ?? errors.first { throw error }
    return try results.map { try $0.get() }
  }
}

/// One thread and its result. The result is written before the thread ends and read after it was joined.
@safe private final class RankThread<Value: Sendable>: @unchecked Sendable {
  private let body: @Sendable () -> Result<Value, any Error>
  private var thread = pthread_t()
  private var result: Result<Value, any Error>?

  init(_ body: @escaping @Sendable () -> Result<Value, any Error>) {
    self.body = body
    let run = ThreadBody { [unowned self] in self.result = self.body() }
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        unsafe Unmanaged<ThreadBody>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(run).toOpaque())
    precondition(code == 0, "pthread_create returned \(code)")
  }

  func join() -> Result<Value, any Error> {
    pthread_join(thread, nil)
    return result!
  }
}

/// A non-generic box, because a C function pointer cannot be formed from a generic closure.
private final class ThreadBody {
  let run: () -> Void
  init(_ run: @escaping () -> Void) { self.run = run }
}
