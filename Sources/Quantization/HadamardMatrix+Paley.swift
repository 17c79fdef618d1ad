/// Paley's constructions (R. E. A. C. Paley 1933) over the field of p elements, p prime.
///
/// χ(a) is +1 for a square, -1 for a non-square, 0 for 0; Q[i,j] = χ(i - j) has Q Qᵀ = p I - J. Bordered with ones,
///
///     S = |  0   1ᵀ |        S Sᵀ = p I,  S skew for p = 3 mod 4 (where χ(-1) = -1), symmetric for p = 1 mod 4
///         | ∓1   Q  |
extension HadamardMatrix {
  /// Order p + 1, p = 3 mod 4.
  static func isPaleyI(_ order: Int) -> Bool { order % 4 == 0 && isPrime(order - 1) }

  /// Order 2 (p + 1), p = 1 mod 4.
  static func isPaleyII(_ order: Int) -> Bool {
    order % 4 == 0 && (order / 2 - 1) % 4 == 1 && isPrime(order / 2 - 1)
  }

  /// H = I + S. Not symmetric: S is skew.
  static func paleyI(_ order: Int) -> [Int8] {
    let character = quadraticCharacter(order - 1)
    return matrix(order) { i, j in i == j ? 1 : bordered(i, j, character, lowerBorder: -1) }
  }

  /// H = S ⊗ [1 1; 1 -1] + I ⊗ [1 -1; -1 -1]. Symmetric.
  static func paleyII(_ order: Int) -> [Int8] {
    let character = quadraticCharacter(order / 2 - 1)
    return matrix(order) { row, column in
      let (i, j) = (row / 2, column / 2), (a, b) = (row % 2, column % 2)
      if i == j { return a == 0 && b == 0 ? 1 : -1 }
      return bordered(i, j, character, lowerBorder: 1) * (a == 1 && b == 1 ? -1 : 1)
    }
  }

  /// S[i,j] off the diagonal.
  private static func bordered(_ i: Int, _ j: Int, _ character: [Int8], lowerBorder: Int8) -> Int8 {
    if i == 0 { return 1 }
    if j == 0 { return lowerBorder }
    let p = character.count
    return character[(i - j + p) % p]
  }

  private static func quadraticCharacter(_ p: Int) -> [Int8] {
    var character = [Int8](repeating: -1, count: p)
    for a in 1..<p { character[a * a % p] = 1 }
    character[0] = 0
    return character
  }

  private static func isPrime(_ n: Int) -> Bool {
    guard n >= 3, n % 2 == 1 else { return n == 2 }
    var divisor = 3
    while divisor * divisor <= n {
      if n % divisor == 0 { return false }
      divisor += 2
    }
    return true
  }
}
