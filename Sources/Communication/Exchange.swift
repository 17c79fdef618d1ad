/// Which bytes of an exchange go where: one segment to every rank, one from every rank, at offsets of their own.
///
/// All arrays have one entry a rank, in bytes. The segment of the rank itself is not moved.
package struct ExchangePlan {
  package var sendOffsets: [Int64]
  package var sendCounts: [Int64]
  package var receiveOffsets: [Int64]
  package var receiveCounts: [Int64]
  /// Whether what is sent lies in the receiving buffer, apart from what arrives there: a gather in place.
  package var sendsInPlace = false

  package init(ranks: Int) {
    sendOffsets = Array(repeating: 0, count: ranks)
    sendCounts = sendOffsets
    receiveOffsets = sendOffsets
    receiveCounts = sendOffsets
  }
}

/// An exchange of a transport: started, tested until it is done, or waited for. One object serves exchange after
/// exchange, one at a time.
protocol Exchange: AnyObject {
  /// - Parameter tag: the same on every rank, in 0 ..< `exchangeTagCount`; differs between exchanges of one kind that are
  ///   in flight together.
  func start(
    _ plan: ExchangePlan, tag: Int, send: UnsafeRawPointer, receive: UnsafeMutableRawPointer
  ) throws(CommunicationError)
  /// Moves bytes; true once all have arrived and left.
  func test() throws(CommunicationError) -> Bool
  func wait() throws(CommunicationError)
}

let exchangeTagCount = 16384
