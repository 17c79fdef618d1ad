import Formats
import Quantization
import Settings
import Testing

@Suite struct DecodingTests {
  @Test func whatIsAbsentHasItsDefault() throws {
    let decoded = try configuration()
    var expected = RunConfiguration()
    expected.model.path = "model/"
    expected.data.train = ["train.txt"]
    expected.training.steps = 100
    expected.quantization.objective = .fullPrecision
    expected.quantization.schedule = .single
    expected.quantization.anchor = .mxint8
    expected.training.precision.weightGradient = .fp32
    expected.training.precision.head = .fp32
    expected.training.precision.gradientRounding = .nearest
    #expect(decoded == expected)
    #expect(decoded.training.betas == [0.9, 0.95] && decoded.training.lanes == 12)
  }

  @Test func anUnknownKeyNamesTheNearestTheSectionAndTheLine() throws {
    let found = problems(minimalYAML + "quantization:\n  formtas: [mxint4]\n")
    try #require(found.count == 1)
    #expect(found[0].keyPath == "quantization.formtas")
    #expect(found[0].line == 8)
    #expect(found[0].expected.contains("evaluate_formats"))
    #expect(found[0].hint == "did you mean formats?")
  }

  @Test func anUnknownSectionAndAMisplacedKey() throws {
    let section = problems(minimalYAML + "quantisation:\n  formats: [mxint4]\n")
    #expect(section.map(\.keyPath) == ["quantisation"])
    #expect(section[0].line == 7 && section[0].hint == "did you mean quantization?")
    #expect(problems(with: "training.formats=[mxint4]").map(\.hint) == ["did you mean quantization.formats?"])
    #expect(problems(with: "steps=3").map(\.hint) == ["did you mean training.steps?"])
    #expect(problems(with: "training.lr=1").map(\.hint) == ["did you mean training.learning_rate?"])
    #expect(problems(with: "model.initialization.std=1").map(\.keyPath) == ["model.initialization.std"])
  }

  struct WrongType: Sendable, CustomTestStringConvertible {
    let key: String, value: String, expected: String, found: String
    var testDescription: String { "\(key): \(value)" }
  }

  @Test(arguments: [
    WrongType(key: "training.steps", value: "many", expected: "an integer", found: "'many'"),
    WrongType(key: "training.steps", value: "1.5", expected: "an integer", found: "'1.5'"),
    WrongType(key: "training.steps", value: "'100'", expected: "an integer", found: "'100'"),
    WrongType(key: "training.steps", value: "", expected: "an integer", found: "nothing"),
    WrongType(key: "training.steps", value: "99999999999999999999", expected: "an integer", found: "'99999999999999999999'"),
    WrongType(key: "training.seed", value: "-1", expected: "an integer of 0 or more", found: "'-1'"),
    WrongType(key: "training.clip", value: "nan", expected: "a number", found: "'nan'"),
    WrongType(key: "training.clip", value: "0x10", expected: "a number", found: "'0x10'"),
    WrongType(key: "training.clip", value: "[1]", expected: "a number", found: "a list of 1"),
    WrongType(key: "data.shuffle", value: "yes", expected: "true or false", found: "'yes'"),
    WrongType(key: "data.train", value: "{a: 1}", expected: "a list, each text", found: "a mapping with a"),
    WrongType(key: "model.path", value: "[a, b]", expected: "text, or null", found: "a list of 2"),
    WrongType(key: "model.config", value: "7", expected: "a mapping", found: "'7'"),
    WrongType(key: "training", value: "7", expected: "a mapping with steps", found: "'7'"),
    WrongType(key: "quantization.estimator", value: "clip", expected: "straight_through or clipped", found: "'clip'"),
    WrongType(key: "quantization.activations", value: "mxint9", expected: "a format", found: "'mxint9'"),
    WrongType(key: "communication.gradients", value: "fast", expected: "exact or fp32 or bf16 or int8 or two_level",
              found: "'fast'"),
    WrongType(key: "communication.overlap", value: "1", expected: "true or false", found: "'1'"),
    WrongType(key: "communication.check_every", value: "0.5", expected: "an integer", found: "'0.5'"),
    WrongType(key: "training.precision", value: "bf16", expected: "a mapping with forward", found: "'bf16'"),
    WrongType(key: "training.precision.forward", value: "int4", expected: "fp32 or bf16 or int8 or mx", found: "'int4'"),
  ])
  func wrongTypesSayWhatWasExpectedAndFound(_ wrong: WrongType) throws {
    let found = problems(with: "\(wrong.key)=\(wrong.value)")
    try #require(found.count == 1)
    #expect(found[0].keyPath == wrong.key)
    // An optional or automatic key adds its ", or …".
    #expect(found[0].expected.hasPrefix(wrong.expected.replacing(", or null", with: "")))
    #expect(found[0].found == wrong.found)
  }

