/// The tokens of words seen before. Bounded: when full it forgets everything and begins again.
struct WordCache {
  /// In bytes; longer words seldom repeat.
  static let longestWord = 48
  private static let mostWords = 1 << 16
  private static let mostKeyBytes = 1 << 21

  private var words = ByteKeyTable(minimumCapacity: 1 << 10)
  private var starts: [Int32] = [0]
  private var ids: [Int32] = []

  /// Appends the tokens of a word that is known; false if it is not.
  func append(_ word: Span<UInt8>, hash: UInt64, to output: inout [Int32]) -> Bool {
    guard let index = words.find(word, hash: hash) else { return false }
    for position in Int(starts[index])..<Int(starts[index + 1]) { output.append(ids[position]) }
    return true
  }

  /// Adds a word that is not known.
  mutating func insert(_ word: Span<UInt8>, hash: UInt64, _ tokens: [Int32]) {
    if words.count >= Self.mostWords || words.keyByteCount >= Self.mostKeyBytes {
      words.removeAll()
      starts.removeLast(starts.count - 1)
      ids.removeAll(keepingCapacity: true)
    }
    words.insert(word, hash: hash)
    ids += tokens
    starts.append(Int32(ids.count))
  }
}
