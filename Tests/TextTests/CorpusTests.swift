import FuzzTargets
import TestSupport
import Testing

/// Every input that the fuzzers begin with or once found, through the body that they run.
@Suite struct CorpusTests {
  @Test(arguments: FuzzTarget.text)
  func everyInputIsRefusedOrConsistent(_ target: FuzzTarget) throws {
    let inputs = try FuzzCorpus.inputs(of: target)
    #expect(!inputs.isEmpty)
    for (name, bytes) in inputs {
      let largest = AllocationCounter.largest {
        #expect(throws: Never.self, "\(target.rawValue)/\(name)") { try target.run(bytes) }
      }
      #expect(largest <= 64 << 20, "\(target.rawValue)/\(name): \(largest) bytes at once")
    }
  }
}
