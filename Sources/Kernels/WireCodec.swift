internal import CKernels
public import Tensors

/// Runs of fp32 as groups of 4- or 8-bit codes with one fp32 scale, for the way between ranks (`ck_wire.h`, which
/// states layout and rounding to the bit).
///
/// Legend: a run is n consecutive values, any n, in blocks of 32; its padded length is whole blocks, zeros behind the
/// last value. Codes are those of the values, or of their rotation by `WireRotation`, which spreads a few large ones
/// over their block; sums of rotated values are rotated sums, so only the last receiver rotates back.
///
/// - A group that holds a NaN, an infinity or a magnitude of 2^127 or more, rotated where it is, arrives as NaN
///   throughout.
/// - A group whose largest magnitude is below 2^-100 arrives as zeros.
/// - Contract: bit-exact in every table, and whatever the number of threads.
public struct WireCodec: Sendable, Hashable {
  /// Bits of a code: integers from -7 to 7, or from -127 to 127.
  public enum Bits: Int, Sendable, Hashable, CaseIterable { case four = 4, eight = 8 }

  /// How a value becomes one of the two codes around it.
  public enum Rounding: Sendable {
    /// The nearest, ties to even. Biased: for sums over many steps, keep a residual.
    case nearest
    /// Either, such that the mean is the value: errors are √2 times as large, but do not add up over steps and ranks.
    /// The bits of element i are a function of the generator and of `first + i`, its number in the whole tensor, not
    /// in this run; nothing else.
    case stochastic(CounterRandom, first: UInt64)
  }

  public let bits: Bits
  /// Values that share a scale; the last group of a run may have fewer.
  public let group: Int

  /// - Parameter group: a multiple of 32; SDP4Bit has 128 for gradients, 2048 for differences of weights.
  public init(bits: Bits, group: Int) {
    precondition(group > 0 && group % WireRotation.block == 0, "a wire group of \(group): a multiple of 32")
    self.bits = bits
    self.group = group
  }

  /// Bits a value takes in a long run, its share of the scale included.
  public var effectiveBits: Double { Double(bits.rawValue) + 32 / Double(group) }

  /// `n` rounded up to whole blocks.
  public func paddedCount(_ n: Int) -> Int { WireRotation.paddedCount(n) }

  /// Bytes of a run of `n` values.
  public func byteCount(of n: Int) -> Int {
    Int(unsafe withUnsafePointer(to: raw) { unsafe ck_wire_bytes($0, Int64(n)) })
  }

  private var raw: ck_wire_format { ck_wire_format(bits: Int32(bits.rawValue), group: Int64(group)) }
}

extension WireCodec {
  /// Values to bytes, `byteCount(of: count)` of them.
  ///
  /// - Parameters:
  ///   - x: `count` values; `to`, `residual` and `x` do not overlap. Any alignment.
  ///   - rotated: codes of the rotated values.
  ///   - residual: `paddedCount(count)` values, zeros at first, rotated if the codes are: what earlier calls could not
  ///     send. It is added to the values, and replaced by what this call could not send; where a group arrives as NaN
  ///     it stays as it is.
  @unsafe package func pack(
    _ x: UnsafePointer<Float>, count: Int, to bytes: UnsafeMutableRawPointer, rotated: Bool,
    rounding: Rounding = .nearest, residual: UnsafeMutablePointer<Float>? = nil, on table: KernelTable = .current
  ) {
    let wire = table.wire, format = raw, options = Self.options(rounding, rotated: rotated)
    let scales = unsafe bytes.assumingMemoryBound(to: UInt8.self), codes = unsafe scales + scaleBytes(of: count)
    forEachPiece(count) { piece, group in
      var format = format, options = options
      options.first &+= UInt64(piece.lowerBound)
      unsafe wire.pack(
        &format, &options, Int64(piece.count), x + piece.lowerBound, scales + 4 * group,
        codes + codeBytes(of: piece.lowerBound), residual.map { unsafe $0 + piece.lowerBound })
    }
  }

  /// Bytes to values.
  ///
  /// - Parameters:
  ///   - count: that of `pack`.
  ///   - y: `paddedCount(count)` values, rotated if the codes are.
  ///   - accumulate: adds to `y` instead of replacing it. Sums come out alike on all ranks if all add in one order.
  @unsafe package func unpack(
    _ bytes: UnsafeRawPointer, count: Int, into y: UnsafeMutablePointer<Float>, accumulate: Bool = false,
    on table: KernelTable = .current
  ) {
    let wire = table.wire, format = raw
    let scales = unsafe bytes.assumingMemoryBound(to: UInt8.self), codes = unsafe scales + scaleBytes(of: count)
    forEachPiece(count) { piece, group in
      var format = format
      unsafe wire.unpack(
        &format, Int64(piece.count), scales + 4 * group, codes + codeBytes(of: piece.lowerBound), y + piece.lowerBound,
        accumulate)
    }
  }

  private static func options(_ rounding: Rounding, rotated: Bool) -> ck_wire_rounding {
    switch rounding {
    case .nearest: ck_wire_rounding(rotated: rotated, stochastic: false, key: (0, 0), first: 0)
    case .stochastic(let random, let first):
      ck_wire_rounding(rotated: rotated, stochastic: true, key: random.key, first: first)
    }
  }

  private func scaleBytes(of count: Int) -> Int { 4 * ((count + group - 1) / group) }
  private func codeBytes(of padded: Int) -> Int { padded / 8 * bits.rawValue }

  /// Pieces of whole groups, for the threads of the team: which values, and the number of the first group.
  @inline(__always)
  private func forEachPiece(_ count: Int, _ body: (_ piece: Range<Int>, _ group: Int) -> Void) {
    precondition(count >= 0, "a wire run of \(count)")
    ThreadTeam.shared.parallel((count + group - 1) / group, by: max(1, WireRotation.grain / group)) { groups in
      body(groups.lowerBound * group..<min(count, groups.upperBound * group), groups.lowerBound)
    }
  }
}
