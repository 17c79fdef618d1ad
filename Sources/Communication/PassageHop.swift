import Tensors

/// One exchange of a passage: its plan, its buffers, and where they are.
///
///     var buffers = hop.take()          while nothing is on its way
///     try hop.send(buffers, tag: 3)
///     try hop.poll()
///     let arrived = try hop.arrive()    waits
///     hop.giveBack(arrived)
final class PassageHop {
  var plan: ExchangePlan
  private let channel: ExchangeChannel
  private var buffers: ExchangeBuffers?
  private var flying: Transfer?

  /// - Parameters send, receive: bytes of the longest exchange.
  init(_ communicator: Communicator, send: Int, receive: Int, in arena: Arena) throws(CommunicationError) {
    plan = ExchangePlan(ranks: communicator.size)
    channel = try ExchangeChannel(communicator, .gradients)
    buffers = ExchangeBuffers(send: send, receive: receive, in: arena)
  }

  func take() -> ExchangeBuffers {
    guard let idle = buffers.take() else { preconditionFailure("a passage starts before it has finished") }
    return idle
  }

  func send(_ buffers: consuming ExchangeBuffers, tag: Int) throws(CommunicationError) {
    flying = try channel.start(plan, tag: tag, buffers)
  }

  /// Moves bytes; true once all of them are there.
  func poll() throws(CommunicationError) -> Bool { try flying?.poll() ?? false }

  func arrive() throws(CommunicationError) -> ExchangeBuffers {
    guard let transfer = flying.take() else { preconditionFailure("a passage that was not started") }
    return try transfer.finish()
  }

  func giveBack(_ buffers: consuming ExchangeBuffers) { self.buffers = consume buffers }
}

/// A passage that one exchange completes.
protocol OneHopPassage: GradientPassage {
  var hop: PassageHop { get }
}

extension OneHopPassage {
  /// Nothing waits for another passage: younger ones may always go on.
  func poll(mayAdvance: Bool) throws(CommunicationError) -> Bool {
    _ = try hop.poll()
    return true
  }
}
