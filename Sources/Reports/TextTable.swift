/// A table of short texts: aligned columns for people, or Markdown.
public struct TextTable: Sendable, Hashable {
  public enum Alignment: Sendable, Hashable { case left, right }

  public struct Column: Sendable, Hashable {
    public let title: String
    public let alignment: Alignment

    public init(_ title: String, _ alignment: Alignment = .left) {
      self.title = title
      self.alignment = alignment
    }
  }

  public let columns: [Column]
  public private(set) var rows: [[String]] = []

  public init(_ columns: [Column]) { self.columns = columns }

  /// - Precondition: one cell a column.
  public mutating func add(_ cells: [String]) {
    precondition(cells.count == columns.count, "\(cells.count) cells in a table of \(columns.count) columns")
    rows.append(cells)
  }

  /// Columns two blanks apart, titles above, no blanks at the ends of lines. Every line ends with a newline.
  public var plain: String {
    let widths = self.widths { $0 }
    return ([columns.map(\.title)] + rows).map { cells in
      var line = ""
      for (index, cell) in cells.enumerated() {
        if index > 0 { line += "  " }
        line += padded(cell, to: widths[index], columns[index].alignment)
      }
      while line.last == " " { line.removeLast() }
      return line + "\n"
    }.joined()
  }

  /// A Markdown table, aligned in the source, too. Every line ends with a newline.
  public var markdown: String {
    let widths = self.widths(escaped)
    func line(_ cells: [String]) -> String {
      "| " + cells.enumerated().map { index, cell in
        padded(escaped(cell), to: widths[index], columns[index].alignment)
      }.joined(separator: " | ") + " |\n"
    }
    let rule = "|" + columns.enumerated().map { index, column in
      String(repeating: "-", count: widths[index] + 1) + (column.alignment == .right ? ":" : "-")
    }.joined(separator: "|") + "|\n"
    return line(columns.map(\.title)) + rule + rows.map(line).joined()
  }

  private func widths(_ shown: (String) -> String) -> [Int] {
    columns.indices.map { index in
      ([columns[index].title] + rows.map { $0[index] }).map { shown($0).count }.max() ?? 0
    }
  }

  private func padded(_ cell: String, to width: Int, _ alignment: Alignment) -> String {
    let blanks = String(repeating: " ", count: max(0, width - cell.count))
    return alignment == .left ? cell + blanks : blanks + cell
  }

  private func escaped(_ cell: String) -> String { cell.replacing("|", with: "\\|") }
}
