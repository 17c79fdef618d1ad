import Foundation

/// The built `mfqat`, run as a user runs it.
enum CommandLineTool {
  /// The product beside the test bundle; `MFQAT_TOOL` names another one.
  static let path: String = {
    if let named = ProcessInfo.processInfo.environment["MFQAT_TOOL"] { return named }
    let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: bundle).deletingLastPathComponent().appendingPathComponent("mfqat").path
  }()

  struct Result {
    var status: Int32
    /// Ended by a signal, whose number is the status.
    var isSignal: Bool
    var output: String
    var errors: String

    /// The object on standard output.
    func object() throws -> [String: Any] {
      try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any] ?? [:]
    }
  }

  /// - Parameter environment: added to a bare one, so that neither a launcher around the tests nor settings of the
  ///   machine change anything.
  static func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Result {
    try run(program: path, arguments, environment: environment)
  }

  static func run(
    program: String, _ arguments: [String], environment: [String: String] = [:]
  ) throws -> Result {
    let scratch = try Scratch()
    // Files and not pipes: nothing can fill up, whatever the order of reading.
    let output = try scratch.file("output"), errors = try scratch.file("errors")
    let process = Self.process(program, arguments, environment)
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    process.waitUntilExit()
    return Result(
      status: process.terminationStatus, isSignal: process.terminationReason == .uncaughtSignal,
      output: try scratch.text("output"), errors: try scratch.text("errors"))
  }

  static func process(_ program: String, _ arguments: [String], _ environment: [String: String] = [:]) -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    let inherited = ProcessInfo.processInfo.environment.filter { ["PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR"].contains($0.key) }
    process.environment = inherited.merging(environment) { $1 }
    return process
  }
}

/// A folder that goes away with its owner.
final class Scratch {
  let path: String

  init() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mfqat-cli-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    path = folder.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func callAsFunction(_ name: String) -> String { path + "/" + name }

  func file(_ name: String) throws -> FileHandle {
    _ = FileManager.default.createFile(atPath: path + "/" + name, contents: nil)
    return try FileHandle(forWritingTo: URL(fileURLWithPath: path + "/" + name))
  }

  func write(_ text: String, to name: String) throws {
    let file = URL(fileURLWithPath: path + "/" + name)
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: file)
  }

  func text(_ name: String) throws -> String {
    String(decoding: try Data(contentsOf: URL(fileURLWithPath: path + "/" + name)), as: UTF8.self)
  }
}
