import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// The memory that tensors pass through: codes, scales and fp32 values of one run of rows.
final class RowRun {
  private let arena = Arena("conversion")
  private let packed: CodeRows
  private var values: Tensor

  init(_ layout: ParameterLayout) {
    packed = CodeRows(for: layout, in: arena)
    values = Tensor(rows: 1, columns: packed.elements, in: arena)
  }

  var reservedBytes: Int { arena.reservedBytes }

  /// The runs of a tensor, in order.
  func runs(of spec: ParameterSpec) -> [Range<Int>] {
    let step = packed.count(of: spec)
    return stride(from: 0, to: spec.rows, by: step).map { $0..<min($0 + step, spec.rows) }
  }

  // MARK: In

  func read(_ spec: ParameterSpec, _ rows: Range<Int>, from source: any ModelSource) throws {
    var run = values.region(0, rows: rows.count, columns: spec.columns)
    var span = run.mutableSpan
    try source.read(spec, rows: rows, into: &span)
  }

  /// As `read`, for values that will be rounded: a NaN would become a block without values.
  func readFinite(_ spec: ParameterSpec, _ rows: Range<Int>, from source: any ModelSource) throws {
    try read(spec, rows, from: source)
    guard values.region(0, rows: rows.count, columns: spec.columns).isFinite else {
      throw ConversionError(source.path, "tensor '\(spec.name)', rows \(rows), holds NaN or infinity",
        hint: "No format can hold these weights: use another checkpoint.")
    }
  }

  func readCodes(_ spec: ParameterSpec, _ rows: Range<Int>, from anchor: AnchorModel) throws {
    // Sound: a run of this tensor fits the buffers, which live as long as this object.
    var codes = unsafe MutableSpan(
      _unsafeStart: packed.codes.unsafeMutableAddress(), count: rows.count * spec.columns)
    var scales = unsafe MutableSpan(_unsafeStart: packed.scales.unsafeMutableAddress(), count: scaleCount(spec, rows))
    try anchor.readCodes(spec, rows: rows, codes: &codes, scales: &scales)
  }

  // MARK: Across

  func slice(_ spec: ParameterSpec, _ rows: Range<Int>, with slice: CompiledSlice) {
    packed.slice(rows: rows.count, columns: spec.columns, with: slice)
  }

  func quantize(_ spec: ParameterSpec, _ rows: Range<Int>, to format: MXFormat, rule: ScaleRule) {
    unsafe BlockCodec.quantizeRows(
      rows: rows.count, columns: spec.columns, from: values.unsafeAddress(),
      codes: packed.codes.unsafeMutableAddress(), scales: packed.scales.unsafeMutableAddress(), format: format,
      rule: rule)
  }

  func dequantize(_ spec: ParameterSpec, _ rows: Range<Int>, from format: MXFormat) {
    unsafe BlockCodec.dequantizeRows(
      rows: rows.count, columns: spec.columns, codes: packed.codes.unsafeAddress(),
      scales: packed.scales.unsafeAddress(), to: values.unsafeMutableAddress(), format: format)
  }

  /// W R becomes W.
  func unrotate(
    _ spec: ParameterSpec, _ rows: Range<Int>, _ rotations: OnlineRotations, layer: Int, site: OnlineTransforms.Site
  ) {
    var run = values.region(0, rows: rows.count, columns: spec.columns)
    rotations.rotateWeight(&run, layer: layer, site: site, inverse: true)
  }

  // MARK: Out

  func withValues(_ spec: ParameterSpec, _ rows: Range<Int>, _ body: (Span<Float>) throws -> Void) throws {
    let run = values.region(0, rows: rows.count, columns: spec.columns)
    try body(run.span)
  }

  func withCodes(
    _ spec: ParameterSpec, _ rows: Range<Int>, _ body: (Span<UInt8>, Span<UInt8>) throws -> Void
  ) throws {
    try body(
      unsafe Span(_unsafeStart: packed.codes.unsafeAddress(), count: rows.count * spec.columns),
      unsafe Span(_unsafeStart: packed.scales.unsafeAddress(), count: scaleCount(spec, rows)))
  }

  private func scaleCount(_ spec: ParameterSpec, _ rows: Range<Int>) -> Int {
    rows.count * PackedTensor.blockCount(spec.columns)
  }
}
