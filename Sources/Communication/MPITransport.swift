import CMPIShims

/// Ranks that are MPI processes.
///
/// Blocking calls from the thread that started MPI (`MPI_THREAD_FUNNELED`). Every kind of traffic has a duplicate of the
/// world, so that a call made out of order in one concern cannot be answered by another.
final class MPITransport: Transport {
  let rank: Int
  let size: Int
  private let gradients: cmpi_comm
  private let weights: cmpi_comm
  private let control: cmpi_comm

  /// The ranks of the whole job; starts MPI at first use. Collective.
  static func world() throws(CommunicationError) -> MPITransport {
    let started = cmpi_init()
    guard started == 0 else {
      throw CommunicationError(call: "MPI_Init_thread", rank: -1, size: 0, code: started, found: text(of: started),
        hint: "Start ranks with the mpirun that belongs to the linked library (\(library))")
    }
    return try MPITransport(over: cmpi_world())
  }

  /// Takes duplicates of `comm`. They are never freed: communicators live as long as the process.
  private init(over comm: cmpi_comm) throws(CommunicationError) {
    var rank: Int32 = -1
    var size: Int32 = 0
    unsafe try Self.check(cmpi_rank(comm, &rank), "MPI_Comm_rank", rank: -1, size: 0)
    unsafe try Self.check(cmpi_size(comm, &size), "MPI_Comm_size", rank: Int(rank), size: 0)
    var copies = (cmpi_comm(), cmpi_comm(), cmpi_comm())
    unsafe try Self.check(cmpi_dup(comm, &copies.0), "MPI_Comm_dup", rank: Int(rank), size: Int(size))
    unsafe try Self.check(cmpi_dup(comm, &copies.1), "MPI_Comm_dup", rank: Int(rank), size: Int(size))
    unsafe try Self.check(cmpi_dup(comm, &copies.2), "MPI_Comm_dup", rank: Int(rank), size: Int(size))
    self.rank = Int(rank)
    self.size = Int(size)
    (gradients, weights, control) = copies
  }

