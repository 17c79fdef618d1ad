import Evaluation
import Formats
import Foundation
import Tensors
import Testing
import Transformer

/// The protocol of scoring, on a small random model, against logits summed by hand.
struct EvaluatorTests {
  private let arena = Arena("test")
  private let context = 9

  /// Σ over windows and all tokens but each first of -log p, windows one by one.
  private func expectedLoss(_ model: SmallModel, _ tokens: [Int32], windows: Int) throws -> Double {
    try (0..<windows).reduce(0.0) { sum, window in
      let part = Array(tokens[window * context..<(window + 1) * context]), logits = try model.logits(part)
      return sum - (1..<context).reduce(0.0) { $0 + logSoftmax(logits[$1 - 1])[Int(part[$1])] }
    }
  }

  /// Eleven whole windows and a rest, in batches that divide them, do not divide them, and are larger.
  @Test(arguments: [1, 2, 4, 11, 16])
  func everyWindowIsScoredOnce(sequences: Int) throws {
    let model = try SmallModel(seed: 1, in: arena)
    let tokens = SmallModel.tokens(11 * context + 5, seed: 2)
    let evaluator = try Evaluator(model.configuration, context: context, sequences: sequences)
    var reports: [[Int]] = []
    let score = try evaluator.score(model.parameters, tokens: tokens) { reports.append([$0, $1]) }
    #expect(score.windows == 11 && score.context == context && score.tokensScored == 11 * 8)
    let expected = try expectedLoss(model, tokens, windows: 11)
    #expect(abs(score.negativeLogLikelihood - expected) < 1e-5 * expected)
    #expect(abs(score.nll - expected / 88) < 1e-5)
    #expect(score.kl == nil && score.sameTop == nil)
    #expect(reports == stride(from: sequences, to: 11 + sequences, by: sequences).map { [min($0, 11), 11] })
    // The rest beyond the last window does not matter.
    let again = try evaluator.score(model.parameters, tokens: Array(tokens[..<(11 * context)]))
    #expect(again == score)
  }

  @Test func onlyTheFirstWindows() throws {
    let model = try SmallModel(seed: 1, in: arena), tokens = SmallModel.tokens(7 * context, seed: 3)
    let evaluator = try Evaluator(model.configuration, context: context, sequences: 3)
    let score = try evaluator.score(model.parameters, tokens: tokens, maximumWindows: 4)
    #expect(score.windows == 4)
    #expect(abs(score.negativeLogLikelihood - (try expectedLoss(model, tokens, windows: 4))) < 1e-3)
    #expect(try evaluator.score(model.parameters, tokens: tokens, maximumWindows: 100).windows == 7)
  }

  /// KL(reference ‖ model) and agreement of the most likely token, over the positions that are scored.
  @Test(arguments: [1, 3])
  func comparison(sequences: Int) throws {
    let model = try SmallModel(seed: 1, in: arena), reference = try SmallModel(seed: 4, hidden: 32, in: arena)
    let tokens = SmallModel.tokens(5 * context, seed: 5)
    let evaluator = try Evaluator(
      model.configuration, context: context, sequences: sequences, comparesWith: reference.configuration)
    let score = try evaluator.score(model.parameters, tokens: tokens, reference: reference.parameters)
    var divergence = 0.0, agreeing = 0
    for window in 0..<5 {
      let part = Array(tokens[window * context..<(window + 1) * context])
      let p = try reference.logits(part), q = try model.logits(part)
      for t in 0..<context - 1 {
        let logP = logSoftmax(p[t]), logQ = logSoftmax(q[t])
        divergence += zip(logP, logQ).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
        let tops = [p[t], q[t]].map { row in row.indices.max { row[$0] < row[$1] }! }
        agreeing += tops[0] == tops[1] ? 1 : 0
      }
    }
    #expect(abs(try #require(score.kl) - divergence / 40) < 1e-5)
    #expect(try #require(score.sameTop) == Double(agreeing) / 40)
    #expect(agreeing < 40)
    #expect(abs(score.negativeLogLikelihood - (try expectedLoss(model, tokens, windows: 5))) < 1e-3)
  }

  /// Not nearly 0: 0.
  @Test func aModelEqualsItself() throws {
    let model = try SmallModel(seed: 1, in: arena), tokens = SmallModel.tokens(3 * context, seed: 6)
    let evaluator = try Evaluator(
      model.configuration, context: context, sequences: 2, comparesWith: model.configuration)
    let score = try evaluator.score(model.parameters, tokens: tokens, reference: model.parameters)
    #expect(score.kl == 0 && score.kl99 == 0 && score.klMaximum == 0)
    #expect(score.sameTop == 1)
  }

