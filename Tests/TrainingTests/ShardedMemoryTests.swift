import Communication
import Settings
import Testing
import Training

/// Under sharding by layers what a rank keeps of weights does not grow with the number of layers.
@Suite struct ShardedMemoryTests {
  private func reserved(
    _ layers: Int, _ sharding: String, tied: Bool, precision: String
  ) throws -> [String: Int] {
    let settings = try Fixture.run(
      model: Fixture.model(layers: layers, tied: tied), quantization: "{formats: [mxint4, mxint8]}",
      precision: precision, communication: "{sharding: \(sharding)}")
    return try Communicator.onThreads(2) { communicator in
      let trainer = try Trainer(
        settings, model: Fixture.configuration(of: settings), tokens: Fixture.tokens(), communicator: communicator)
      return Dictionary(uniqueKeysWithValues: trainer.reservedBytes.map { ($0.purpose, $0.bytes) })
    }[0]
  }

  static let purposes = ["weights", "gradients", "packed weights", "codes"]
  static let low = "{forward: mx, backward: int8, small_layers: keep}"

  @Test(arguments: [true, false], ["{}", low]) func layersShareOnePlace(tied: Bool, precision: String) throws {
    let two = try reserved(2, "layers", tied: tied, precision: precision)
    let eight = try reserved(8, "layers", tied: tied, precision: precision)
    for purpose in Self.purposes { #expect(two[purpose] == eight[purpose], "\(purpose)") }
    // What is owned grows, of course.
    let owned = "masters, moments, summed gradients"
    #expect(eight[owned]! > 2 * two[owned]!)

    let all = try reserved(8, "replicate", tied: tied, precision: precision)
    for purpose in Self.purposes where purpose != "packed weights" || precision != "{}" {
      #expect(all[purpose]! > 2 * eight[purpose]!, "\(purpose): \(all[purpose]!), \(eight[purpose]!)")
    }
  }

  /// Sums of a rank's lanes would be a second copy of all gradients: layers do without.
  @Test func localSumsAreReplicatedOnly() throws {
    func gradients(_ communication: String) throws -> Int {
      let settings = try Fixture.run(lanes: 4, communication: "{\(communication)}")
      return try Communicator.onThreads(2) { communicator in
        try Trainer(
          settings, model: Fixture.configuration(of: settings), tokens: Fixture.tokens(), communicator: communicator
        ).reservedBytes.first { $0.purpose == "gradients" }!.bytes
      }[0]
    }
    let exact = try gradients("gradients: exact")
    #expect(try gradients("gradients: fp32") > exact * 3 / 2)
    #expect(try gradients("gradients: fp32, sharding: layers") < exact)
  }

  @Test func recomputationSavesActivations() throws {
    func activations(_ recompute: String, layers: Int) throws -> Int {
      let settings = try Fixture.run(
        model: Fixture.model(layers: layers), overrides: ["training.recompute=\(recompute)"])
      return try Trainer(
        settings, model: Fixture.configuration(of: settings), tokens: Fixture.tokens(), communicator: .solo()
      ).reservedBytes.first { $0.purpose == "activations" }!.bytes
    }
    let growth = try activations("none", layers: 8) - activations("none", layers: 2)
    let less = try activations("layers", layers: 8) - activations("layers", layers: 2)
    #expect(less * 4 < growth, "\(less) and \(growth) for six layers")
  }
}
