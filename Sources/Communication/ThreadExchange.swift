/// Exchanges between threads: a sender lays copies of its segments on a board, a receiver takes its own when all are there.
@safe final class ThreadExchange: Exchange {
  private let rank: Int
  private let board: ExchangeBoard
  private let kind: Traffic
  private var key = ExchangeBoard.Key(kind: .control, tag: 0)
  private var receive: UnsafeMutableRawPointer?
  private var offsets: [Int64] = [], counts: [Int64] = []
  private var isPending = false

  init(rank: Int, board: ExchangeBoard, _ kind: Traffic) {
    self.rank = rank
    self.board = board
    self.kind = kind
  }

  func start(
    _ plan: ExchangePlan, tag: Int, send: UnsafeRawPointer, receive: UnsafeMutableRawPointer
  ) throws(CommunicationError) {
    key = ExchangeBoard.Key(kind: kind, tag: tag)
    unsafe self.receive = receive
    offsets = plan.receiveOffsets
    counts = plan.receiveCounts
    isPending = true
    let segments = (0..<board.ranks).map { other in
      unsafe other == rank
        ? [] : Array(UnsafeRawBufferPointer(start: send + Int(plan.sendOffsets[other]), count: Int(plan.sendCounts[other])))
    }
    board.lay(segments, of: rank, at: key)
  }

  func test() throws(CommunicationError) -> Bool { try take(waiting: false) }

  func wait() throws(CommunicationError) { _ = try take(waiting: true) }

  private func take(waiting: Bool) throws(CommunicationError) -> Bool {
    guard isPending else { return true }
    guard let segments = try board.take(rank: rank, at: key, waiting: waiting) else { return false }
    isPending = false
    for (other, bytes) in segments.enumerated() where other != rank {
      precondition(bytes.count == Int(counts[other]),
        "rank \(rank) expects \(counts[other]) bytes of rank \(other), which sends \(bytes.count)")
      guard !bytes.isEmpty else { continue }
      unsafe bytes.withUnsafeBytes { source in
        unsafe (receive! + Int(offsets[other])).copyMemory(from: source.baseAddress!, byteCount: source.count)
      }
    }
    return true
  }
}

/// Where the threads of one job leave bytes for one another.
final class ExchangeBoard: @unchecked Sendable {
  struct Key: Hashable {
    let kind: Traffic
    let tag: Int
  }

  /// segments[sender][receiver], and how many senders and receivers have been there.
  private struct Exchange {
    var segments: [[[UInt8]]]
    var senders = 0
    var receivers = 0
  }

  let ranks: Int
  private let monitor = Monitor()
  // Guarded by `monitor`.
  private var exchanges: [Key: Exchange] = [:]
  private var broken = false

  init(ranks: Int) { self.ranks = ranks }

  func lay(_ segments: [[UInt8]], of rank: Int, at key: Key) {
    monitor.locked {
      var exchange = exchanges[key] ?? Exchange(segments: Array(repeating: [], count: ranks))
      exchange.segments[rank] = segments
      exchange.senders += 1
      exchanges[key] = exchange
      monitor.wakeAll()
    }
  }

  /// What every rank sent to `rank`; nil while one is missing and the caller does not wait.
  func take(rank: Int, at key: Key, waiting: Bool) throws(CommunicationError) -> [[UInt8]]? {
    try monitor.locked { () throws(CommunicationError) in
      while !broken, exchanges[key]?.senders != ranks {
        if !waiting { return nil }
        monitor.wait()
      }
      guard !broken, var exchange = exchanges[key] else {
        throw CommunicationError(call: "exchange", rank: rank, size: ranks, found: Meeting.peerGone)
      }
      let own = exchange.segments.map { $0[rank] }
      exchange.receivers += 1
      exchanges[key] = exchange.receivers == ranks ? nil : exchange
      return own
    }
  }

  func giveUp() {
    monitor.locked {
      broken = true
      monitor.wakeAll()
    }
  }
}
