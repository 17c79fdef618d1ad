import Communication
import Tensors
import Testing

/// What callers must not do ends the process where it is done, before a byte is sent.
@Suite struct ContractTests {
  private static func exchange(_ change: @escaping @Sendable (inout ExchangePlan) -> Void) throws {
    _ = try Communicator.onThreads(2) { communicator in
      let channel = try ExchangeChannel(communicator, .weights)
      var plan = ExchangePlan(ranks: 2)
      change(&plan)
      let buffers = ExchangeBuffers(send: 10, receive: 10, in: Arena("test"))
      _ = try channel.start(plan, tag: 0, buffers).finish()
      return 0
    }
  }

  @Test func segmentsLieInTheirBuffers() async throws {
    try Self.exchange { plan in  // all of both buffers
      plan.sendCounts = [10, 10]
      plan.receiveCounts = [10, 10]
    }
    await #expect(processExitsWith: .failure) { try Self.exchange { $0.sendCounts = [11, 11] } }
    await #expect(processExitsWith: .failure) { try Self.exchange { $0.receiveCounts = [11, 11] } }
    await #expect(processExitsWith: .failure) { try Self.exchange { $0.sendCounts = [-1, -1] } }
    await #expect(processExitsWith: .failure) {
      try Self.exchange { plan in
        plan.sendOffsets = [8, 8]
        plan.sendCounts = [3, 3]
      }
    }
  }

  @Test func aSegmentIsAsLongAsItsReceiverExpects() async {
    await #expect(processExitsWith: .failure) {
      try Self.exchange { plan in
        plan.sendCounts = [4, 4]
        plan.receiveCounts = [5, 5]
      }
    }
  }

  @Test func aChannelCarriesOneExchangeAtATime() async {
    await #expect(processExitsWith: .failure) {
      _ = try Communicator.onThreads(2) { communicator in
        let channel = try ExchangeChannel(communicator, .weights), plan = ExchangePlan(ranks: 2), arena = Arena("test")
        let first = try channel.start(plan, tag: 0, ExchangeBuffers(send: 1, receive: 1, in: arena))
        let second = try channel.start(plan, tag: 1, ExchangeBuffers(send: 1, receive: 1, in: arena))
        _ = try second.finish()
        _ = try first.finish()
        return 0
      }
    }
  }

  @Test func aGatherFitsItsBufferAndFinishesBeforeItStartsAgain() async {
    await #expect(processExitsWith: .failure) {
      let gather = try PayloadGather(.solo(), capacity: 10, in: Arena("test"))
      unsafe try gather.start({ _ in 11 }) { _ in }
    }
    await #expect(processExitsWith: .failure) {
      let gather = try PayloadGather(.solo(), capacity: 10, in: Arena("test"))
      unsafe try gather.start({ _ in 1 }) { _ in }
      unsafe try gather.start({ _ in 1 }) { _ in }
    }
    await #expect(processExitsWith: .failure) {
      unsafe try PayloadGather(.solo(), capacity: 10, in: Arena("test")).finish { _, _, _ in }
    }
  }
}
