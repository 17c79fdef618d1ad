import Checkpoints
import Foundation
import Testing

/// The peak of a program that trains, beside what was forecast before its first step.
///
/// In a program of its own: the peak of this one is the work of all suites together.
@Suite(.enabled(if: BenchProgram.isBuilt, "the measuring program is not built"))
struct MemoryForecastTests {
  @Test(arguments: [
    ["--config", "tiny"],
    ["--config", "stories15m", "--batch", "2", "--context", "128"],
    ["--config", "stories15m", "--batch", "2", "--context", "128", "--objective", "mxint"],
    ["--config", "stories15m", "--batch", "2", "--context", "128", "--objective", "mxint@mx/mx"],
    ["--config", "stories15m", "--batch", "2", "--context", "128", "--objective", "mxint", "--set",
     "communication.sharding=layers", "--set", "training.recompute=layers"],
    ["--config", "stories15m", "--batch", "2", "--context", "128", "--set", "communication.weights=delta"],
    ["--config", "stories15m", "--batch", "2", "--context", "128", "--objective", "fp32@int8/int8/fp32"],
  ])
  func peakIsWithinFifteenPercent(_ arguments: [String]) throws {
    let record = try BenchProgram.run(["step", "--json", "--steps", "2"] + arguments)
    let peak = try #require(record["peak_bytes"]?.double), forecast = try #require(record["forecast_bytes"]?.double)
    #expect(peak > 0x1p24 && abs(peak / forecast - 1) < 0.15, "\(arguments): peak \(peak), forecast \(forecast)")
  }
}

/// `mfqat-bench`, beside the tests.
enum BenchProgram {
  static let path = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    .appendingPathComponent("mfqat-bench").path

  static var isBuilt: Bool { FileManager.default.isExecutableFile(atPath: path) }

  static func run(_ arguments: [String]) throws -> JSONValue {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return try JSONScanner.parse(Array(bytes))
  }
}
