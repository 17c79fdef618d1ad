package import Tensors

/// One message a rank, to every rank, while the caller computes: the way of weights from their owners.
///
/// On several nodes with several ranks each the messages go in two hops: between nodes every rank gathers the messages of
/// its own place, then the ranks of a node exchange what they have. A node's link carries every byte once instead of once
/// a rank. Bytes are copied, never computed with, so the route changes no bit.
///
///     gather.start(counts) { own in encode(into: own) }
///     while computing { try gather.poll() }
///     try gather.finish { rank, bytes, count in decode(bytes, of: rank) }
package final class PayloadGather {
  private enum Hop { case none, world, cross, local }

  private let communicator: Communicator
  private let twoLevels: Topology?
  private let channels: (world: ExchangeChannel, cross: ExchangeChannel, local: ExchangeChannel)?
  private let capacity: Int
  private var buffers: ExchangeBuffers?
  private var flying: Transfer?
  private var hop = Hop.none
  private var sequence = 0
  /// Where every rank's message lies; on two levels the messages of one place stand together.
  private var offsets: [Int]
  private var counts: [Int]
  private var world: ExchangePlan, cross: ExchangePlan, local: ExchangePlan

  /// - Parameter capacity: bytes of all messages together, at most.
  package init(_ communicator: Communicator, capacity: Int, in arena: Arena) throws(CommunicationError) {
    self.communicator = communicator
    self.capacity = capacity
    guard let topology = communicator.topology else { preconditionFailure("a gather needs the whole job's communicator") }
    twoLevels = topology.hasTwoLevels ? topology : nil
    buffers = ExchangeBuffers(send: 0, receive: capacity, in: arena)
    offsets = Array(repeating: 0, count: communicator.size)
    counts = offsets
    world = ExchangePlan(ranks: communicator.size)
    cross = ExchangePlan(ranks: topology.cross?.size ?? 0)
    local = ExchangePlan(ranks: topology.local.size)
    world.sendsInPlace = true
    cross.sendsInPlace = true
    local.sendsInPlace = true
    channels = communicator.size == 1
      ? nil
      : (
        try ExchangeChannel(communicator, .weights), try ExchangeChannel(topology.cross ?? communicator, .weights),
        try ExchangeChannel(topology.local, .weights)
      )
  }

  package var isIdle: Bool { hop == .none }

  /// Starts to send this rank's message, which `fill` writes. Collective: gathers start in the same order on all ranks.
  ///
  /// - Parameter bytes: of every rank's message, the same on all ranks.
  package func start(
    _ bytes: (_ rank: Int) -> Int, fill: (_ own: UnsafeMutableRawPointer) throws -> Void
  ) throws {
    guard hop == .none, var idle = buffers.take() else { preconditionFailure("a gather starts before it has finished") }
    place(bytes)
    do {
      unsafe try fill(UnsafeMutableRawPointer(idle.receive.unsafeMutableAddress()) + offsets[communicator.rank])
    } catch {
      buffers = consume idle
      throw error
    }
    sequence = communicator.nextSequence(.weights)
    guard let channels else {
      hop = .world
      buffers = consume idle
      return
    }
    if twoLevels != nil {
      flying = try channels.cross.start(cross, tag: 2 * sequence, idle)
      hop = .cross
    } else {
      flying = try channels.world.start(world, tag: 2 * sequence, idle)
      hop = .world
    }
  }

  /// Moves bytes, and goes on to the second hop when the first is done.
  package func poll() throws(CommunicationError) {
    guard hop != .none, let done = try flying?.poll(), done else { return }
    if hop == .cross { try startLocalHop() }
  }

  /// Waits for the rest and shows every rank's message, in the order of ranks.
  package func finish(
    _ read: (_ rank: Int, _ bytes: UnsafeRawPointer, _ count: Int) throws -> Void
  ) throws {
    precondition(hop != .none, "a gather that was not started")
    if hop == .cross { try startLocalHop() }
    if let transfer = flying.take() { buffers = try transfer.finish() }
    hop = .none
    guard let base = unsafe buffers?.receive.unsafeAddress() else { preconditionFailure("a gather without its buffer") }
    for rank in 0..<communicator.size {
      unsafe try read(rank, UnsafeRawPointer(base) + offsets[rank], counts[rank])
    }
  }

  private func startLocalHop() throws(CommunicationError) {
    guard let transfer = flying.take(), let channels else { preconditionFailure("no first hop") }
    flying = try channels.local.start(local, tag: 2 * sequence + 1, try transfer.finish())
    hop = .local
  }

  /// Lays out the messages and the hops.
  private func place(_ bytes: (Int) -> Int) {
    for rank in 0..<communicator.size { counts[rank] = bytes(rank) }
    var next = 0
    guard let topology = twoLevels, let crossRanks = topology.cross?.size else {
      for rank in 0..<communicator.size {
        offsets[rank] = next
        next += counts[rank]
      }
      check(next)
      let own = communicator.rank
      for rank in 0..<communicator.size {
        world.sendOffsets[rank] = Int64(offsets[own])
        world.sendCounts[rank] = Int64(counts[own])
        world.receiveOffsets[rank] = Int64(offsets[rank])
        world.receiveCounts[rank] = Int64(counts[rank])
      }
      return
    }
    for place in 0..<topology.local.size {
      let first = next
      for node in 0..<crossRanks {
        let rank = topology.rank(node: node, place: place)
        offsets[rank] = next
        next += counts[rank]
      }
      local.receiveOffsets[place] = Int64(first)
      local.receiveCounts[place] = Int64(next - first)
    }
    check(next)
    for place in 0..<topology.local.size {
      local.sendOffsets[place] = local.receiveOffsets[topology.place]
      local.sendCounts[place] = local.receiveCounts[topology.place]
    }
    for node in 0..<crossRanks {
      let rank = topology.rank(node: node, place: topology.place)
      cross.sendOffsets[node] = Int64(offsets[communicator.rank])
      cross.sendCounts[node] = Int64(counts[communicator.rank])
      cross.receiveOffsets[node] = Int64(offsets[rank])
      cross.receiveCounts[node] = Int64(counts[rank])
    }
  }

  private func check(_ total: Int) {
    precondition(total <= capacity, "a gather of \(total) bytes in a buffer of \(capacity)")
  }
}
