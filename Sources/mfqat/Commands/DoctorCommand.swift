import ArgumentParser
import Checkpoints
import Communication
import Kernels
import Reports

/// `mfqat doctor`: what this machine offers, and what is in the way. Under mpirun also where the ranks are.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Show MPI, threads, instruction sets, kernels, libraries and memory.",
    discussion: """
      Started by mpirun or srun it also shows where every rank runs. Warnings are about speed, not correctness: the \
      exit status is 0 with and without them.
      """)

  @OptionGroup var output: OutputOptions

  func run() throws {
    let communicator = try Communicator.world()
    let machine = Machine.current
    let placement = RankPlacement(rank: communicator.rank, machine: machine)
    let gathered = try communicator.gatherStrings(placement.line)
    guard communicator.isRoot else { return }
    let placements = gathered.compactMap(RankPlacement.init(line:))
    let diagnosis = Diagnosis(machine: machine, placements: placements, carrier: communicator.carrier)
    try output.print(diagnosis.json, diagnosis.text)
  }
}
