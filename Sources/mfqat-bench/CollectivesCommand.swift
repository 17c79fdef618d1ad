import ArgumentParser
import Checkpoints
import Communication
import Transformer

/// `mfqat-bench collectives`: what a step does between ranks, on the ranks of the launcher.
struct CollectivesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "collectives",
    abstract: "Reduction and gathers of one unit on every wire, and the links: run it under mpirun.",
    discussion: """
      Every measurement begins with a barrier; times are those of rank 0 and include making and reading the codes. MB are \
      those of the whole unit in the form in which it travels, once; "MB between" is what leaves nodes, all of them \
      together. Bits between nodes are those which the link of one node carries of every value that comes from elsewhere: \
      ranks that each fetch the same bytes for themselves count as often as they are.

      Links: on every node at once one rank sends to another and receives as much, 1 byte to --largest. The latency is \
      the time of that byte, the speed the slope of the least squares over the least times. Where all ranks send to all, bytes \
      are those of a node.
      """)

  @Option(help: "Model shape: \(BenchModel.allCases.map(\.rawValue).joined(separator: ", ")).")
  var config = BenchModel.stories15m
  @Option(help: "Repetitions of each.")
  var repetitions = 20
  @Option(help: "The longest message between two ranks, in bytes.")
  var largest = 16 << 20
  @Flag(help: "Measure the links only.")
  var linksOnly = false
  @OptionGroup var report: ReportOptions

  func validate() throws {
    guard repetitions > 0, largest >= 1024 else { throw ValidationError("--repetitions 1, --largest 1024 or more") }
  }

  func run() throws {
    let communicator = try Communicator.world()
    let probe = try LinkProbe(on: communicator, largest: largest, repetitions: repetitions)
    if communicator.isRoot { probe.print(report) }
    if linksOnly { return }

    let layout = ParameterLayout(try config.configuration(context: config.context))
    var table = Table(["collective", "unit", "MB", "MB between", "bits between", "ms", "least", "spread", "GB/s"])
    // The embedding and the first layer: the largest unit and the usual one.
    for unit in layout.units.prefix(2) {
      let measured = try CollectiveUnit(unit, on: communicator, repetitions: repetitions)
      for wire in CollectiveUnit.gradientWires(on: communicator) {
        add(try measured.reduction(wire), unit, communicator, &table)
      }
      for form in WeightForm.allCases { add(try measured.gather(form), unit, communicator, &table) }
    }
    guard communicator.isRoot else { return }
    report.table(
      "Collectives of \(communicator.size) rank\(communicator.size == 1 ? "" : "s"), "
        + communicator.nodeDescription, table)
  }

  private func add(
    _ measured: MeasuredCollective, _ unit: UnitLayout, _ communicator: Communicator, _ table: inout Table
  ) {
    guard communicator.isRoot else { return }
    let wall = measured.times.wall, nodes = communicator.topology?.map.nodeCount ?? 1
    let bits = nodes > 1 ? 8 * Double(measured.bytesBetweenNodes) / Double(measured.values * (nodes - 1)) : 0
    let rate = Double(measured.bytes) / wall.median / 1e9
    report.line([
      ("bench", "collectives"), ("collective", .string(measured.name)), ("unit", .string(unit.name)),
      ("ranks", .integer(communicator.size)), ("nodes", .integer(nodes)), ("values", .integer(measured.values)),
      ("bytes", .integer(measured.bytes)), ("bytes_between_nodes", .integer(measured.bytesBetweenNodes)),
      ("bits_between_nodes", bits.json), ("seconds_median", wall.median.json), ("seconds_min", wall.least.json),
      ("spread", wall.spread.json), ("gigabytes_per_second", rate.json), ("measurements", .integer(wall.count)),
    ])
    let cells = [
      measured.name, unit.name, megabytes(measured.bytes), megabytes(measured.bytesBetweenNodes),
      nodes > 1 ? bits.fixed(2) : "-", (1000 * wall.median).fixed(2), (1000 * wall.least).fixed(2),
      (100 * wall.spread).fixed(0) + " %", rate.fixed(2),
    ]
    table.add(cells)
  }

  private func megabytes(_ bytes: Int) -> String { (Double(bytes) / 1e6).fixed(2) }
}
