/// The dimensions of a stored tensor, checked once, and its view as a matrix.
///
/// `columns` is the last dimension and `rows` the product of the others; a vector is one row, a scalar 1 x 1. Blocks of
/// a packed tensor run along the columns.
public struct TensorShape: Sendable, Hashable, CustomStringConvertible {
  public let dimensions: [Int]
  public let rows: Int
  public let columns: Int
  public let count: Int

  /// Dimensions a file may claim.
  public static let rankLimit = 8
  /// Elements a file may claim: 2^48, so that byte counts of any plane stay far from overflow.
  public static let countLimit = 1 << 48

  /// nil for a negative dimension, more than `rankLimit` dimensions, or a product above `countLimit`.
  public init?(_ dimensions: [Int]) {
    guard dimensions.count <= Self.rankLimit, dimensions.allSatisfy({ $0 >= 0 && $0 <= Self.countLimit }) else {
      return nil
    }
    var rows = 1
    for dimension in dimensions.dropLast() {
      let (product, overflow) = rows.multipliedReportingOverflow(by: dimension)
      guard !overflow, product <= Self.countLimit else { return nil }
      rows = product
    }
    let columns = dimensions.last ?? 1
    let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
    guard !overflow, count <= Self.countLimit else { return nil }
    self.dimensions = dimensions
    self.rows = rows
    self.columns = columns
    self.count = count
  }

  public var description: String { "[" + dimensions.map(String.init).joined(separator: ", ") + "]" }
}