  /// Name and version of the linked library.
  static var library: String {
    var words = [CChar](repeating: 0, count: 256)
    unsafe words.withUnsafeMutableBufferPointer { unsafe cmpi_library_text($0.baseAddress, Int32($0.count)) }
    return String(decoding: words.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  // MARK: Transport

  func barrier() throws(CommunicationError) {
    try check(cmpi_barrier(on(.control)), "MPI_Barrier")
  }

  func broadcast(_ kind: Traffic, _ bytes: UnsafeMutableRawPointer, count: Int, root: Int) throws(CommunicationError) {
    unsafe try check(cmpi_bcast(on(kind), bytes, Int64(count), Int32(root)), "MPI_Bcast")
  }

  func allGather(
    _ kind: Traffic, own: UnsafeRawPointer?, all: UnsafeMutableRawPointer, counts: UnsafePointer<Int64>
  ) throws(CommunicationError) {
    unsafe try check(cmpi_allgatherv(on(kind), own, all, counts), "MPI_Allgatherv")
  }

  func reduce(
    _ kind: Traffic, _ values: UnsafeMutableRawPointer, count: Int, by reduction: Reduction
  ) throws(CommunicationError) {
    let operation =
      switch reduction {
      case .sumDouble: CMPI_SUM_DOUBLE
      case .sumInt64: CMPI_SUM_INT64
      case .maximumInt64: CMPI_MAX_INT64
      case .minimumInt64: CMPI_MIN_INT64
      }
    unsafe try check(cmpi_allreduce(on(kind), values, Int64(count), operation), "MPI_Allreduce")
  }

  func gather(
    _ kind: Traffic, own: UnsafeRawPointer, count: Int, all: UnsafeMutableRawPointer,
    counts: UnsafePointer<Int64>, root: Int
  ) throws(CommunicationError) {
    unsafe try check(cmpi_gatherv(on(kind), own, Int64(count), all, counts, Int32(root)), "gather to rank \(root)")
  }

  func sharingMemory() throws(CommunicationError) -> any Transport {
    var node = cmpi_comm()
    unsafe try check(cmpi_split_shared(on(.control), &node), "MPI_Comm_split_type")
    return try MPITransport(over: node)
  }

  func split(color: Int, key: Int) throws(CommunicationError) -> any Transport {
    var part = cmpi_comm()
    unsafe try check(cmpi_split(on(.control), Int32(color), Int32(key), &part), "MPI_Comm_split")
    return try MPITransport(over: part)
  }

  func makeExchange(_ kind: Traffic) throws(CommunicationError) -> any Exchange {
    guard let exchange = unsafe cmpi_exchange_make() else {
      throw CommunicationError(
        call: "cmpi_exchange_make", rank: rank, size: size, code: Int32(CMPI_ERROR_MEMORY), found: "out of memory")
    }
    return unsafe MPIExchange(exchange, on: self, kind)
  }

  func abort(code: Int32) -> Never { cmpi_abort(code) }

  // MARK: Private

  /// The communicator of a kind; traps off the thread that MPI was started on, because a second thread inside the
  /// library is undefined at the level we ask for.
  fileprivate func on(_ kind: Traffic) -> cmpi_comm {
    precondition(cmpi_is_own_thread(), "rank \(rank): MPI called from a thread other than the one that started it")
    return switch kind {
    case .gradients: gradients
    case .weights: weights
    case .control: control
    }
  }

  fileprivate func check(_ code: Int32, _ call: @autoclosure () -> String) throws(CommunicationError) {
    if code != 0 { try Self.check(code, call(), rank: rank, size: size) }
  }

  private static func check(_ code: Int32, _ call: String, rank: Int, size: Int) throws(CommunicationError) {
    guard code != 0 else { return }
    throw CommunicationError(call: call, rank: rank, size: size, code: code, found: text(of: code))
  }

  private static func text(of code: Int32) -> String {
    var words = [CChar](repeating: 0, count: 512)
    unsafe words.withUnsafeMutableBufferPointer { unsafe cmpi_error_text(code, $0.baseAddress, Int32($0.count)) }
    return String(decoding: words.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

/// Point-to-point messages to and from every rank.
@safe private final class MPIExchange: Exchange {
  private let exchange: OpaquePointer
  private let transport: MPITransport
  private let kind: Traffic

  init(_ exchange: OpaquePointer, on transport: MPITransport, _ kind: Traffic) {
    unsafe self.exchange = exchange
    self.transport = transport
    self.kind = kind
  }

  deinit { unsafe cmpi_exchange_free(exchange) }

  func start(
    _ plan: ExchangePlan, tag: Int, send: UnsafeRawPointer, receive: UnsafeMutableRawPointer
  ) throws(CommunicationError) {
    let code = unsafe cmpi_exchange_start(
      exchange, transport.on(kind), Int32(tag), send, plan.sendOffsets, plan.sendCounts, receive, plan.receiveOffsets,
      plan.receiveCounts)
    try transport.check(code, "exchange of \(kind)")
  }

  func test() throws(CommunicationError) -> Bool {
    var done = false
    unsafe try transport.check(cmpi_exchange_test(exchange, &done), "MPI_Testall of \(kind)")
    return done
  }

  func wait() throws(CommunicationError) {
    unsafe try transport.check(cmpi_exchange_wait(exchange), "MPI_Waitall of \(kind)")
  }
}

extension Communicator {
  /// The longest single MPI transfer in bytes; longer ones are cut into chunks. For tests of the cutting: lower it on
  /// every rank alike, from the communicating thread.
  package static var mpiChunkLimit: Int {
    get { Int(cmpi_chunk_limit()) }
    set { cmpi_set_chunk_limit(Int64(newValue)) }
  }
}
