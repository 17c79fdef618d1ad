import Checkpoints
import Reports
import Testing

@Suite struct PathReportTests {
  static let report = PathReport(
    start: "base", startNLL: 2, text: ["t.txt"], context: 8, tokensScored: 1400, activations: "mxint8", tensorCount: 7,
    basinRise: 0.01,
    candidates: [
      .init(
        source: "base", format: "mxint4", method: "rounded directly", bitsPerWeight: 4.25, nll: 2.5,
        quantizedDistance: 0.125, modelDistance: 0.0625, localError: 0.5,
        line: [.init(t: 0, nll: 2), .init(t: 1, nll: 2.5)], basinEnd: 0.04, leavesBasin: true),
      .init(
        source: "trained", format: "mxint4", method: "as stored in mxint4", bitsPerWeight: 4.25, nll: .infinity,
        quantizedDistance: 0.25, modelDistance: 0.125, localError: 1,
        line: [.init(t: 0, nll: 2), .init(t: 1, nll: .nan)], basinEnd: 1, leavesBasin: false),
    ],
    rankCorrelation: nil)

  @Test func people() {
    #expect(Self.report.plain == """
             model    format  how                  nats per token  perplexity  distance  of model  local error  basin radius
      start  base                                         2.00000       7.389
      A      base     mxint4  rounded directly            2.50000      12.182   0.12500   0.06250      0.50000       0.00250
      B      trained  mxint4  as stored in mxint4             inf         inf   0.25000   0.12500      1.00000    >= 0.12500

         t        A        B
      0.00  2.00000  2.00000
      1.00  2.50000      nan

      Nats a token at w0 + t (w - w0): t = 0 is the start, t = 1 the candidate.
      t.txt: 1,400 tokens scored in windows of 8, linear inputs in mxint8.
      Distance: |w - w0| / |w0| over 7 tensors, and over the model. Local error: sum of their squared relative errors. \
      Basin: until the loss is 1.00 % above the start's, as a distance of the model.
      Rank correlation of local error and loss: needs 3 candidates or more.

      """)
  }

  @Test func machines() {
    let json = Self.report.json
    #expect(json["start"]?["nll"] == .number(2) && json["activations"] == "mxint8" && json["rank_correlation"] == .null)
    let candidates = json["candidates"]?.array ?? []
    #expect(candidates.count == 2 && candidates[0]["basin"]?["radius"] == .number(0.0025))
    #expect(candidates[0]["line"]?.array?.last == ["t": .number(1), "nll": .number(2.5)])
    // JSON has no infinity and no NaN.
    #expect(candidates[1]["nll"] == .null && candidates[1]["line"]?.array?.last?["nll"] == .null)
    #expect(candidates[1]["basin"]?["left"] == .bool(false))
  }

  @Test func roundedInputsAreInTheNoteOfATable() {
    var record = ComparisonTests.base
    record.activations = "mxfp8_e4m3"
    let note = ComparisonTable(title: "", columns: [.init("a", record)]).protocolNote
    #expect(note.hasSuffix("windows of 256, linear inputs in mxfp8_e4m3."))
  }
}
