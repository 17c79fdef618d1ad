#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One rank without MPI: the same semantics, by copying.
final class SoloTransport: Transport {
  let rank = 0
  let size = 1

  func barrier() throws(CommunicationError) {}

  func broadcast(_ kind: Traffic, _ bytes: UnsafeMutableRawPointer, count: Int, root: Int) throws(CommunicationError) {}

  func allGather(
    _ kind: Traffic, own: UnsafeRawPointer?, all: UnsafeMutableRawPointer, counts: UnsafePointer<Int64>
  ) throws(CommunicationError) {
    if let own = unsafe own { unsafe all.copyMemory(from: own, byteCount: Int(counts[0])) }
  }

  func reduce(
    _ kind: Traffic, _ values: UnsafeMutableRawPointer, count: Int, by reduction: Reduction
  ) throws(CommunicationError) {}

  func gather(
    _ kind: Traffic, own: UnsafeRawPointer, count: Int, all: UnsafeMutableRawPointer,
    counts: UnsafePointer<Int64>, root: Int
  ) throws(CommunicationError) {
    unsafe all.copyMemory(from: own, byteCount: count)
  }

  func sharingMemory() throws(CommunicationError) -> any Transport { self }

  func split(color: Int, key: Int) throws(CommunicationError) -> any Transport { self }

  func makeExchange(_ kind: Traffic) throws(CommunicationError) -> any Exchange { SoloExchange() }

  func abort(code: Int32) -> Never { exit(code) }
}

/// Nothing to move.
private final class SoloExchange: Exchange {
  func start(
    _ plan: ExchangePlan, tag: Int, send: UnsafeRawPointer, receive: UnsafeMutableRawPointer
  ) throws(CommunicationError) {}
  func test() throws(CommunicationError) -> Bool { true }
  func wait() throws(CommunicationError) {}
}
