import Checkpoints

/// The parts of a save, each alone over the same weights, one thread: what there is to gain in which.
@safe final class CheckpointStages {
  struct Stage {
    let name: String
    /// Of the bytes the stage sees, and how many of those there are a byte of content.
    let secondsPerGigabyte: Double
    let share: Double
  }

  private static let chunk = 1 << 20
  private let words: UnsafeBufferPointer<UInt32>
  private let planes: UnsafeMutableRawBufferPointer
  private let count: Int
  private let state: SyntheticState

  init(_ state: SyntheticState) {
    self.state = state
    let first = unsafe state.values(0)
    count = first.count
    unsafe words = UnsafeBufferPointer(
      start: UnsafeRawPointer(first.baseAddress!).assumingMemoryBound(to: UInt32.self), count: first.count)
    unsafe planes = .allocate(byteCount: 4 * first.count, alignment: 64)
    split { $0 }
  }

  deinit { unsafe planes.deallocate() }

  func measure(turns: Int) -> [Stage] {
    let compressor = ChunkCompressor(level: 3)
    let works: [(name: String, planes: Range<Int>, share: Double, work: (UnsafeRawBufferPointer) -> Void)] = unsafe [
      ("content hash of a chunk, a plane, a file", 0..<4, 2.85, { unsafe _ = ContentHash($0) }),
      ("checksum of raw frames", 0..<3, 0.75, { unsafe _ = frameChecksum($0) }),
      ("mantissas: look at samples", 0..<3, 0.75, { unsafe _ = compressor.compress($0) }),
      ("exponents: compress", 3..<4, 0.25, { unsafe _ = compressor.compress($0) }),
    ]
    var samples = unsafe [Sample](repeating: Sample(), count: works.count + 1)
    for turn in 0...turns {
      // Into one chunk again and again, as a save does.
      var times = [Sample.one { split { 0..<$0.count } }]
      for unsafe work in unsafe works {
        times.append(Sample.one { unsafe forEachChunk(work.planes, work.work) })
      }
      if turn > 0 { for (index, time) in times.enumerated() { samples[index].add(time) } }
    }
    let bytes = Double(count) / 1e9
    let spreading = samples[0].processor.median / (4 * bytes)
    var stages = [Stage(name: "split into planes", secondsPerGigabyte: spreading, share: 1)]
    for unsafe (index, work) in unsafe works.enumerated() {
      let seconds = unsafe samples[index + 1].processor.median / (Double(work.planes.count) * bytes)
      unsafe stages.append(Stage(name: work.name, secondsPerGigabyte: seconds, share: work.share))
    }
    return stages
  }

  private func split(_ place: (Range<Int>) -> Range<Int>) {
    for start in stride(from: 0, to: count, by: Self.chunk) {
      let part = start..<min(start + Self.chunk, count), to = place(part)
      unsafe FloatPlanes.split(
        UnsafeBufferPointer(rebasing: words[part]), into: (plane(0, to), plane(1, to), plane(2, to), plane(3, to)))
    }
  }

  private func forEachChunk(_ which: Range<Int>, _ work: (UnsafeRawBufferPointer) -> Void) {
    for index in which {
      for start in stride(from: 0, to: count, by: Self.chunk) {
        unsafe work(UnsafeRawBufferPointer(plane(index, start..<min(start + Self.chunk, count))))
      }
    }
  }

  private func plane(_ index: Int, _ part: Range<Int>) -> UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(
      rebasing: planes[index * count + part.lowerBound..<index * count + part.upperBound])
  }
}
