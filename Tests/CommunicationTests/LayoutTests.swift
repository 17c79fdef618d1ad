import Communication
import Tensors
import Testing

@Suite struct RowShardsTests {
  static let units: [[RowShards.Matrix]] = [
    awkwardUnit, [], [.init(rows: 1, columns: 1)], [.init(rows: 100, columns: 32), .init(rows: 1, columns: 96)],
    [.init(rows: 5, columns: 0), .init(rows: 4, columns: 65)],
  ]

  @Test(arguments: units, [1, 2, 3, 4, 5, 40]) func shardsPartitionTheUnit(_ matrices: [RowShards.Matrix], _ ranks: Int) {
    let unit = RowShards(matrices, ranks: ranks)
    var owners = [Int](repeating: 0, count: unit.elementCount)
    var scaleOwners = [Int](repeating: 0, count: unit.scaleCount)
    var rowOwners = [Int](repeating: 0, count: unit.rowCount)
    for rank in 0..<ranks {
      var (elements, scales, rows) = (0, 0, 0)
      for run in unit.runs(ofRank: rank) {
        #expect((run.shardOffset, run.shardScaleOffset, run.shardRow) == (elements, scales, rows))
        #expect(run.columns == matrices[run.matrix].columns)
        for element in run.fullOffset..<run.fullOffset + run.elementCount { owners[element] += 1 }
        for scale in run.fullScaleOffset..<run.fullScaleOffset + run.scaleCount { scaleOwners[scale] += 1 }
        for row in run.firstRow..<run.firstRow + run.rows.count { rowOwners[row] += 1 }
        elements += run.elementCount
        scales += run.scaleCount
        rows += run.rows.count
      }
      #expect(elements == unit.elementCount(ofRank: rank))
      #expect(scales == unit.scaleCount(ofRank: rank))
      #expect(rows == unit.rowCount(ofRank: rank))
      #expect(elements <= unit.widestShard)
    }
    #expect(owners.allSatisfy { $0 == 1 } && scaleOwners.allSatisfy { $0 == 1 } && rowOwners.allSatisfy { $0 == 1 })
  }

  @Test func rowsFollowTheFormula() {
    #expect((0..<4).map { RowShards.rows(of: 10, rank: $0, ranks: 4) } == [0..<2, 2..<5, 5..<7, 7..<10])
    #expect((0..<4).map { RowShards.rows(of: 2, rank: $0, ranks: 4) } == [0..<0, 0..<1, 1..<1, 1..<2])
    let unit = RowShards([.init(rows: 2, columns: 33), .init(rows: 4, columns: 8)], ranks: 2)
    let runs = unit.runs(ofRank: 1)
    #expect(runs.map(\.matrix) == [0, 1])
    #expect(runs.map(\.rows) == [1..<2, 2..<4])
    #expect(runs.map { [$0.fullOffset, $0.shardOffset] } == [[33, 0], [82, 33]])
    #expect(runs.map { [$0.fullScaleOffset, $0.shardScaleOffset] } == [[2, 0], [6, 2]])
    #expect(runs.map { [$0.firstRow, $0.shardRow] } == [[1, 0], [4, 1]])
  }

  @Test(arguments: units) func oneRankOwnsTheFullLayout(_ matrices: [RowShards.Matrix]) {
    let unit = RowShards(matrices, ranks: 1)
    #expect(unit.elementCount(ofRank: 0) == unit.elementCount)
    for run in unit.runs(ofRank: 0) {
      #expect((run.shardOffset, run.shardScaleOffset, run.shardRow) == (run.fullOffset, run.fullScaleOffset, run.firstRow))
    }
  }

