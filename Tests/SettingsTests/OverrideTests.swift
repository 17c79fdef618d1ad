import Formats
import Settings
import Testing

@Suite struct OverrideTests {
  @Test func valuesAreYAMLAndTheLastWins() throws {
    let result = try configuration(
      with: "training.steps=7", "training.steps=8", "quantization.formats=[mxint2, mxint4]", "training.learning_rate=3e-4",
      "data.shuffle=false", "logging={every: 5}")
    #expect(result.training.steps == 8)
    #expect(result.quantization.formats == [.mxint2, .mxint4])
    #expect(result.training.learningRate == 3e-4)
    #expect(!result.data.shuffle)
    #expect(result.logging.every == 5)
    #expect(result.model.path == "model/")
  }

  @Test func freeKeysAndNullsCanBeSet() throws {
    let result = try configuration(
      with: "model.path=null", "model.tokenizer=a=b", "model.config.hidden_size=64", "model.config.rope.theta=1e4")
    #expect(result.model.path == nil)
    #expect(result.model.tokenizer == "a=b")
    #expect(result.model.config?.json == #"{"hidden_size":64,"rope":{"theta":10000.0}}"#)
  }

  @Test func anOverrideThatCannotBeUnderstoodIsRefused() throws {
    for text in ["training.steps", "=5", ".steps=5", "training.=5", "training..steps=5", ""] {
      #expect(problems(with: text).first?.expected == "section.key=value", "\(text)")
    }
    #expect(problems(with: "training.steps=[1").first?.expected == "YAML")
    let through = try #require(problems(with: "training.steps.more=1").first)
    #expect(through.keyPath == "training.steps" && through.expected == "a mapping to set a key in")
  }

  @Test func problemsOfAnOverrideQuoteIt() throws {
    let found = try #require(problems(with: "training.step=5").first)
    #expect(found.origin == .override("training.step=5") && found.line == nil)
    #expect(found.hint == "did you mean steps?")
    let error = SettingsError(file: "run.yaml", problems: [found])
    #expect(error.description.hasPrefix("--set training.step=5: training.step: expected one of"))
    // Also those found only across keys.
    #expect(problems(with: "training.batch=13").first?.origin == .override("training.batch=13"))
  }
}
