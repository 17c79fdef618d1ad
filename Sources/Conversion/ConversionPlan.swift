public import Formats
public import Transformer

/// What a conversion will write, before it writes it; afterwards also how much it was.
public struct ConversionPlan: Sendable, Hashable {
  public enum Container: String, Sendable, Hashable, CaseIterable {
    /// Codes and scales, compressed and hashed.
    case anchor
    /// A Hugging Face folder with the dequantized values in fp32.
    case dense
  }

  /// One tensor of an output.
  public struct TensorPlan: Sendable, Hashable {
    public let name: String
    public let shape: [Int]
    /// nil where it stays in full precision.
    public let format: MXFormat?
    /// Bytes in the output before compression.
    public let bytes: Int
  }

  public struct Output: Sendable, Hashable {
    /// Of all quantized tensors, or of a mix the format that it is named after.
    public let format: MXFormat
    /// The formats of the quantized tensors, counted.
    public let mix: FormatMix
    public let directory: String
    /// How the values come about.
    public let method: FormattedWeights.Method
    /// "sliced from mxint8", "rounded directly", "as stored in mxint8", "as stored in mixed mxint2-mxint8".
    public let label: String
    public let tensors: [TensorPlan]
    /// One byte an element of the quantized tensors; 0 in a dense folder.
    public let codeBytes: Int
    /// One byte a block; 0 in a dense folder.
    public let scaleBytes: Int
    /// fp32 values.
    public let denseBytes: Int
    /// config.json, the tokenizer and other files.
    public let sidecarBytes: Int
    /// Bits of a quantized weight in its format, of a mix the mean, scales included, whatever the container.
    public let bitsPerWeight: Double
    /// The same over all parameters of the model, the others counted as fp32.
    public let bitsPerParameter: Double
    /// Bytes of all files, known once they are written.
    public internal(set) var writtenBytes: Int?

    /// Format of every quantized tensor.
    public var formats: [String: MXFormat] {
      Dictionary(uniqueKeysWithValues: tensors.compactMap { tensor in tensor.format.map { (tensor.name, $0) } })
    }
    public var quantizedTensors: Int { tensors.count { $0.format != nil } }
    /// Content of all files before compression; manifest and file headers come on top.
    public var totalBytes: Int { codeBytes + scaleBytes + denseBytes + sidecarBytes }
  }

  public let source: String
  public let container: Container
  public internal(set) var outputs: [Output]

  public var totalBytes: Int { outputs.reduce(0) { $0 + $1.totalBytes } }
}

/// How far a conversion is.
public struct ConversionProgress: Sendable, Hashable {
  public let format: MXFormat
  /// Weights written, and weights in all, of this format's output.
  public let done: Int, total: Int
}
