import Checkpoints
import Foundation
import Text

/// Small valid files, one or two of each kind, and some that are refused at the last step.
enum FuzzSeeds {
  static func seeds(_ target: FuzzTarget) throws -> [String: [UInt8]] {
    switch target {
    case .safetensors: ["types.bin": safetensors, "empty.bin": try shards()["s2"]!]
    case .modelIndex:
      ["index.json": SafeTensorsWriter.index(totalSize: 32, shards: [("a", "s1"), ("b", "s1"), ("c", "s2")])]
    case .manifest: ["anchor.json": try container()[ContainerManifest.fileName]!, "checkpoint.json": try checkpoint()]
    case .dataFile: try container().filter { $0.key.hasSuffix(".zst") }
    case .json: texts(json)
    case .tokenizer: texts(tokenizers)
    case .tokenFile: ["narrow.bin": try tokens(300), "wide.bin": try tokens(70_000), "empty.bin": try tokens(0)]
    }
  }

  private static func texts(_ texts: [String: String]) -> [String: [UInt8]] { texts.mapValues { Array($0.utf8) } }

  // MARK: Safetensors

  private static let safetensors: [UInt8] = {
    let header = #"""
      {"__metadata__":{"format":"pt"},"f":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]},"h":{"dtype":"F16","shape":[],"data_offsets":[14,16]},"q":{"dtype":"F4","shape":[4],"data_offsets":[16,18]},"e":{"dtype":"F32","shape":[0,4],"data_offsets":[18,18]}}
      """#
    let length = header.utf8.count
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + Array(header.utf8) + Array(1...18)
  }()

  static func shards() throws -> [String: [UInt8]] {
    try inFolder { folder in
      for (shard, names) in [("s1", ["a", "b"]), ("s2", ["c"])] {
        let writer = try SafeTensorsWriter(folder + "/" + shard, tensors: names.map { .init($0, .bf16, [2]) })
        for name in names { try writer.append(name, [1, -2].span) }
        try writer.commit()
      }
    }
  }

  // MARK: Containers

  static func container() throws -> [String: [UInt8]] {
    try inFolder { folder in
      let options = ContainerOptions(chunkBytes: 64)
      let metadata = try JSONScanner.parse(Array(#"{"loss":2.25,"step":7}"#.utf8)).object!
      let writer = try ContainerWriter(
        directory: folder + "/made", format: "mxint4", scaleRule: "floor", 
        metadata: metadata, options: options)
      let codes = (0..<120).map { UInt8(truncatingIfNeeded: $0 * $0 % 13) }
      let scales = [UInt8](repeating: 120, count: 6)
      try writer.addPacked(
        name: "w", shape: [3, 40], format: "mxint4", rows: 0..<2, codes: codes.span.extracting(0..<80),
        scales: scales.span.extracting(0..<4))
      try writer.addDense(name: "d", shape: [5], values: [1, -0.0, .infinity, 0.5, 3].span)
      let other = ContainerPartWriter(directory: writer.temporary, writer: 1, options: options)
      try other.addPacked(
        name: "w", shape: [3, 40], format: "mxint4", rows: 2..<3, codes: codes.span.extracting(80..<120),
        scales: scales.span.extracting(4..<6))
      writer.add(try other.finish())
      try writer.addSidecar(name: "config.json", bytes: Array("{}".utf8))
      try writer.commit(verifying: true)
    }
  }

  /// Names the anchor's files, so it is refused after everything but them was checked.
  private static func checkpoint() throws -> [UInt8] {
    try inFolder { folder in
      let writer = try ContainerWriter(directory: folder + "/made", kind: .checkpoint)
      try writer.addDense(name: "d", shape: [2, 2], values: [1, 2, 3, 4].span)
      try writer.commit(verifying: true)
    }[ContainerManifest.fileName]!
  }

  // MARK: JSON

  private static let json = [
    "values.json":
      #" {"a":[1,-2.5e-3,"x\u00e9\n\ud83d\ude00",{"b":null,"c":[[],{}]}],"long":12345678901234567890,"t":true} "#,
    "canonical.json": #"{"big":"9007199254740993","n":-0.0,"é":""}"#,
    "deep.json": String(repeating: "[", count: 64) + String(repeating: "]", count: 64),
    "deeper.json": String(repeating: "[", count: 65) + String(repeating: "]", count: 65),
    "part.json": #"{"files":[],"tensors":[{"format":"fp32","name":"t","pieces":[],"shape":[0,8]}]}"#,
  ]

  // MARK: Text

  private static func tokens(_ vocabularySize: Int) throws -> [UInt8] {
    let hash = String(repeating: "0123456789abcdef", count: 2)
    return try inFolder { folder in
      try FileManager.default.createDirectory(atPath: folder + "/made", withIntermediateDirectories: true)
      try TokenFile.write(
        vocabularySize == 0 ? [] : [0, 1, Int32(vocabularySize - 1)], vocabularySize: vocabularySize,
        tokenizerHash: hash, textHash: hash, to: folder + "/made/tokens.bin")
    }["tokens.bin"]!
  }

  private static let characters = [
    "<unk>", "▁", "T", "a", "b", "e", "h", "n", "o", "s", "t", "u", "th", "the", "▁the", "ab", "aa", "<s>", "é", "😀",
  ]
  private static let merges = #"["t h","th e","▁ the","a b",["a","a"]]"#

  private static func tokenizer(
    _ vocabulary: [String], _ merges: String, normalizer: String = "null", preTokenizer: String = "null",
    decoder: String = "null", added: String = "[]", postProcessor: String = "null",
    model: String = #""unk_token":"<unk>","#
  ) -> String {
    let entries = vocabulary.enumerated().map { index, token in
      let escaped = token.unicodeScalars.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined()
      return "\"\(escaped)\":\(index)"
    }
    return #"{"added_tokens":\#(added),"normalizer":\#(normalizer),"pre_tokenizer":\#(preTokenizer),"post_processor":"#
      + #"\#(postProcessor),"decoder":\#(decoder),"model":{"type":"BPE",\#(model)"vocab":{"#
      + entries.joined(separator: ",") + #"},"merges":\#(merges)}}"#
  }

  private static let tokenizers: [String: String] = {
    let bytes = (UInt32(0)...255).reduce(into: (next: UInt32(0x100), tokens: [String]())) { state, byte in
      let isShown = (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte)
      state.tokens.append(String(Unicode.Scalar(isShown ? byte : state.next)!))
      if !isShown { state.next += 1 }
    }.tokens
    let fallback = (0..<256).map { byte in
      "<0x" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true) + ">"
    }
    return [
      "byte-level.json": tokenizer(
        bytes + ["th", "the", "Ġthe"], #"[["t","h"],["th","e"],["Ġ","the"]]"#,
        preTokenizer: #"{"type":"ByteLevel","add_prefix_space":true,"use_regex":true}"#,
        decoder: #"{"type":"ByteLevel"}"#,
        added: #"[{"id":300,"content":"<|end|>","special":true,"lstrip":true,"rstrip":true}]"#,
        postProcessor:
          #"{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"e"}},{"Sequence":{"id":"A"}}],"special_tokens":{"e":{"ids":[300]}}}"#,
        model: ""),
      "fallback.json": tokenizer(
        ["<unk>", "▁", "a", "t", "h", "th"] + fallback, #"["t h"]"#,
        normalizer: #"{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}"#,
        decoder: #"{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}"#,
        model: #""unk_token":"<unk>","byte_fallback":true,"fuse_unk":true,"#),
      "metaspace.json": tokenizer(
        characters, merges, normalizer: #"{"type":"NFKD"}"#,
        preTokenizer: #"{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true}"#,
        decoder: #"{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}"#,
        added: #"[{"id":17,"content":"<s>","normalized":true,"single_word":true}]"#,
        postProcessor: #"{"type":"BertProcessing","cls":["<s>",17],"sep":["<s>",17]}"#),
      "split.json": tokenizer(
        characters, merges, normalizer: #"{"type":"Sequence","normalizers":[{"type":"Lowercase"},{"type":"Strip"},{"type":"NFC"}]}"#,
        preTokenizer: #"{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"(?i:'s|t)|\\p{N}{1,3}| ?[^\\s\\p{L}]+|\\s+(?!\\S)"},"behavior":"MergedWithNext","invert":false},{"type":"Digits","individual_digits":true}]}"#,
        decoder: #"{"type":"Fuse"}"#, model: #""unk_token":"<unk>","ignore_merges":true,"#),
    ]
  }()

  /// The files of `made`, or of the folder itself, that `body` leaves in a folder of its own.
  private static func inFolder(_ body: (String) throws -> Void) throws -> [String: [UInt8]] {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mfqat-seeds-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try body(folder.path)
    let made = folder.appendingPathComponent("made")
    let place = FileManager.default.fileExists(atPath: made.path) ? made : folder
    var files: [String: [UInt8]] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: place.path) {
      files[name] = [UInt8](try Data(contentsOf: place.appendingPathComponent(name)))
    }
    return files
  }
}
