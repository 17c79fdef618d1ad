import Checkpoints
import Foundation
import Glibc
import Testing

@Suite struct CommittedDirectoriesTests {
  private func committed(_ scratch: Scratch, _ name: String) throws {
    let directory = try AtomicDirectory(target: scratch(name))
    try directory.write([1], to: "a")
    try directory.commit()
  }

  @Test func removedAndRefusedOnesLoseTheirNames() throws {
    let scratch = try Scratch()
    for name in ["step-1", "step-2", "step-3", "other"] { try committed(scratch, name) }
    try scratch.write([], "step-9")
    try CommittedDirectories.remove(scratch("step-1"))
    #expect(try CommittedDirectories.setAside(scratch("step-3/")) == scratch("step-3.corrupt"))
    try committed(scratch, "step-3")
    #expect(try CommittedDirectories.setAside(scratch("step-3")) == scratch("step-3.corrupt-2"))
    #expect(try names(in: scratch.path) == ["other", "step-2", "step-3.corrupt", "step-3.corrupt-2", "step-9"])
    #expect(try contents(scratch("step-3.corrupt/a")) == [1])
    expectRefusal("No such file") { try CommittedDirectories.remove(scratch("step-1")) }
  }

  /// The process dies by SIGKILL in the middle of a save.
  @Test func aKilledSaveLeavesOnlyTemporaries() async throws {
    let scratch = try Scratch()
    try committed(scratch, "step-1")
    let target = scratch("step-2")
    await #expect(processExitsWith: .signal(SIGKILL)) { [target = target as String] in
      let writer = try ContainerWriter(
        directory: target, format: "mxint8", scaleRule: "floor", options: .init(chunkBytes: 512))
      try writer.addDense(name: "t", shape: [1000], values: [Float](repeating: 1, count: 1000).span)
      kill(getpid(), SIGKILL)
      try writer.commit()
    }
    #expect(try names(in: scratch.path).count == 2, "the temporary is there: the save had begun")
    #expect(try names(in: scratch.path).allSatisfy { $0 == "step-1" || CommittedDirectories.isLeftover($0) })
    let removed = try CommittedDirectories.removeLeftovers(in: scratch.path, prefix: "step-")
    #expect(removed.count == 1 && removed[0].hasPrefix("step-2.tmp-"))
    #expect(try names(in: scratch.path) == ["step-1"])
  }
}
