import Foundation
import Glibc
import Testing
import Training

/// Metrics and full disks.
@Suite struct MetricsLogTests {
  /// A disk without room for another line, and with room once `free` was called.
  final class FullDisk {
    let disk: SmallDisk
    var path: String { disk.path + "/metrics.jsonl" }

    init() throws {
      disk = try SmallDisk(mebibytes: 1)
      try Data().write(to: URL(fileURLWithPath: path))
    }

    /// Takes all room but what the files have in their pages.
    func fill() {
      let file = unsafe open(disk.path + "/ballast", O_WRONLY | O_CREAT, 0o600)
      let page = [UInt8](repeating: 1, count: 4096)
      while unsafe page.withUnsafeBytes({ unsafe write(file, $0.baseAddress, $0.count) }) > 0 {}
      close(file)
    }

    func free() { unsafe _ = unlink(disk.path + "/ballast") }

    func lines() throws -> [Substring] {
      let text = try String(contentsOfFile: path, encoding: .utf8)
      #expect(text.isEmpty || text.hasSuffix("\n"), "a torn line")
      return text.split(separator: "\n")
    }
  }

  final class Reports { var lines: [String] = [] }

  private func append(_ log: MetricsLog, _ steps: Range<Int>) throws {
    for step in steps { try log.append(validation: step, format: "mxint8", nll: 2) }
  }

  private func expect(_ lines: [Substring], _ steps: Range<Int>, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(lines.count == steps.count, sourceLocation: sourceLocation)
    for (line, step) in zip(lines, steps) {
      #expect(line.hasPrefix("{\"step\":\(step),") && line.hasSuffix("}"), "\(line)", sourceLocation: sourceLocation)
    }
  }

  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)")) func linesWaitForRoomInOrder() throws {
    let disk = try FullDisk(), reports = Reports()
    let log = try MetricsLog(disk.path, tolerant: true) { reports.lines.append($0) }
    try append(log, 0..<10)
    disk.fill()
    // The file's own last page still takes some lines; the one that would end beyond it is cut off again.
    try append(log, 10..<300)
    let held = try disk.lines()
    #expect(held.count > 10 && held.count < 299, "\(held.count)")
    expect(held, 0..<held.count)
    #expect(reports.lines.count == 1 && reports.lines[0].contains("No space left"), "\(reports.lines)")
    #expect(reports.lines[0].contains(disk.path) && reports.lines[0].contains("held in memory"), "\(reports.lines)")
    do {
      try log.flush()
      Issue.record("flushed onto a full disk")
    } catch {
      #expect(error.description.contains("\(300 - held.count) lines are missing: No space left"), "\(error)")
      #expect(error.description.contains("Free space"), "\(error)")
    }
    disk.free()
    try append(log, 300..<301)
    expect(try disk.lines(), 0..<301)
    #expect(reports.lines.count == 2 && reports.lines[1].contains("have been written"), "\(reports.lines)")

    // It begins again, and ends by a flush.
    disk.fill()
    try append(log, 301..<500)
    #expect(reports.lines.count == 3)
    disk.free()
    try log.flush()
    try log.flush()
    #expect(reports.lines.count == 4)
    expect(try disk.lines(), 0..<500)
  }

  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)")) func waitingLinesAreBounded() throws {
    let disk = try FullDisk()
    disk.fill()
    let log = try MetricsLog(disk.path, tolerant: true, limit: 5)
    try append(log, 0..<5)
    do {
      try append(log, 5..<6)
      Issue.record("held a sixth line")
    } catch {
      #expect("\(error)".contains("5 lines wait for it: No space left"), "\(error)")
    }
    disk.free()
    try log.flush()
    expect(try disk.lines(), 0..<5)
  }

  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)")) func withoutToleranceTheFirstIsAnError() throws {
    let disk = try FullDisk(), reports = Reports()
    let log = try MetricsLog(disk.path) { reports.lines.append($0) }
    disk.fill()
    for step in [0, 7] {
      #expect(throws: RunDirectoryError.self) { try append(log, step..<step + 1) }
    }
    disk.free()
    try append(log, 0..<2)
    try log.flush()
    expect(try disk.lines(), 0..<2)
    #expect(reports.lines.isEmpty)
  }
}
