import ArgumentParser
import Checkpoints
import Foundation

/// How measurements are printed: a table for people, or one JSON object a line.
struct ReportOptions: ParsableArguments {
  @Flag(help: "Print one JSON object a line instead of a table.")
  var json = false

  /// Prints one measurement as a line of JSON; nothing in table mode.
  func line(_ members: [(String, JSONValue)]) {
    guard json else { return }
    var object = JSONObject()
    for (key, value) in members + MachineRecord.current.members { object[key] = value }
    write(String(decoding: JSONValue.object(object).serialized(order: .given), as: UTF8.self))
  }

  func table(_ title: String, _ table: Table) {
    guard !json else { return }
    write(title + "\n" + MachineRecord.current.text + "\n\n" + table.text)
  }

  func text(_ text: String) {
    if !json { write(text) }
  }

  /// Without a buffer: whoever reads sees every measurement when it is there.
  private func write(_ text: String) {
    FileHandle.standardOutput.write(Data((text + "\n").utf8))
  }

  /// Progress, on standard error.
  func note(_ text: String) {
    FileHandle.standardError.write(Data((text + "\n").utf8))
  }
}

/// Columns of text: the first to the left, numbers to the right.
struct Table {
  var header: [String]
  var rows: [[String]] = []

  init(_ header: [String]) { self.header = header }

  mutating func add(_ cells: [String]) {
    precondition(cells.count == header.count, "\(cells.count) cells in a table of \(header.count) columns")
    rows.append(cells)
  }

  var text: String {
    let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
    return ([header] + rows).map { row in
      row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + padding : padding + cell
      }.joined(separator: "  ")
    }.joined(separator: "\n") + "\n"
  }
}

extension Double {
  /// For people: `digits` behind the point.
  func fixed(_ digits: Int) -> String { String(format: "%.\(digits)f", self) }

  /// For JSON: six significant digits are more than any measurement has.
  var json: JSONValue {
    guard isFinite, self != 0 else { return .number(0) }
    let scale = pow(10, 5 - floor(log10(abs(self))))
    return .number((self * scale).rounded() / scale)
  }
}
