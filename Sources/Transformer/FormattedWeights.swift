public import Formats
import Kernels
public import Quantization
import Tensors

/// What loading a model in a format did.
public struct FormattedWeights: Sendable, Hashable {
  public enum Method: Sendable, Hashable {
    /// fp32, or a narrower float that fp32 holds exactly.
    case fullPrecision
    /// Codes of an anchor, dequantized.
    case stored(FormatMix)
    /// Cut out of an anchor: rounded twice, once by training to the anchor and once by the slice.
    case sliced(from: FormatMix)
    /// Rounded once from full precision.
    case direct(ScaleRule)

    /// "sliced from mxint8", "rounded directly", "as stored", "as stored in mixed mxint2-mxint8".
    public var label: String {
      switch self {
      case .fullPrecision: "as stored"
      case .stored(let mix): "as stored in \(mix)"
      case .sliced(let anchor): "sliced from \(anchor)"
      case .direct(.floor): "rounded directly"
      case .direct(let rule): "rounded directly, scales by \(rule.name)"
      }
    }
  }

  public let method: Method
  /// The format of all quantized tensors; nil for full precision and for a mix.
  public let format: MXFormat?
  public let quantizedTensors: Int
  /// Mean over the quantized tensors, scales and row tails included; 32 where nothing is quantized.
  public let bitsPerWeight: Double
  /// Mean over all parameters, the others counted as fp32.
  public let bitsPerParameter: Double

  public var label: String { method.label }

  /// "mxint4", "fp32", "mixed mxint2-mxint8".
  public var name: String {
    if case .stored(let mix) = method { return mix.description }
    return format?.name ?? "fp32"
  }

  /// - Parameter formats: format of every quantized tensor.
  init(_ method: Method, _ format: MXFormat?, _ layout: ParameterLayout, formats: [String: MXFormat]) {
    self.method = method
    self.format = format
    quantizedTensors = formats.count
    (bitsPerWeight, bitsPerParameter) = Self.bits(layout, formats: formats)
  }

  /// Bits per quantized weight, and bits per parameter of the whole model.
  public static func bits(
    _ layout: ParameterLayout, formats: [String: MXFormat]
  ) -> (perWeight: Double, perParameter: Double) {
    var packedBytes = 0, packedCount = 0, count = 0
    for (_, spec) in layout.all {
      count += spec.count
      guard let format = formats[spec.name] else { continue }
      packedBytes += format.packedByteCount(rows: spec.rows, columns: spec.columns)
      packedCount += spec.count
    }
    let bits = 8 * Double(packedBytes)
    return (packedCount == 0 ? 32 : bits / Double(packedCount), (bits + 32 * Double(count - packedCount)) / Double(count))
  }
}

extension ModelSource {
  /// Loads every parameter as fp32 values of `format`.
  ///
  /// - nil: as stored.
  /// - an anchor: its quantized tensors are sliced, whatever `selection` says; the others stay as they are.
  /// - a dense model: the tensors of `selection` are rounded directly.
  ///
  /// - Throws: `SliceError` with the formats that can be cut; `QuantizationError` for a selection that matches nothing;
  ///   `ModelError` for one that matches vectors.
  @discardableResult
  public func load(
    into parameters: Parameters, as format: MXFormat?, selection: TensorSelection = TensorSelection(),
    scaleRule: ScaleRule = .floor
  ) throws -> FormattedWeights {
    if let anchor = self as? AnchorModel { return try anchor.load(into: parameters, cutTo: format) }
    guard let format else {
      try load(into: parameters)
      return FormattedWeights(.fullPrecision, nil, parameters.layout, formats: [:])
    }
    let names = try quantizedNames(selection, parameters.layout)
    try parameters.fill { spec, values in
      try read(spec, rows: 0..<spec.rows, into: &values)
    } then: { spec, region in
      guard names.contains(spec.name) else { return }
      guard region.isFinite else {
        throw ModelError(path, "tensor '\(spec.name)' holds NaN or infinity", hint: "No format can hold these weights.")
      }
      BlockCodec.roundTrip(inPlace: &region, format: format, rule: scaleRule)
    }
    return FormattedWeights(
      .direct(scaleRule), format, parameters.layout,
      formats: Dictionary(uniqueKeysWithValues: names.map { ($0, format) }))
  }

  /// The tensors that `selection` means, which must be matrices.
  package func quantizedNames(_ selection: TensorSelection, _ layout: ParameterLayout) throws -> Set<String> {
    let names = Set(try selection.resolve(layout.names).quantized)
    if let vector = layout.all.first(where: { names.contains($0.spec.name) && $0.spec.shape.count != 2 }) {
      throw ModelError(path, "tensor '\(vector.spec.name)' is a vector and cannot be quantized",
        hint: "Blocks run along the rows of matrices: exclude it.")
    }
    return names
  }
}

extension AnchorModel {
  fileprivate func load(into parameters: Parameters, cutTo format: MXFormat?) throws -> FormattedWeights {
    let slice = try format.map { try self.slice(to: $0) }
    try parameters.fill { spec, values in
      try read(spec, rows: 0..<spec.rows, slice: slice, into: &values)
    } then: { _, _ in }
    guard let slice, !slice.isIdentity else {
      return FormattedWeights(.stored(mix), mix.isMixed ? nil : mix.dominant, layout, formats: quantized)
    }
    return FormattedWeights(
      .sliced(from: mix), slice.target, layout, formats: quantized.mapValues { _ in slice.target })
  }
}

extension Parameters {
  fileprivate func fill(
    _ read: (ParameterSpec, inout MutableSpan<Float>) throws -> Void,
    then finish: (ParameterSpec, inout Tensor) throws -> Void
  ) throws {
    for (unit, spec) in layout.all {
      var region = units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      do {
        var values = region.mutableSpan
        try read(spec, &values)
      }
      try finish(spec, &region)
    }
  }
}
