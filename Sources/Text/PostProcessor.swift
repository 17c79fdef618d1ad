/// The special tokens that the file would put around a text. They are read and exposed, not applied: texts are
/// tokenized as one stream without special tokens.
struct PostProcessor: Sendable {
  /// In front of a single text, like a beginning-of-text token.
  var prefix: [Int32] = []
  /// Behind it.
  var suffix: [Int32] = []

  /// Kinds that add no tokens, and unknown ones, leave both empty.
  static func read(_ stage: StageReader) throws(TextError) -> PostProcessor {
    var result = PostProcessor()
    guard !stage.value.isNull else { return result }
    switch try stage.type() {
    case "Sequence":
      for member in try stage.elements("processors") {
        let part = try read(member)
        result.prefix += part.prefix
        result.suffix += part.suffix
      }
    case "TemplateProcessing":
      var isBehind = false
      for part in try stage.elements("single") {
        if part.value["Sequence"] != nil { isBehind = true }
        guard let name = part.value["SpecialToken"]?["id"]?.text else { continue }
        let entry = stage.member("special_tokens").member(name)
        for id in try entry.elements("ids") {
          guard let id = id.value.integer, (0...Vocabulary.largestID).contains(id) else {
            throw entry.malformed("token ids", id.value.kindName)
          }
          if isBehind { result.suffix.append(Int32(id)) } else { result.prefix.append(Int32(id)) }
        }
      }
    case "BertProcessing", "RobertaProcessing":
      // ["<s>", 0]
      if let id = stage.value["cls"]?.elements?.last?.integer { result.prefix = [Int32(clamping: id)] }
      if let id = stage.value["sep"]?.elements?.last?.integer { result.suffix = [Int32(clamping: id)] }
    default: break
    }
    return result
  }
}
