import Checkpoints
import Communication
import Foundation
import Settings
import Testing
import Text
import Training
import Transformer

/// Bad input ends a run before its first step, on every rank alike, with the place and what to do; nothing is written.
@Suite struct RefusalTests {
  static func expect(
    _ words: String..., overrides: [String] = [], ranks: Int = 2, sourceLocation: SourceLocation = #_sourceLocation,
    spoil: (RunPlace) throws -> Void = { _ in }
  ) throws {
    let place = try RunPlace()
    try spoil(place)
    let settings = try place.settings("run", overrides.map { $0.replacing("PLACE", with: place.path) })
    let ends = try Runs.ends(ranks: ranks) { _ in settings }
    #expect(ends.allSatisfy { $0.isCollective }, "\(ends)", sourceLocation: sourceLocation)
    #expect(ends.count { $0.speaks } == 1, "\(ends)", sourceLocation: sourceLocation)
    let text = ends.first { $0.speaks }?.error ?? ""
    for word in words { #expect(text.contains(word), "\(text)", sourceLocation: sourceLocation) }
    #expect(!place.exists("run"), "a refusal writes nothing", sourceLocation: sourceLocation)
  }

  // MARK: Model

  @Test func missingModelFolder() throws {
    try Self.expect("/absent", "no such file or folder", "Hugging Face", overrides: ["model.path=PLACE/absent"])
  }

  @Test func missingWeights() throws {
    try Self.expect("model", "expected model.safetensors") { try $0.remove("model/model.safetensors") }
  }

  @Test func truncatedWeights() throws {
    try Self.expect("model.safetensors") { place in
      var bytes = try place.bytes("model/model.safetensors")
      bytes.removeLast(1000)
      try Data(bytes).write(to: URL(fileURLWithPath: place("model/model.safetensors")))
    }
  }

  @Test func headerLongerThanTheFile() throws {
    try Self.expect("model.safetensors", "header") { place in
      try Data([255, 255, 0, 0, 0, 0, 0, 0, 0x7B]).write(to: URL(fileURLWithPath: place("model/model.safetensors")))
    }
  }

  @Test func weightsOfAnotherShape() throws {
    try Self.expect("model.embed_tokens.weight", "[264, 64]", "[280, 64]") { place in
      try place.write(RunPlace.configuration(vocabulary: 280), "model/config.json")
    }
  }

  @Test func unknownArchitecture() throws {
    try Self.expect("GPT2LMHeadModel", "Supported: LlamaForCausalLM") { place in
      let text = RunPlace.configuration(vocabulary: 264).replacing("LlamaForCausalLM", with: "GPT2LMHeadModel")
      try place.write(text, "model/config.json")
    }
  }

  @Test func missingTokenizer() throws {
    try Self.expect("there is no tokenizer.json", "model.tokenizer") { try $0.remove("model/tokenizer.json") }
  }

  @Test func unsupportedTokenizer() throws {
    try Self.expect("tokenizer.json", "Unigram") { place in
      try place.write(#"{"model": {"type": "Unigram", "vocab": []}}"#, "model/tokenizer.json")
    }
  }

  @Test func contextBeyondTheModel() throws {
    try Self.expect("data.context is 128", "max_position_embeddings 64", overrides: ["data.context=128"])
  }

  // MARK: Text

  @Test func missingText() throws {
    try Self.expect("absent.txt", "No such file", overrides: ["data.train=[PLACE/absent.txt]"])
  }

  @Test func textShorterThanOneWindow() throws {
    try Self.expect("short.txt", "at least 16 tokens", "5 tokens", overrides: ["data.train=[PLACE/short.txt]"]) {
      try $0.write("rainy", "short.txt")
    }
  }

  @Test func validationTextShorterThanOneWindow() throws {
    try Self.expect("short.txt", "at least 16 tokens", overrides: ["data.validation=[PLACE/short.txt]"]) {
      try $0.write("rainy", "short.txt")
    }
  }

  @Test func textThatIsNotUTF8() throws {
    try Self.expect("train.txt", "UTF-8", "byte 3") {
      try Data([0x61, 0x62, 0x63, 0xFF, 0x61]).write(to: URL(fileURLWithPath: $0("train.txt")))
    }
  }

  /// An id beyond the embedding would make a kernel read beyond it.
  @Test(arguments: ["train", "validation"]) func tokensBeyondTheVocabulary(_ which: String) throws {
    let place = try RunPlace(vocabulary: 100)
    try place.write("AAAA BBBB AAAA BBBB CCCC", "plain.txt")
    // Letters that the model has no row for are in one of the texts alone.
    var overrides = ["data.train=[\(place("plain.txt"))]", "data.validation=[\(place("plain.txt"))]"]
    try place.write(String(repeating: "AAAA \u{FF}", count: 9), "rich.txt")
    overrides.append("data.\(which)=[\(place("rich.txt"))]")
    try Runs.expectRefusal(
      "tokenizer.json", "rich.txt", "beyond the vocabulary", "100", of: place.settings("run", overrides))
  }

  @Test func fewerRowsThanTokensIsNoErrorWhereNoneIsUsed() throws {
    let place = try RunPlace(vocabulary: 240)
    try place.write(String(repeating: "AB CD!", count: 80), "plain.txt")
    try Runs.finish(
      place.settings(
        "run",
        [
          "data.train=[\(place("plain.txt"))]", "data.validation=[\(place("plain.txt"))]", "training.steps=1",
        ]))
  }

  @Test func tokenFileOfAnotherTokenizerAndDamagedTokenFile() throws {
    let place = try RunPlace()
    let tokenizer = try Tokenizer(contentsOf: place("model/tokenizer.json"))
    _ = try TokenFile.write(TextSource.load([place("train.txt")]), with: tokenizer, to: place("train.bin"))
    let settings = try place.settings("run", ["data.train=[\(place("train.bin"))]"])
    let bytes = try place.bytes("train.bin")
    try place.damage("train.bin")
    try Runs.expectRefusal("train.bin", "hash", "mfqat prepare", of: settings)
    try Data(bytes.dropLast(3)).write(to: URL(fileURLWithPath: place("train.bin")))
    try Runs.expectRefusal("train.bin", "bytes for", of: settings)
    try Data(bytes).write(to: URL(fileURLWithPath: place("train.bin")))
    try place.write(RunPlace.tokenizer + " ", "model/tokenizer.json")
    try Runs.expectRefusal("train.bin", "another tokenizer", "mfqat prepare", of: settings)
  }

  // MARK: Plan

  @Test func patternThatMatchesNothing() throws {
    try Self.expect(
      "model.layers.*.mlp.gate.weight", "matches none", "the nearest name is", "mlp.gate_proj.weight",
      overrides: ["quantization.include=[model.layers.*.mlp.gate.weight]"])
  }

  /// It would train to the end and fail at the anchor.
  @Test func patternThatMatchesVectors() throws {
    try Self.expect(
      "quantization.include", "model.layers.0.input_layernorm.weight", "is a vector",
      overrides: ["quantization.include=[\"model.layers.*.{mlp.up_proj,input_layernorm}.weight\"]"])
  }

  @Test func quantizedEmbeddingIsAllowed() throws {
    let place = try RunPlace()
    let settings = try place.settings("run", ["quantization.include=[\"**_proj.weight\", model.embed_tokens.weight]"])
    try Runs.finish(settings, ranks: 3)
    #expect(try AnchorModel(place("run/anchor")).quantized["model.embed_tokens.weight"] != nil)
    #expect(TensorContainer.verify(place("run/anchor")).isEmpty)
  }

  // MARK: Folder

  @Test func runDirectoryThatHoldsSomething() throws {
    let place = try RunPlace()
    try Runs.finish(place.settings("run", ["training.steps=1"]))
    let before = try place.bytes("run/metrics.jsonl")
    try Runs.expectRefusal("/run:", "exists and holds", "--resume auto", "logging.directory", of: place.settings())
    #expect(try place.bytes("run/metrics.jsonl") == before)
  }

  @Test func runDirectoryThatIsAFile() throws {
    let place = try RunPlace()
    try place.write("a file", "run")
    try Runs.expectRefusal("/run", "File exists", of: place.settings())
    try Runs.expectRefusal("/run", "File exists", of: place.settings("run/below"))
    #expect(try place.text("run") == "a file")
  }

  @Test(.enabled(if: SmallDisk.isAvailable, "\(SmallDisk.absence)")) func readOnlyFileSystem() throws {
    let disk = try SmallDisk(mebibytes: 1)
    let place = try RunPlace()
    disk.makeReadOnly()
    try Runs.expectRefusal(
      disk.path, "Read-only file system", "permissions",
      of: place.settings("run", ["logging.directory=\(disk.path)/run"]))
  }

  // MARK: Ranks

  @Test func ranksWithDifferentConfigurations() throws {
    let place = try RunPlace()
    let settings = try place.settings(), other = try place.settings("run", ["training.learning_rate=1.0e-2"])
    let ends = try Runs.ends(ranks: 3) { $0 == 1 ? other : settings }
    #expect(ends.allSatisfy { $0.isCollective } && ends.count { $0.speaks } == 1)
    for end in ends {
      #expect(
        end.error!.contains("rank 1: the configuration differs from rank 0: training.learning_rate is 0.01"), "\(end)")
      #expect(end.error!.contains("--set"))
    }
    #expect(!place.exists("run"))
  }

  /// Nodes without a shared file system: the same paths, other contents.
  @Test func ranksThatReadDifferentFiles() throws {
    let place = try RunPlace(), other = try RunPlace()
    try other.write(RunPlace.text(seed: 9, words: 1200), "train.txt")
    let settings = try place.settings()
    let ends = try Communicator.onThreads(2) { communicator -> RankEnd in
      var end = RankEnd()
      do {
        // Paths must be equal: what lies there differs by rank, as a source of another model does.
        let bigger = communicator.rank == 1
        _ = try TrainingRun(
          settings, communicator: communicator,
          open: { path in
            let source = try HuggingFaceFolder(path)
            return bigger ? SourceWithAnotherTokenizer(source) : source
          }, report: { _ in })
      } catch {
        end.error = "\(error)"
        end.isCollective = error is CollectiveFailure
        end.speaks = (error as? CollectiveFailure)?.speaks ?? false
      }
      return end
    }
    #expect(ends.allSatisfy { $0.isCollective } && ends.count { $0.speaks } == 1, "\(ends)")
    #expect(ends[0].error!.contains("the model or text differs") && ends[0].error!.contains("shared file system"))
  }

  @Test func aRankThatFailsAloneTakesTheOthersAlong() throws {
    let ends = try Communicator.onThreads(4) { communicator -> RankEnd in
      var end = RankEnd()
      do {
        try communicator.onEveryRank { if communicator.rank == 2 { throw ModelError("there", "cannot be read") } }
      } catch {
        end.error = "\(error)"
        end.isCollective = error is CollectiveFailure
        end.speaks = (error as? CollectiveFailure)?.speaks ?? false
      }
      // All are at the same place again: the next collective works.
      try communicator.barrier()
      return end
    }
    #expect(ends.map(\.speaks) == [false, false, true, false] && ends.allSatisfy { $0.isCollective })
    #expect(ends[2].error == "there: cannot be read.")
    #expect(ends[0].error == "rank 2: there: cannot be read." && ends[3].error == ends[0].error)
  }

  @Test func severalFailuresAndOneVoice() throws {
    let ends = try Communicator.onThreads(3) { communicator -> (String, Bool) in
      do {
        try communicator.onEveryRank {
          if communicator.rank > 0 { throw ModelError("rank\(communicator.rank)", "fails") }
        }
        return ("", false)
      } catch let failure as CollectiveFailure {
        return ("\(failure)", failure.speaks)
      }
    }
    #expect(ends.map(\.1) == [false, true, false])
    #expect(ends.map(\.0) == ["rank 1: rank1: fails.", "rank1: fails.", "rank2: fails."])
  }

  @Test func onRootRunsThereAlone() throws {
    let failed = try Communicator.onThreads(3) { communicator -> Bool in
      var ran = false
      try communicator.onRoot { ran = true }
      precondition(ran == communicator.isRoot)
      do { try communicator.onRoot { throw ModelError("root", "fails") } } catch { return error is CollectiveFailure }
      return false
    }
    #expect(failed == [true, true, true])
  }
}

/// The folder of one rank, seen from a node whose copy of it differs.
final class SourceWithAnotherTokenizer: ModelSource {
  let source: HuggingFaceFolder
  init(_ source: HuggingFaceFolder) { self.source = source }

  var path: String { source.path }
  var configuration: ModelConfiguration { source.configuration }
  var sidecarNames: [String] { source.sidecarNames }
  func sidecar(_ name: String) throws -> [UInt8] {
    try source.sidecar(name) + (name == "tokenizer.json" ? [0x20] : [])
  }
  func storedFormat(of name: String) -> String? { nil }
  func read(_ parameter: ParameterSpec, rows: Range<Int>, into values: inout MutableSpan<Float>) throws {
    try source.read(parameter, rows: rows, into: &values)
  }
}
