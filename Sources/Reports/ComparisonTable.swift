/// Several evaluations side by side: a row a format, a perplexity column a file.
public struct ComparisonTable: Sendable {
  public struct Column: Sendable {
    public let title: String
    public let record: EvaluationRecord

    public init(_ title: String, _ record: EvaluationRecord) {
      self.title = title
      self.record = record
    }
  }

  public let title: String
  public let columns: [Column]

  public init(title: String, columns: [Column]) {
    self.title = title
    self.columns = columns
  }

  /// Rows from the widest format to the narrowest, among equals in the order they are first met; missing cells are "-".
  public var table: TextTable {
    var formats: [(name: String, bits: Double)] = []
    for column in columns {
      for result in column.record.results where !formats.contains(where: { $0.name == result.format }) {
        formats.append((result.format, result.bitsPerWeight))
      }
    }
    let order = formats.indices.sorted { (-formats[$0].bits, $0) < (-formats[$1].bits, $1) }
    var table = TextTable(
      [.init("format"), .init("bits per weight", .right)] + columns.map { .init($0.title, .right) })
    for index in order {
      let (name, bits) = formats[index]
      table.add(
        [name, Figures.fixed(bits, 2)]
          + columns.map { $0.record.result(name).map { Figures.perplexity($0.perplexity) } ?? "-" })
    }
    return table
  }

  /// What the figures were measured on. One line if all columns agree, else one a column.
  public var protocolNote: String {
    let notes = columns.map { column in
      let record = column.record
      let texts = record.text.map { $0.split(separator: "/").last.map(String.init) ?? $0 }.joined(separator: ", ")
      let scored = Figures.grouped(record.tokensScored)
      let rounded = record.activations.map { ", linear inputs in \($0)" } ?? ""
      return "Perplexity on \(texts), \(scored) tokens scored in windows of \(record.context)\(rounded)."
    }
    guard let first = notes.first, notes.contains(where: { $0 != first }) else { return notes.first ?? "" }
    return zip(columns, notes).map { "\($0.title): \($1)" }.joined(separator: "\n")
  }

  /// Title, table and note for a terminal.
  public var plain: String { "\(title)\n\n\(table.plain)\n\(protocolNote)\n" }

  /// The same in Markdown.
  public var markdown: String { "**\(title)**\n\n\(table.markdown)\n\(protocolNote.replacing("\n", with: "\n\n"))\n" }
}
