public import Tensors

/// Moments of the input of a linear layer, summed over sequences in integers.
///
/// Shapes: x (T, K); moments (K, K) as ``MomentProduct`` makes them, read on and above the diagonal only.
///
/// A sum of integers does not depend on the order of its summands, so a sum over any number of ranks has the bits of one:
/// element (i, j) of a sequence is rounded to a multiple of 2^(eᵢ + eⱼ), with exponents that all ranks share.
public enum SecondMoments {
  /// Added to a double below 2^51 it leaves the nearest integer in the low bits, and above them its own.
  private static let magic = 0x1.8p52

  /// sums[i, j] += round(moments[i, j] · 2^-(exponents[i] + exponents[j])) for j >= i.
  ///
  /// - Returns: false, with sums that are of no use, where a rounded element has more than 51 bits, or a
  ///   channel without an exponent is not 0.
  /// - Parameter scales: 2^-exponents[i]; 0 for a channel that was 0 where the exponents were taken.
  public static func accumulate(
    _ sums: inout HostBuffer<Int64>, moments: borrowing Tensor, scales: borrowing HostBuffer<Double>
  ) -> Bool {
    let K = moments.columns
    precondition(sums.count == K * K && scales.count == K, "sums of \(sums.count), scales of \(scales.count), \(K) columns")
    let sums = unsafe sums.unsafeMutableAddress(), moments = unsafe moments.unsafeAddress()
    let scales = unsafe scales.unsafeAddress()
    let magic = magic, magicBits = magic.bitPattern
    var isGood = [Bool](repeating: true, count: K)
    unsafe isGood.withUnsafeMutableBufferPointer { good in
      let good = unsafe good.baseAddress!
      ThreadTeam.shared.parallel(K, by: 32) { rows in
        for i in rows {
          let row = unsafe moments + i * K, sum = unsafe sums + i * K, own = unsafe scales[i]
          var overflow: UInt64 = 0
          for j in i..<K {
            let bits = unsafe (Double(row[j]) * (own * scales[j]) + magic).bitPattern
            overflow |= bits ^ magicBits
            unsafe sum[j] &+= Int64(bitPattern: bits &- magicBits)
          }
          // Exponent and sign are those of `magic` unless a value was too large or no number. A channel without a scale must
          // be 0.
          unsafe good[i] = overflow >> 52 == 0 && (own > 0 || row[i] == 0)
        }
      }
    }
    return isGood.allSatisfy { $0 }
  }

  /// values[i, j] = values[j, i] = sums[i, j] · 2^(exponents[i] + exponents[j])
  public static func values(
    _ values: inout HostBuffer<Double>, from sums: borrowing HostBuffer<Int64>, scales: borrowing HostBuffer<Double>
  ) {
    let K = scales.count
    precondition(sums.count == K * K && values.count == K * K, "moments of \(sums.count) sums, \(K) columns")
    let sums = unsafe sums.unsafeAddress(), values = unsafe values.unsafeMutableAddress()
    let scales = unsafe scales.unsafeAddress()
    for i in 0..<K {
      for j in i..<K {
        let scale = unsafe scales[i] * scales[j]
        let value = unsafe scale > 0 ? Double(sums[i * K + j]) / scale : 0
        unsafe values[i * K + j] = value
        unsafe values[j * K + i] = value
      }
    }
  }

  /// sums[offset + j] = Σ |x[t, j]| and largest[offset + j] = max |x[t, j]| over the rows in order.
  public static func magnitudes(
    of x: borrowing Tensor, sums: inout HostBuffer<Double>, largest: inout HostBuffer<Double>, at offset: Int
  ) {
    let K = x.columns, T = x.rows
    precondition(
      offset >= 0 && offset + K <= sums.count && offset + K <= largest.count,
      "magnitudes of \(K) columns at \(offset) of \(sums.count) and \(largest.count)")
    let x = unsafe x.unsafeAddress()
    let sums = unsafe sums.unsafeMutableAddress() + offset, largest = unsafe largest.unsafeMutableAddress() + offset
    ThreadTeam.shared.parallel(K, by: 256) { columns in
      for j in columns { unsafe (sums[j], largest[j]) = (0, 0) }
      for t in 0..<T {
        let row = unsafe x + t * K
        for j in columns {
          let magnitude = unsafe Double(row[j].magnitude)
          unsafe sums[j] += magnitude
          unsafe largest[j] = magnitude > largest[j] ? magnitude : largest[j]
        }
      }
    }
  }

  // MARK: Between two inputs

  /// sums[n, k] += round(moments[n, k] · rowScales[n] · columnScales[k]), moments (N, K) of a sequence.
  ///
  /// - Returns: false where a rounded element has more than 51 bits, or a row without a scale is not 0.
  public static func accumulateCross(
    _ sums: inout HostBuffer<Int64>, moments: borrowing Tensor, rowScales: borrowing HostBuffer<Double>,
    columnScales: borrowing HostBuffer<Double>
  ) -> Bool {
    let N = moments.rows, K = moments.columns
    precondition(sums.count == N * K && rowScales.count == N && columnScales.count == K, "cross moments \(N) x \(K)")
    let sums = unsafe sums.unsafeMutableAddress(), moments = unsafe moments.unsafeAddress()
    let rowScales = unsafe rowScales.unsafeAddress(), columnScales = unsafe columnScales.unsafeAddress()
    let magic = magic, magicBits = magic.bitPattern
    var isGood = [Bool](repeating: true, count: N)
    unsafe isGood.withUnsafeMutableBufferPointer { good in
      let good = unsafe good.baseAddress!
      ThreadTeam.shared.parallel(N, by: 32) { rows in
        for n in rows {
          let row = unsafe moments + n * K, sum = unsafe sums + n * K, own = unsafe rowScales[n]
          var overflow: UInt64 = 0
          for k in 0..<K {
            let bits = unsafe (Double(row[k]) * (own * columnScales[k]) + magic).bitPattern
            overflow |= bits ^ magicBits
            unsafe sum[k] &+= Int64(bitPattern: bits &- magicBits)
          }
          unsafe good[n] = overflow >> 52 == 0
        }
      }
    }
    return isGood.allSatisfy { $0 }
  }

  /// values[n, k] = sums[n, k] / (rowScales[n] · columnScales[k]); 0 where a scale is.
  public static func crossValues(
    _ values: inout HostBuffer<Double>, from sums: borrowing HostBuffer<Int64>, rowScales: borrowing HostBuffer<Double>,
    columnScales: borrowing HostBuffer<Double>
  ) {
    let N = rowScales.count, K = columnScales.count
    precondition(sums.count == N * K && values.count == N * K, "cross moments of \(sums.count) sums, \(N) x \(K)")
    for n in 0..<N {
      for k in 0..<K {
        let scale = rowScales[n] * columnScales[k]
        values[n * K + k] = scale > 0 ? Double(sums[n * K + k]) / scale : 0
      }
    }
  }

  /// Σ x[t, j]² of every column, over the rows in order.
  public static func energies(of x: borrowing Tensor) -> [Double] {
    let T = x.rows, N = x.columns
    var energies = [Double](repeating: 0, count: N)
    let x = x.span
    for t in 0..<T {
      for j in 0..<N { energies[j] += Double(x[t * N + j]) * Double(x[t * N + j]) }
    }
    return energies
  }
}
