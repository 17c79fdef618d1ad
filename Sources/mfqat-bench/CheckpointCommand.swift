import ArgumentParser
import Checkpoints
import Foundation

/// `mfqat-bench checkpoint`: saving, loading and verifying a training state, beside what disk and processor allow.
struct CheckpointCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "checkpoint",
    abstract: "Save, load and verify a training state, beside what the disk and the processor allow.",
    discussion: """
      The state is made up: weights with row scales, first and second moments. Timed by the wall clock, in turns: plain \
      files (the same stored bytes written in order with fsync, and read in order), the pipeline alone \
      (files in memory: splitting, compressing, hashing and a copy; or reading, decoding and checking), saves with fsync \
      and commit, loads and verification. Before everything that reads, files are dropped from the cache where the \
      system allows. Whatever is loaded is compared with what was saved. Rates are of content, compressed or not.
      """)

  @Option(help: "GiB of state.")
  var size = 0.5
  @Option(help: "Threads at most; one a logical processor without.")
  var threads = ParallelWork.processors
  @Option(help: "Where to save; a folder is made there and removed.")
  var directory = "."
  @Option(help: "A file system in memory.")
  var memory = "/dev/shm"
  @Option(help: "Measurements of each thing, after one that does not count.")
  var turns = 5
  @OptionGroup var report: ReportOptions

  func validate() throws {
    guard size > 0, size <= 64, (1...256).contains(threads), turns > 0 else {
      throw ValidationError("--size is above 0 and at most 64, --threads from 1 to 256, --turns above 0")
    }
  }

  func run() throws {
    let measurement = try CheckpointMeasurement(
      bytes: Int(size * Double(1 << 30)), disk: directory, memory: memory, threads: threads)
    for turn in 0...turns {
      report.note("turn \(turn) of \(turns)")
      try measurement.turn(counted: turn > 0)
    }
    let bytes = Double(measurement.state.byteCount)
    report.text(
      "Content \((bytes / 1e6).fixed(0)) MB, stored \((Double(measurement.storedBytes) / 1e6).fixed(0)) MB. "
        + (measurement.resident < 0.01
          ? "Files were dropped from the cache before they were read.\n"
          : "Up to \((100 * measurement.resident).fixed(0)) % of a file stayed in the cache: reads are not the disk's.\n"))
    rates(measurement, bytes)
    try planes(measurement)
    stages(measurement.state)
  }

  private func stages(_ state: SyntheticState) {
    var table = Table(["stage", "GB/s", "seconds a GB saved"])
    for stage in CheckpointStages(state).measure(turns: turns) {
      report.line([
        ("bench", "checkpoint"), ("what", "stage"), ("stage", .string(stage.name)),
        ("gigabytes_per_second", (1 / stage.secondsPerGigabyte).json), ("passes", stage.share.json),
      ])
      table.add([
        stage.name, (1 / stage.secondsPerGigabyte).fixed(2), (stage.share * stage.secondsPerGigabyte).fixed(3),
      ])
    }
    report.text("Stages of a save alone, one thread, processor time, chunks of 1 MiB\n\n" + table.text)
  }

  private func rates(_ measurement: CheckpointMeasurement, _ bytes: Double) {
    typealias Work = CheckpointMeasurement.Work
    var table = Table(["what", "threads", "GB/s", "seconds", "spread", "of the slower bound"])
    func row(_ name: String, _ threads: Int?, _ work: Work, bounds: [Work] = []) {
      guard let sample = measurement.samples[work] else { return }
      let seconds = sample.wall.median
      let slowest = bounds.compactMap { measurement.samples[$0]?.wall.median }.max()
      report.line([
        ("bench", "checkpoint"), ("what", .string(name)), ("threads", threads.map { .integer($0) } ?? .null),
        ("content_bytes", .integer(Int(bytes))), ("stored_bytes", .integer(measurement.storedBytes)),
        ("seconds_median", seconds.json), ("seconds_min", sample.wall.least.json),
        ("processor_seconds_median", sample.processor.median.json), ("spread", sample.wall.spread.json),
        ("gigabytes_per_second", (bytes / seconds / 1e9).json),
        ("of_slower_bound", slowest.map { ($0 / seconds).json } ?? .null), ("resident", measurement.resident.json),
        ("measurements", .integer(sample.count)),
      ])
      table.add([
        name, threads.map(String.init) ?? "-", (bytes / seconds / 1e9).fixed(2), seconds.fixed(3),
        (100 * sample.wall.spread).fixed(0) + " %", slowest.map { (100 * $0 / seconds).fixed(0) + " %" } ?? "-",
      ])
    }
    row("plain write, fsync", nil, .plainWrite)
    for count in 1...threads { row("save into memory", count, .savePipeline(count)) }
    row("save, fsync, commit", threads, .save, bounds: [.plainWrite, .savePipeline(threads)])
    row("plain read", nil, .plainRead)
    for count in 1...threads { row("load from memory", count, .loadPipeline(count)) }
    row("load", threads, .load, bounds: [.plainRead, .loadPipeline(threads)])
    for count in Set([1, threads]).sorted() {
      row("verify", count, .verify(count), bounds: [.plainRead, .loadPipeline(count)])
    }
    report.table("Checkpoint, wall clock; rates of content", table)
  }

  private func planes(_ measurement: CheckpointMeasurement) throws {
    var table = Table(["plane", "stored", "entropy of its bytes"])
    for plane in try measurement.planeSizes() {
      let stored = Double(plane.stored) / Double(plane.content), entropy = plane.entropy / Double(plane.content)
      report.line([
        ("bench", "checkpoint"), ("what", "size"), ("kind", .string(plane.kind)), ("plane", .string(plane.plane)),
        ("stored_of_content", stored.json), ("entropy_of_content", entropy.json),
      ])
      table.add(["\(plane.kind) \(plane.plane)", stored.fixed(4), entropy.fixed(4)])
    }
    report.text("Size of each plane, of its content\n\n" + table.text)
  }
}
