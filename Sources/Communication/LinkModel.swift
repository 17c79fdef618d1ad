/// What a link does with messages: k messages of b bytes in all take k * latency + b / bytesPerSecond, in each
/// direction by itself (the alpha-beta model, alpha the latency, beta the seconds of a byte; Hockney 1994).
public struct LinkModel: Sendable, Hashable {
  public var latency: Double
  public var bytesPerSecond: Double

  public init(latency: Double, bytesPerSecond: Double) {
    precondition(latency >= 0 && bytesPerSecond > 0, "a link of \(latency) s and \(bytesPerSecond) bytes/s")
    self.latency = latency
    self.bytesPerSecond = bytesPerSecond
  }

  /// A link by its name plate. Fifty microseconds are what small messages take over TCP on a quiet switched network.
  public init(gigabitsPerSecond: Double, latency: Double = 50e-6) {
    self.init(latency: latency, bytesPerSecond: gigabitsPerSecond / 8 * 1e9)
  }

  public var gigabitsPerSecond: Double { bytesPerSecond * 8 / 1e9 }

  public func seconds(messages: Int, bytes: Int) -> Double {
    Double(messages) * latency + Double(bytes) / bytesPerSecond
  }

  /// The link on which single messages took these times, each the least of several.
  ///
  /// The speed is the slope of the straight line with the least squared distances: the longest messages decide it, and
  /// what buffers on the way pass on at once ends up in the line's other constant. The latency is the time of the
  /// shortest message, which that constant would miss.
  public init?(fitting times: [(bytes: Int, seconds: Double)]) {
    guard let shortest = times.min(by: { $0.bytes < $1.bytes }) else { return nil }
    let count = Double(times.count)
    let meanBytes = times.reduce(0) { $0 + Double($1.bytes) } / count
    let meanSeconds = times.reduce(0) { $0 + $1.seconds } / count
    let both = times.reduce(0) { $0 + (Double($1.bytes) - meanBytes) * ($1.seconds - meanSeconds) }
    let square = times.reduce(0) { $0 + (Double($1.bytes) - meanBytes) * (Double($1.bytes) - meanBytes) }
    guard square > 0, both > 0 else { return nil }
    self.init(latency: max(0, shortest.seconds), bytesPerSecond: square / both)
  }
}

/// The two kinds of link of a job.
public struct LinkModels: Sendable, Hashable {
  /// Between two ranks of a node, for each rank by itself.
  public var within: LinkModel
  /// Between a node and the others: its ranks share it.
  public var between: LinkModel

  public init(within: LinkModel, between: LinkModel) {
    self.within = within
    self.between = between
  }
}
