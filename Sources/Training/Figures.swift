/// Numbers for people, without a locale.
enum Figures {
  static func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite, abs(value) < 1e9 else { return scientific(value) }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    let whole = Int(scaled / scale), fraction = Int(scaled) - whole * Int(scale)
    let text = String(fraction)
    let tail = digits == 0 ? "" : "." + String(repeating: "0", count: max(0, digits - text.count)) + text
    return (value < 0 ? "-" : "") + "\(whole)" + tail
  }

  static func scientific(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return "\(value)" }
    var exponent = 0, mantissa = abs(value)
    while mantissa >= 10 { mantissa /= 10; exponent += 1 }
    while mantissa < 1 { mantissa *= 10; exponent -= 1 }
    return (value < 0 ? "-" : "") + fixed(mantissa, 3) + "e\(exponent)"
  }

  static func bytes(_ count: Int) -> String {
    let mebibytes = Double(count) / 1_048_576
    return mebibytes >= 1024 ? fixed(mebibytes / 1024, 2) + " GiB" : fixed(mebibytes, 1) + " MiB"
  }
}
