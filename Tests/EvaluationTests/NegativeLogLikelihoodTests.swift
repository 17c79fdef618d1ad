import Evaluation
import Foundation
import Tensors
import Testing
import TestSupport
import Text
import Transformer

/// Mean losses of real models on real text, against transformers in float64.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)"))
struct NegativeLogLikelihoodTests {
  private struct File: Decodable {
    struct Result: Decodable {
      let model: String
      let text: String
      let context: Int
      let tokens: Int
      let windows: Int
      let tokens_scored: Int
      let nll_float64: Double
      let first_windows_nll_float64: [Double]
      let first_token_ids: [Int32]
    }
    let results: [Result]
  }

  /// The text as one stream of tokens, without special ones.
  private func tokens(of text: String, folder: String) throws -> [Int32] {
    try Tokenizer(contentsOf: SharedData.url(folder + "/tokenizer.json").path).encode(utf8: Array(SharedData.data(text)))
  }

  @Test(arguments: [
    ("stories260K", "models/stories260K/hf"), ("tinystories-656k", "models/tinystories-656k"),
    ("novels-llama-11m", "models/novels-llama-11m"), ("novels-qwen3-29m", "models/novels-qwen3-29m"),
  ])
  func equalsTransformers(model: String, folder: String) throws {
    let file = try JSONDecoder().decode(File.self, from: SharedData.data("golden/evaluate/evaluate.json"))
    let golden = try #require(file.results.first { $0.model == model })
    let ids = try tokens(of: golden.text, folder: folder)
    try #require(ids.count == golden.tokens && Array(ids.prefix(64)) == golden.first_token_ids)

    let source = try HuggingFaceFolder(SharedData.url(folder).path)
    let parameters = Parameters(source.configuration, in: Arena("test"))
    try source.load(into: parameters)
    // Window by window, as far as the file states them.
    let single = try Evaluator(source.configuration, context: golden.context, sequences: 1)
    for (window, expected) in golden.first_windows_nll_float64.enumerated() {
      let part = Array(ids[window * golden.context..<(window + 1) * golden.context])
      #expect(abs(try single.score(parameters, tokens: part).nll - expected) <= 1e-5, "window \(window)")
    }
    let score = try Evaluator(source.configuration, context: golden.context, sequences: 8).score(parameters, tokens: ids)
    #expect(score.windows == golden.windows && score.tokensScored == golden.tokens_scored)
    #expect(abs(score.nll - golden.nll_float64) <= 1e-6)
    figure("\(model): NLL \(score.nll), from transformers in float64 by \(score.nll - golden.nll_float64)")
  }
}
