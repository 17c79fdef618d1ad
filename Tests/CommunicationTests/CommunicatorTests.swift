import Communication
import Testing

let allChecks = collectiveChecks + exchangeChecks + exactChecks + gatherChecks + wireChecks + feedbackChecks

/// The checks over the world of this process: one rank in a plain test run, the ranks of the job under `mpirun`.
///
/// MPI wants one thread and one order: `WorldThread` and a list, walked case by case. A check that fails on one rank ends
/// the job, because its peers are already waiting in the next collective.
@Suite(.serialized) struct WorldTests {
  @Test(arguments: allChecks.indices) func check(_ index: Int) throws {
    try WorldThread.shared.run { communicator in
      do {
        try allChecks[index].run(on: communicator)
      } catch {
        if communicator.size > 1 { communicator.fail(code: 71, reason: "check '\(allChecks[index].name)': \(error)") }
        throw error
      }
    }
  }

  @Test func worldIsWhatTheLauncherSays() throws {
    let (carrier, size) = try WorldThread.shared.run { ($0.carrier, $0.size) }
    switch Launch.current {
    case .alone: #expect(carrier == .solo && size == 1)
    case .byLauncher(_, let ranks): #expect(carrier == .mpi && (ranks == nil || ranks == size))
    case .bySlurmWithoutPMI: Issue.record("srun without a process manager interface")
    }
  }
}

/// The same checks over MPI processes on nodes by hand: both hops are real messages.
@Suite(.serialized, .enabled(if: LaunchedJob.isPossible, "\(LaunchedJob.absence)"))
struct WorldOnNodesTests {
  @Test(arguments: ["2,2", "1,1,1", "2,1"]) func world(_ nodes: String) throws {
    let ranks = nodes.split(separator: ",").reduce(0) { $0 + Int($1)! }
    let job = try LaunchedJob(ranks: ranks, filter: "WorldTests", environment: [NodeMap.variable: nodes])
    #expect(job.status == 0, "\(job.output)")
    // Every rank says so, of the same number of tests: none of them ran nothing.
    #expect(job.output.ranges(of: "Test run with 2 tests in 1 suite passed").count == ranks)
  }

  @Test func nodesOfAnotherJobAreRefused() throws {
    let job = try LaunchedJob(ranks: 2, filter: "WorldTests", environment: [NodeMap.variable: "2,2"])
    #expect(job.status != 0)
    #expect(job.output.contains("MFQAT_NODES: '2,2' does not describe the nodes of 2 ranks"), "\(job.output)")
  }
}

/// The same checks on one rank without MPI, and on threads.
@Suite struct CarrierTests {
  @Test(arguments: allChecks) func solo(_ check: Check) throws {
    try check.run(on: .solo())
  }

  @Test(arguments: [1, 2, 3, 4, 5]) func threads(_ ranks: Int) throws {
    try runAll(on: NodeMap(sizes: [ranks]))
  }

  /// Even nodes, one rank a node, nodes whose ranks do not follow one another, uneven ones.
  @Test(arguments: [
    NodeMap(sizes: [2, 2]), NodeMap(sizes: [3, 3]), NodeMap(sizes: [2, 2, 2]), NodeMap(sizes: [1, 1, 1]),
    NodeMap(labels: [0, 1, 0, 1]), NodeMap(labels: [0, 1, 1, 0, 1, 0]), NodeMap(sizes: [2, 1]), NodeMap(sizes: [1, 3]),
  ])
  func threadsOnNodes(_ nodes: NodeMap) throws { try runAll(on: nodes) }

  private func runAll(on nodes: NodeMap) throws {
    for check in allChecks {
      let results = try Communicator.onThreads(nodes.rankCount, nodes: nodes) { communicator in
        do {
          try check.run(on: communicator)
        } catch let failure as CheckFailure {
          throw CheckFailure(
            description: "check '\(check.name)', \(nodes.description), rank \(communicator.rank): \(failure)")
        }
        return communicator.rank
      }
      #expect(results == Array(0..<nodes.rankCount))
    }
  }

  @Test func threadThatThrowsFreesItsPeers() {
    let error = #expect(throws: CheckFailure.self) {
      try Communicator.onThreads(3) { communicator in
        if communicator.rank == 1 { throw CheckFailure(description: "on purpose") }
        try communicator.barrier()
      }
    }
    #expect(error?.description == "on purpose")
  }

  @Test func failEndsTheProcessWithItsCode() async {
    await #expect(processExitsWith: .exitCode(42)) {
      Communicator.solo().fail(code: 42, reason: "on purpose")
    }
  }
}
