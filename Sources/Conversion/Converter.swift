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
  let scaleRule: ScaleRule
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
        throw ConversionError(source.path, "the scales of this anchor follow the rule '\(anchor.scaleRule.name)'",
          hint: "A rule is chosen when the anchor is made: leave it out.")
      }
      quantized = Set(anchor.quantized.keys)
      self.scaleRule = anchor.scaleRule
    } else {
      quantized = try source.quantizedNames(selection ?? TensorSelection(), layout)
      self.scaleRule = scaleRule ?? .floor
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
    var plan = try plan(to: formats, out: out, as: container)
    if dryRun { return plan }
    for index in plan.outputs.indices {
      let output = plan.outputs[index]
      switch container {
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
      throw ConversionError(source.path, "an anchor holds codes of \(anchor.format.name) and no full-precision weights",
        hint: "For a model folder with their values: --to \(anchor.format.name) --as dense.")
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
      try describe(format, formats.count == 1 ? out : out + "/" + format.name, container, sidecarBytes)
    }
    for output in outputs { try Self.requireVacant(output.directory) }
    return ConversionPlan(source: source.path, container: container, outputs: outputs)
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
    _ format: MXFormat, _ directory: String, _ container: ConversionPlan.Container, _ sidecarBytes: Int
  ) throws -> ConversionPlan.Output {
    let method: FormattedWeights.Method
    if let anchor {
      method = try anchor.slice(to: format).isIdentity ? .stored(format) : .sliced(from: anchor.format)
    } else {
      method = .direct(scaleRule)
    }
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
        name: spec.name, shape: spec.shape, format: isQuantized ? format : nil, bytes: codes + scales + values)
    }
    let folds = container == .dense && rotations != nil
    let label = method.label + (folds ? ", online rotations folded in" : "")
    let formats = Dictionary(uniqueKeysWithValues: quantized.map { ($0, format) })
    let bits = FormattedWeights.bits(layout, formats: formats)
    return ConversionPlan.Output(
      format: format, directory: directory, method: method, label: label, tensors: tensors,
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
