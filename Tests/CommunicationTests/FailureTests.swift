import Communication
import Foundation
import Testing

/// What a rank does that takes the whole job down. Run by `FailureTests` in a job of its own.
enum FailureScenario: String, CaseIterable {
  /// Reports and aborts while its peers wait in a barrier.
  case fails
  /// Leaves by exit(3) without a word to MPI, as a command line that throws does.
  case exits
  /// Runs into a precondition.
  case traps
  /// Ranks disagree: all throw alike, each fails by itself.
  case disagrees

  static let variable = "MFQAT_FAILURE_SCENARIO"
  static let current = ProcessInfo.processInfo.environment[variable].flatMap(FailureScenario.init)

  /// What mpirun must return: 128 + SIGILL or SIGTRAP for a trap.
  var exitCodes: Set<Int32> {
    switch self {
    case .fails: [42]
    case .exits: [3]
    case .traps: [132, 133]
    case .disagrees: [43]
    }
  }

  /// What must be on standard error.
  var reason: String {
    switch self {
    case .fails: "mfqat: rank 1 of 3: on purpose"
    case .exits: "rank 1 of 3 leaves with status 3"
    case .traps: "Illegal instruction|Trace/breakpoint"
    case .disagrees: "configuration differs on rank 1"
    }
  }
}

@Suite(.enabled(if: FailureScenario.current != nil)) struct FailureScenarioRun {
  @Test func scenario() throws {
    try WorldThread.shared.run { communicator in
      precondition(communicator.size == 3, "\(communicator.size) ranks")
      try communicator.barrier()
      switch FailureScenario.current! {
      case .fails:
        if communicator.rank == 1 { communicator.fail(code: 42, reason: "on purpose") }
      case .exits:
        if communicator.rank == 1 { exit(3) }
      case .traps:
        precondition(communicator.rank != 1, "on purpose")
      case .disagrees:
        do {
          try communicator.requireEqual([communicator.rank == 1 ? 1 : 0], what: "configuration")
        } catch {
          communicator.fail(code: 43, reason: "\(error)")
        }
      }
      try communicator.barrier()  // where the peers wait for a rank that never comes
    }
  }
}

/// A rank that gives up must not leave its peers waiting: `mpirun` ends, with its code and the reason.
@Suite(.serialized, .enabled(if: LaunchedJob.isPossible, "\(LaunchedJob.absence)"))
struct FailureTests {
  @Test(arguments: FailureScenario.allCases) func jobEnds(_ scenario: FailureScenario) throws {
    let job = try LaunchedJob(
      ranks: 3, filter: "FailureScenarioRun",
      environment: [FailureScenario.variable: scenario.rawValue, "SWIFT_BACKTRACE": "enable=no"])
    #expect(scenario.exitCodes.contains(job.status), "\(job.status): \(job.output)")
    #expect(job.output.range(of: scenario.reason, options: .regularExpression) != nil, "\(job.output)")
  }
}
