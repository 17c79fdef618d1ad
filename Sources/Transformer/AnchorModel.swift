public import Checkpoints
public import Formats
package import Kernels
package import Tensors

/// A model in an anchor: codes and scales of its quantized tensors, fp32 of the rest, `config.json` and the tokenizer
/// beside them. Not for two threads at once, as `TensorContainer` is not.
///
/// Memory: what `TensorContainer` keeps, and codes of one run of rows (1 Mi elements, or one row where rows are longer).
public final class AnchorModel: ModelSource {
  public let path: String
  public let configuration: ModelConfiguration
  public let layout: ParameterLayout
  /// The format the anchor is named after: that of its quantized tensors, or where it mixes several, of most weights.
  public let format: MXFormat
  public let scales: StoredScales
  /// Format of every quantized tensor.
  public let quantized: [String: MXFormat]
  /// The same, counted.
  public let mix: FormatMix
  package let file: TensorContainer
  let rows: CodeRows
  private let invalid: [MXFormat: [Bool]]

  /// Opens the anchor in `path`. Refused: damage that `TensorContainer` sees at opening, a missing `config.json`, formats and
  /// rules this version does not know, and tensors that are not those of the configuration.
  public init(_ path: String) throws {
    let file = try TensorContainer(path)
    let source = path + "/" + Self.configurationFile
    guard file.manifest.sidecars.contains(where: { $0.name == Self.configurationFile }) else {
      throw ModelError(path, "the anchor holds no \(Self.configurationFile)",
        hint: "Write it again from the model folder: without a configuration its tensors have no meaning.")
    }
    configuration = try ModelConfiguration(json: file.sidecar(Self.configurationFile), source: source)
    layout = ParameterLayout(configuration)
    guard case .anchor(let formatName, let ruleName) = file.kind else {
      throw ModelError(path, "the container holds a \(file.kind.name), not an anchor")
    }
    format = try Self.format(formatName, of: nil, path)
    guard let scales = StoredScales(ruleName) else {
      throw ModelError(path, "scale rule '\(ruleName)' is unknown",
        hint: "Known: \(StoredScales.names.joined(separator: ", ")).")
    }
    self.scales = scales
    quantized = try Self.match(layout, configuration, file)
    mix = FormatMix(quantized, layout)
    invalid = Dictionary(
      uniqueKeysWithValues: Set(quantized.values).map { format in
        (format, (UInt8.min...UInt8.max).map { !format.element.isFinite($0) })
      })
    rows = CodeRows(for: layout, in: Arena("anchor rows"))
    self.file = file
    self.path = path
  }

  public var metadata: JSONObject { file.metadata }
  public var sidecarNames: [String] { file.manifest.sidecars.map(\.name) }
  public func sidecar(_ name: String) throws -> [UInt8] { try file.sidecar(name) }
  public func storedFormat(of name: String) -> String? { quantized[name]?.name }
  /// The rule that all block scales follow; nil where they were fitted.
  public var scaleRule: ScaleRule? { if case .rule(let rule) = scales { rule } else { nil } }

  // MARK: Reading

  public func read(_ parameter: ParameterSpec, rows: Range<Int>, into values: inout MutableSpan<Float>) throws {
    try read(parameter, rows: rows, slice: nil, into: &values)
  }

  /// Codes (rows.count x columns) and E8M0 scales (rows.count x blocks) of a quantized tensor, as stored. Codes that the
  /// format does not have are refused.
  public func readCodes(
    _ parameter: ParameterSpec, rows: Range<Int>, codes: inout MutableSpan<UInt8>, scales: inout MutableSpan<UInt8>
  ) throws {
    guard let format = quantized[parameter.name], let invalid = invalid[format] else {
      preconditionFailure("\(parameter.name) is stored in full precision")
    }
    try file.readPacked(parameter.name, rows: rows, codes: &codes, scales: &scales)
    var isInvalid = false
    for i in codes.indices where invalid[Int(codes[i])] { isInvalid = true }
    guard !isInvalid else {
      throw ModelError(path, "tensor '\(parameter.name)', rows \(rows), holds codes that \(format) does not have",
        hint: "Whatever wrote this anchor is at fault.")
    }
  }

  /// Values of a tensor, of a quantized one those of its slice.
  func read(
    _ parameter: ParameterSpec, rows wanted: Range<Int>, slice: AnchorSlice?, into values: inout MutableSpan<Float>
  ) throws {
    let columns = parameter.columns
    precondition(values.count == wanted.count * columns, "rows \(wanted) of \(parameter.name) into \(values.count) values")
    guard let stored = quantized[parameter.name] else { return try readDense(parameter, rows: wanted, into: &values) }
    let step = rows.count(of: parameter)
    for first in stride(from: wanted.lowerBound, to: wanted.upperBound, by: step) {
      let part = first..<min(first + step, wanted.upperBound)
      let held = try readRows(parameter, part, slice: slice) ?? stored
      // Sound: the part lies inside `wanted`, whose values the span holds.
      unsafe values.withUnsafeMutableBufferPointer { buffer in
        unsafe BlockCodec.dequantizeRows(
          rows: part.count, columns: columns, codes: rows.codes.unsafeAddress(), scales: rows.scales.unsafeAddress(),
          to: buffer.baseAddress! + (first - wanted.lowerBound) * columns, format: held)
      }
    }
  }

