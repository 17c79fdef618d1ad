/// Round numbers along an axis, and where they lie.
struct AxisScale: Sendable {
  let lower: Double, upper: Double
  let step: Double

  /// The smallest interval of round numbers (1, 2 or 5 times a power of ten) around the values, of about `count` steps.
  init(covering lowest: Double, _ highest: Double, count: Int) {
    let span = highest > lowest ? highest - lowest : max(lowest.magnitude, 1)
    var unit = 1.0
    while unit * Double(count) > span { unit /= 10 }
    while unit * 10 * Double(count) <= span { unit *= 10 }
    let step = [1.0, 2, 5, 10].map { $0 * unit }.first { $0 * Double(count) >= span } ?? 10 * unit
    self.step = step
    lower = (lowest / step).rounded(.down) * step
    let top = (highest / step).rounded(.up) * step
    upper = top > lower ? top : lower + step
  }

  var ticks: [Double] {
    let count = Int(((upper - lower) / step).rounded())
    return (0...count).map { lower + Double($0) * step }
  }

  /// Digits after the point that tell the ticks apart.
  var digits: Int {
    var digits = 0, unit = step
    while digits < 9, (unit - unit.rounded()).magnitude > 1e-9 * unit {
      unit *= 10
      digits += 1
    }
    return digits
  }

  /// 0 at the lower end, 1 at the upper.
  func position(_ value: Double) -> Double { (value - lower) / (upper - lower) }
}
