public import Formats
public import Quantization
import Tensors
public import Transformer

/// Cuts lower formats out of an anchor, or rounds a dense model, without ever holding a tensor in memory.
///
/// From an anchor, codes become codes: no fp32 value is formed unless a dense folder is wanted. Every chunk is checked
/// against its hash when read. Each output appears whole or not at all. Memory: one run of rows (`bufferBytes`), and
/// the chunks of reader and writer.
public final class Converter {
  public let source: any ModelSource
  let layout: ParameterLayout
  let anchor: AnchorModel?
  /// Tensors that are quantized in the outputs.
  let quantized: Set<String>
  /// Of direct quantization.
  let scaleRule: ScaleRule
  /// Of the anchors written.
  let scales: StoredScales
  let rows: RowRun
  /// Of a reparameterised model. Anchors keep them, in weights and configuration; an ordinary model folder cannot say
  /// them, so they are folded back into its weights: W R becomes W.
  let rotations: OnlineRotations?
  private let arena = Arena("conversion rotations")

  /// - Parameters:
  ///   - selection: tensors of a dense model that are quantized, the linear layers if nil. An anchor has its own.
  ///   - scaleRule: of direct quantization, `floor` if nil. An anchor has its own.
  public init(_ source: any ModelSource, selection: TensorSelection? = nil, scaleRule: ScaleRule? = nil) throws {
    self.source = source
    layout = ParameterLayout(source.configuration)
    anchor = source as? AnchorModel
    if let anchor {
      guard selection == nil else {
        throw ConversionError(source.path, "an anchor holds its quantized tensors already, a selection has no effect",
          hint: "Select tensors when the anchor is made.")
      }
      guard scaleRule == nil || scaleRule == anchor.scaleRule else {
        throw ConversionError(source.path, "the scales of this anchor \(anchor.scales)",
          hint: "A rule is chosen when the anchor is made: leave it out.")
      }
      quantized = Set(anchor.quantized.keys)
      self.scaleRule = .floor
      scales = anchor.scales
    } else {
      quantized = try source.quantizedNames(selection ?? TensorSelection(), layout)
      self.scaleRule = scaleRule ?? .floor
      scales = .rule(self.scaleRule)
    }
    rows = RowRun(layout)
    let transforms = source.configuration.transforms
    rotations = transforms.isEmpty ? nil : try OnlineRotations(source.configuration, in: arena)
  }

  /// Bytes of the buffers that tensors pass through: the largest of a few runs of rows, whatever the tensors' sizes.
  public var bufferBytes: Int { rows.reservedBytes }

  /// Writes the model in every format of `formats`: into `out` itself if it is one, into `out`/FORMAT if they are several.
  ///
  /// - Parameter dryRun: checks everything that can be checked, and writes nothing.
  /// - Throws: `SliceError` with the formats that can be cut; `ConversionError` for outputs that exist; `CheckpointError`
  ///   for damaged input and failed writes. Outputs completed before an error stay.
  @discardableResult
  public func convert(
    to formats: [MXFormat], out: String, as container: ConversionPlan.Container = .anchor, dryRun: Bool = false,
    progress: (ConversionProgress) -> Void = { _ in }
  ) throws -> ConversionPlan {
    try write(plan(to: formats, out: out, as: container), dryRun: dryRun, progress)
  }

  /// Writes an anchor as it is, whatever its formats: an anchor is copied and checked, a folder gets its values.
  ///
  /// - Throws: as `convert`; also `ConversionError` for a source that holds no codes.
  @discardableResult
  public func convertAsStored(
    out: String, as container: ConversionPlan.Container = .anchor, dryRun: Bool = false,
    progress: (ConversionProgress) -> Void = { _ in }
  ) throws -> ConversionPlan {
    guard let anchor else {
      throw ConversionError(source.path, "its weights are stored in full precision, not in codes",
        hint: "Name a format, or for the weights as they are: --to fp32 --as dense.")
    }
    let output = try describe(
      anchor.quantized, named: anchor.format, .stored(anchor.mix), out, container, sidecars(of: container).reduce(0) { $0 + $1.bytes.count })
    try Self.requireVacant(out)
    return try write(
      ConversionPlan(source: source.path, container: container, outputs: [output]), dryRun: dryRun, progress)
  }

  private func write(
    _ plan: ConversionPlan, dryRun: Bool, _ progress: (ConversionProgress) -> Void
  ) throws -> ConversionPlan {
    if dryRun { return plan }
    var plan = plan
    for index in plan.outputs.indices {
      let output = plan.outputs[index]
      switch plan.container {
      case .anchor: try writeAnchor(output, progress)
      case .dense: try writeFolder(output, progress)
      }
      plan.outputs[index].writtenBytes = try writtenBytes(output.directory)
    }
    return plan
  }