  /// Brings rows of a quantized tensor into `rows`, sliced where the slice changes them: returns that format, or nil.
  private func readRows(_ parameter: ParameterSpec, _ part: Range<Int>, slice: AnchorSlice?) throws -> MXFormat? {
    let destination = rows
    let scaleCount = part.count * PackedTensor.blockCount(parameter.columns)
    do {
      var codes = unsafe MutableSpan(
        _unsafeStart: destination.codes.unsafeMutableAddress(), count: part.count * parameter.columns)
      var scales = unsafe MutableSpan(_unsafeStart: destination.scales.unsafeMutableAddress(), count: scaleCount)
      try readCodes(parameter, rows: part, codes: &codes, scales: &scales)
    }
    guard let slice, let compiled = slice.compiled(for: parameter.name) else { return nil }
    destination.slice(rows: part.count, columns: parameter.columns, with: compiled)
    return slice.target
  }

  /// The container takes a vector as one row of all elements, the layout as rows of one element.
  private func readDense(_ parameter: ParameterSpec, rows: Range<Int>, into values: inout MutableSpan<Float>) throws {
    if parameter.shape.count == 2 { return try file.readDense(parameter.name, rows: rows, into: &values) }
    if rows.count == parameter.rows { return try file.readDense(parameter.name, into: &values) }
    var whole = [Float](repeating: 0, count: parameter.rows)
    var span = whole.mutableSpan
    try file.readDense(parameter.name, into: &span)
    for (i, row) in rows.enumerated() { values[i] = whole[row] }
  }

  // MARK: Checks

  private static func format(_ name: String, of tensor: String?, _ path: String) throws(ModelError) -> MXFormat {
    do { return try MXFormat(named: name) } catch {
      throw ModelError(path, tensor.map { "tensor '\($0)': \(error)" } ?? "\(error)")
    }
  }

  /// The formats of the quantized tensors; every tensor of the layout must be there in its shape, and no other.
  private static func match(
    _ layout: ParameterLayout, _ c: ModelConfiguration, _ file: TensorContainer
  ) throws(ModelError) -> [String: MXFormat] {
    var unplaced = Set(file.tensors.map(\.name))
    var formats: [String: MXFormat] = [:]
    for (_, spec) in layout.all {
      guard let tensor = file.tensor(spec.name) else {
        throw ModelError(file.directory, "tensor '\(spec.name)' is missing",
          hint: "The configuration (\(c.architecture.className), \(c.layerCount) layers) asks for it.")
      }
      guard tensor.shape.dimensions == spec.shape else {
        throw ModelError(file.directory,
          "tensor '\(spec.name)' has shape \(tensor.shape), the configuration asks for \(spec.shape)")
      }
      unplaced.remove(spec.name)
      guard !tensor.isDense else { continue }
      guard spec.shape.count == 2 else {
        throw ModelError(file.directory, "tensor '\(spec.name)' is a vector stored in \(tensor.format)",
          hint: "Only matrices are quantized: blocks run along their rows.")
      }
      formats[spec.name] = try format(tensor.format, of: spec.name, file.directory)
    }
    let unknown = unplaced.sorted()
    guard unknown.isEmpty else {
      throw ModelError(file.directory,
        "\(unknown.count) tensors have no place in the configuration, the first is '\(unknown[0])'",
        hint: "config.json and the tensors do not belong together.")
    }
    return formats
  }
}

/// Memory for codes and scales of a run of rows of any tensor of a layout.
package final class CodeRows {
  package var codes: HostBuffer<UInt8>
  package var scales: HostBuffer<UInt8>
  package let elements: Int

  /// Elements of a run; a longer row makes a run of its own, and a vector is never cut.
  package static let target = 1 << 20

  package init(for layout: ParameterLayout, in arena: Arena) {
    let specs = layout.all.map(\.spec)
    elements = specs.map { Self.count(of: $0) * $0.columns }.max() ?? 0
    codes = HostBuffer(count: elements, in: arena)
    scales = HostBuffer(count: specs.map { Self.count(of: $0) * PackedTensor.blockCount($0.columns) }.max() ?? 0, in: arena)
  }

  /// Rows of one run.
  package func count(of parameter: ParameterSpec) -> Int { Self.count(of: parameter) }

  private static func count(of parameter: ParameterSpec) -> Int {
    parameter.shape.count == 2
      ? min(parameter.rows, max(1, target / max(parameter.columns, 1))) : parameter.rows
  }

  /// Replaces the anchor's codes and scales by the slice's.
  package func slice(rows: Int, columns: Int, with slice: CompiledSlice) {
    let (codes, scales) = unsafe (codes.unsafeMutableAddress(), scales.unsafeMutableAddress())
    unsafe BlockCodec.sliceRows(
      rows: rows, columns: columns, codes: codes, scales: scales, toCodes: codes, toScales: scales, slice: slice)
  }
}
