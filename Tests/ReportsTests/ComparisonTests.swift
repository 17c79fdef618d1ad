import Checkpoints
import Reports
import Testing

@Suite struct ComparisonTests {
  static func record(_ results: [(String, Double, Double)], context: Int = 256) -> EvaluationRecord {
    EvaluationRecord(
      source: "model", text: ["texts/a.txt"], context: context, tokensScored: 102_765,
      results: results.map { .init(format: $0.0, nll: $0.1, bitsPerWeight: $0.2) })
  }

  static let base = record([("mxint4", 2.5, 4.25), ("fp32", 2, 32), ("mxint2", 6.25, 2.25)])
  static let trained = record([("mxint2", 3, 2.25), ("mxint4", 2.25, 4.25)])

  @Test func rowsGoFromWideToNarrowAndMissingCellsAreDashes() {
    let table = ComparisonTable(title: "T", columns: [.init("rounding only", Self.base), .init("after QAT", Self.trained)])
    #expect(table.plain == """
      T

      format  bits per weight  rounding only  after QAT
      fp32              32.00          7.389          -
      mxint4             4.25         12.182      9.488
      mxint2             2.25          518.0     20.086

      Perplexity on a.txt, 102,765 tokens scored in windows of 256.

      """)
  }

  @Test func markdown() {
    let table = ComparisonTable(title: "T", columns: [.init("a|b", Self.trained)])
    #expect(table.markdown == """
      **T**

      | format | bits per weight |   a\\|b |
      |--------|----------------:|-------:|
      | mxint4 |            4.25 |  9.488 |
      | mxint2 |            2.25 | 20.086 |

      Perplexity on a.txt, 102,765 tokens scored in windows of 256.

      """)
  }

  @Test func columnsMeasuredDifferentlySaySo() {
    let other = Self.record([("fp32", 2, 32)], context: 512)
    let note = ComparisonTable(title: "", columns: [.init("a", Self.base), .init("b", other)]).protocolNote
    #expect(note == """
      a: Perplexity on a.txt, 102,765 tokens scored in windows of 256.
      b: Perplexity on a.txt, 102,765 tokens scored in windows of 512.
      """)
  }

  @Test func recordsAreReadAsTheyAreWritten() throws {
    var record = Self.base
    record.text = ["a", "b"]
    record.results[0].kl = 0.125
    record.results[0].sameTop = 0.75
    record.results[0].kl99 = 1.5
    record.results[0].klMaximum = 2.5
    record.activations = "mxint8"
    record.questions = .init(file: "q.jsonl", count: 4, rule: "mean", merged: 1)
    record.results[1].choices = .init(
      accuracy: 0.5, flips: 0.25, allFlips: 0.5, correctToIncorrect: 1, incorrectToCorrect: 0)
    let bytes = record.json.serialized(order: .given)
    #expect(try EvaluationRecord(JSONScanner.parse(bytes), path: "r") == record)
  }

  @Test func theObjectHasTheMembersOfTheContractInOrder() {
    let one = Self.record([("fp32", 2, 32)])
    #expect(String(decoding: one.json.serialized(order: .given), as: UTF8.self) == """
      {"source":"model","text":"texts/a.txt","context":256,"tokens_scored":102765,"results":[{"format":"fp32","nll":2.0,\
      "perplexity":7.38905609893065,"bits_per_weight":32.0,"kl":null,"same_top":null,\
      "kl_p99":null,"kl_max":null}]}
      """)
  }

  @Test(arguments: [
    ("{}", "r: expected a string \"source\", found none. Records are written by mfqat evaluate --json > FILE."),
    (#"{"source":"s","context":1.5}"#, "r: expected an integer \"context\", found a number. Records are written by mfqat evaluate --json > FILE."),
    (#"{"source":"s","context":1,"tokens_scored":1,"results":[{"format":"fp32","nll":"x"}]}"#,
     "r: expected a number \"results[0].nll\", found a string. Records are written by mfqat evaluate --json > FILE."),
  ])
  func recordsThatAreNoneAreRefused(_ text: String, _ message: String) throws {
    let value = try JSONScanner.parse(Array(text.utf8))
    let error = #expect(throws: ReportError.self) { try EvaluationRecord(value, path: "r") }
    #expect(error?.description == message)
  }
}
