public import Formats
import Kernels
public import Tensors

/// Where a block's scale may be smaller than its largest weight asks for, because the inputs do not mind what saturates
/// (AWQ's clip, arXiv 2306.00978, on scales that are powers of two).
///
/// The paper shrinks a group's range in steps down to ½. An E8M0 scale has one step in that range, so the choice is the
/// offset of the block's exponent from its rule: 0 or -1 (and +1, better of two, where asked). It minimises the squared
/// change of the block's own part of the dot product over sampled inputs, Σ_t (x_t,B · (w_B - q_B))² = eᵀ G_B e with
/// G_B = Σ x_Bᵀ x_B. Not for q and k, whose errors the softmax does not weigh this way.
public struct AWQClip {
  /// Tokens that are enough.
  public static let sampleLimit = 512

  /// Offsets to choose from, the rule's own first: it wins among equals.
  public let offsets: [Int]
  public let format: MXFormat
  public let rule: ScaleRule
  /// (K / 32 rounded up) matrices of 32 x 32, of Σ x_Bᵀ x_B; elements past K are 0.
  private let grams: [Double]
  private let columns: Int

  /// - Parameters:
  ///   - inputs: (T, K), at most ``sampleLimit`` rows are read.
  ///   - largerToo: also tries one exponent more.
  public init(inputs: borrowing Tensor, format: MXFormat, rule: ScaleRule = .floor, largerToo: Bool = false) {
    self.format = format
    self.rule = rule
    offsets = largerToo ? [0, -1, 1] : [0, -1]
    columns = inputs.columns
    let b = MXFormat.blockSize, blocks = PackedTensor.blockCount(inputs.columns), K = inputs.columns
    var grams = [Double](repeating: 0, count: blocks * b * b)
    let x = inputs.span
    for t in 0..<min(inputs.rows, Self.sampleLimit) {
      for block in 0..<blocks {
        let first = block * b, width = min(b, K - first)
        for i in 0..<width {
          let value = Double(x[t * K + first + i])
          for j in 0..<width { grams[(block * b + i) * b + j] += value * Double(x[t * K + first + j]) }
        }
      }
    }
    self.grams = grams
  }

  /// One row's choice.
  public struct Row: Sendable, Hashable {
    /// A block each.
    public var offsets: [Int8]
    /// Σ over blocks of eᵀ G e, with the rule's exponents and with the chosen ones.
    public var before = 0.0
    public var after = 0.0

    public init(offsets: [Int8] = []) { self.offsets = offsets }
  }

  /// - Parameter w: one row of the weight, (K).
  public func choose(row w: borrowing Span<Float>) -> Row {
    precondition(w.count == columns, "a row of \(w.count) for inputs of \(columns)")
    let b = MXFormat.blockSize
    var row = Row()
    var error = [Double](repeating: 0, count: b)
    for block in 0..<PackedTensor.blockCount(columns) {
      let range = block * b..<min(columns, (block + 1) * b)
      var best = (offset: 0, loss: Double.infinity)
      for offset in offsets {
        for i in range { error[i - range.lowerBound] = 0 - Double(w[i]) }
        quantize(w, range, offset: offset) { i, value in error[i - range.lowerBound] += Double(value) }
        let loss = quadraticForm(error, width: range.count, block: block)
        if offset == 0 { row.before += loss }
        if loss < best.loss { best = (offset, loss) }
      }
      row.offsets.append(Int8(best.offset))
      row.after += best.loss
    }
    return row
  }

  /// The row rounded with the exponents of `choice`, dequantised.
  public func rounded(row w: borrowing Span<Float>, _ choice: Row) -> [Float] {
    let b = MXFormat.blockSize
    var out = [Float](repeating: 0, count: columns)
    for (block, offset) in choice.offsets.enumerated() {
      quantize(w, block * b..<min(columns, (block + 1) * b), offset: Int(offset)) { out[$0] = $1 }
    }
    return out
  }

  /// Cuts the blocks of a row for which a smaller scale serves better to what that scale can hold, so that whoever rounds
  /// the row chooses it.
  ///
  /// - Parameter row: (1, K)
  public func saturate(_ row: inout Tensor) {
    let choice = choose(row: row.span), b = MXFormat.blockSize, K = columns
    var values = row.mutableSpan
    for (block, offset) in choice.offsets.enumerated() where offset < 0 {
      let range = block * b..<min(K, (block + 1) * b)
      var maximum: Float = 0
      for i in range { maximum = max(maximum, values[i].magnitude) }
      guard maximum > 0 else { continue }
      // Just below the power of two under the maximum: one exponent less for each offset.
      let power = Float(sign: .plus, exponent: Int(maximum.exponent) + Int(offset) + 1, significand: 1)
      let limit = power.nextDown
      for i in range { values[i] = max(-limit, min(limit, values[i])) }
    }
  }

  /// A block whose scale byte would leave 0...254 keeps the rule's.
  private func quantize(
    _ w: borrowing Span<Float>, _ range: Range<Int>, offset: Int, _ take: (_ index: Int, _ value: Float) -> Void
  ) {
    var maximum: Float = 0
    for i in range { maximum = max(maximum, w[i].magnitude) }
    let byte = rule.scaleByte(forMaximum: maximum, element: format.element)
    let shifted = Int(byte) + offset
    let scale = E8M0.value((0...254).contains(shifted) ? UInt8(shifted) : byte)
    for i in range { take(i, format.element.decode(format.element.encode(w[i] / scale)) * scale) }
  }

  private func quadraticForm(_ e: [Double], width: Int, block: Int) -> Double {
    let b = MXFormat.blockSize
    var sum = 0.0
    for i in 0..<width {
      var dot = 0.0
      for j in 0..<width { dot += grams[(block * b + i) * b + j] * e[j] }
      sum += e[i] * dot
    }
    return sum
  }
}
