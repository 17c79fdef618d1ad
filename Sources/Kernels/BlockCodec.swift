public import Formats
public import Tensors

/// fp32 to block formats and back, and slices of an anchor. Contract of every entry: bit-exact in every table.
///
/// Legend: a matrix is rows x columns; its blocks are 32 consecutive elements of a row, the last of a row shorter. No
/// entry allocates. Rules: `ScalarCodec` and `SlicePlan` of `Formats`.
public enum BlockCodec {
  /// `out` = `x` in `out`'s format.
  public static func quantize(
    _ out: inout PackedTensor, from x: borrowing Tensor, rule: ScaleRule = .floor, on table: KernelTable = .current
  ) {
    precondition(out.rows == x.rows && out.columns == x.columns,
      "quantize: output is \(out.rows) x \(out.columns), input \(x.rows) x \(x.columns)")
    let (format, rows, columns) = (out.format, out.rows, out.columns)
    unsafe quantizeRows(
      rows: rows, columns: columns, from: x.unsafeAddress(), codes: out.codes.unsafeMutableAddress(),
      scales: out.scales.unsafeMutableAddress(), format: format, rule: rule, table: table)
  }

  /// `y` = the values of `packed`, exactly; NaN where a block's scale is NaN.
  public static func dequantize(
    _ y: inout Tensor, from packed: borrowing PackedTensor, on table: KernelTable = .current
  ) {
    precondition(y.rows == packed.rows && y.columns == packed.columns,
      "dequantize: output is \(y.rows) x \(y.columns), input \(packed.rows) x \(packed.columns)")
    let (rows, columns) = (y.rows, y.columns)
    unsafe dequantizeRows(
      rows: rows, columns: columns, codes: packed.codes.unsafeAddress(), scales: packed.scales.unsafeAddress(),
      to: y.unsafeMutableAddress(), format: packed.format, table: table)
  }

  /// `out` = the plan's target format, cut from `anchor`.
  public static func slice(
    _ out: inout PackedTensor, from anchor: borrowing PackedTensor, plan: SlicePlan, on table: KernelTable = .current
  ) {
    slice(&out, from: anchor, with: CompiledSlice(plan), on: table)
  }

  /// The same with a plan compiled beforehand, for loops over many tensors.
  public static func slice(
    _ out: inout PackedTensor, from anchor: borrowing PackedTensor, with slice: CompiledSlice,
    on table: KernelTable = .current
  ) {
    precondition(anchor.format == slice.anchor && out.format == slice.target,
      "slice: tensors are \(anchor.format) -> \(out.format), the plan is \(slice.anchor) -> \(slice.target)")
    precondition(out.rows == anchor.rows && out.columns == anchor.columns,
      "slice: output is \(out.rows) x \(out.columns), input \(anchor.rows) x \(anchor.columns)")
    let (rows, columns) = (out.rows, out.columns)
    unsafe sliceRows(
      rows: rows, columns: columns, codes: anchor.codes.unsafeAddress(), scales: anchor.scales.unsafeAddress(),
      toCodes: out.codes.unsafeMutableAddress(), toScales: out.scales.unsafeMutableAddress(), slice: slice,
      table: table)
  }

  /// `y` = dequantize(quantize(`x`)), without storing codes.
  public static func roundTrip(
    _ y: inout Tensor, of x: borrowing Tensor, format: MXFormat, rule: ScaleRule = .floor,
    on table: KernelTable = .current
  ) {
    precondition(y.rows == x.rows && y.columns == x.columns,
      "round trip: output is \(y.rows) x \(y.columns), input \(x.rows) x \(x.columns)")
    let (rows, columns) = (y.rows, y.columns)
    unsafe roundTripRows(
      rows: rows, columns: columns, from: x.unsafeAddress(), to: y.unsafeMutableAddress(), format: format, rule: rule,
      table: table)
  }

  /// `x` = dequantize(quantize(`x`)).
  public static func roundTrip(
    inPlace x: inout Tensor, format: MXFormat, rule: ScaleRule = .floor, on table: KernelTable = .current
  ) {
    let (rows, columns) = (x.rows, x.columns)
    let address = unsafe x.unsafeMutableAddress()
    unsafe roundTripRows(
      rows: rows, columns: columns, from: address, to: address, format: format, rule: rule, table: table)
  }

  /// The clipped straight-through estimator: `g` becomes 0 where `x` lies beyond the largest value of its block,
  /// |x| > maxValue * scale. A block whose scale is NaN clips nothing.
  public static func clipGradient(
    _ g: inout Tensor, at x: borrowing Tensor, format: MXFormat, rule: ScaleRule = .floor,
    on table: KernelTable = .current
  ) {
    precondition(g.rows == x.rows && g.columns == x.columns,
      "clip gradient: gradient is \(g.rows) x \(g.columns), input \(x.rows) x \(x.columns)")
    let (rows, columns) = (g.rows, g.columns)
    unsafe clipGradientRows(
      rows: rows, columns: columns, at: x.unsafeAddress(), gradient: g.unsafeMutableAddress(), format: format,
      rule: rule, table: table)
  }
}
