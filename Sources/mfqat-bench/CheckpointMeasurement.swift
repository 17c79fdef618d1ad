import Checkpoints
import Foundation

/// Saves, loads and verifies one made-up state, on a disk and in memory.
final class CheckpointMeasurement {
  let state: SyntheticState
  private let copy: SyntheticState
  private let disk: String
  private let memory: String
  private let threads: Int
  private var storedFiles: [[UInt8]] = []
  /// The largest share of a file that stayed in memory where it should have been dropped.
  private(set) var resident = 0.0
  private(set) var samples: [Work: Sample] = [:]

  enum Work: Hashable {
    case plainWrite, save, plainRead, load
    case savePipeline(Int), loadPipeline(Int), verify(Int)
  }

  struct WrongResult: Error, CustomStringConvertible {
    let description: String
  }

  init(bytes: Int, disk: String, memory: String, threads: Int) throws {
    state = SyntheticState(bytes: bytes)
    copy = SyntheticState(bytes: bytes)
    let name = "/mfqat-bench-checkpoint-\(ProcessInfo.processInfo.processIdentifier)"
    (self.disk, self.memory, self.threads) = (disk + name, memory + name, threads)
    try FileManager.default.createDirectory(atPath: self.disk, withIntermediateDirectories: true)
    try FileManager.default.createDirectory(atPath: self.memory, withIntermediateDirectories: true)
    try state.fill(threads: threads)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: disk)
    try? FileManager.default.removeItem(atPath: memory)
  }

  var storedBytes: Int { storedFiles.reduce(0) { $0 + $1.count } }

  /// Everything once, in an order that puts each thing beside what it is compared with. The first turn is not counted.
  func turn(counted: Bool) throws {
    func measure(_ work: Work, _ body: () throws -> Void) throws {
      let start = Instant.now
      try body()
      if counted { samples[work, default: Sample()].add(Instant.now - start) }
    }
    let saved = disk + "/saved", inMemory = memory + "/saved", plain = disk + "/plain"
    for count in 1...threads {
      try remove(inMemory)
      try measure(.savePipeline(count)) { try save(inMemory, threads: count) }
    }
    try remove(saved)
    try measure(.save) { try save(saved, threads: threads) }
    let files = try TensorContainer(saved).manifest.files.map { saved + "/" + $0.name }
    storedFiles = try files.map { [UInt8](try Data(contentsOf: URL(fileURLWithPath: $0))) }
    try remove(plain)
    try measure(.plainWrite) { try DiskProbe.write(storedFiles, to: plain) }

    for count in 1...threads { try checked { try measure(.loadPipeline(count)) { try load(inMemory, threads: count) } } }
    try drop(files)
    try checked { try measure(.load) { try load(saved, threads: threads) } }
    try drop([plain])
    try measure(.plainRead) {
      guard try DiskProbe.read([plain]) == storedBytes else { throw WrongResult(description: "\(plain) is cut") }
    }
    for count in Set([1, threads]).sorted() {
      try drop(files)
      try measure(.verify(count)) {
        let problems = try TensorContainer(saved).verify(threads: count)
        guard problems.isEmpty else { throw WrongResult(description: problems[0].description) }
      }
    }
  }

  private func save(_ directory: String, threads: Int) throws {
    let writer = try ContainerWriter(directory: directory, kind: .checkpoint)
    writer.add(
      try ContainerPartWriter.write(
        state.rows, into: writer.temporary, writer: 1, threads: threads, options: ContainerOptions(chunkBytes: 1 << 20)))
    try writer.commit()
  }

  private func load(_ directory: String, threads: Int) throws {
    try TensorContainer(directory).read(copy.rows, threads: threads)
  }

  private func checked(_ read: () throws -> Void) throws {
    copy.clear()
    try read()
    guard state.equals(copy) else { throw WrongResult(description: "what was read is not what was saved") }
  }

  private func remove(_ path: String) throws {
    if FileManager.default.fileExists(atPath: path) { try FileManager.default.removeItem(atPath: path) }
  }

  private func drop(_ files: [String]) throws { resident = max(resident, try DiskProbe.drop(files)) }

  /// Bytes of each plane of each kind of tensor, before and after, and the entropy of its bytes.
  func planeSizes() throws -> [(kind: String, plane: String, content: Int, stored: Int, entropy: Double)] {
    let container = try TensorContainer(memory + "/saved")
    var sums: [(kind: String, plane: String, content: Int, stored: Int, entropy: Double)] = []
    for tensor in container.tensors {
      let kind = String(tensor.name.prefix { $0 != "/" })
      for size in try container.planeSizes(tensor.name) {
        let plane = size.kind.rawValue
        let index = sums.firstIndex { $0.kind == kind && $0.plane == plane } ?? sums.count
        if index == sums.count { sums.append((kind, plane, 0, 0, 0)) }
        sums[index].content += size.content
        sums[index].stored += size.stored
        sums[index].entropy += size.entropy
      }
    }
    return sums
  }
}
