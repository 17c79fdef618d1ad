import Checkpoints
import Kernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Where one rank runs and with what: gathered on the root as a line of JSON.
struct RankPlacement {
  let rank: Int
  let host: String
  let process: Int
  let processors: [Int]
  let kernels: String
  let blasCore: String

  init(rank: Int, machine: Machine) {
    self.rank = rank
    host = machine.host
    process = Int(getpid())
    processors = machine.allowedProcessors
    kernels = KernelTable.current.name
    blasCore = BLAS.coreName
  }

  /// nil for a line that another version wrote.
  init?(line: String) {
    guard let value = try? JSONScanner.parse(Array(line.utf8)), let rank = value["rank"]?.integer,
      let host = value["host"]?.string, let process = value["process"]?.integer,
      let processors = value["processors"]?.array, let kernels = value["kernels"]?.string,
      let blasCore = value["openblas_kernel"]?.string
    else { return nil }
    self.rank = rank
    self.host = host
    self.process = process
    self.processors = processors.compactMap(\.integer)
    self.kernels = kernels
    self.blasCore = blasCore
  }

  var json: JSONValue {
    [
      "rank": .integer(rank), "host": .string(host), "process": .integer(process),
      "processors": .array(processors.map { .integer($0) }), "kernels": .string(kernels),
      "openblas_kernel": .string(blasCore),
    ]
  }

  var line: String { String(decoding: json.serialized(order: .given), as: UTF8.self) }
}
