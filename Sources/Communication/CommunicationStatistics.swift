/// What a transfer is for. Each kind has a communicator of its own under MPI and a counter of its own here.
public enum Traffic: Int, Sendable, Hashable, CaseIterable {
  case gradients, weights, control
}

/// Bytes, calls and seconds of communication so far, by kind.
///
/// `bytesSent` is what other ranks need from this one, whatever route the library takes: for an all-to-all the bytes
/// addressed to others, for a gather its own bytes once per other rank that receives them, for a broadcast the root's
/// likewise, for a reduction its values once. `seconds` is the wall time inside the calls, waiting for peers included.
public struct CommunicationStatistics: Sendable, Hashable {
  public struct Flow: Sendable, Hashable {
    public var bytesSent = 0
    public var calls = 0
    public var seconds = 0.0

    public init() {}
  }

  public var gradients = Flow()
  public var weights = Flow()
  public var control = Flow()

  public init() {}

  public subscript(_ kind: Traffic) -> Flow {
    get {
      switch kind {
      case .gradients: gradients
      case .weights: weights
      case .control: control
      }
    }
    set {
      switch kind {
      case .gradients: gradients = newValue
      case .weights: weights = newValue
      case .control: control = newValue
      }
    }
  }

  public var bytesSent: Int { gradients.bytesSent + weights.bytesSent + control.bytesSent }
  public var seconds: Double { gradients.seconds + weights.seconds + control.seconds }

  /// What happened since `earlier`: the figures of one step.
  public func since(_ earlier: CommunicationStatistics) -> CommunicationStatistics {
    var difference = self
    for kind in Traffic.allCases {
      difference[kind].bytesSent -= earlier[kind].bytesSent
      difference[kind].calls -= earlier[kind].calls
      difference[kind].seconds -= earlier[kind].seconds
    }
    return difference
  }
}
