public import Formats

/// A matrix in a block format: one code byte an element, one scale byte a block of 32 along the row.
///
/// `codes` is rows x columns, `scales` rows x blocks; the byte layout is the one of the kernels (`ck_codec.h`), of the
/// wire and of the anchor's planes.
@safe public struct PackedTensor: ~Copyable {
  public let format: MXFormat
  public let rows: Int
  public let columns: Int
  public var codes: HostBuffer<UInt8>
  public var scales: HostBuffer<UInt8>

  public init(_ format: MXFormat, rows: Int, columns: Int, in arena: Arena) {
    self.format = format
    self.rows = rows
    self.columns = columns
    codes = HostBuffer(count: rows * columns, in: arena)
    scales = HostBuffer(count: rows * Self.blockCount(columns), in: arena)
  }

  /// Scale bytes of one row of `columns` elements.
  public static func blockCount(_ columns: Int) -> Int {
    (columns + MXFormat.blockSize - 1) / MXFormat.blockSize
  }
}
