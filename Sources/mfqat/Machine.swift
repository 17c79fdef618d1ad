
#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What Linux says about the machine and this process. Nothing here is guessed: what cannot be read is nil or empty.
struct Machine {
  let host: String
  let processor: String?
  /// Of all that `/proc/cpuinfo` lists, those that kernels could use.
  let instructionSets: [String]
  /// Processors that are there, and those this process may run on.
  let onlineProcessors: Int
  let allowedProcessors: [Int]
  let memoryBytes: Int?
  let availableBytes: Int?
  /// The limit of the control group, if it is lower than the memory.
  let memoryLimit: Int?

  static var current: Machine {
    let cpuinfo = fields("/proc/cpuinfo"), memory = fields("/proc/meminfo"), status = fields("/proc/self/status")
    let flags = Set((cpuinfo["flags"] ?? "").split(separator: " ").map(String.init))
    let total = memory["MemTotal"].flatMap(kibibytes)
    let limit = limitFiles.compactMap { file in text(file).flatMap { Int($0.filter { !$0.isWhitespace }) } }.min()
    return Machine(
      host: hostName, processor: cpuinfo["model name"], instructionSets: interesting.filter(flags.contains),
      onlineProcessors: sysconf(Int32(_SC_NPROCESSORS_ONLN)),
      allowedProcessors: list(status["Cpus_allowed_list"] ?? ""), memoryBytes: total,
      availableBytes: memory["MemAvailable"].flatMap(kibibytes),
      memoryLimit: limit.flatMap { limit in total.map { limit < $0 } ?? true ? limit : nil })
  }

  private static let interesting = [
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
  ]
  private static let limitFiles = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]

  // MARK: Versions

  /// The compiler that built this, as far as it can be told apart at compile time.
  static var swiftVersion: String {
    #if compiler(>=6.5)
      "6.5 or later"
    #elseif compiler(>=6.4)
      "6.4"
    #elseif compiler(>=6.3)
      "6.3"
    #else
      "6.2"
    #endif
  }

  // MARK: Files of the kernel

  private static func text(_ path: String) -> String? {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
  }

  /// `name: value` lines; the first of each name.
  private static func fields(_ path: String) -> [String: String] {
    var fields: [String: String] = [:]
    for line in (text(path) ?? "").split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let name = trimmed(line[..<colon])
      if fields[name] == nil { fields[name] = trimmed(line[line.index(after: colon)...]) }
    }
    return fields
  }

  private static func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first?.isWhitespace == true { text.removeFirst() }
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
  }

  private static func kibibytes(_ text: String) -> Int? {
    text.split(separator: " ").first.flatMap { Int($0) }.map { $0 * 1024 }
  }

  /// `0-3,8` as numbers.
  private static func list(_ text: String) -> [Int] {
    text.split(separator: ",").flatMap { part -> [Int] in
      let ends = part.split(separator: "-").compactMap { Int($0) }
      return ends.count == 2 && ends[0] <= ends[1] ? Array(ends[0]...ends[1]) : ends
    }
  }

  private static var hostName: String {
    var name = [UInt8](repeating: 0, count: 256)
    let failed = unsafe name.withUnsafeMutableBytes { bytes in
      unsafe gethostname(bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count - 1)
    }
    return failed == 0 ? String(decoding: name.prefix { $0 != 0 }, as: UTF8.self) : "?"
  }
}

/// Numbers in runs: 0-3, 8.
enum ProcessorList {
  static func text(_ processors: [Int]) -> String {
    var runs: [ClosedRange<Int>] = []
    for processor in processors.sorted() {
      if let last = runs.last, processor <= last.upperBound + 1 {
        runs[runs.count - 1] = last.lowerBound...max(processor, last.upperBound)
      } else {
        runs.append(processor...processor)
      }
    }
    return runs.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ", ")
  }
}
