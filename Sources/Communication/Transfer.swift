import CMPIShims
package import Tensors

/// The two runs of bytes that an exchange works on. It has one owner: the caller, or the transfer in flight.
package struct ExchangeBuffers: ~Copyable {
  package var send: HostBuffer<UInt8>
  package var receive: HostBuffer<UInt8>

  package init(send: Int, receive: Int, in arena: Arena) {
    self.send = HostBuffer(count: send, in: arena)
    self.receive = HostBuffer(count: receive, in: arena)
  }
}

/// Bytes on their way to every rank of a communicator and from every rank.
///
/// A transfer owns its buffers from start to finish and is not copyable: that a buffer in flight cannot be read or written
/// is checked by the compiler.
///
///     var transfer = try channel.start(plan, tag: 3, buffers)   // consumes `buffers`
///     while computing { _ = try transfer.poll() }
///     buffers = try transfer.finish()                           // consumes the transfer, gives them back
package struct Transfer: ~Copyable {
  private var buffers: ExchangeBuffers
  private let channel: ExchangeChannel

  fileprivate init(_ buffers: consuming ExchangeBuffers, on channel: ExchangeChannel) {
    self.buffers = buffers
    self.channel = channel
  }

  /// Moves bytes; true once they are all there. `finish` still has to be called.
  package func poll() throws(CommunicationError) -> Bool { try channel.poll() }

  /// Waits for the rest and gives the buffers back.
  package consuming func finish() throws(CommunicationError) -> ExchangeBuffers {
    try channel.wait()
    return buffers
  }
}

/// One place for an exchange of one kind of traffic; another may start when the one before has finished.
package final class ExchangeChannel {
  private let communicator: Communicator
  private let kind: Traffic
  private let exchange: any Exchange
  private var isDone = true
  private var startedAt = 0.0, exposed = 0.0
  private var bytes = 0, bytesBetweenNodes = 0

  package init(_ communicator: Communicator, _ kind: Traffic) throws(CommunicationError) {
    self.communicator = communicator
    self.kind = kind
    exchange = try communicator.transport.makeExchange(kind)
  }

  /// - Parameter tag: see `Exchange.start`.
  package func start(
    _ plan: ExchangePlan, tag: Int, _ buffers: consuming ExchangeBuffers
  ) throws(CommunicationError) -> Transfer {
    precondition(isDone, "\(kind): an exchange starts before the one before has finished")
    check(plan, buffers)
    bytes = 0
    bytesBetweenNodes = 0
    for rank in 0..<communicator.size where rank != communicator.rank {
      bytes += Int(plan.sendCounts[rank])
      if communicator.isOnOtherNode(rank) { bytesBetweenNodes += Int(plan.sendCounts[rank]) }
    }
    startedAt = cmpi_wtime()
    isDone = false
    let receive = unsafe UnsafeMutableRawPointer(buffers.receive.unsafeMutableAddress())
    let send = unsafe plan.sendsInPlace ? UnsafeRawPointer(receive) : UnsafeRawPointer(buffers.send.unsafeAddress())
    unsafe try exchange.start(plan, tag: tag % exchangeTagCount, send: send, receive: receive)
    exposed = cmpi_wtime() - startedAt
    return Transfer(buffers, on: self)
  }

  fileprivate func poll() throws(CommunicationError) -> Bool {
    if isDone { return true }
    // A test may give the processor to another rank, which is no time of this one's.
    let start = cmpi_cpu_time()
    let done = try exchange.test()
    exposed += cmpi_cpu_time() - start
    if done { record() }
    return done
  }

  fileprivate func wait() throws(CommunicationError) {
    if isDone { return }
    let start = cmpi_wtime()
    try exchange.wait()
    exposed += cmpi_wtime() - start
    record()
  }

  private func record() {
    isDone = true
    communicator.record(
      kind, bytes: bytes, betweenNodes: bytesBetweenNodes, seconds: exposed, span: cmpi_wtime() - startedAt)
  }

  private func check(_ plan: ExchangePlan, _ buffers: borrowing ExchangeBuffers) {
    let room = plan.sendsInPlace ? buffers.receive.count : buffers.send.count
    for rank in 0..<communicator.size where rank != communicator.rank {
      precondition(
        plan.sendCounts[rank] >= 0 && Int(plan.sendOffsets[rank] + plan.sendCounts[rank]) <= room
          && plan.receiveCounts[rank] >= 0
          && Int(plan.receiveOffsets[rank] + plan.receiveCounts[rank]) <= buffers.receive.count,
        "\(kind): \(plan.sendCounts[rank]) bytes at \(plan.sendOffsets[rank]) to rank \(rank) from \(room), "
          + "\(plan.receiveCounts[rank]) bytes at \(plan.receiveOffsets[rank]) into \(buffers.receive.count)")
    }
  }
}
