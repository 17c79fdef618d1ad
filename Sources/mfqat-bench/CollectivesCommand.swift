import ArgumentParser
import Checkpoints
import Communication
import Tensors
import Transformer

/// `mfqat-bench collectives`: what a step does between ranks, on the ranks of the launcher.
struct CollectivesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "collectives",
    abstract: "Reduction and gathers of one unit: run it under mpirun.",
    discussion: """
      Every measurement begins with a barrier; times are those of rank 0. Bytes are those of the whole unit in the form \
      in which it travels.
      """)

  @Option(help: "Model shape: \(BenchModel.allCases.map(\.rawValue).joined(separator: ", ")).")
  var config = BenchModel.stories15m
  @Option(help: "Repetitions of each.")
  var repetitions = 20
  @OptionGroup var report: ReportOptions

  func run() throws {
    let communicator = try Communicator.world()
    let model = try config.configuration(context: config.context)
    var table = Table(["collective", "unit", "MB", "ms", "least", "spread", "GB/s"])
    let layout = ParameterLayout(model)
    // The embedding and the first layer: the largest unit and the usual one.
    for unit in layout.units.prefix(2) {
      try measure(unit, on: communicator, &table)
    }
    guard communicator.isRoot else { return }
    report.table("Collectives of \(communicator.size) rank\(communicator.size == 1 ? "" : "s")", table)
  }

  private func measure(_ unit: UnitLayout, on communicator: Communicator, _ table: inout Table) throws {
    let arena = Arena("collectives"), rank = communicator.rank
    let shards = RowShards(
      unit.parameters.map { .init(rows: $0.rows, columns: $0.columns) }, ranks: communicator.size)
    let staging = ShardStaging(for: [shards], in: arena)
    let reducer = ExactReducer(
      communicator, LaneSchedule(lanes: communicator.size, ranks: communicator.size), staging: staging)
    let gather = ShardGather(communicator, staging: staging)
    var full = Tensor(rows: 1, columns: shards.elementCount, in: arena)
    var sum = Tensor(rows: 1, columns: shards.elementCount(ofRank: rank), in: arena)
    var ownCodes = HostBuffer<UInt8>(count: shards.elementCount(ofRank: rank), in: arena)
    var ownScales = HostBuffer<UInt8>(count: shards.scaleCount(ofRank: rank), in: arena)
    var codes = HostBuffer<UInt8>(count: shards.elementCount, in: arena)
    var scales = HostBuffer<UInt8>(count: shards.scaleCount, in: arena)
    full.fillWithNoise(seed: 17)
    ownCodes[0] = 1
    ownScales[0] = 127

    func add(_ name: String, bytes: Int, _ work: () throws -> Void) throws {
      try work()
      var sample = Sample()
      for _ in 0..<max(repetitions, 1) {
        try communicator.barrier()
        try sample.measure(work)
      }
      guard communicator.isRoot else { return }
      let median = sample.wall.median
      report.line([
        ("bench", "collectives"), ("collective", .string(name)), ("unit", .string(unit.name)),
        ("ranks", .integer(communicator.size)), ("bytes", .integer(bytes)), ("seconds_median", median.json),
        ("seconds_min", sample.wall.least.json), ("spread", sample.wall.spread.json),
        ("gigabytes_per_second", (Double(bytes) / median / 1e9).json), ("measurements", .integer(sample.count)),
      ])
      table.add([
        name, unit.name, (Double(bytes) / 1e6).fixed(1), (1000 * median).fixed(2), (1000 * sample.wall.least).fixed(2),
        (100 * sample.wall.spread).fixed(0) + " %", (Double(bytes) / median / 1e9).fixed(2),
      ])
    }

    try add("reduce gradients", bytes: 4 * shards.elementCount) {
      try reducer.reduce(&full, round: 0, of: shards, into: &sum, overwrite: true)
    }
    try add("gather fp32 rows", bytes: 4 * shards.elementCount) { try gather.gatherRows(sum, of: shards, into: &full) }
    try add("gather codes", bytes: shards.elementCount + shards.scaleCount) {
      try gather.gatherPacked(codes: ownCodes, scales: ownScales, of: shards, intoCodes: &codes, scales: &scales)
    }
  }
}
