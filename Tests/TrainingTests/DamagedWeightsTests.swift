import Communication
import Settings
import Tensors
import Testing
import Training
import Transformer

/// A rank whose weights are no longer those of the others is noticed at the next comparison, and named.
@Suite(.serialized) struct DamagedWeightsTests {
  /// Runs on three ranks with a comparison every second step; `damage` sees the trainer of rank 1 before a step.
  ///
  /// - Returns: for every rank, how many steps it did and what ended it.
  private func ends(
    _ communication: String, steps: Int = 8, rate: String = "3.0e-3", damage: @escaping @Sendable (Trainer) -> Void
  ) throws -> [(steps: Int, error: String)] {
    let settings = try Fixture.run(
      steps: steps, batch: 3, lanes: 3, quantization: "{formats: [mxint4]}",
      communication: "{\(communication), check_every: 2}",
      overrides: ["training.learning_rate=\(rate)", "training.warmup_steps=0"])
    return try Communicator.onThreads(3) { communicator in
      let trainer = try Fixture.trainer(settings, on: communicator)
      do {
        for _ in 0..<steps {
          if communicator.rank == 1 { damage(trainer) }
          _ = try trainer.step()
        }
        return (trainer.stepsDone, "")
      } catch { return (trainer.stepsDone, "\(error)") }
    }
  }

  /// Steps 2, 4, … compare: damage before step 3 is found in step 4.
  private func expectFound(
    _ ends: [(steps: Int, error: String)], after steps: Int = 3, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    for end in ends {
      #expect(end.steps == steps, "\(ends)", sourceLocation: sourceLocation)
      #expect(end.error.contains("replica of the weights in step \(steps + 1) differs on rank 1 "), "\(end)",
              sourceLocation: sourceLocation)
    }
  }

  @Test func oneByteOfAReplica() throws {
    for unit in [0, 1, 3] {
      expectFound(try ends("weights: delta") { trainer in
        guard trainer.stepsDone == 2 else { return }
        trainer.withReplica(ofUnit: unit) { tensor in
          var values = tensor.mutableSpan
          values[5] = Float(bitPattern: values[5].bitPattern ^ 0x0040_0000)
        }
      })
    }
  }

  /// Codes and dense rows come anew with every step: what is compared is what the step computed with.
  @Test(arguments: ["weights: anchor", "weights: fp32", "weights: anchor, overlap: false"])
  func whatArrived(_ communication: String) throws {
    expectFound(try ends(communication) { trainer in
      trainer.onArrival = { unit in
        guard unit == 2, trainer.stepsDone == 3 else { return }
        let weights = trainer.currentWeights.units[unit]
        var region = weights.flat.region(0, rows: 1, columns: weights.layout.elementCount)
        var values = region.mutableSpan
        for i in values.indices { values[i] += 0.5 }
      }
    })
  }

  @Test func aCodeThatArrived() throws {
    expectFound(try ends("weights: anchor") { trainer in
      trainer.onArrival = { unit in
        guard unit == 1, trainer.stepsDone == 3 else { return }
        trainer.withCodes(ofUnit: unit) { $0[7] ^= 1 }
      }
    })
  }

  /// Layers come and go within the step: they are compared while they pass.
  @Test(arguments: ["weights: anchor", "weights: fp32", "weights: anchor, gradients: int8"])
  func layersThatPass(_ communication: String) throws {
    for damaged in [1, 2] {
      expectFound(try ends("\(communication), sharding: layers") { trainer in
        trainer.onArrival = { unit in
          guard unit == damaged, trainer.stepsDone == 3 else { return }
          trainer.withCodes(ofUnit: unit) { $0[7] ^= 1 }
        }
      })
    }
  }

  /// Differences of codes carry a hash of what must result: no comparison is needed, and no wrong code is used.
  @Test func aCodeUnderDifferences() throws {
    let found = #expect(throws: CommunicationError.self) {
      let settings = try Fixture.run(
        steps: 6, batch: 3, lanes: 3, quantization: "{formats: [mxint4]}",
        communication: "{weights: code_delta, check_every: 0}",
        overrides: ["training.learning_rate=1.0e-5", "training.warmup_steps=0"])
      _ = try Communicator.onThreads(3) { communicator in
        let trainer = try Fixture.trainer(settings, on: communicator)
        for _ in 0..<6 {
          if communicator.rank == 1, trainer.stepsDone == 3 { trainer.withCodes(ofUnit: 1) { $0[7] ^= 1 } }
          _ = try trainer.step()
        }
      }
    }
    let text = "\(found.map { "\($0)" } ?? "nothing")"
    #expect(text.contains("on rank 1 of 3") && text.contains("hash"), "\(text)")
  }

  @Test func withoutDamageNothingIsFound() throws {
    for communication in ["weights: delta", "weights: code_delta", "weights: bf16", "weights: anchor, sharding: layers"]
    {
      let ends = try ends(communication) { _ in }
      #expect(ends.allSatisfy { $0.steps == 8 && $0.error.isEmpty }, "\(communication): \(ends)")
    }
  }

  /// 0 is never.
  @Test func comparisonsCanBeOff() throws {
    let settings = try Fixture.run(
      steps: 4, batch: 2, lanes: 2, quantization: "{formats: [mxint4]}",
      communication: "{weights: delta, check_every: 0}")
    let steps = try Communicator.onThreads(2) { communicator in
      let trainer = try Fixture.trainer(settings, on: communicator)
      for step in 0..<4 {
        if communicator.rank == 1, step == 1 {
          trainer.withReplica(ofUnit: 1) { tensor in
            var values = tensor.mutableSpan
            values[0] += 1
          }
        }
        _ = try trainer.step()
      }
      return trainer.stepsDone
    }
    #expect(steps == [4, 4])
  }
}
