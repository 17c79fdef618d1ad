import Checkpoints
import Communication
import Foundation
import Tensors
import Testing
import Training
import Transformer

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

/// The second home of the state that a thread writes while training goes on is forecast, too.
///
/// In a process of its own, which is this one's program: tests and all, some 10 MiB more than `mfqat`.
@Suite struct BackgroundMemoryTests {
  /// 12 million parameters: 47 MiB, of which the copy holds three, and few activations.
  static let overrides = [
    """
    model.config={hidden_size: 320, intermediate_size: 896, num_hidden_layers: 6, num_attention_heads: 5, \
    num_key_value_heads: 5, vocab_size: 14000, max_position_embeddings: 64, rms_norm_eps: 1.0e-5, \
    tie_word_embeddings: true, architectures: [LlamaForCausalLM]}
    """, "training={steps: 2, batch: 2, lanes: 2, learning_rate: 1.0e-3, seed: 7}",
    "checkpoint={every: 1, keep: 1, background: true}",
  ]

  @Test func theCopyIsCounted() async throws {
    let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
      let place = try RunPlace(), settings = try place.pretraining("run", BackgroundMemoryTests.overrides)
      let run = try TrainingRun(
        settings, communicator: .solo(), open: { try ModelSources.open($0) }, report: { print($0) })
      let parts = run.plan.memory.parts, forecast = run.plan.memory.total
      let copy = try #require(parts.first { $0.purpose == "copy for checkpoints" }).bytes
      let state = 12 * run.trainer.model.parameterCount
      try #require(copy >= state && copy < state + (1 << 20))
      try run.run(resume: .no)
      let peak = ProcessMemory.peakBytes
      try place.remove("")
      print("\(peak) \(forecast) \(copy)")
      exit(0)
    }
    let text = String(decoding: try #require(result).standardOutputContent, as: UTF8.self)
    let figures = text.split(whereSeparator: \.isWhitespace).suffix(3).compactMap { Double($0) }
    try #require(figures.count == 3, "\(text)")
    let words = "peak \(figures[0]), forecast \(figures[1]), of that the copy \(figures[2])"
    #expect(abs(figures[0] / figures[1] - 1) < 0.15 && figures[2] > 0.2 * figures[1], "\(words)")
    print(words)
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
