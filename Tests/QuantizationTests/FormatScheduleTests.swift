import Formats
import Quantization
import Testing

@Suite struct FormatScheduleTests {
  static let four: [MXFormat] = [.mxint8, .mxint2, .mxint6, .mxint4]

  static func schedule(
    _ kind: FormatSchedule.Kind, _ formats: [MXFormat] = four, weights: [Double] = [], fractions: [Double] = [],
    steps: Int = 100, seed: UInt64 = 5
  ) throws -> FormatSchedule {
    try FormatSchedule(kind, formats: formats, weights: weights, fractions: fractions, steps: steps, seed: seed)
  }

  static func format(_ schedule: FormatSchedule, _ step: Int, lane: Int = 0) throws -> MXFormat {
    let passes = schedule.formats(step: step, lane: lane).passes
    try #require(passes.count == 1)
    return passes[0].format
  }

  @Test func singleRunsItsFormatEverywhere() throws {
    let schedule = try Self.schedule(.single, [.mxfp4], weights: [0.5])
    #expect(schedule.passCount == 1)
    for step in 0..<10 {
      for lane in 0..<12 {
        #expect(schedule.formats(step: step, lane: lane) == StepFormats(passes: [FormatPass(format: .mxfp4, weight: 0.5)]))
      }
    }
    #expect(schedule.label(step: 3, lanes: 12) == "mxfp4")
  }

  @Test func sumGivesEveryFormatOnEveryLaneWithItsWeight() throws {
    let schedule = try Self.schedule(.sum, weights: [1, 2, 3, 4])
    for step in 0..<5 {
      for lane in 0..<3 {
        let passes = schedule.formats(step: step, lane: lane).passes
        #expect(passes.map(\.format) == Self.four)
        #expect(passes.map(\.weight) == [1, 2, 3, 4])
      }
    }
    #expect(schedule.passCount == 4)
    #expect(schedule.pass(2, step: 9, lane: 1) == FormatPass(format: .mxint6, weight: 3))
    #expect(schedule.label(step: 0, lanes: 1) == "mxint8+mxint2+mxint6+mxint4")
  }

  @Test func equalWeightsKeepTheSizeOfTheGradient() throws {
    for kind in FormatSchedule.Kind.allCases where kind != .single {
      let passes = try Self.schedule(kind).formats(step: 0, lane: 0).passes
      #expect(passes.map(\.weight).reduce(0, +) == 1, "\(kind)")
    }
  }

  @Test func roundRobinHasThePeriodOfItsFormats() throws {
    let schedule = try Self.schedule(.roundRobin)
    #expect(try (0..<4).map { try Self.format(schedule, $0) } == Self.four)
    for step in 0..<40 {
      #expect(try Self.format(schedule, step) == Self.format(schedule, step + 4))
      #expect(schedule.formatsInUse(step: step, lanes: 12).count == 1)
    }
  }

  @Test func randomIsReproducibleTheSameOnAllLanesAndNearlyUniform() throws {
    let steps = 8000
    let a = try Self.schedule(.random, steps: steps), b = try Self.schedule(.random, steps: steps)
    let other = try Self.schedule(.random, steps: steps, seed: 6)
    var counts: [MXFormat: Int] = [:]
    var differs = 0
    for step in 0..<steps {
      let format = try Self.format(a, step)
      #expect(try format == Self.format(b, step, lane: 11))
      if try format != Self.format(other, step) { differs += 1 }
      counts[format, default: 0] += 1
    }
    // 2000 expected each, standard deviation 39: five of them.
    for format in Self.four { #expect(abs(counts[format, default: 0] - 2000) < 195, "\(format.name)") }
    #expect(abs(differs - 6000) < 195)
  }

  @Test(arguments: [4, 5, 7, 100, 1001]) func curriculumWidensMonotonicallyInEqualPhases(steps: Int) throws {
    let schedule = try Self.schedule(.curriculum, steps: steps)
    let bits = try (0..<steps).map { try Self.format(schedule, $0).element.bits }
    #expect(zip(bits, bits.dropFirst()).allSatisfy { $0 <= $1 })
    for width in [2, 4, 6, 8] {
      let count = bits.count { $0 == width }
      #expect(count >= steps / 4 && count <= steps / 4 + 1, "\(width) bits: \(count) of \(steps)")
    }
    #expect(try Self.format(schedule, steps + 50) == .mxint8)
  }

  @Test func curriculumFractionsAndWeightsFollowTheirFormats() throws {
    // Given widest first; the fractions must move with the formats when they are sorted.
    let schedule = try Self.schedule(.curriculum, [.mxfp8_e4m3, .mxfp4], weights: [1, 3], fractions: [0.8, 0.2], steps: 10)
    #expect(schedule.phaseStarts == [0, 2, 10])
    #expect(schedule.formats(step: 1, lane: 0).passes == [FormatPass(format: .mxfp4, weight: 3)])
    #expect(schedule.formats(step: 2, lane: 0).passes == [FormatPass(format: .mxfp8_e4m3, weight: 1)])
  }

  @Test func formatParallelCoversAllFormatsEveryStepAndEveryLaneInTime() throws {
    for count in 1...4 {
      let formats = Array(Self.four.prefix(count))
      let schedule = try Self.schedule(.formatParallel, formats, weights: Array([0.1, 0.2, 0.3, 0.4].prefix(count)))
      for step in 0..<9 {
        #expect(schedule.formatsInUse(step: step, lanes: 12) == formats)
        for lane in 0..<12 {
          let index = (lane + step) % count
          let expected = FormatPass(format: formats[index], weight: [0.1, 0.2, 0.3, 0.4][index])
          #expect(schedule.formats(step: step, lane: lane).passes == [expected])
        }
      }
      let ofLane3 = try Set((0..<count).map { try Self.format(schedule, $0, lane: 3) })
      #expect(ofLane3 == Set(formats))
    }
  }

  @Test func whatDoesNotAddUpIsRefused() {
    func subject(_ make: () throws -> FormatSchedule) -> QuantizationError.Subject? {
      do {
        _ = try make()
        return nil
      } catch { return (error as? QuantizationError)?.subject }
    }
    #expect(subject { try Self.schedule(.sum, []) } == .formats)
    #expect(subject { try Self.schedule(.sum, [.mxint4, .mxint4]) } == .formats)
    #expect(subject { try Self.schedule(.single) } == .schedule)
    #expect(subject { try Self.schedule(.sum, weights: [1]) } == .weights)
    #expect(subject { try Self.schedule(.sum, weights: [1, 1, 0, 1]) } == .weights)
    #expect(subject { try Self.schedule(.sum, weights: [1, 1, -1, 1]) } == .weights)
    #expect(subject { try Self.schedule(.sum, weights: [1, 1, .infinity, 1]) } == .weights)
    #expect(subject { try Self.schedule(.roundRobin, fractions: [0.25, 0.25, 0.25, 0.25]) } == .fractions)
    #expect(subject { try Self.schedule(.curriculum, fractions: [0.5, 0.5]) } == .fractions)
    #expect(subject { try Self.schedule(.curriculum, fractions: [0.5, 0.5, 0.5, 0.5]) } == .fractions)
    #expect(subject { try Self.schedule(.curriculum, fractions: [0.5, 0.5, 0.5, -0.5]) } == .fractions)
    #expect(subject { try Self.schedule(.curriculum, fractions: [0.001, 0.399, 0.3, 0.3], steps: 10) } == .fractions)
    #expect(subject { try Self.schedule(.curriculum, steps: 3) } == .fractions)
    #expect(subject { try Self.schedule(.curriculum, steps: 4) } == nil)
  }
}