  /// Writes the weights as they are, in fp32, as an ordinary model folder with hashes: a training checkpoint leaves so.
  /// Online rotations are folded in.
  ///
  /// - Parameter dryRun: checks what can be checked, and writes nothing.
  /// - Returns: the bytes of all files, 0 of a dry run.
  /// - Throws: `ConversionError` for an anchor, which has no such weights, and for an output that exists.
  @discardableResult
  public func convertToFullPrecision(
    out: String, dryRun: Bool = false, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws -> Int {
    if let anchor {
      throw ConversionError(source.path, "an anchor holds codes of \(anchor.mix) and no full-precision weights",
        hint: "For a model folder with their values: --to \(anchor.mix.isMixed ? "stored" : anchor.format.name) --as dense.")
    }
    try Self.requireVacant(out)
    if dryRun { return 0 }
    try writeFullPrecision(out, progress)
    return try writtenBytes(out)
  }

  /// What `convert` would do.
  public func plan(
    to formats: [MXFormat], out: String, as container: ConversionPlan.Container
  ) throws -> ConversionPlan {
    guard !formats.isEmpty else { throw ConversionError(out, "no format to convert to", hint: "Name at least one.") }
    guard Set(formats).count == formats.count else {
      throw ConversionError(out, "a format is named twice: \(formats.map(\.name).joined(separator: ", "))")
    }
    let sidecarBytes = try sidecars(of: container).reduce(0) { $0 + $1.bytes.count }
    let outputs = try formats.map { format in
      let formatsOfTensors = Dictionary(uniqueKeysWithValues: quantized.map { ($0, format) })
      return try describe(
        formatsOfTensors, named: format, method(of: format), formats.count == 1 ? out : out + "/" + format.name,
        container, sidecarBytes)
    }
    for output in outputs { try Self.requireVacant(output.directory) }
    return ConversionPlan(source: source.path, container: container, outputs: outputs)
  }

  private func method(of format: MXFormat) throws -> FormattedWeights.Method {
    guard let anchor else { return .direct(scaleRule) }
    return try anchor.slice(to: format).isIdentity ? .stored(anchor.mix) : .sliced(from: anchor.mix)
  }

  /// How the codes of the source become those of an output; nil where there are none yet.
  func slice(to output: ConversionPlan.Output) throws -> AnchorSlice? {
    guard let anchor else { return nil }
    if case .stored = output.method { return anchor.asStored }
    return try anchor.slice(to: output.format)
  }

  /// The files beside the weights.
  func sidecars(of container: ConversionPlan.Container) throws -> [(name: String, bytes: [UInt8])] {
    let files = try source.travellingSidecars()
    guard container == .dense, rotations != nil else { return files }
    return try files.map { file in
      guard file.name == HuggingFaceFolder.configurationFile else { return file }
      let name = source.path + "/" + file.name
      return (file.name, try ConfigurationText.stating(OnlineTransforms(), in: file.bytes, source: name))
    }
  }

  private func describe(
    _ formats: [String: MXFormat], named format: MXFormat, _ method: FormattedWeights.Method, _ directory: String,
    _ container: ConversionPlan.Container, _ sidecarBytes: Int
  ) throws -> ConversionPlan.Output {
    var codeBytes = 0, scaleBytes = 0, denseBytes = 0
    let tensors = layout.all.map { _, spec in
      let isQuantized = quantized.contains(spec.name)
      let codes = isQuantized && container == .anchor ? spec.count : 0
      let scales = isQuantized && container == .anchor ? spec.rows * PackedTensor.blockCount(spec.columns) : 0
      let values = codes == 0 ? 4 * spec.count : 0
      codeBytes += codes
      scaleBytes += scales
      denseBytes += values
      return ConversionPlan.TensorPlan(
        name: spec.name, shape: spec.shape, format: formats[spec.name], bytes: codes + scales + values)
    }
    let folds = container == .dense && rotations != nil
    let label = method.label + (folds ? ", online rotations folded in" : "")
    let bits = FormattedWeights.bits(layout, formats: formats)
    return ConversionPlan.Output(
      format: format, mix: FormatMix(formats, layout), directory: directory, method: method, label: label, tensors: tensors,
      codeBytes: codeBytes, scaleBytes: scaleBytes, denseBytes: denseBytes, sidecarBytes: sidecarBytes,
      bitsPerWeight: bits.perWeight, bitsPerParameter: bits.perParameter)
  }

  /// All outputs are checked before the first is written; the writers check once more.
  private static func requireVacant(_ directory: String) throws(ConversionError) {
    guard FileBytes.exists(directory) else { return }
    guard FileBytes.isDirectory(directory) else {
      throw ConversionError(directory, "there is a file of that name", hint: "Choose another directory.")
    }
    let names = FileBytes.names(in: directory)
    guard names.isEmpty else {
      throw ConversionError(directory, "the directory exists and holds \(names.count) entries, the first '\(names[0])'",
        hint: "Remove it or choose another one: nothing is overwritten.")
    }
  }
}
