import Checkpoints
import Quantization
import Testing
import Training
import Transformer

/// A run that starts from a model with online rotations trains that model, and whatever it writes says so.
@Suite struct RotatedModelTests {
  private func place(signs: UInt64) throws -> (RunPlace, OnlineTransforms) {
    var transforms = OnlineTransforms()
    for layer in 0..<2 {
      transforms[layer, .queryKeyValue] = OnlineRotation(.blocks(32), signSeed: signs)
      transforms[layer, .output] = OnlineRotation(.acrossHeads)
      transforms[layer, .queryKey] = OnlineRotation(.blocks(16), signSeed: signs)
    }
    transforms[1, .down] = OnlineRotation(.full, signSeed: signs)
    let place = try RunPlace()
    try state(transforms, place)
    return (place, transforms)
  }

  private func state(_ transforms: OnlineTransforms, _ place: RunPlace) throws {
    let json = try ConfigurationText.stating(transforms, in: place.bytes("model/config.json"), source: "config.json")
    try place.write(String(decoding: json, as: UTF8.self), "model/config.json")
  }

  @Test func checkpointsAndAnchorsKeepTheRotations() throws {
    let (place, transforms) = try place(signs: 3)
    try Runs.finish(place.settings("run"), ranks: 2)
    let anchor = try AnchorModel(place("run/anchor"))
    let checkpoint = try CheckpointModel(place("run/checkpoints/step-000006"))
    #expect(anchor.configuration.transforms == transforms && checkpoint.configuration == anchor.configuration)

    // Ranks do not matter, nor does a pause.
    try Runs.finish(place.settings("alone"))
    #expect(try place.metrics("alone") == place.metrics("run"))
    try place.crash("alone", after: 3)
    try Runs.finish(place.settings("alone"), resume: .newest)
    #expect(try place.state("alone", 6) == place.state("run", 6))
    // Recomputed activations are rotated again.
    try Runs.finish(place.settings("again", ["training.recompute=layers"]))
    #expect(try place.state("again", 6) == place.state("run", 6))

    // The same weights without their rotations are another model.
    try state(OnlineTransforms(), place)
    try Runs.finish(place.settings("plain"))
    #expect(try place.metrics("plain") != place.metrics("run"))
    try place.crash("alone", after: 3)
    try Runs.expectRefusal("another model", ranks: 1, resume: .newest, of: place.settings("alone"))
  }
}
