#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Wall clock and processor time, in seconds.
struct Instant {
  let wall: Double
  /// Of all threads of this process; waiting and the time that other processes got are not in it.
  let processor: Double

  static var now: Instant { Instant(wall: read(CLOCK_MONOTONIC), processor: read(CLOCK_PROCESS_CPUTIME_ID)) }

  static func - (end: Instant, start: Instant) -> Instant {
    Instant(wall: end.wall - start.wall, processor: end.processor - start.processor)
  }

  private static func read(_ clock: clockid_t) -> Double {
    var time = timespec()
    unsafe clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}

/// Times of one thing that was done again and again.
struct Sample {
  private(set) var wall: [Double] = []
  private(set) var processor: [Double] = []

  var count: Int { wall.count }

  mutating func add(_ time: Instant) {
    wall.append(time.wall)
    processor.append(time.processor)
  }

  mutating func measure<Result>(_ work: () throws -> Result) rethrows -> Result {
    let start = Instant.now
    let result = try work()
    add(Instant.now - start)
    return result
  }

  /// The time of one call.
  static func one(_ work: () -> Void) -> Instant {
    let start = Instant.now
    work()
    return Instant.now - start
  }

  /// Measures `work` until `seconds` have passed, at least `atLeast` times, after one call that is not counted.
  static func of(seconds: Double, atLeast: Int = 5, _ work: () throws -> Void) rethrows -> Sample {
    try work()
    var sample = Sample()
    let start = Instant.now.wall
    while sample.count < atLeast || Instant.now.wall - start < seconds { try sample.measure(work) }
    return sample
  }
}

extension [Double] {
  /// The value below which `share` of all lie: the order statistic at ⌊share · count⌋.
  func quantile(_ share: Double) -> Double {
    precondition(!isEmpty, "a quantile of nothing")
    return sorted()[Swift.min(Int(share * Double(count)), count - 1)]
  }

  var median: Double { quantile(0.5) }
  var least: Double { self.min() ?? 0 }

  /// Distance of the quartiles, relative to the median.
  var spread: Double { median > 0 ? (quantile(0.75) - quantile(0.25)) / median : 0 }
}
