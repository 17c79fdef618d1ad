/// Byte-pair encoding (Sennrich et al. 2016): what is in the file, as tables for `BPEEncoder`.
struct BPEModel: Sendable {
  struct Merge: BitwiseCopyable, Sendable {
    /// Place in the list of merges: lower merges first.
    let rank: Int32
    /// The token that the pair becomes.
    let id: Int32
  }

  /// The units a piece begins as.
  enum Alphabet: Sendable {
    /// Each byte is a token (ByteLevel).
    case bytes(ids: [Int32])
    /// Each scalar is a token if the vocabulary has it: -1 where not; as long as the largest such scalar needs.
    case scalars(ids: [Int32])
  }

  let vocabulary: Vocabulary
  let merges: PairTable<Merge>
  /// The two tokens of each merge, by rank.
  let pairs: [(left: Int32, right: Int32, result: Int32)]
  let alphabet: Alphabet
  /// Units that stand side by side in some merged token; no merge crosses any other pair of units.
  let joints: PairTable<Bool>
  /// `<0x00>`…`<0xFF>`, -1 where the vocabulary has none; nil without byte fallback.
  let byteTokens: [Int32]?
  let unknown: Int32?
  let fusesUnknown: Bool
  /// Whether a piece that is a token is that token, whatever merging would give.
  let ignoresMerges: Bool

  /// - Parameter yieldsBytes: what the pre-tokenizer hands over, see `PreTokenizer.yieldsBytes`.
  static func read(_ stage: StageReader, yieldsBytes: Bool) throws(TextError) -> BPEModel {
    // Files of the first years have no type for BPE.
    let type = stage.value["type"]?.text ?? "BPE"
    guard type == "BPE" else { throw stage.unsupported("a model BPE", "model \(type)") }
    if let dropout = stage.value["dropout"], !dropout.isNull {
      switch dropout {
      case .integer(0), .number(0): break
      default: throw stage.unsupported("dropout null or 0", "dropout \(dropout.kindName)")
      }
    }
    for affix in ["continuing_subword_prefix", "end_of_word_suffix"] {
      guard let text = stage.value[affix]?.bytes, !text.isEmpty else { continue }
      throw stage.unsupported("no \(affix)", "\"\(String(decoding: text, as: UTF8.self))\"")
    }
    let vocabulary = try readVocabulary(stage)
    let (merges, pairs) = try readMerges(stage, vocabulary)
    var unknown: Int32?
    if let token = stage.value["unk_token"]?.bytes {
      guard let id = vocabulary.id(of: token) else {
        throw stage.inconsistent(
          "unk_token in the vocabulary", "no entry \"\(String(decoding: token, as: UTF8.self))\"")
      }
      unknown = id
    }
    let byteTokens = try stage.bool("byte_fallback", default: false) ? readByteTokens(vocabulary) : nil
    let alphabet =
      yieldsBytes ? try readBytes(stage, vocabulary) : readScalars(vocabulary)
    if !yieldsBytes, unknown == nil, byteTokens?.contains(-1) != false {
      throw stage.unsupported(
        "an unk_token or all 256 byte tokens with byte_fallback",
        "neither, so characters outside the vocabulary would vanish")
    }
    return BPEModel(
      vocabulary: vocabulary, merges: merges, pairs: pairs, alphabet: alphabet,
      joints: readJoints(vocabulary, pairs, yieldsBytes: yieldsBytes), byteTokens: byteTokens, unknown: unknown,
      fusesUnknown: try stage.bool("fuse_unk", default: false),
      ignoresMerges: try stage.bool("ignore_merges", default: false))
  }

  private static func readVocabulary(_ stage: StageReader) throws(TextError) -> Vocabulary {
    guard case .object(let members)? = stage.value["vocab"] else {
      throw stage.malformed("an object vocab", stage.value["vocab"]?.kindName ?? "none")
    }
    var vocabulary = Vocabulary(minimumCapacity: members.count)
    for (token, value) in members {
      let name = String(decoding: token, as: UTF8.self)
      guard let id = value.integer, (0...Vocabulary.largestID).contains(id) else {
        throw stage.malformed("an id 0...\(Vocabulary.largestID) for \"\(name)\"", value.kindName)
      }
      guard vocabulary.add(token.span, id: id) else {
        throw stage.inconsistent("each token and each id once in vocab", "\"\(name)\": \(id) again")
      }
    }
    return vocabulary
  }

