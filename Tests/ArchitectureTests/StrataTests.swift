import Foundation
import Testing

/// The rules that keep a stranger able to draw this package from memory: SwiftPM does not stop an undeclared or an upward
/// import, so these tests do.
@Suite struct StrataTests {
  /// Bottom to top. A target imports strata below its own, never a sibling.
  static let strata: [[String]] = [
    ["CKernels", "CBenchDNN", "CMPIShims", "COpenMPI", "COpenBLAS", "CZstd", "CXXHash", "CPCRE2"],
    ["Formats"],
    ["Tensors"],
    ["Kernels"],
    ["Quantization", "Communication", "Checkpoints", "Text"],
    ["Transformer", "Settings"],
    ["Training", "Calibration", "Conversion", "Evaluation", "Reports"],
    ["mfqat", "mfqat-bench", "mfqat-fuzz"],
  ]

  static let package = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  struct Source {
    let target: String
    let path: String
    let text: String
    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
    var imports: [String] {
      lines.compactMap { line in
        let words = line.split(separator: " ").filter { $0 != "public" && $0 != "package" && $0 != "internal" }
        return words.first == "import" && words.count >= 2 ? String(words[1]) : nil
      }
    }
  }

  static let sources: [Source] = {
    let root = package.appendingPathComponent("Sources")
    let files = FileManager.default.enumerator(atPath: root.path)?.allObjects as? [String] ?? []
    return files.filter { $0.hasSuffix(".swift") || $0.hasSuffix(".c") || $0.hasSuffix(".h") }.sorted().map { path in
      Source(
        target: String(path.split(separator: "/")[0]), path: path,
        text: (try? String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)) ?? "")
    }
  }()

  static func stratum(_ target: String) -> Int? { strata.firstIndex { $0.contains(target) } }

  @Test func everyTargetHasAStratum() {
    #expect(Self.sources.count > 100, "the sources were found")
    for target in Set(Self.sources.map(\.target)) { #expect(Self.stratum(target) != nil, "\(target) has no stratum") }
  }

  @Test func importsGoDownOnly() {
    for source in Self.sources where source.path.hasSuffix(".swift") {
      for name in source.imports {
        guard let imported = Self.stratum(name), let own = Self.stratum(source.target) else { continue }
        #expect(imported < own, "\(source.path) imports \(name): stratum \(imported) from \(own)")
      }
    }
  }

  @Test func importsAreDeclared() throws {
    let manifest = try String(contentsOf: Self.package.appendingPathComponent("Package.swift"), encoding: .utf8)
    for source in Self.sources where source.path.hasSuffix(".swift") {
      guard let start = manifest.range(of: "stratum(\"\(source.target)\"") else { continue }
      let declaration = manifest[start.lowerBound...].prefix { $0 != "]" }
      for name in source.imports where Self.stratum(name) != nil {
        #expect(declaration.contains("\"\(name)\""), "\(source.path) imports \(name), which Package.swift does not declare")
      }
    }
  }

  @Test func foundationStaysAboveTheKernels() {
    for source in Self.sources where (Self.stratum(source.target) ?? 9) < 4 {
      #expect(!source.imports.contains { $0.hasPrefix("Foundation") }, "\(source.path) imports Foundation")
    }
  }

  /// Zstandard has two: what is stored, and what is sent, neither of which imports the other.
  @Test func foreignLibrariesHaveTheirDoors() {
    let doors = [
      "COpenBLAS": ["Kernels"], "COpenMPI": ["CMPIShims"], "CMPIShims": ["Communication"],
      "CZstd": ["Checkpoints", "Communication"], "CPCRE2": ["Text"],
    ]
    for source in Self.sources {
      for name in source.imports {
        guard let doors = doors[name] else { continue }
        #expect(doors.contains(source.target), "\(source.path) imports \(name), whose doors are \(doors)")
      }
      if source.target != "CMPIShims" && source.target != "COpenMPI" {
        #expect(!source.text.contains("#include <mpi.h>"), "\(source.path) includes mpi.h")
      }
    }
  }

  @Test func filesHoldOneIdea() {
    for source in Self.sources { #expect(source.lines.count <= 600, "\(source.path) has \(source.lines.count) lines") }
  }

  @Test func floatingPointIsStrict() throws {
    let manifest = try String(contentsOf: Self.package.appendingPathComponent("Package.swift"), encoding: .utf8)
    for flag in ["unsafeFlags", "-ffast-math", "-Ofast", "-Ounchecked"] { #expect(!manifest.contains(flag)) }
    let kernels = Self.sources.filter { $0.target == "CKernels" && $0.path.hasSuffix(".c") }
    #expect(!kernels.isEmpty)
    for source in kernels where !source.path.hasSuffix("ck_dispatch.c") {
      #expect(source.text.contains("ck_strict.h"), "\(source.path) does not include ck_strict.h")
    }
  }
}
