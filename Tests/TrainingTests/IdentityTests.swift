import Foundation
import Settings
import Testing
import Training
import Transformer

/// What a resumed run refuses: another tokenizer, another teacher.
@Suite struct IdentityTests {
  private func identity(_ place: RunPlace, distills: Bool, _ model: String = "model") throws -> String {
    var settings = ModelSettings()
    settings.path = place(model)
    return try ModelOrigin(settings, open: { try ModelSources.open($0) }).identity(distills: distills)
  }

  private func difference(_ now: String, _ before: String) -> String? {
    func identity(_ model: String) -> RunIdentity {
      RunIdentity(settings: "training:\n  steps: 6\n", text: "text", model: model, arithmetic: "any")
    }
    return identity(now).difference(from: identity(before))
  }

  @Test func tokenizerOfAnyRun() throws {
    let place = try RunPlace()
    let before = try identity(place, distills: false)
    #expect(before.hasPrefix("tokenizer.json ") && !before.contains("teacher"))
    #expect(difference(before, before) == nil)
    try place.write(RunPlace.tokenizer + " ", "model/tokenizer.json")
    let now = try identity(place, distills: false)
    let words = try #require(difference(now, before))
    #expect(words.hasPrefix("tokenizer.json is now ") && words.contains(", in the checkpoint "), "\(words)")
    #expect(difference(now, "") == nil, "a checkpoint that did not record it")
  }

  /// One bit of one weight: same names, sizes and headers.
  @Test func weightsOfATeacher() throws {
    let place = try RunPlace()
    let student = try identity(place, distills: false), before = try identity(place, distills: true)
    #expect(before.hasPrefix(student + "; teacher "))
    try place.write(#"{"temperature": 0.9}"#, "model/generation_config.json")
    #expect(try identity(place, distills: true) == before, "what lies beside the weights is none of them")
    try place.damage("model/model.safetensors")
    #expect(try identity(place, distills: false) == student, "a checkpoint holds what has become of these weights")
    let words = try #require(difference(try identity(place, distills: true), before))
    #expect(words.hasPrefix("the teacher (model.path) is now "), "\(words)")
  }

  @Test func containersAreKnownByTheirManifests() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("run"))
    let before = try identity(place, distills: true, "run/anchor")
    #expect(try identity(place, distills: true, "run/anchor") == before)
    try Runs.finish(place.settings("other", ["training.seed=8"]))
    let words = try #require(difference(try identity(place, distills: true, "other/anchor"), before))
    #expect(words.hasPrefix("the teacher"), "\(words)")
    // A run directory stands for its anchor.
    #expect(try identity(place, distills: true, "run") == before)
  }
}