  private static func readMerges(
    _ stage: StageReader, _ vocabulary: Vocabulary
  ) throws(TextError) -> (PairTable<Merge>, [(left: Int32, right: Int32, result: Int32)]) {
    guard let list = stage.value["merges"]?.elements else {
      throw stage.malformed("an array merges", stage.value["merges"]?.kindName ?? "none")
    }
    var merges = PairTable(minimumCapacity: list.count, placeholder: Merge(rank: -1, id: -1))
    var pairs: [(left: Int32, right: Int32, result: Int32)] = []
    pairs.reserveCapacity(list.count)
    for element in list {
      guard let halves = halves(of: element) else {
        // `merges.txt` had a first line for its version; converters sometimes kept it.
        if let line = element.text, line.hasPrefix("#version") { continue }
        throw stage.malformed("merges as \"left right\" or [left, right]", element.kindName)
      }
      var ids: [Int32] = []
      for token in [halves.left, halves.right, halves.left + halves.right] {
        guard let id = vocabulary.id(of: Array(token)) else {
          throw stage.inconsistent(
            "merges of tokens in the vocabulary",
            "merge \(pairs.count) (\"\(String(decoding: halves.left, as: UTF8.self))\" and "
              + "\"\(String(decoding: halves.right, as: UTF8.self))\"), no entry "
              + "\"\(String(decoding: token, as: UTF8.self))\"")
        }
        ids.append(id)
      }
      // A pair that is listed twice has its last rank, as in the original.
      merges.set(UInt32(ids[0]), UInt32(ids[1]), to: Merge(rank: Int32(pairs.count), id: ids[2]))
      pairs.append((ids[0], ids[1], ids[2]))
    }
    return (merges, pairs)
  }

  private static func halves(of element: JSONValue) -> (left: ArraySlice<UInt8>, right: ArraySlice<UInt8>)? {
    if let pair = element.elements {
      guard pair.count == 2, let left = pair[0].bytes, let right = pair[1].bytes else { return nil }
      return (left[...], right[...])
    }
    guard let line = element.bytes, !line.starts(with: "#version".utf8) else { return nil }
    let parts = line.split(separator: 0x20, omittingEmptySubsequences: false)
    return parts.count == 2 ? (parts[0], parts[1]) : nil
  }

  private static func readByteTokens(_ vocabulary: Vocabulary) -> [Int32] {
    let digits = Array("0123456789ABCDEF".utf8)
    return (0..<256).map { byte in
      vocabulary.id(of: Array("<0x".utf8) + [digits[byte >> 4], digits[byte & 15], UInt8(ascii: ">")]) ?? -1
    }
  }

  /// A byte without a token would vanish from the text, unlike a character that becomes `unk_token`; no file in use
  /// lacks one.
  private static func readBytes(_ stage: StageReader, _ vocabulary: Vocabulary) throws(TextError) -> Alphabet {
    var ids: [Int32] = []
    for byte in UInt8.min...UInt8.max {
      let character = ByteAlphabet.character(of: byte)
      guard let id = vocabulary.id(of: character) else {
        throw stage.inconsistent(
          "an entry for each of the 256 bytes", "none for byte \(byte) (\"\(String(decoding: character, as: UTF8.self))\")")
      }
      ids.append(id)
    }
    return .bytes(ids: ids)
  }

  private static func readScalars(_ vocabulary: Vocabulary) -> Alphabet {
    var ids: [Int32] = []
    vocabulary.forEach { token, id in
      let bytes = Array(token)
      guard !bytes.isEmpty, case .scalar(let scalar, let length) = UTF8Scanner.step(bytes.span, at: 0),
        length == bytes.count
      else { return }
      while ids.count <= Int(scalar) { ids.append(-1) }
      ids[Int(scalar)] = id
    }
    return .scalars(ids: ids)
  }

  private static func readJoints(
    _ vocabulary: Vocabulary, _ pairs: [(left: Int32, right: Int32, result: Int32)], yieldsBytes: Bool
  ) -> PairTable<Bool> {
    var joints = PairTable(minimumCapacity: 1024, placeholder: false)
    for pair in pairs {
      guard let token = vocabulary.token(pair.result) else { continue }
      let bytes = Array(token)
      if yieldsBytes {
        guard let raw = ByteAlphabet.decode(bytes.span) else { continue }
        for (left, right) in zip(raw, raw.dropFirst()) { joints.set(UInt32(left), UInt32(right), to: true) }
      } else {
        var previous: UInt32?
        var offset = 0
        while offset < bytes.count, case .scalar(let scalar, let length) = UTF8Scanner.step(bytes.span, at: offset) {
          if let previous { joints.set(previous, scalar, to: true) }
          previous = scalar
          offset += length
        }
      }
    }
    return joints
  }
}
