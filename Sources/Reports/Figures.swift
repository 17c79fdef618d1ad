/// Numbers as people read them. Machines get JSON.
public enum Figures {
  /// Fixed digits after the point, rounded to nearest, ties to even on the decimal shown.
  public static func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
    var unit = 1.0
    for _ in 0..<digits { unit *= 10 }
    let scaled = (value.magnitude * unit).rounded(.toNearestOrEven)
    guard scaled < 9e15 else { return "\(value)" }
    let whole = Int(scaled) / Int(unit), fraction = Int(scaled) % Int(unit)
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return "\(sign)\(whole)" }
    let text = String(fraction)
    return "\(sign)\(whole)." + String(repeating: "0", count: digits - text.count) + text
  }

  /// Four or more significant digits for what may span decades, like perplexities.
  public static func perplexity(_ value: Double) -> String {
    value < 100 ? fixed(value, 3) : value < 10_000 ? fixed(value, 1) : value < 1e15 ? fixed(value, 0) : "\(value)"
  }

  /// Three significant digits for errors, which span decades: 1.25e-3.
  public static func scientific(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : fixed(value, 0) }
    var mantissa = value.magnitude, exponent = 0
    while mantissa >= 9.995 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
    while mantissa < 0.9995 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
    return (value < 0 ? "-" : "") + fixed(mantissa, 2) + "e\(exponent)"
  }

  /// 1234567 as 1,234,567.
  public static func grouped(_ value: Int) -> String {
    let digits = Array(String(value.magnitude))
    var text = value < 0 ? "-" : ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { text += "," }
      text.append(digit)
    }
    return text
  }

  /// 1536 as 1.5 KiB.
  public static func bytes(_ count: Int) -> String {
    var value = Double(count), unit = 0
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return unit == 0 ? "\(count) B" : "\(fixed(value, 1)) \(units[unit])"
  }

  /// 83.2 as 1 min 23 s; below a minute with one digit.
  public static func duration(_ seconds: Double) -> String {
    guard seconds.isFinite && seconds < 1e9 else { return "?" }
    if seconds < 59.95 { return "\(fixed(max(seconds, 0), 1)) s" }
    let whole = Int(seconds.rounded())
    if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
    return "\(whole / 3600) h \(whole % 3600 / 60) min"
  }
}