  /// Fewer bits, more divergence, in the mean and at 99 %. The maximum is one token's and need not follow.
  @Test func divergenceRisesAsBitsFall() throws {
    let model = try SmallModel(seed: 1, hidden: 64, in: arena), tokens = SmallModel.tokens(40 * context, seed: 6)
    let rounded = Parameters(model.configuration, in: arena)
    let evaluator = try Evaluator(
      model.configuration, context: context, sequences: 4, comparesWith: model.configuration)
    var last: [Double] = [0, 0, 0]
    for format in [MXFormat.mxint8, .mxint6, .mxint4, .mxint3, .mxint2] {
      model.round(into: rounded, to: format)
      let score = try evaluator.score(rounded, tokens: tokens, reference: model.parameters)
      let figures = try [score.kl, score.kl99, score.klMaximum].map { try #require($0) }
      figure("\(format): KL \(figures[0]), 99 % \(figures[1]), at most \(figures[2])")
      #expect(figures[0] > last[0] && figures[1] > last[1], "\(format): \(figures) after \(last)")
      #expect(figures[0] < figures[1] && figures[1] <= figures[2])
      last = figures
    }
  }

  /// The reference keeps its full precision: a model with rounded inputs differs from itself.
  @Test func activationsAreTheModelsAlone() throws {
    let model = try SmallModel(seed: 1, in: arena), tokens = SmallModel.tokens(6 * context, seed: 6)
    let plain = try Evaluator(model.configuration, context: context, sequences: 2)
    let exact = try plain.score(model.parameters, tokens: tokens).nll
    var last = 0.0
    for format in [MXFormat.mxint8, .mxint4, .mxint2] {
      let evaluator = try Evaluator(
        model.configuration, context: context, sequences: 2, comparesWith: model.configuration,
        activationFormat: format)
      let score = try evaluator.score(model.parameters, tokens: tokens, reference: model.parameters)
      #expect(score.nll != exact && score.kl! > last, "\(format)")
      last = score.kl!
    }
  }

  /// Windows dealt out to ranks, in whole batches and one by one, put together: every bit of one process's score.
  @Test(arguments: [1, 3, 4])
  func windowsScoredApartAddUpToTheWhole(sequences: Int) throws {
    let model = try SmallModel(seed: 1, in: arena), reference = try SmallModel(seed: 4, in: arena)
    let tokens = SmallModel.tokens(11 * context + 2, seed: 9)
    func evaluator() throws -> Evaluator {
      try Evaluator(
        model.configuration, context: context, sequences: sequences, comparesWith: reference.configuration)
    }
    let whole = try evaluator().score(model.parameters, tokens: tokens, reference: reference.parameters)
    let deals: [(Int, Int) -> Bool] = [
      { window, rank in window / sequences % 3 == rank }, { window, rank in window % 3 == rank },
      { window, rank in rank == 1 },
    ]
    for deal in deals {
      // The last rank first: the order of arrival does not matter.
      let parts = try (0..<3).reversed().flatMap { rank in
        try evaluator().score(
          model.parameters, tokens: tokens, windows: (0..<11).filter { deal($0, rank) },
          reference: reference.parameters)
      }
      #expect(parts.allSatisfy { $0.values.count == WindowScore.valueCount(context: context, isCompared: true) })
      let travelled = parts.map { WindowScore(values: $0.values) }
      #expect(travelled == parts)
      let score = Score(context: context, windows: travelled)
      #expect(score == whole)
      #expect(score.kl!.bitPattern == whole.kl!.bitPattern && score.nll.bitPattern == whole.nll.bitPattern)
    }
  }

  @Test func refusals() throws {
    let model = try SmallModel(seed: 1, in: arena)
    let evaluator = try Evaluator(model.configuration, context: context, sequences: 1)
    func refusal(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "nothing was refused"
      } catch {
        return "\(error)"
      }
    }
    let short = refusal { _ = try evaluator.score(model.parameters, tokens: SmallModel.tokens(8, seed: 7)) }
    #expect(short.contains("8 tokens") && short.contains("9"))
    var foreign = SmallModel.tokens(2 * context, seed: 8)
    foreign[12] = Int32(SmallModel.vocabulary)
    let unknown = refusal { _ = try evaluator.score(model.parameters, tokens: foreign) }
    #expect(unknown.contains("token 12") && unknown.contains("40"))
    foreign[12] = -1
    #expect(refusal { _ = try evaluator.score(model.parameters, tokens: foreign) }.contains("-1"))
    // Beyond the windows that are scored it does not matter.
    #expect(refusal { _ = try evaluator.score(model.parameters, tokens: foreign, maximumWindows: 1) } == "nothing was refused")
    let tiny = refusal { _ = try Evaluator(model.configuration, context: 1, sequences: 1) }
    #expect(tiny.contains("nothing to score"))
    let long = refusal { _ = try Evaluator(model.configuration, context: 4096, sequences: 1) }
    #expect(long.contains("4096") && long.contains("2048"))
  }
}
