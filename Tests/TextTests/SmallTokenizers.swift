/// `tokenizer.json` texts written out by hand for tests.
enum SmallTokenizers {
  /// GPT-2's byte alphabet in byte order, as characters.
  static let byteCharacters: [String] = {
    var next: UInt32 = 0x100
    return (UInt32(0)...255).map { byte in
      if (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte) {
        return String(Unicode.Scalar(byte)!)
      }
      defer { next += 1 }
      return String(Unicode.Scalar(next)!)
    }
  }()

  static func quoted(_ text: String) -> String {
    "\"" + text.unicodeScalars.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "\""
  }

  /// Ids 0...255 are the bytes, then the results of the merges.
  static func byteLevel(
    merges: [(String, String)] = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("u", "n"), ("un", "d")],
    normalizer: String = "null",
    preTokenizer: String = #"{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}"#,
    model: String = "", decoder: String = #"{"type":"ByteLevel"}"#, added: String = "[]",
    postProcessor: String = "null", dropping: Set<String> = []
  ) -> String {
    let tokens = byteCharacters + merges.map { $0.0 + $0.1 }
    let vocabulary = tokens.enumerated().filter { !dropping.contains($0.element) }
      .map { "\(quoted($0.element)):\($0.offset)" }.joined(separator: ",")
    let list = merges.map { "[\(quoted($0.0)),\(quoted($0.1))]" }.joined(separator: ",")
    return """
      {"added_tokens":\(added),"normalizer":\(normalizer),"pre_tokenizer":\(preTokenizer),
      "post_processor":\(postProcessor),"decoder":\(decoder),
      "model":{"type":"BPE",\(model)"vocab":{\(vocabulary)},"merges":[\(list)]}}
      """
  }

  /// Characters and merges, `<unk>` = 0, without byte tokens.
  static func characters(
    _ characters: [String], merges: [String] = [], normalizer: String = "null", preTokenizer: String = "null",
    decoder: String = #"{"type":"Fuse"}"#, added: String = "[]", model: String = #""unk_token":"<unk>","#
  ) -> String {
    // By scalars: to `String` a space and a combining mark are one character.
    let tokens =
      ["<unk>"] + characters + merges.map { String(String.UnicodeScalarView($0.unicodeScalars.filter { $0 != " " })) }
    let vocabulary = tokens.enumerated().map { "\(quoted($0.element)):\($0.offset)" }.joined(separator: ",")
    return """
      {"added_tokens":\(added),"normalizer":\(normalizer),"pre_tokenizer":\(preTokenizer),"decoder":\(decoder),
      "model":{"type":"BPE",\(model)"vocab":{\(vocabulary)},"merges":[\(merges.map(quoted).joined(separator: ","))]}}
      """
  }
}
