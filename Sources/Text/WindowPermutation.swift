internal import Tensors

/// A permutation of 0..<count that is a function of (seed, epoch) alone and needs no table.
///
/// A Feistel network over the next even number of bits (Luby and Rackoff 1988) is a bijection of 0..<4^h for any round
/// function; numbers outside 0..<count are permuted again until they fall inside (cycle walking, Black and Rogaway
/// 2002), which keeps it a bijection. The domain is less than 4 · count, so fewer than four walks are expected.
public struct WindowPermutation: Sendable {
  public let count: Int
  private let random: CounterRandom
  private let epoch: UInt64
  private let halfBits: UInt64
  /// Four rounds are enough for large domains; small ones need more to reach most permutations.
  private static let rounds: UInt64 = 12

  /// - Parameters:
  ///   - count: of what is permuted, at least 1.
  ///   - seed: the run's seed.
  ///   - epoch: how many times everything was visited before.
  public init(count: Int, seed: UInt64, epoch: Int) {
    precondition(count > 0 && epoch >= 0, "permutation of \(count) in epoch \(epoch)")
    self.count = count
    self.epoch = UInt64(epoch)
    random = CounterRandom(seed: seed, stream: "windows of text")
    var halfBits: UInt64 = 1
    while UInt64(1) << (2 * halfBits) < UInt64(count) { halfBits += 1 }
    self.halfBits = halfBits
  }

  /// Where the permutation sends `index`.
  public subscript(index: Int) -> Int {
    precondition(index >= 0 && index < count, "index \(index) of \(count)")
    var value = UInt64(index)
    repeat { value = permute(value) } while value >= UInt64(count)
    return Int(value)
  }

  private func permute(_ value: UInt64) -> UInt64 {
    let mask = UInt64(1) << halfBits - 1
    var left = value >> halfBits, right = value & mask
    for round in 0..<Self.rounds {
      // One counter for each (epoch, round, half): halves have at most 32 bits, rounds 8.
      let words = random.words(right | round << 32, epoch)
      (left, right) = (right, left ^ UInt64(words.0) & mask)
    }
    return left << halfBits | right
  }
}
