import Reports
import Testing

@Suite struct RunSummaryTests {
  static let lines = (1...20).map { step in
    """
    {"step":\(step),"tokens":\(step * 1000),"loss":\(4 - Double(step) / 8),"lr":0.001,"grad_norm":1.5,\
    "format":"\(step % 2 == 0 ? "mxint4" : "mxint2")","tokens_per_second":\(step == 1 ? 10 : 500),\
    "seconds":{"weights":0.25,"compute":1.5,"communication":0.5},"bytes_sent":{"gradients":1024,"control":8}}

    """
  }.joined()
  static let validation = #"{"step":20,"validation":{"format":"mxint4","nll":2.125}}"# + "\n"

  static let checkpoints = [10, 20].map { step in
    """
    {"step":\(step),"checkpoint":{"seconds_lost":1.5,"seconds_writing":1.25,"bytes":2048,"content_bytes":4096}}

    """
  }.joined()

  @Test func sumsAndMediansOfAllSteps() throws {
    let history = try MetricsHistory(Self.lines + Self.checkpoints + Self.validation, path: "m")
    let summary = RunSummary(path: "run", history: history)
    #expect(history.steps.count == 20 && history.validations.count == 1)
    #expect(history.checkpoints.map(\.step) == [10, 20] && history.checkpoints[1].contentBytes == 4096)
    #expect(summary.first?.loss == 3.875 && summary.last?.loss == 1.5)
    #expect(summary.losses.map(\.format) == ["mxint2", "mxint4"])
    #expect(summary.losses.map(\.first) == [3.875, 3.75] && summary.losses.map(\.final) == [1.625, 1.5])
    #expect(summary.tokensPerSecond == 500)
    #expect(summary.seconds.map(\.name) == ["weights", "compute", "communication"])
    #expect(summary.seconds.map(\.value) == [5, 30, 10])
    #expect(summary.bytesSent.map(\.value) == [20_480, 160])
    #expect(summary.table.plain == """
      run              run
      steps            1 to 20, 20,000 tokens
      loss             mxint2 3.8750 at first, 1.6250 at last, 1.6250 mean of its last tenth
                       mxint4 3.7500 at first, 1.5000 at last, 1.5000 mean of its last tenth
      steps by format  mxint2 10, mxint4 10
      tokens a second  500 (median)
      time             weights 5.0 s
                       compute 30.0 s
                       communication 10.0 s, inside the phases above
      sent by rank 0   gradients 20.0 KiB
                       control 160 B
      checkpoints      2 saved, the last of 2.0 KiB; 3.0 s of training lost
      validation       mxint4 2.1250 nats a token at step 20

      """)
  }

  @Test func stepsThatAResumedRunRepeatsCountOnce() throws {
    let again = #"{"step":20,"tokens":20000,"loss":1.25,"format":"mxint4"}"# + "\n"
    let history = try MetricsHistory(Self.lines + again, path: "m")
    #expect(history.steps.count == 20 && history.steps.last?.loss == 1.25)
  }

  @Test func aLineCutOffAtTheEndIsLeftOutAndSaid() throws {
    let history = try MetricsHistory(Self.lines + #"{"step":21,"lo"#, path: "m")
    #expect(history.steps.count == 20 && history.lastLineIsIncomplete)
    #expect(RunSummary(path: "run", history: history).table.plain.contains("incomplete"))
  }

  @Test func aDamagedLineInTheMiddleIsRefusedByNumber() {
    let error = #expect(throws: ReportError.self) { try MetricsHistory("{\"step\":1\n" + Self.lines, path: "m") }
    #expect(error?.path == "m:1")
  }

  @Test func aCheckpointWithoutItsFiguresIsRefusedByNumber() {
    let error = #expect(throws: ReportError.self) {
      try MetricsHistory(#"{"step":1,"checkpoint":{"bytes":1}}"#, path: "m")
    }
    #expect(error?.path == "m:1")
  }

  @Test func anEmptyRecordIsRefused() {
    #expect(throws: ReportError.self) { try MetricsHistory("\n", path: "m") }
  }

  @Test func theCurveHasALineAFormatAndADotAValidation() throws {
    let history = try MetricsHistory(Self.lines + Self.validation, path: "m")
    let svg = LossCurve(history, title: "a < b").svg
    #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
    #expect(svg.ranges(of: "<polyline ").count == 2)
    #expect(svg.ranges(of: "<circle ").count == 1)
    #expect(svg.contains("a &lt; b") && svg.contains(">mxint2<") && svg.contains(">mxint4<"))
    // Steps 0 to 20 and losses 1.5 to 4 in round numbers.
    #expect(svg.contains(">20</text>") && svg.contains(">1.5</text>") && svg.contains(">4.0</text>"))
    #expect(!svg.contains("nan") && !svg.contains("inf"))
  }

  @Test func oneStepAloneIsStillAPicture() throws {
    let history = try MetricsHistory(#"{"step":1,"loss":3}"#, path: "m")
    let svg = LossCurve(history, title: "t").svg
    #expect(svg.contains("<circle ") && !svg.contains("nan"))
  }
}
