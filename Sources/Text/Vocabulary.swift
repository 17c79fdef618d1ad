/// Token texts and their ids, by bytes.
struct Vocabulary: Sendable {
  private var table: ByteKeyTable
  private var ids: [Int32] = []
  private var indexOfID: [Int32] = []

  /// Ids beyond this are taken for damage: the largest vocabularies in use have 2^18 entries, and the table of ids is
  /// as long as the largest of them.
  static let largestID = 1 << 21

  init(minimumCapacity: Int) {
    table = ByteKeyTable(minimumCapacity: minimumCapacity)
    ids.reserveCapacity(minimumCapacity)
  }

  /// One more than the largest id.
  var idBound: Int { indexOfID.count }

  /// Adds a token. False if its text or its id is taken.
  mutating func add(_ token: Span<UInt8>, id: Int) -> Bool {
    precondition(id >= 0 && id <= Self.largestID, "token id \(id)")
    let hash = ContentHash.narrow(token)
    guard table.find(token, hash: hash) == nil else { return false }
    while indexOfID.count <= id { indexOfID.append(-1) }
    guard indexOfID[id] < 0 else { return false }
    indexOfID[id] = Int32(table.insert(token, hash: hash))
    ids.append(Int32(id))
    return true
  }

  func id(of token: Span<UInt8>) -> Int32? { table.find(token).map { ids[$0] } }

  func id(of token: [UInt8]) -> Int32? { id(of: token.span) }

  /// The text of a token, nil for an id without one.
  func token(_ id: Int32) -> ArraySlice<UInt8>? {
    guard id >= 0, Int(id) < indexOfID.count, indexOfID[Int(id)] >= 0 else { return nil }
    return table[Int(indexOfID[Int(id)])]
  }

  /// Calls `body` with every token, in the order of the file.
  func forEach(_ body: (ArraySlice<UInt8>, Int32) -> Void) {
    for index in ids.indices { body(table[index], ids[index]) }
  }
}
