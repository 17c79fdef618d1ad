/// Byte strings numbered in the order of their insertion: open addressing, keys end to end in one array.
///
/// The vocabulary and the cache of words are both this table; equality is of bytes, never of Unicode strings.
struct ByteKeyTable: Sendable {
  private var slots: [Int32]
  private var hashes: [UInt64] = []
  private var keys: [UInt8] = []
  private var starts: [Int] = [0]

  init(minimumCapacity: Int = 16) {
    var size = 16
    while size < 2 * minimumCapacity { size *= 2 }
    slots = Array(repeating: -1, count: size)
  }

  var count: Int { hashes.count }
  /// All keys together, in bytes.
  var keyByteCount: Int { keys.count }

  subscript(_ index: Int) -> ArraySlice<UInt8> { keys[starts[index]..<starts[index + 1]] }

  func find(_ key: Span<UInt8>) -> Int? { find(key, hash: ContentHash.narrow(key)) }

  func find(_ key: Span<UInt8>, hash: UInt64) -> Int? {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    while true {
      let index = Int(slots[slot])
      if index < 0 { return nil }
      if hashes[index] == hash, equal(index, key) { return index }
      slot = (slot + 1) & mask
    }
  }

  /// Adds a key that is not in the table and returns its number.
  @discardableResult
  mutating func insert(_ key: Span<UInt8>, hash: UInt64) -> Int {
    let index = hashes.count
    hashes.append(hash)
    for position in key.indices { keys.append(key[position]) }
    starts.append(keys.count)
    if 2 * hashes.count > slots.count {
      slots = Array(repeating: -1, count: 2 * slots.count)
      for index in hashes.indices { place(index) }
    } else {
      place(index)
    }
    return index
  }

  /// The number of a key, new or not.
  mutating func index(of key: Span<UInt8>) -> Int {
    let hash = ContentHash.narrow(key)
    return find(key, hash: hash) ?? insert(key, hash: hash)
  }

  mutating func removeAll() {
    for slot in slots.indices { slots[slot] = -1 }
    hashes.removeAll(keepingCapacity: true)
    keys.removeAll(keepingCapacity: true)
    starts.removeLast(starts.count - 1)
  }

  private mutating func place(_ index: Int) {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hashes[index]) & mask
    while slots[slot] >= 0 { slot = (slot + 1) & mask }
    slots[slot] = Int32(index)
  }

  private func equal(_ index: Int, _ key: Span<UInt8>) -> Bool {
    let start = starts[index]
    guard starts[index + 1] - start == key.count else { return false }
    for position in key.indices where keys[start + position] != key[position] { return false }
    return true
  }
}

/// Values for pairs of 32-bit numbers: open addressing, one probe in the usual case.
struct PairTable<Value: BitwiseCopyable & Sendable>: Sendable {
  private var keys: [UInt64]
  private var values: [Value]
  private let placeholder: Value
  private(set) var count = 0

  /// No pair of valid numbers has this key: ids and symbols stay below 2^31.
  private static var empty: UInt64 { .max }

  init(minimumCapacity: Int = 16, placeholder: Value) {
    var size = 16
    while size < 2 * minimumCapacity { size *= 2 }
    keys = Array(repeating: Self.empty, count: size)
    values = Array(repeating: placeholder, count: size)
    self.placeholder = placeholder
  }

  subscript(_ left: UInt32, _ right: UInt32) -> Value? {
    get {
      let key = UInt64(left) << 32 | UInt64(right)
      let slot = slot(key)
      return keys[slot] == key ? values[slot] : nil
    }
  }

  /// Sets the value of a pair, in place of an earlier one.
  mutating func set(_ left: UInt32, _ right: UInt32, to value: Value) {
    let key = UInt64(left) << 32 | UInt64(right)
    var position = slot(key)
    if keys[position] != key {
      if 2 * (count + 1) > keys.count {
        grow()
        position = slot(key)
      }
      keys[position] = key
      count += 1
    }
    values[position] = value
  }

  /// The slot that holds `key`, or the free one where it belongs.
  @inline(__always)
  private func slot(_ key: UInt64) -> Int {
    let mask = keys.count - 1
    // Fibonacci hashing; the high half of the product depends on every bit of the key.
    let mixed = (key ^ key >> 32) &* 0x9E37_79B9_7F4A_7C15
    var slot = Int(truncatingIfNeeded: mixed >> 32) & mask
    while keys[slot] != key, keys[slot] != Self.empty { slot = (slot + 1) & mask }
    return slot
  }

  private mutating func grow() {
    var larger = PairTable(minimumCapacity: keys.count, placeholder: placeholder)
    for index in keys.indices where keys[index] != Self.empty {
      let slot = larger.slot(keys[index])
      larger.keys[slot] = keys[index]
      larger.values[slot] = values[index]
    }
    keys = larger.keys
    values = larger.values
  }
}
