import Communication
import Formats
import Kernels
import Settings
import Tensors
import Testing
import Training
import Transformer

/// Weights as 4-bit differences: what ranks hold stays equal to the bit and close to the masters (SDP4Bit's qWD,
/// arXiv 2410.15526, section 3.1).
@Suite(.serialized) struct ReplicaTests {
  static func settings(steps: Int) throws -> RunConfiguration {
    try Fixture.run(
      model: Fixture.model(hidden: 32, feedForward: 64, layers: 1, vocabulary: 64), steps: steps, batch: 4, lanes: 2,
      quantization: "{formats: [mxint4, mxint8]}", communication: "{weights: delta, check_every: 1}",
      overrides: ["training.decay=constant", "training.warmup_steps=0", "training.learning_rate=1.0e-3"])
  }

  /// What one rank saw.
  struct Course: Sendable {
    var digests: [ContentDigest] = []
    /// |M - R| / |M| after every step.
    var errors: [Double] = []
    /// The same for a replica whose differences are to last step's masters.
    var withoutFeedback: [Double] = []
    /// Share of the codes of R that are not those of M, by format.
    var codes: [String: Double] = [:]
  }

  @Test func twoHundredSteps() throws {
    let settings = try Self.settings(steps: 200)
    let courses = try Communicator.onThreads(3) { communicator in
      let trainer = try Fixture.trainer(settings, on: communicator, tokens: Fixture.tokens(vocabulary: 64))
      var course = Course(), before = try Values.masters(of: trainer), open = before
      for _ in 0..<settings.training.steps {
        _ = try trainer.step()
        try trainer.updateReplica()
        course.digests.append(trainer.commonDigest)
        let masters = try Values.masters(of: trainer), replica = Values.replica(of: trainer)
        course.errors.append(masters.distance(from: replica))
        open.add(masters.rounded(differenceTo: before))
        before = masters
        course.withoutFeedback.append(masters.distance(from: open))
      }
      let masters = try Values.masters(of: trainer), replica = Values.replica(of: trainer)
      for format in [MXFormat.mxint8, .mxint4] {
        course.codes[format.name] = masters.shareOfOtherCodes(replica, format, trainer.currentWeights.layout)
      }
      return course
    }
    for course in courses { #expect(course.digests == courses[0].digests) }
    #expect(Set(courses[0].digests.map(\.first)).count == 200, "the weights change")
    let (errors, open) = (courses[0].errors, courses[0].withoutFeedback)
    print("replica error after 2, 20, 200 steps: \(errors[1]), \(errors[19]), \(errors[199]); without feedback "
      + "\(open[1]), \(open[19]), \(open[199]); codes that differ: \(courses[0].codes)")
    #expect(errors[199] < 2 * errors[1] && errors.max()! < 3 * errors[1])
    #expect(open[199] > 2 * open[1], "what would grow, grows")
    // The forward uses codes of the replica, the anchor has those of the masters.
    #expect(courses[0].codes["mxint8"]! < 0.05 && courses[0].codes["mxint4"]! < 0.01)
  }

  /// The first weights travel whole: nothing is lost before the first update.
  @Test func theFirstReplicaIsExact() throws {
    let settings = try Self.settings(steps: 2)
    let errors = try Communicator.onThreads(2) { communicator in
      let trainer = try Fixture.trainer(settings, on: communicator, tokens: Fixture.tokens(vocabulary: 64))
      let masters = try Values.masters(of: trainer)
      try trainer.updateReplica()
      return masters.distance(from: Values.replica(of: trainer))
    }
    #expect(errors == [0, 0])
  }
}

/// All values of a model, unit after unit.
struct Values: Sendable {
  var units: [[Float]]

  /// Collective.
  static func masters(of trainer: Trainer) throws -> Values {
    var values: [String: [Float]] = [:]
    try trainer.forEachGatheredUnit(.master) { spec, span in values[spec.name] = (0..<span.count).map { span[$0] } }
    return Values(units: trainer.currentWeights.layout.units.map { $0.parameters.flatMap { values[$0.name]! } })
  }

  static func replica(of trainer: Trainer) -> Values {
    Values(units: (0..<trainer.unitCount).map { unit in
      var values: [Float] = []
      trainer.withReplica(ofUnit: unit) { tensor in
        let span = tensor.span
        values = (0..<span.count).map { span[$0] }
      }
      return values
    })
  }

  /// |self - other| / |self|.
  func distance(from other: Values) -> Double {
    var difference = 0.0, size = 0.0
    for (a, b) in zip(units.joined(), other.units.joined()) {
      difference += Double(a - b) * Double(a - b)
      size += Double(a) * Double(a)
    }
    return (difference / size).squareRoot()
  }

  mutating func add(_ other: Values) {
    for unit in units.indices { for i in units[unit].indices { units[unit][i] += other.units[unit][i] } }
  }

  /// Self less `other`, in the codes of the wire.
  func rounded(differenceTo other: Values) -> Values {
    let codec = WireCodec(bits: .four, group: 2048)
    return Values(units: zip(units, other.units).map { now, before in
      let n = now.count, difference = zip(now, before).map { $0 - $1 }
      var bytes = [UInt8](repeating: 0, count: codec.byteCount(of: n))
      var decoded = [Float](repeating: 0, count: codec.paddedCount(n))
      unsafe difference.withUnsafeBufferPointer { x in
        unsafe bytes.withUnsafeMutableBytes { message in
          unsafe codec.pack(x.baseAddress!, count: n, to: message.baseAddress!, rotated: false)
        }
      }
      unsafe decoded.withUnsafeMutableBufferPointer { y in
        unsafe bytes.withUnsafeBytes { unsafe codec.unpack($0.baseAddress!, count: n, into: y.baseAddress!) }
      }
      return Array(decoded.prefix(n))
    })
  }

  /// Of the layers' matrices in `format`.
  func shareOfOtherCodes(_ other: Values, _ format: MXFormat, _ layout: ParameterLayout) -> Double {
    var different = 0, all = 0
    for (index, unit) in layout.units.enumerated() {
      for spec in unit.parameters where spec.role == .linear {
        let place = spec.offset..<spec.offset + spec.count
        let a = Self.codes(Array(units[index][place]), spec, format)
        let b = Self.codes(Array(other.units[index][place]), spec, format)
        different += zip(a, b).count { $0 != $1 }
        all += a.count
      }
    }
    return Double(different) / Double(all)
  }

  /// Rounded values: a code means something only with its scale.
  private static func codes(_ values: [Float], _ spec: ParameterSpec, _ format: MXFormat) -> [Float] {
    var tensor = Tensor(rows: spec.rows, columns: spec.columns, in: Arena("test"))
    do {
      var span = tensor.mutableSpan
      for i in values.indices { span[i] = values[i] }
    }
    BlockCodec.roundTrip(inPlace: &tensor, format: format)
    let span = tensor.span
    return (0..<span.count).map { span[$0] }
  }
}
