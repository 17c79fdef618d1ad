import Checkpoints

/// Loss over steps as one self-contained SVG: a line a training format, dots for validations.
public struct LossCurve: Sendable {
  private let history: MetricsHistory
  private let title: String

  public init(_ history: MetricsHistory, title: String) {
    self.history = history
    self.title = title
  }

  private static let width = 800.0, height = 420.0
  private static let left = 64.0, right = 784.0, top = 40.0, bottom = 372.0
  // Okabe and Ito's palette: told apart by colour-blind readers, too.
  private static let colors = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555"]

  public var svg: String {
    let losses = history.steps.map(\.loss) + history.validations.map(\.nll)
    let steps = history.steps.map(\.step) + history.validations.map(\.step)
    let finite = losses.filter(\.isFinite)
    let x = AxisScale(covering: Double(steps.min() ?? 0), Double(steps.max() ?? 1), count: 8)
    let y = AxisScale(covering: finite.min() ?? 0, finite.max() ?? 1, count: 6)
    var svg = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 420" font-family="sans-serif" font-size="12">
      <rect width="800" height="420" fill="#ffffff"/>
      <text x="400" y="22" text-anchor="middle" font-size="15">\(Self.escaped(title))</text>

      """
    svg += grid(x, y)
    var names: [String] = []
    for step in history.steps where !names.contains(step.format) { names.append(step.format) }
    for validation in history.validations where !names.contains(validation.format) { names.append(validation.format) }
    for (index, name) in names.enumerated() {
      let color = Self.colors[index % Self.colors.count]
      svg += line(name, color, x, y) + dots(name, color, x, y) + legend(name, color, index)
    }
    return svg + "</svg>\n"
  }

  /// Writes the picture, whole or not at all.
  public func write(to path: String) throws {
    try AtomicFile.write(Array(svg.utf8), to: path, replacing: true)
  }

  private func grid(_ x: AxisScale, _ y: AxisScale) -> String {
    var svg = ""
    for tick in y.ticks {
      let at = Figures.fixed(Self.vertical(tick, y), 1)
      svg += "<line x1=\"64\" y1=\"\(at)\" x2=\"784\" y2=\"\(at)\" stroke=\"#dddddd\"/>\n"
      svg += "<text x=\"58\" y=\"\(at)\" dy=\"4\" text-anchor=\"end\">\(Figures.fixed(tick, y.digits))</text>\n"
    }
    for tick in x.ticks {
      let at = Figures.fixed(Self.horizontal(tick, x), 1)
      svg += "<line x1=\"\(at)\" y1=\"372\" x2=\"\(at)\" y2=\"377\" stroke=\"#555555\"/>\n"
      svg += "<text x=\"\(at)\" y=\"391\" text-anchor=\"middle\">\(Figures.fixed(tick, x.digits))</text>\n"
    }
    svg += "<line x1=\"64\" y1=\"372\" x2=\"784\" y2=\"372\" stroke=\"#555555\"/>\n"
    svg += "<text x=\"424\" y=\"411\" text-anchor=\"middle\">step</text>\n"
    return svg + "<text x=\"16\" y=\"206\" text-anchor=\"middle\" transform=\"rotate(-90 16 206)\">"
      + "loss, nats a token</text>\n"
  }

  private func line(_ name: String, _ color: String, _ x: AxisScale, _ y: AxisScale) -> String {
    let points = history.steps.filter { $0.format == name && $0.loss.isFinite }.map { step in
      Figures.fixed(Self.horizontal(Double(step.step), x), 1) + "," + Figures.fixed(Self.vertical(step.loss, y), 1)
    }
    guard points.count > 1 else {
      return points.first.map { point in
        let xy = point.split(separator: ",")
        return "<circle cx=\"\(xy[0])\" cy=\"\(xy[1])\" r=\"2\" fill=\"\(color)\"/>\n"
      } ?? ""
    }
    return "<polyline fill=\"none\" stroke=\"\(color)\" stroke-width=\"1.3\" "
      + "points=\"\(points.joined(separator: " "))\"/>\n"
  }

  private func dots(_ name: String, _ color: String, _ x: AxisScale, _ y: AxisScale) -> String {
    history.validations.filter { $0.format == name && $0.nll.isFinite }.map { validation in
      let cx = Figures.fixed(Self.horizontal(Double(validation.step), x), 1)
      let cy = Figures.fixed(Self.vertical(validation.nll, y), 1)
      return "<circle cx=\"\(cx)\" cy=\"\(cy)\" r=\"4\" fill=\"#ffffff\" stroke=\"\(color)\" stroke-width=\"2\"/>\n"
    }.joined()
  }

  private func legend(_ name: String, _ color: String, _ index: Int) -> String {
    let y = 52 + 16 * index
    return "<line x1=\"640\" y1=\"\(y)\" x2=\"660\" y2=\"\(y)\" stroke=\"\(color)\" stroke-width=\"3\"/>\n"
      + "<text x=\"666\" y=\"\(y)\" dy=\"4\">\(Self.escaped(name))</text>\n"
  }

  private static func horizontal(_ value: Double, _ x: AxisScale) -> Double {
    left + x.position(value) * (right - left)
  }

  private static func vertical(_ value: Double, _ y: AxisScale) -> Double {
    bottom - y.position(value) * (bottom - top)
  }

  private static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
  }
}
