import Checkpoints
import Foundation
import Reports
import Testing

@Suite struct MarkedRegionTests {
  static let document = "before\n<!-- table -->\nold\n<!-- /table -->\nafter\n"

  @Test func onlyWhatStandsBetweenIsReplaced() throws {
    let changed = try MarkedRegion.replace("table", in: Self.document, with: "new", path: "d")
    #expect(changed == "before\n<!-- table -->\nnew\n<!-- /table -->\nafter\n")
    #expect(try MarkedRegion.replace("table", in: changed, with: "new\n", path: "d") == changed)
  }

  @Test(arguments: [
    ("no markers", "none"), ("<!-- table --> <!-- table --> <!-- /table -->", "2"),
    ("<!-- /table --> <!-- table -->", "the other way round"),
  ])
  func markersThatAreMissingDoubledOrSwappedAreRefused(_ document: String, _ found: String) {
    let error = #expect(throws: ReportError.self) {
      try MarkedRegion.replace("table", in: document, with: "new", path: "d")
    }
    #expect(error?.description.contains(found) == true)
  }

  @Test func aFileIsReplaced() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mfqat-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("README.md").path
    try Self.document.write(toFile: path, atomically: false, encoding: .utf8)
    try MarkedRegion.replace("table", inFile: path, with: "new")
    #expect(try String(contentsOfFile: path, encoding: .utf8).contains("\nnew\n"))
    #expect(throws: ReportError.self) { try MarkedRegion.replace("table", inFile: path + "x", with: "new") }
  }
}
