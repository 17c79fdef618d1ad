import Communication
import Tensors

/// Bytes in flight: several exchanges at once, moved on in any order, cut into chunks, counted.
let exchangeChecks: [Check] = [
  Check("exchanges in flight, finished in other orders") { communicator in
    for scale in [0, 1, 13, 400] { try checkExchanges(communicator, scale: scale) }
  },
  Check("exchanges cut into chunks give the same bytes") { communicator in
    guard communicator.carrier == .mpi else { return }  // only MPI cuts
    let limit = Communicator.mpiChunkLimit
    defer { Communicator.mpiChunkLimit = limit }
    for bytes in [8, 37, 1000] {
      Communicator.mpiChunkLimit = bytes
      for scale in [0, 1, 13, 400] { try checkExchanges(communicator, scale: scale) }
    }
  },
  Check("a million bytes a rank, cut and whole") { communicator in
    try checkExchanges(communicator, scale: 500_000, atOnce: 2)
    guard communicator.carrier == .mpi else { return }
    let limit = Communicator.mpiChunkLimit
    defer { Communicator.mpiChunkLimit = limit }
    for bytes in [1 << 16, 99_991] {
      Communicator.mpiChunkLimit = bytes
      try checkExchanges(communicator, scale: 500_000, atOnce: 2)
    }
  },
  Check("finish gives back the buffers that were sent") { communicator in
    // That they cannot be touched before is the compiler's business: `start` consumes them, `Transfer` shows no way in.
    let arena = Arena("test")
    let channel = try ExchangeChannel(communicator, .weights)
    let plan = Pattern(communicator, 13, 0).plan
    var buffers = ExchangeBuffers(send: 4000, receive: 4000, in: arena)
    let before = places(of: buffers)
    let reserved = arena.reservedBytes
    for turn in 0..<3 {
      for index in 0..<4000 { buffers.send[index] = UInt8(truncatingIfNeeded: index + turn) }
      var transfer = try channel.start(plan, tag: tag(turn), buffers)
      if turn > 0 { while try !transfer.poll() {} }
      buffers = try transfer.finish()
      try require(places(of: buffers) == before, "other memory came back")
      try communicator.barrier()
      let sent = (0..<4000).map { UInt8(truncatingIfNeeded: $0 + turn) }
      try require(array(buffers.send) == sent, "what was sent changed")
    }
    try requireEqual(arena.reservedBytes, reserved)
  },
  Check("exchanges are counted once, with their bytes to other nodes") { communicator in
    guard let nodes = communicator.topology?.map.nodes else { throw CheckFailure(description: "no topology") }
    let arena = Arena("test"), rank = communicator.rank
    let channel = try ExchangeChannel(communicator, .gradients)
    for scale in [0, 7, 100] {
      let pattern = Pattern(communicator, scale, 1), before = communicator.statistics
      let transfer = try channel.start(
        pattern.plan, tag: tag(0), ExchangeBuffers(send: pattern.sent, receive: pattern.received, in: arena))
      while try !transfer.poll() {}
      _ = try transfer.poll()  // a transfer that is done stays so
      _ = try transfer.finish()
      try communicator.barrier()
      let flow = communicator.statistics.since(before)
      let counts = (0..<communicator.size).map { $0 == rank ? 0 : pattern.length(rank, $0) }
      try requireEqual(flow.gradients.bytesSent, counts.reduce(0, +))
      try requireEqual(
        flow.gradients.bytesBetweenNodes, counts.indices.reduce(0) { $0 + (nodes[$1] == nodes[rank] ? 0 : counts[$1]) })
      try requireEqual(flow.gradients.calls, 1)
      try requireEqual([flow.weights.calls, flow.weights.bytesSent], [0, 0])
      let gradients = flow.gradients
      try require(
        gradients.seconds >= 0 && gradients.span >= gradients.seconds, "\(gradients.seconds) of \(gradients.span) s")
      try require((0...1).contains(flow.hiddenFraction), "hidden: \(flow.hiddenFraction)")
    }
  },
]

private func places(of buffers: borrowing ExchangeBuffers) -> [UInt] {
  unsafe [UInt(bitPattern: buffers.send.unsafeAddress()), UInt(bitPattern: buffers.receive.unsafeAddress())]
}

