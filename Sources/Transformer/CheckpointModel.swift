public import Checkpoints

/// The fp32 weights of a training checkpoint, as a model. Not for two threads at once, as `TensorContainer` is not.
public final class CheckpointModel: ModelSource {
  public let path: String
  public let configuration: ModelConfiguration
  public let layout: ParameterLayout
  package let file: TensorContainer

  /// Opens the checkpoint in `path`. Refused: damage that `TensorContainer` sees at opening, a missing `config.json`, and
  /// weights that are not those of the configuration.
  public init(_ path: String) throws {
    file = try TensorContainer(path)
    guard file.kind == .checkpoint else { throw ModelError(path, "the container holds an \(file.kind.name), not a checkpoint") }
    configuration = try ModelConfiguration(
      json: file.sidecar(Self.configurationFile), source: path + "/" + Self.configurationFile)
    layout = ParameterLayout(configuration)
    self.path = path
    for (_, spec) in layout.all {
      let tensor = try file.requireTensor(CheckpointTensors.master(spec.name))
      guard tensor.shape.dimensions == [spec.rows, spec.columns] else {
        throw ModelError(path,
          "tensor '\(tensor.name)' has shape \(tensor.shape), the configuration asks for \([spec.rows, spec.columns])")
      }
    }
  }

  /// Where the run stood: see the page on training checkpoints.
  public var metadata: JSONObject { file.metadata }
  public var sidecarNames: [String] { file.manifest.sidecars.map(\.name) }
  public func sidecar(_ name: String) throws -> [UInt8] { try file.sidecar(name) }
  /// Always nil: what it holds is fp32.
  public func storedFormat(of name: String) -> String? { nil }

  public func read(_ parameter: ParameterSpec, rows: Range<Int>, into values: inout MutableSpan<Float>) throws {
    try file.readDense(CheckpointTensors.master(parameter.name), rows: rows, into: &values)
  }
}