  @Test(arguments: [1, 2, 3, 4, 5]) func copyingOutAndBackIsTheIdentity(_ ranks: Int) {
    let arena = Arena("test")
    let unit = RowShards(awkwardUnit, ranks: ranks)
    let values = roughFloats(unit.elementCount, stream: 3)
    let full = tensor(values, in: arena)
    var back = tensor(.init(repeating: .nan, count: values.count), in: arena)
    for rank in 0..<ranks {
      var mine = Tensor(rows: 1, columns: unit.elementCount(ofRank: rank), in: arena)
      unit.copy(shardOf: rank, from: full, to: &mine)
      #expect(bits(mine) == shard(values.map(\.bitPattern), of: unit, rank: rank))
      unit.copy(shardOf: rank, mine, into: &back)
    }
    #expect(bits(back) == values.map(\.bitPattern))
  }

  @Test func wrongSizesTrap() async {
    await #expect(processExitsWith: .failure) {
      let arena = Arena("test")
      let unit = RowShards(awkwardUnit, ranks: 2)
      let full = Tensor(rows: 1, columns: unit.elementCount, in: arena)
      var mine = Tensor(rows: 1, columns: 1, in: arena)
      unit.copy(shardOf: 0, from: full, to: &mine)
    }
    await #expect(processExitsWith: .failure) {
      // A unit for two ranks on one.
      let unit = RowShards(awkwardUnit, ranks: 2)
      let reduction = try Reduction(.solo(), options: .init(.exact))
      var gradient = Tensor(rows: 1, columns: unit.elementCount, in: Arena("test"))
      try reduction.reducer.reduce(
        &gradient, unit: 0, of: unit, contributors: 1, firstLane: 0, overwrite: true, step: 0, number: 0)
    }
  }
}

@Suite struct LaneScheduleTests {
  @Test(arguments: 1...12, 1...6) func everyLaneOnceInAscendingOrder(_ lanes: Int, _ ranks: Int) {
    let schedule = LaneSchedule(lanes: lanes, ranks: ranks)
    var order: [Int] = []
    for round in 0..<schedule.roundCount {
      let present = (0..<ranks).compactMap { schedule.lane(ofRank: $0, inRound: round) }
      #expect(present == Array(schedule.lanes(inRound: round)))
      #expect(schedule.lane(ofRank: 0, inRound: round) != nil)
      for lane in present { #expect(schedule.rank(ofLane: lane) == lane % ranks && schedule.round(ofLane: lane) == round) }
      order += present
    }
    #expect(order == Array(0..<lanes))
  }
}

@Suite struct LaunchTests {
  @Test func launchersAreRecognised() {
    func launch(_ environment: [String: String]) -> Launch { Launch { environment[$0] } }
    #expect(launch([:]) == .alone)
    #expect(launch(["OMPI_COMM_WORLD_SIZE": "6", "PMIX_RANK": "2"])
      == .byLauncher(variable: "OMPI_COMM_WORLD_SIZE", ranks: 6))
    #expect(launch(["PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "4"]) == .byLauncher(variable: "PMIX_RANK", ranks: nil))
    #expect(launch(["PMI_RANK": "1", "PMI_SIZE": "3"]) == .byLauncher(variable: "PMI_RANK", ranks: 3))
    #expect(launch(["SLURM_STEP_NUM_TASKS": "4"]) == .bySlurmWithoutPMI(tasks: 4))
    #expect(launch(["SLURM_STEP_NUM_TASKS": "1"]) == .alone)
  }

  @Test func theLibraryIsNamedWithoutStartingIt() {
    #expect(Communicator.mpiLibrary.contains("MPI"))
  }
}

@Suite struct ContentDigestTests {
  @Test func everyByteAndTheLengthCount() {
    let base = [UInt8]((0..<67).map { UInt8($0) })
    var seen: Set<ContentDigest> = [ContentDigest(of: base)]
    for length in 0..<67 { seen.insert(ContentDigest(of: Array(base[..<length]))) }
    for index in base.indices {
      var changed = base
      changed[index] ^= 1
      seen.insert(ContentDigest(of: changed))
    }
    for zeros in 1...20 { seen.insert(ContentDigest(of: [UInt8](repeating: 0, count: zeros))) }
    #expect(seen.count == 1 + 67 + 67 + 20 - 1)  // one zero byte is also the prefix of length one
  }
}
