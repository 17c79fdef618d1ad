import Checkpoints
import Foundation
import Testing

/// Threads and shares divide the work; what is found does not depend on them.
@Suite struct ParallelVerifyTests {
  let scratch: Scratch
  var directory: String { scratch("anchor") }

  /// A container damaged everywhere: frames, seek tables, sidecars, a file that does not belong.
  init() throws {
    scratch = try Scratch()
    try SmallAnchor().write(directory)
    let manifest = try TensorContainer(directory).manifest
    for file in manifest.files.indices {
      let name = manifest.files[file].name
      var bytes = try contents(directory + "/" + name)
      let chunks = manifest.tensors.flatMap(\.pieces).flatMap(\.planes).flatMap(\.chunks).filter { $0.file == file }
      for (index, chunk) in chunks.enumerated() where index % 3 == file % 3 {
        bytes[chunk.offset + chunk.storedSize / 2] ^= 4
      }
      if file == 0 { bytes[bytes.count - 20] ^= 1 }
      try scratch.write(bytes, "anchor/" + name)
    }
    try scratch.write(Array(#"{"model_type":"lamma"}"#.utf8), "anchor/config.json")
    try scratch.write([1, 2, 3], "anchor/extra")
  }

  @Test(arguments: [2, 5, 64])
  func threadsFindWhatOneFinds(threads: Int) throws {
    let serial = try TensorContainer(directory).verify(threads: 1)
    #expect(serial.count > 15 && Set(serial.compactMap(\.tensor)).count > 3)
    for _ in 0..<5 { #expect(TensorContainer.verify(directory, threads: threads) == serial) }
  }

  @Test(arguments: [1, 2, 3, 7, 500], [1, 2, 5])
  func sharesTogetherFindEachProblemOnce(count: Int, threads: Int) throws {
    let container = try TensorContainer(directory)
    let serial = container.verifyAlone
    let shares = try (0..<count).map { try container.verify(share: $0, of: count, threads: threads) }
    #expect(shares.reduce(0) { $0 + $1.count } == serial.count && Set(shares.joined()) == Set(serial))
    for share in shares {
      let positions = share.map { serial.firstIndex(of: $0)! }
      #expect(positions == positions.sorted())
    }
  }

  @Test func problemsHaveAPlace() throws {
    for problem in TensorContainer.verify(directory) where problem.message != "is not in the manifest" {
      #expect(problem.file != nil && problem.range != nil, "\(problem)")
    }
  }

  @Test(arguments: [1, 2, 5])
  func progressGoesForwardToTheTotal(threads: Int) throws {
    let container = try TensorContainer(directory)
    let files = container.manifest.files.reduce(0) { $0 + $1.size }
    let tables = files - container.tensors.reduce(0) { $0 + $1.storedSize }
    let all = 2 * files - tables + container.manifest.sidecars.reduce(0) { $0 + $1.size }
    var sum = 0
    for share in 0..<3 {
      var last = 0, total = 0
      _ = try container.verify(share: share, of: 3, threads: threads) { done, of in
        #expect(done >= last && done <= of)
        (last, total) = (done, of)
      }
      #expect(last == total && total > 0)
      sum += total
    }
    #expect(sum == all)
  }

  @Test func sharesAreBalanced() {
    let weights = (0..<200).map { Int(word($0, seed: 9) % 1000) } + [5000, 7000, 0, 0]
    for count in [1, 2, 3, 8] {
      let owners = ParallelWork.shares(of: weights, among: count)
      let loads = (0..<count).map { share in zip(weights, owners).filter { $0.1 == share }.reduce(0) { $0 + $1.0 } }
      #expect(loads.reduce(0, +) == weights.reduce(0, +) && loads.max()! - loads.min()! <= 200, "\(loads)")
    }
  }

  @Test func resultsComeInOrderAndTheFirstErrorIsThrown() throws {
    struct Odd: Error {}
    for threads in [1, 2, 5] {
      let squares = try ParallelWork.map(
        weights: (0..<100).map { $0 % 7 }, threads: threads, total: 100, progress: { _, _ in }, worker: {}
      ) { _, index, advance in
        advance(1)
        return index * index
      }
      #expect(squares == (0..<100).map { $0 * $0 })
      #expect(throws: Odd.self) {
        try ParallelWork.map(weights: [1, 2, 3], threads: threads, total: 3, progress: { _, _ in }, worker: {}) {
          _, index, _ in if index == 1 { throw Odd() }
        }
      }
    }
  }
}

extension TensorContainer {
  fileprivate var verifyAlone: [ContainerProblem] { (try? verify(threads: 1)) ?? [] }
}
