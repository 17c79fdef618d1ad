import Checkpoints
import Communication
import Kernels
import Reports

/// What `doctor` says: facts, and warnings about what makes a run slow.
struct Diagnosis {
  let machine: Machine
  let placements: [RankPlacement]
  let carrier: Communicator.Carrier

  // MARK: Warnings

  var warnings: [String] { crowding + blasWarning + unequalKernels }

  /// Ranks of one host that may only run on one and the same processor, or a lone process held to one of many.
  private var crowding: [String] {
    var warnings: [String] = []
    var groups: [String: [RankPlacement]] = [:]
    for placement in placements where placement.processors.count == 1 {
      groups["\(placement.host) \(placement.processors[0])", default: []].append(placement)
    }
    for (_, ranks) in groups.sorted(by: { $0.value[0].rank < $1.value[0].rank }) where ranks.count > 1 {
      let numbers = ranks.map { String($0.rank) }.joined(separator: ", ")
      warnings.append(
        "ranks \(numbers) share processor \(ranks[0].processors[0]) of \(ranks[0].host): start fewer, or use mpirun "
          + "--bind-to core")
    }
    if placements.count == 1, machine.allowedProcessors.count == 1, machine.onlineProcessors > 1 {
      warnings.append(
        "all threads share processor \(machine.allowedProcessors[0]) of \(machine.onlineProcessors): the affinity mask "
          + "allows no other; undo taskset, or use mpirun --bind-to none")
    }
    return warnings
  }

  private var blasWarning: [String] {
    guard BLAS.kernelChoice == .slow else { return [] }
    let advice = Environment["OPENBLAS_CORETYPE"].map { "unset OPENBLAS_CORETYPE, which is \($0)" }
      ?? "set OPENBLAS_CORETYPE=SkylakeX"
    return ["OpenBLAS uses its \(BLAS.coreName) kernel, this processor allows a faster one: \(advice)"]
  }

  /// Runs compare these and refuse; here it is seen beforehand.
  private var unequalKernels: [String] {
    Set(placements.map { $0.kernels + " " + $0.blasCore }).count > 1
      ? ["ranks use different kernels, so their sums differ: set MFQAT_KERNELS and OPENBLAS_CORETYPE alike everywhere"]
      : []
  }

  // MARK: Facts

  private var launch: String {
    switch Launch.current {
    case .alone: "by hand, one process, MPI is not started"
    case .byLauncher(let variable, _):
      "by a launcher (\(variable)), \(placements.count) rank\(placements.count == 1 ? "" : "s")"
    case .bySlurmWithoutPMI(let tasks): "by srun without PMI, \(tasks) tasks"
    }
  }

  private var blasReason: String {
    switch BLAS.kernelChoice {
    case .fits: "its own choice"
    case .setOutside: "set by OPENBLAS_CORETYPE"
    case .replaced(let other): "in place of \(other): this processor has AVX-512, OpenBLAS did not see it"
    case .slow:
      (Environment["OPENBLAS_CORETYPE"] == nil ? "its own choice" : "set by OPENBLAS_CORETYPE")
        + ", slower than this processor allows"
    }
  }

  private var memory: String {
    var text = machine.memoryBytes.map(Figures.bytes) ?? "unknown"
    if let available = machine.availableBytes { text += ", \(Figures.bytes(available)) available" }
    if let limit = machine.memoryLimit { text += ", this control group may use \(Figures.bytes(limit))" }
    return text
  }

  var text: String {
    var table = TextTable([.init("mfqat"), .init(Mfqat.version)])
    table.add(["host", machine.host])
    table.add(["processor", machine.processor ?? "unknown"])
    table.add(["instruction sets", machine.instructionSets.joined(separator: " ")])
    table.add([
      "processors", "\(ProcessorList.text(machine.allowedProcessors)) of \(machine.onlineProcessors) may be used",
    ])
    table.add(["memory", memory])
    table.add([
      "kernel table",
      "\(KernelTable.current.name) (available: \(KernelTable.available.map(\.name).joined(separator: ", ")))",
    ])
    table.add(["OpenBLAS", BLAS.version])
    table.add(["OpenBLAS kernel", "\(BLAS.coreName), \(blasReason)"])
    table.add(["MPI", Communicator.mpiLibrary])
    table.add(["launched", launch])
    table.add(["zstd", StorageLibraries.zstdVersion])
    table.add(["xxHash", StorageLibraries.xxHashVersion])
    table.add(["Swift", Machine.swiftVersion])
    var text = table.plain
    if carrier == .mpi {
      var ranks = TextTable([
        .init("rank", .right), .init("host"), .init("process", .right), .init("processors"), .init("kernels"),
        .init("OpenBLAS kernel"),
      ])
      for placement in placements {
        ranks.add([
          "\(placement.rank)", placement.host, "\(placement.process)", ProcessorList.text(placement.processors),
          placement.kernels, placement.blasCore,
        ])
      }
      text += "\n" + ranks.plain
    }
    let warnings = self.warnings
    return text + "\n" + (warnings.isEmpty ? "no warnings\n" : warnings.map { "warning: \($0)\n" }.joined())
  }

  var json: JSONValue {
    [
      "version": .string(Mfqat.version), "host": .string(machine.host),
      "processor": machine.processor.map { .string($0) } ?? .null,
      "instruction_sets": .array(machine.instructionSets.map { .string($0) }),
      "online_processors": .integer(machine.onlineProcessors),
      "allowed_processors": .array(machine.allowedProcessors.map { .integer($0) }),
      "memory_bytes": machine.memoryBytes.map { .integer($0) } ?? .null,
      "available_bytes": machine.availableBytes.map { .integer($0) } ?? .null,
      "memory_limit": machine.memoryLimit.map { .integer($0) } ?? .null,
      "kernel_table": .string(KernelTable.current.name),
      "kernel_tables": .array(KernelTable.available.map { .string($0.name) }),
      "openblas": .string(BLAS.version), "openblas_kernel": .string(BLAS.coreName),
      "openblas_kernel_reason": .string(blasReason), "mpi": .string(Communicator.mpiLibrary),
      "launched": .string(launch), "zstd": .string(StorageLibraries.zstdVersion),
      "xxhash": .string(StorageLibraries.xxHashVersion), "swift": .string(Machine.swiftVersion),
      "ranks": .array(placements.map(\.json)), "warnings": .array(warnings.map { .string($0) }),
    ]
  }
}
