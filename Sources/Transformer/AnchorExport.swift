public import Checkpoints
public import Formats

/// Writes a model as an anchor, rows as they come: whole tensors of gathered codes from a training run, runs of rows
/// from a converter. The directory appears at `commit`, complete or not at all; it must have been absent or empty.
///
///     try AnchorExport.write(directory: "run/anchor", format: .mxint8, layout: layout, sidecars: sidecars) { export in
///       for spec in quantized { try export.addPacked(spec, codes: codes, scales: scales) }
///       for spec in others { try export.addDense(spec, values: values) }
///     }
///
/// Tensors may be in different formats. Such an anchor is named after the format that holds most of its weights
/// (`FormatMix.dominant`); everything that reads it goes by the format of each tensor.
public final class AnchorExport {
  /// What the anchor is named after, and the format of tensors that are added without one.
  public let format: MXFormat
  public let layout: ParameterLayout
  private let writer: ContainerWriter
  private var written: [String: Int] = [:]

  /// - Parameters:
  ///   - format: of every tensor added packed without one of its own.
  ///   - scales: where the block scales come from; `fitted` as soon as a solver chose those of one tensor.
  ///   - sidecars: files that travel with the weights, `config.json` among them; kept byte for byte, but for the dtype
  ///     that `config.json` states: the values of an anchor are fp32.
  public init(
    directory: String, format: MXFormat, scales: StoredScales = .rule(.floor), layout: ParameterLayout,
    sidecars: [(name: String, bytes: [UInt8])], metadata: JSONObject = JSONObject(),
    options: ContainerOptions = ContainerOptions()
  ) throws {
    let sidecars = try Self.checked(sidecars, layout, directory)
    self.format = format
    self.layout = layout
    writer = try ContainerWriter(
      directory: directory, format: format.name, scaleRule: scales.name, metadata: metadata, options: options)
    for sidecar in sidecars { try writer.addSidecar(name: sidecar.name, bytes: sidecar.bytes) }
  }

  /// Makes an anchor of what `contents` adds, and nothing if it throws.
  public static func write(
    directory: String, format: MXFormat, scales: StoredScales = .rule(.floor), layout: ParameterLayout,
    sidecars: [(name: String, bytes: [UInt8])], metadata: JSONObject = JSONObject(),
    options: ContainerOptions = ContainerOptions(), verifying: Bool = false, contents: (AnchorExport) throws -> Void
  ) throws {
    let export = try AnchorExport(
      directory: directory, format: format, scales: scales, layout: layout, sidecars: sidecars,
      metadata: metadata, options: options)
    do {
      try contents(export)
    } catch {
      export.abandon()
      throw error
    }
    try export.commit(verifying: verifying)
  }

  /// Rows of a matrix, all rows if none are named: `codes` holds rows x columns, `scales` rows x blocks. A call that
  /// continues where the last one ended extends its piece.
  ///
  /// - Parameter format: the same for all rows of a tensor; the anchor's if nil.
  public func addPacked(
    _ parameter: ParameterSpec, as format: MXFormat? = nil, rows: Range<Int>? = nil, codes: Span<UInt8>,
    scales: Span<UInt8>
  ) throws(CheckpointError) {
    precondition(parameter.shape.count == 2, "\(parameter.name) is a vector: only matrices are quantized")
    let rows = rows ?? 0..<parameter.rows
    try writer.addPacked(
      name: parameter.name, shape: parameter.shape, format: (format ?? self.format).name, rows: rows, codes: codes,
      scales: scales)
    written[parameter.name, default: 0] += rows.count
  }

  /// fp32 rows of a tensor, all rows if none are named. A vector is added whole.
  public func addDense(
    _ parameter: ParameterSpec, rows: Range<Int>? = nil, values: Span<Float>
  ) throws(CheckpointError) {
    let rows = rows ?? 0..<parameter.rows
    if parameter.shape.count == 2 {
      try writer.addDense(name: parameter.name, shape: parameter.shape, rows: rows, values: values)
    } else {
      precondition(rows == 0..<parameter.rows, "\(parameter.name) is a vector: add it whole, not rows \(rows)")
      try writer.addDense(name: parameter.name, shape: parameter.shape, values: values)
    }
    written[parameter.name, default: 0] += rows.count
  }

  /// Writes the manifest and makes the anchor visible; with `verifying`, everything is read back and checked first.
  ///
  /// - Precondition: every tensor of the layout was added whole.
  public func commit(verifying: Bool = false) throws(CheckpointError) {
    for (_, spec) in layout.all {
      precondition(written[spec.name] == spec.rows,
        "\(spec.name): \(written[spec.name] ?? 0) of \(spec.rows) rows were added to the anchor")
    }
    precondition(written.count == layout.names.count, "\(written.count) tensors added, the layout has \(layout.names.count)")
    try writer.commit(verifying: verifying)
  }

  /// Removes everything written so far.
  public func abandon() { writer.abandon() }

  private static func checked(
    _ sidecars: [(name: String, bytes: [UInt8])], _ layout: ParameterLayout, _ directory: String
  ) throws -> [(name: String, bytes: [UInt8])] {
    guard let index = sidecars.firstIndex(where: { $0.name == "config.json" }) else {
      throw ModelError(directory, "no config.json among the files for this anchor",
        hint: "Without it nobody can read the tensors: pass the configuration of the model.")
    }
    var sidecars = sidecars
    let source = directory + "/config.json"
    sidecars[index].bytes = try ConfigurationText.inFloat32(sidecars[index].bytes, source: source)
    let configuration = try ModelConfiguration(json: sidecars[index].bytes, source: source)
    guard ParameterLayout(configuration) == layout else {
      throw ModelError(source, "the configuration describes other tensors than those to be written",
        hint: "Pass the config.json of this model.")
    }
    return sidecars
  }
}
