import Checkpoints
import Tensors

/// A model on disk, whatever holds it: what the command line calls SOURCE.
public protocol ModelSource: AnyObject {
  var path: String { get }
  var configuration: ModelConfiguration { get }
  /// `config.json`, `tokenizer.json` and the other files that travel with the weights.
  var sidecarNames: [String] { get }
  func sidecar(_ name: String) throws -> [UInt8]

  /// Whether the source holds this tensor as codes of a block format, and which.
  func storedFormat(of name: String) -> String?
  /// Rows of a tensor as fp32: dequantized where it is stored in codes.
  func read(_ parameter: ParameterSpec, rows: Range<Int>, into values: inout MutableSpan<Float>) throws
}

extension ModelSource {
  public static var configurationFile: String { "config.json" }
  public static var tokenizerFile: String { "tokenizer.json" }

  /// Loads every parameter as fp32.
  public func load(into parameters: Parameters) throws {
    for (unit, layout) in parameters.layout.units.enumerated() {
      for spec in layout.parameters {
        var region = parameters.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
        var values = region.mutableSpan
        try read(spec, rows: 0..<spec.rows, into: &values)
      }
    }
  }
}

/// A Hugging Face folder: `config.json`, safetensors in one or many files, and whatever lies beside them.
public final class HuggingFaceFolder: ModelSource, Sendable {
  public let path: String
  public let configuration: ModelConfiguration
  private let tensors: ModelFolderTensors
  /// Name in the files of each parameter of the layout.
  private let stored: [String: String]

  /// - Parameter isVerified: as of `ModelFolderTensors`.
  public init(_ path: String, isVerified: Bool = false) throws {
    self.path = path
    let file = path + "/" + Self.configurationFile
    configuration = try ModelConfiguration(json: FileBytes.read(file), source: file)
    tensors = try ModelFolderTensors(path, isVerified: isVerified)
    stored = try Self.match(ParameterLayout(configuration), configuration, tensors)
  }

  public var sidecarNames: [String] {
    get { FileBytes.names(in: path).filter { name in
      (name.hasSuffix(".json") || name.hasSuffix(".jinja") || name.hasSuffix(".model") || name.hasPrefix("LICENSE"))
        && name != ModelFolderTensors.indexFile && name != FolderHashes.fileName
    } }
  }

  public func sidecar(_ name: String) throws -> [UInt8] { try FileBytes.read(path + "/" + name) }
  public func storedFormat(of name: String) -> String? { nil }

  public func read(_ parameter: ParameterSpec, rows: Range<Int>, into values: inout MutableSpan<Float>) throws {
    guard let name = stored[parameter.name] else { preconditionFailure("no tensor \(parameter.name) in \(path)") }
    try tensors.read(name, elements: rows.lowerBound * parameter.columns..<rows.upperBound * parameter.columns, into: &values)
  }

  /// Finds every parameter among the stored tensors, checks shapes, and refuses tensors that the configuration cannot place:
  /// a bias left out would change every number without a word.
  private static func match(
    _ layout: ParameterLayout, _ c: ModelConfiguration, _ tensors: ModelFolderTensors
  ) throws(ModelError) -> [String: String] {
    var unplaced = Set(tensors.names)
    var stored: [String: String] = [:]
    for (_, spec) in layout.all {
      var name = spec.name
      if tensors.entry(name) == nil, spec.name == ParameterLayout.embeddingName, c.tiedHead {
        // Some writers keep a tied matrix only under the head's name.
        name = ParameterLayout.headName
      }
      guard let entry = tensors.entry(name) else {
        throw ModelError(tensors.folder, "tensor '\(spec.name)' is missing",
          hint: "The configuration (\(c.architecture.className), \(c.layerCount) layers) asks for it.")
      }
      guard entry.shape.dimensions == spec.shape else {
        throw ModelError(tensors.folder,
          "tensor '\(name)' has shape \(entry.shape), the configuration asks for \(spec.shape)")
      }
      guard entry.type.isReadable else {
        throw ModelError(tensors.folder, "tensor '\(name)' is stored as \(entry.type.rawValue)",
          hint: "Weights are read from F32, BF16 and F16.")
      }
      unplaced.remove(name)
      stored[spec.name] = name
    }
    if c.tiedHead { unplaced.remove(ParameterLayout.headName) }
    let unknown = unplaced.filter { !$0.hasSuffix("rotary_emb.inv_freq") }.sorted()
    guard unknown.isEmpty else {
      throw ModelError(tensors.folder,
        "\(unknown.count) tensors have no place in the configuration, the first is '\(unknown[0])'",
        hint: "config.json and the weights do not belong together, or the architecture has parts that are not supported.")
    }
    return stored
  }
}
