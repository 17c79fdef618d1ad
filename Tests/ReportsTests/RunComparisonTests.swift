import Reports
import Testing

@Suite struct RunComparisonTests {
  private static func run(_ name: String, loss: Double, nll: Double) throws -> RunSummary {
    let lines = (1...20).map {
      #"{"step":\#($0),"tokens":\#($0 * 10),"loss":\#(loss),"format":"fp32"}"# + "\n"
    }
    let validation = #"{"step":20,"validation":{"format":"fp32","nll":\#(nll)}}"# + "\n"
    return RunSummary(path: "runs/" + name, history: try MetricsHistory(lines.joined() + validation, path: "m"))
  }

  @Test func everyRunAgainstTheFirst() throws {
    let comparison = RunComparison(
      title: "Precision",
      runs: [
        try Self.run("fp32", loss: 4, nll: 2), try Self.run("int8", loss: 4.02, nll: 1.99),
      ])
    #expect(comparison.plain == """
      Precision

      run   steps    loss           held out, fp32
      fp32     20  4.0000                   2.0000
      int8     20  4.0200  +0.50 %          1.9900  -0.50 %

      Nats a token. Loss: mean of the last tenth of the steps. Percentages: against fp32.

      """)
    #expect(comparison.markdown.hasPrefix("**Precision**\n\n| run"))
  }

  @Test func formatsThatOneRunLacksAreLeftOut() throws {
    let other = RunSummary(
      path: "b", history: try MetricsHistory(#"{"step":1,"tokens":1,"loss":1,"format":"fp32"}"# + "\n", path: "m"))
    let table = RunComparison(title: "t", runs: [try Self.run("a", loss: 1, nll: 2), other]).table
    #expect(table.columns.map(\.title) == ["run", "steps", "loss", ""])
  }
}
