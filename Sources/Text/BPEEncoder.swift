/// Encodes pieces with a `BPEModel`, appending to `ids`; holds the scratch memory and a bounded cache of words.
///
/// A piece is first cut where no merge can reach across, which changes nothing in the result: a merge makes a token
/// in which the two units at the cut stand side by side, and `joints` lists every pair that does so in any merged
/// token. A text without pre-tokenizer falls into words this way.
package struct BPEEncoder: ~Copyable {
  let model: BPEModel
  package private(set) var ids: [Int32] = []

  private var symbols: [Int32] = []
  private var ranks: [Int32] = []
  private var next: [Int32] = []
  private var previous: [Int32] = []
  private var heap: [UInt64] = []
  private var cache = WordCache()
  /// At most this many symbols are merged by scanning; more through a heap. Equal results.
  private let scanLimit: Int
  private let cutsPieces: Bool

  /// - Parameters:
  ///   - scanLimit: tests set 0 to merge everything through the heap.
  ///   - cutsPieces: tests set false to encode each piece in one.
  init(_ model: BPEModel, scanLimit: Int = 48, cutsPieces: Bool = true) {
    self.model = model
    self.scanLimit = scanLimit
    self.cutsPieces = cutsPieces
  }

  mutating func append(_ id: Int32) { ids.append(id) }

  mutating func takeIDs() -> [Int32] {
    let result = ids
    ids = []
    return result
  }

  /// - Parameter piece: well-formed UTF-8, or bytes of `ByteAlphabet` if the model's alphabet is bytes. Not empty.
  mutating func encode(_ piece: Span<UInt8>) {
    if model.ignoresMerges, let id = wholeToken(piece) { return ids.append(id) }
    if piece.count <= WordCache.longestWord || !cutsPieces { return encodeSegment(piece) }
    var start = 0
    switch model.alphabet {
    case .bytes:
      for index in 1..<piece.count
      where model.joints[UInt32(piece[index - 1]), UInt32(piece[index])] == nil {
        encodeSegment(piece.extracting(start..<index))
        start = index
      }
    case .scalars(let units):
      var left: UInt32?
      var offset = 0
      while offset < piece.count {
        guard case .scalar(let scalar, let length) = UTF8Scanner.step(piece, at: offset) else {
          preconditionFailure("a piece is not UTF-8 at byte \(offset) of \(piece.count)")
        }
        // Only between two units that are tokens: unknown ones may fuse across.
        let isUnit = Int(scalar) < units.count && units[Int(scalar)] >= 0
        if let left, isUnit, model.joints[left, scalar] == nil {
          encodeSegment(piece.extracting(start..<offset))
          start = offset
        }
        left = isUnit ? scalar : nil
        offset += length
      }
    }
    encodeSegment(piece.extracting(start..<piece.count))
  }

  private func wholeToken(_ piece: Span<UInt8>) -> Int32? {
    guard case .bytes = model.alphabet else { return model.vocabulary.id(of: piece) }
    var token: [UInt8] = []
    token.reserveCapacity(2 * piece.count)
    for index in piece.indices { UTF8Scanner.append(ByteAlphabet.scalars[Int(piece[index])], to: &token) }
    return model.vocabulary.id(of: token)
  }

  private mutating func encodeSegment(_ segment: Span<UInt8>) {
    guard segment.count <= WordCache.longestWord, cutsPieces else {
      merge(segment)
      ids += symbols
      return
    }
    let hash = ContentHash.narrow(segment)
    if cache.append(segment, hash: hash, to: &ids) { return }
    merge(segment)
    ids += symbols
    cache.insert(segment, hash: hash, symbols)
  }

  /// Leaves the tokens of `segment` in `symbols`.
  private mutating func merge(_ segment: Span<UInt8>) {
    symbols.removeAll(keepingCapacity: true)
    switch model.alphabet {
    case .bytes(let units): for index in segment.indices { symbols.append(units[Int(segment[index])]) }
    case .scalars(let units): beginWithScalars(segment, units)
    }
    if symbols.count <= scanLimit { mergeByScanning() } else { mergeByHeap() }
  }

  private mutating func beginWithScalars(_ segment: Span<UInt8>, _ units: [Int32]) {
    // An unknown token waits for the next known character; the byte tokens of another unknown character overtake
    // it. Odd, but so does the original.
    var waiting: Int32?
    var offset = 0
    while offset < segment.count {
      guard case .scalar(let scalar, let length) = UTF8Scanner.step(segment, at: offset) else {
        preconditionFailure("a piece is not UTF-8 at byte \(offset) of \(segment.count)")
      }
      let bytes = offset..<(offset + length)
      offset += length
      if Int(scalar) < units.count, units[Int(scalar)] >= 0 {
        if let unknown = waiting { symbols.append(unknown) }
        waiting = nil
        symbols.append(units[Int(scalar)])
      } else if let tokens = model.byteTokens, bytes.allSatisfy({ tokens[Int(segment[$0])] >= 0 }) {
        for index in bytes { symbols.append(tokens[Int(segment[index])]) }
      } else if let unknown = model.unknown {
        if let earlier = waiting, !model.fusesUnknown { symbols.append(earlier) }
        waiting = unknown
      }
    }
    if let unknown = waiting { symbols.append(unknown) }
  }

  private func rank(_ left: Int32, _ right: Int32) -> Int32 {
    model.merges[UInt32(bitPattern: left), UInt32(bitPattern: right)]?.rank ?? .max
  }

  /// The lowest rank first, the leftmost of equals; O(n²) for short words.
  private mutating func mergeByScanning() {
    guard symbols.count > 1 else { return }
    ranks.removeAll(keepingCapacity: true)
    for index in 1..<symbols.count { ranks.append(rank(symbols[index - 1], symbols[index])) }
    while true {
      var best = Int32.max, place = 0
      for index in ranks.indices where ranks[index] < best { (best, place) = (ranks[index], index) }
      guard best != .max else { return }
      symbols[place] = model.pairs[Int(best)].result
      symbols.remove(at: place + 1)
      ranks.remove(at: place)
      if place > 0 { ranks[place - 1] = rank(symbols[place - 1], symbols[place]) }
      if place < ranks.count { ranks[place] = rank(symbols[place], symbols[place + 1]) }
    }
  }

  /// The same over a linked list with a heap of (rank, place): O(n log n).
  private mutating func mergeByHeap() {
    let count = symbols.count
    guard count > 1 else { return }
    precondition(count < Int(Int32.max), "a piece of \(count) symbols")
    next.removeAll(keepingCapacity: true)
    previous.removeAll(keepingCapacity: true)
    heap.removeAll(keepingCapacity: true)
    for index in 0..<count {
      next.append(index + 1 < count ? Int32(index + 1) : -1)
      previous.append(Int32(index - 1))
    }
    for index in 1..<count { push(at: index - 1, index) }
    while let top = popLowest() {
      let place = Int(top & 0xFFFF_FFFF), pair = model.pairs[Int(top >> 32)]
      let right = Int(next[place])
      // Entries of pairs that were merged away in the meantime are still in the heap.
      guard right >= 0, symbols[place] == pair.left, symbols[right] == pair.right else { continue }
      symbols[place] = pair.result
      symbols[right] = -1
      let after = Int(next[right])
      next[place] = Int32(after)
      next[right] = -1
      if after >= 0 {
        previous[after] = Int32(place)
        push(at: place, after)
      }
      if previous[place] >= 0 { push(at: Int(previous[place]), place) }
    }
    var kept = 0
    for index in 0..<count where symbols[index] >= 0 {
      symbols[kept] = symbols[index]
      kept += 1
    }
    symbols.removeLast(count - kept)
  }

  private mutating func push(at left: Int, _ right: Int) {
    let rank = rank(symbols[left], symbols[right])
    guard rank != .max else { return }
    heap.append(UInt64(rank) << 32 | UInt64(left))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child] < heap[parent] else { break }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func popLowest() -> UInt64? {
    guard let lowest = heap.first else { return nil }
    let last = heap.removeLast()
    guard !heap.isEmpty else { return lowest }
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < heap.count else { break }
      if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
      guard heap[child] < last else { break }
      heap[parent] = heap[child]
      parent = child
    }
    heap[parent] = last
    return lowest
  }
}
