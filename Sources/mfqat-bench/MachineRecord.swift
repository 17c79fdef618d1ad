import Checkpoints
import Foundation
import Kernels

/// What a figure is worth nothing without: where it was measured, and of which state of the sources.
struct MachineRecord {
  let processor: String
  /// Logical processors this process may use.
  let processors: Int
  let kernels: String
  let blasKernel: String
  /// Nil where there is no git checkout around the working directory.
  let commit: String?

  static let current = MachineRecord(
    processor: model, processors: ProcessInfo.processInfo.activeProcessorCount, kernels: KernelTable.current.name,
    blasKernel: BLAS.coreName, commit: head)

  var members: [(String, JSONValue)] {
    [
      ("processor", .string(processor)), ("processors", .integer(processors)), ("kernels", .string(kernels)),
      ("blas_kernel", .string(blasKernel)), ("commit", commit.map { .string($0) } ?? .null),
    ]
  }

  var text: String {
    "\(processor), \(processors) logical processors; kernels \(kernels), OpenBLAS \(blasKernel)"
      + (commit.map { "; commit \($0)" } ?? "")
  }

  private static var model: String {
    let cpuinfo = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let line = cpuinfo.split(separator: "\n").first { $0.hasPrefix("model name") }
    return line?.split(separator: ":", maxSplits: 1).last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"
  }

  /// The commit of the checkout around the working directory, `+` behind it if tracked files were changed since.
  private static var head: String? {
    guard let hash = git(["rev-parse", "--short=12", "HEAD"]) else { return nil }
    return hash + (git(["status", "--porcelain", "--untracked-files=no"])?.isEmpty == false ? "+" : "")
  }

  private static func git(_ arguments: [String]) -> String? {
    guard let answer = try? ChildProcess.run("git", arguments), answer.status == 0 else { return nil }
    return answer.output.trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