/// The last tags before they start again at 0; in use until all ranks have met.
private func tag(_ number: Int) -> Int { 16_382 + number }

/// Segments of sizes that depend on sender, receiver and exchange, some of them empty, with gaps between them.
private struct Pattern {
  let communicator: Communicator
  let scale: Int
  let number: Int
  private let gap = 3

  init(_ communicator: Communicator, _ scale: Int, _ number: Int) {
    self.communicator = communicator
    self.scale = scale
    self.number = number
  }

  func length(_ from: Int, _ to: Int) -> Int { (from + 2 * to + number) % 3 * scale }

  func content(_ from: Int, _ to: Int, _ index: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: from * 97 + to * 31 + number * 11 + index * 7 + index >> 8)
  }

  var ranks: Range<Int> { 0..<communicator.size }
  var sent: Int { ranks.reduce(0) { $0 + length(communicator.rank, $1) + gap } }
  var received: Int { ranks.reduce(0) { $0 + length($1, communicator.rank) + gap } }

  /// Segments to higher ranks come first: offsets need no order.
  var plan: ExchangePlan {
    var plan = ExchangePlan(ranks: communicator.size)
    var send = 0, receive = 0
    for other in ranks.reversed() {
      plan.sendOffsets[other] = Int64(send)
      plan.sendCounts[other] = Int64(length(communicator.rank, other))
      plan.receiveOffsets[other] = Int64(receive)
      plan.receiveCounts[other] = Int64(length(other, communicator.rank))
      send += length(communicator.rank, other) + gap
      receive += length(other, communicator.rank) + gap
    }
    return plan
  }
}

/// A transfer that an array can hold.
private final class Flight {
  let pattern: Pattern
  private let channel: ExchangeChannel
  private var transfer: Transfer?

  init(_ communicator: Communicator, _ pattern: Pattern, _ kind: Traffic) throws {
    self.pattern = pattern
    channel = try ExchangeChannel(communicator, kind)
    var buffers = ExchangeBuffers(send: pattern.sent, receive: pattern.received, in: Arena("test"))
    let plan = pattern.plan, rank = communicator.rank
    for other in pattern.ranks {
      let start = Int(plan.sendOffsets[other])
      for index in 0..<pattern.length(rank, other) { buffers.send[start + index] = pattern.content(rank, other, index) }
    }
    for index in 0..<pattern.received { buffers.receive[index] = 0xA5 }
    transfer = try channel.start(plan, tag: tag(pattern.number), buffers)
  }

  func poll() throws { _ = try transfer?.poll() }

  func finish() throws {
    guard let buffers = try transfer.take()?.finish() else { return }
    let plan = pattern.plan, rank = pattern.communicator.rank
    var expected = [UInt8](repeating: 0xA5, count: pattern.received)
    for other in pattern.ranks where other != rank {
      let start = Int(plan.receiveOffsets[other])
      for index in 0..<pattern.length(other, rank) { expected[start + index] = pattern.content(other, rank, index) }
    }
    try require(
      array(buffers.receive) == expected, "exchange \(pattern.number) of \(pattern.scale): other bytes than were sent")
  }
}

/// Exchanges start in one order on all ranks; they are moved on and finished in orders of each rank's own.
private func checkExchanges(_ communicator: Communicator, scale: Int, atOnce: Int = 5) throws {
  let random = CounterRandom(seed: 3, stream: UInt64(communicator.rank))
  var flights: [Flight] = []
  for number in 0..<atOnce {
    let kind: Traffic = number % 2 == 0 ? .gradients : .weights
    flights.append(try Flight(communicator, Pattern(communicator, scale, number), kind))
    if communicator.rank % 2 == 0 { try flights[0].poll() }
  }
  for poll in 0..<UInt64(3 * communicator.rank) { try flights[Int(random.integer(poll, below: UInt64(atOnce)))].poll() }
  // Waiting for the last first would do for threads and MPI alike: no exchange waits for another.
  if communicator.rank % 2 == 1 { flights.reverse() }
  for flight in flights { try flight.finish() }
  try communicator.barrier()
}
