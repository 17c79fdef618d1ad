/// What a transfer is for. Each kind has a communicator of its own under MPI and a counter of its own here.
public enum Traffic: Int, Sendable, Hashable, CaseIterable {
  case gradients, weights, control
}

/// Bytes, calls and seconds of communication so far, by kind.
///
/// `bytesSent` is what other ranks need from this one, whatever route the library takes: for an all-to-all the bytes
/// addressed to others, for a gather its own bytes once per other rank that receives them, for a broadcast the root's
/// likewise, for a reduction its values once. `seconds` is exposed communication: wall time inside the calls, waiting for
/// peers included, and processor time of polls.
/// `span` is the time from the start of a transfer to its end; what of it was not exposed was hidden behind
/// computation.
public struct CommunicationStatistics: Sendable, Hashable {
  public struct Flow: Sendable, Hashable {
    public var bytesSent = 0
    /// The part of `bytesSent` that is addressed to other nodes.
    public var bytesBetweenNodes = 0
    public var calls = 0
    public var seconds = 0.0
    public var span = 0.0

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
  public var bytesBetweenNodes: Int {
    gradients.bytesBetweenNodes + weights.bytesBetweenNodes + control.bytesBetweenNodes
  }
  public var seconds: Double { gradients.seconds + weights.seconds + control.seconds }
  public var span: Double { gradients.span + weights.span + control.span }
  /// The part of the time of all transfers in which this rank computed; 0 where there was none.
  public var hiddenFraction: Double { span > 0 ? max(0, 1 - seconds / span) : 0 }

  /// What happened since `earlier`: the figures of one step.
  public func since(_ earlier: CommunicationStatistics) -> CommunicationStatistics {
    var difference = self
    for kind in Traffic.allCases {
      difference[kind].bytesSent -= earlier[kind].bytesSent
      difference[kind].bytesBetweenNodes -= earlier[kind].bytesBetweenNodes
      difference[kind].span -= earlier[kind].span
      difference[kind].calls -= earlier[kind].calls
      difference[kind].seconds -= earlier[kind].seconds
    }
    return difference
  }
}
