import Foundation
import TestSupport
import Testing

/// Real models, against figures of independent libraries.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)")) struct GoldenTests {
  @Test func perplexityOfStories260K() throws {
    let model = SharedData.url("models/stories260K/hf").path
    let text = SharedData.url("golden/text/tinystories_200k.txt").path
    let result = try CommandLineTool.run(["evaluate", model, "--text", text, "--context", "256", "--json", "--quiet"])
    #expect(result.status == 0 && result.errors.isEmpty, "\(result)")
    let object = try result.object()
    #expect(object["tokens_scored"] as? Int == 102_765)
    let results = try #require(object["results"] as? [[String: Any]])
    #expect(results.count == 1 && results[0]["format"] as? String == "fp32")
    let nll = try #require(results[0]["nll"] as? Double)
    #expect(abs(nll - 2.21854851) < 1e-4, "\(nll)")
    #expect(abs(try #require(results[0]["perplexity"] as? Double) - exp(nll)) < 1e-9)
  }

  @Test func greedyTextOfStories260K() throws {
    let model = SharedData.url("models/stories260K/hf").path
    let result = try CommandLineTool.run([
      "generate", model, "--prompt", "Once upon a time", "--temperature", "0", "--max-tokens", "40",
    ])
    // The beginning of llama2.c's own sample.
    #expect(result.output.hasPrefix("Once upon a time, there was a little girl named Lily. She loved to play outside in the park."), "\(result)")
  }

  @Test func everyModelFolderIsWhole() throws {
    for name in ["stories260K/hf", "tinystories-656k", "novels-llama-11m"] {
      let result = try CommandLineTool.run(["verify", SharedData.url("models/\(name)").path, "-q"])
      #expect(result.status == 0 && result.errors.isEmpty, "\(result)")
    }
  }
}
