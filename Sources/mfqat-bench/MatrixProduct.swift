import Kernels
import Tensors
import Transformer

/// One of the dense matrix products of a training step, by what it is for.
///
/// Legend: T tokens, K inputs and N outputs of a linear map y = x · Wᵀ.
struct MatrixProduct {
  enum Kind: String {
    case forward  // y (T, N) = x (T, K) · W (N, K)ᵀ
    case backwardInput = "backward input"  // dx (T, K) = dy (T, N) · W (N, K)
    case backwardWeight = "backward weight"  // dW (N, K) = dy (T, N)ᵀ · x (T, K)
  }

  let name: String
  let kind: Kind
  let tokens: Int, inputs: Int, outputs: Int
  let accumulates: Bool
  /// Products of this shape in one step.
  let count: Int

  var operations: Double { 2 * Double(tokens) * Double(inputs) * Double(outputs) }

  /// m, n, k of the product as it is written above.
  var shape: (m: Int, n: Int, k: Int) {
    switch kind {
    case .forward: (tokens, outputs, inputs)
    case .backwardInput: (tokens, inputs, outputs)
    case .backwardWeight: (outputs, inputs, tokens)
    }
  }

  /// Runs the product until `seconds` have passed.
  func measure(seconds: Double) -> Sample {
    let arena = Arena("product")
    var x = Tensor(rows: tokens, columns: inputs, in: arena)
    var w = Tensor(rows: outputs, columns: inputs, in: arena)
    var y = Tensor(rows: tokens, columns: outputs, in: arena)
    x.fillWithNoise(seed: 1)
    w.fillWithNoise(seed: 2)
    y.fillWithNoise(seed: 3)
    let output: Linear.Output = accumulates ? .accumulate : .overwrite
    switch kind {
    case .forward: return .of(seconds: seconds) { Linear.forward(&y, of: x, weight: w, output: output) }
    case .backwardInput: return .of(seconds: seconds) { Linear.backwardInput(&x, from: y, weight: w, output: output) }
    case .backwardWeight: return .of(seconds: seconds) { Linear.backwardWeight(&w, from: y, input: x, output: output) }
    }
  }

  /// The products of one step over `tokens` tokens, attention's small ones left out.
  static func ofStep(_ c: ModelConfiguration, tokens: Int) -> [MatrixProduct] {
    let D = c.hiddenSize, F = c.feedForwardSize
    func linear(_ name: String, _ inputs: Int, _ outputs: Int, residual: Bool = false) -> [MatrixProduct] {
      [
        MatrixProduct(
          name: name, kind: .forward, tokens: tokens, inputs: inputs, outputs: outputs, accumulates: residual,
          count: c.layerCount),
        MatrixProduct(
          name: name, kind: .backwardInput, tokens: tokens, inputs: inputs, outputs: outputs, accumulates: false,
          count: c.layerCount),
        MatrixProduct(
          name: name, kind: .backwardWeight, tokens: tokens, inputs: inputs, outputs: outputs, accumulates: false,
          count: c.layerCount),
      ]
    }
    let chunk = LanguageHead(tokens: tokens, vocabulary: c.vocabularySize).chunk
    let chunks = (tokens + chunk - 1) / chunk
    func head(_ kind: Kind, accumulates: Bool) -> MatrixProduct {
      MatrixProduct(
        name: "head", kind: kind, tokens: chunk, inputs: D, outputs: c.vocabularySize, accumulates: accumulates,
        count: chunks)
    }
    return linear("query, key, value", D, c.queryKeyValueWidth) + linear("attention output", c.queryWidth, D, residual: true)
      + linear("gate, up", D, 2 * F) + linear("down", F, D, residual: true)
      + [
        head(.forward, accumulates: false), head(.backwardInput, accumulates: false),
        head(.backwardWeight, accumulates: chunks > 1),
      ]
  }
}

extension Tensor {
  /// Values of about unit size, the same on every machine.
  mutating func fillWithNoise(seed: UInt64) {
    let random = CounterRandom(seed: seed, stream: "bench")
    var values = mutableSpan
    var i = 0
    while i < values.count {
      // A sum of two uniforms for each of two elements: no tails, no zeros in a row.
      let w = random.words(UInt64(i))
      values[i] = Float(Double(w.0) + Double(w.1)) * 0x1p-31 - 2
      if i + 1 < values.count { values[i + 1] = Float(Double(w.2) + Double(w.3)) * 0x1p-31 - 2 }
      i += 2
    }
  }
}