  @Test func wrongTypesInAFileHaveTheirLine() throws {
    let found = problems(minimalYAML + "quantization:\n  formats:\n    - mxint4\n    - mxint44\nlogging:\n  progress: maybe\n")
    try #require(found.count == 2)
    #expect(found[0].keyPath == "quantization.formats[1]" && found[0].line == 10)
    #expect(found[0].hint == "did you mean mxint4?")
    #expect(found[1].keyPath == "logging.progress" && found[1].line == 12)
    #expect(SettingsError(file: "run.yaml", problems: found).description.contains("run.yaml:12: logging.progress: expected"))
  }

  @Test func hints() {
    #expect(problems(with: "training.steps='5'").first?.hint == "leave out the quotes")
    #expect(problems(with: "quantization.formats=mxint2,mxint4").first?.hint == "write a list as [mxint2,mxint4]")
    #expect(problems(with: "quantization.formats=mxfp8").first?.hint == "it could be mxfp8_e4m3 or mxfp8_e5m2")
    #expect(problems(with: "training.decay=cosin").first?.hint == "did you mean cosine?")
  }

  @Test func missingKeysAreNamedWithTheirSections() {
    #expect(problems("").map(\.keyPath) == ["data.train", "training.steps"])
    #expect(problems("# nothing\n").map(\.keyPath) == ["data.train", "training.steps"])
    #expect(problems("training:\ndata:\n").map(\.keyPath) == ["training.steps", "data.train"])
    #expect(problems("data: {train: a}\ntraining: {steps: 1}").map(\.keyPath) == ["model.path"])
  }

  @Test func brokenYAMLSaysWhere() throws {
    for (yaml, line) in [("a: b: c", 1), ("model:\n  path: [a", 3), ("model:\n\tpath: a", 2), ("a: 1\n---\nb: 2", 2)] {
      let found = problems(yaml)
      #expect(found.count == 1 && found[0].expected == "YAML" && found[0].line == line, "\(yaml): \(found)")
    }
    let twice = problems(minimalYAML + "data:\n  context: 5\n")
    #expect(twice.first?.found == "data twice")
    #expect(problems("[a, b]").first?.found == "a list of 2")
  }

  @Test func listsAndAliasesAndFormatsInCapitals() throws {
    #expect(try configuration(with: "data.train=one.txt").data.train == ["one.txt"])
    #expect(try configuration(with: "quantization.formats=MXINT4").quantization.formats == [.mxint4])
    let shared = minimalYAML + "quantization:\n  formats: &f [mxint4, mxint8]\n  evaluate_formats: *f\n"
    #expect(try RunConfiguration(yaml: shared, file: "f").quantization.evaluateFormats == [.mxint4, .mxint8])
  }

  @Test func aMissingFileIsNamed() {
    let path = "/nonexistent/run.yaml"
    do {
      _ = try RunConfiguration(contentsOf: path)
      Issue.record("read a file that is not there")
    } catch {
      #expect(error.file == path)
      #expect(error.problems.map(\.found) == ["no such file"])
    }
  }
}
