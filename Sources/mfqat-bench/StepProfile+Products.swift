import Formats
import Kernels
import Quantization
import Transformer

/// The matrix products of a step in the arithmetic that the run gave them, with what packs their operands.
extension StepProfile {
  /// The three products of one linear layer, in all layers alike.
  private struct Layer {
    let products: [MatrixProduct]
    let arithmetic: LinearArithmetic
    let isHead: Bool

    var name: String { products[0].name }
  }

  mutating func measureProducts(_ c: ModelConfiguration, tokens: Int) {
    for layer in layers(c, tokens: tokens) {
      if layer.arithmetic.isFullPrecision {
        for product in layer.products {
          add(
            layer.isHead ? "head products" : "layer products", "\(product.name), \(product.kind.rawValue)",
            count: product.count, operations: product.operations,
            seconds: product.measure(seconds: Self.secondsPerPart).processor.median)
        }
      } else {
        measureLowPrecision(layer, seconds: 4 * Self.secondsPerPart)
      }
    }
  }

  /// Layers are alike: the first one's arithmetic is that of all.
  private func layers(_ c: ModelConfiguration, tokens: Int) -> [Layer] {
    let shapes = ProductShape.all(c), products = MatrixProduct.ofStep(c, tokens: tokens)
    let names = shapes.prefix(products.count / 3 - 1).map(\.name) + [ParameterLayout.headName]
    return names.enumerated().map { i, name in
      Layer(
        products: Array(products[3 * i..<3 * i + 3]), arithmetic: measured.arithmetic[name] ?? .fullPrecision,
        isHead: name == ParameterLayout.headName)
    }
  }

  private mutating func measureLowPrecision(_ layer: Layer, seconds: Double) {
    let first = layer.products[0], group = layer.isHead ? "head" : "layer"
    let tensors = LayerTensors(LayerShape(first.tokens, first.inputs, first.outputs))
    func output(_ product: MatrixProduct) -> Linear.Output { product.accumulates ? .accumulate : .overwrite }
    // The head's matrix has no codes.
    let measuredLayer = MeasuredLayer(
      layer.arithmetic, format: layer.isHead ? nil : objective.formats.first, on: tensors,
      forwardOutput: output(first), weightOutput: output(layer.products[2]))
    [measuredLayer].measure(seconds: seconds)
    let times = measuredLayer.times
    add(
      "packing of weights", "\(layer.name), weights", count: layer.isHead ? 1 : first.count,
      seconds: times.median(times.preparation))
    for product in layer.products {
      let kind = product.kind, name = "\(layer.name), \(kind.rawValue)"
      add(
        "\(group) products", "\(name), \(precision(layer.arithmetic, kind).rawValue)", count: product.count,
        operations: product.operations, seconds: times.median { times.product(kind, $0) })
      guard precision(layer.arithmetic, kind) != .fp32 else { continue }
      add(
        layer.isHead ? "packing in the head" : "packing of activations and gradients", "\(name), packing",
        count: product.count, seconds: times.median { times.packing(kind, $0) })
    }
  }

  private func precision(_ a: LinearArithmetic, _ kind: MatrixProduct.Kind) -> MatmulPrecision {
    switch kind {
    case .forward: a.forward
    case .backwardInput: a.backward
    case .backwardWeight: a.weightGradient
    }
  }
}
