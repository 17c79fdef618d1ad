import Reports

/// How far a long piece of work is: one line that changes on a terminal, a line now and then elsewhere, nothing when
/// quiet.
final class ProgressMeter {
  private let title: String
  private let unit: String
  private let style: Style
  private let start = ContinuousClock.now
  private var lastShown: ContinuousClock.Instant?
  private var shownWidth = 0

  private enum Style { case silent, lines, changing }

  /// Seconds between lines of a log; work that takes less leaves none.
  private static let logInterval = Duration.seconds(10)
  private static let screenInterval = Duration.milliseconds(100)

  /// - Parameter unit: what is counted, for the rate: `windows`, `bytes`.
  init(_ title: String, unit: String, quiet: Bool) {
    self.title = title
    self.unit = unit
    style = quiet ? .silent : Terminal.errorIsTerminal ? .changing : .lines
  }

  func update(_ done: Int, of total: Int) {
    guard style != .silent else { return }
    let now = ContinuousClock.now
    let interval = style == .changing ? Self.screenInterval : Self.logInterval
    guard now - (lastShown ?? start) >= interval else { return }
    lastShown = now
    let line = self.line(done, total, elapsed: now - start)
    if style == .lines {
      Terminal.note(line)
    } else {
      Terminal.meter("\r" + padded(line))
    }
  }

  /// Removes the line from a terminal.
  func finish() {
    guard shownWidth > 0 else { return }
    Terminal.meter("\r" + padded("") + "\r")
    shownWidth = 0
  }

  private func line(_ done: Int, _ total: Int, elapsed: Duration) -> String {
    let seconds = Double(elapsed.components.seconds) + 1e-18 * Double(elapsed.components.attoseconds)
    let share = total > 0 ? Double(done) / Double(total) : 0
    let rate = Double(done) / max(seconds, 1e-9)
    let amount = unit == "bytes"
      ? "\(Figures.bytes(done)) of \(Figures.bytes(total))  \(Figures.bytes(Int(rate)))/s"
      : "\(Figures.grouped(done)) of \(Figures.grouped(total)) \(unit)  \(Figures.fixed(rate, 1))/s"
    let rest = done > 0 ? "  \(Figures.duration(seconds * (1 / share - 1))) left" : ""
    return "\(title)  \(Figures.fixed(100 * share, 0)) %  \(amount)\(rest)"
  }

  /// Blanks over what the longer line before left, in place of an escape sequence.
  private func padded(_ line: String) -> String {
    defer { shownWidth = line.count }
    return line + String(repeating: " ", count: max(0, shownWidth - line.count))
  }
}
