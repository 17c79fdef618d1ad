import Kernels
import Quantization
import Settings
import Tensors
import Transformer

extension LinearOperators {
  /// The operators of a run: what its configuration wishes, less what would not pay.
  static func forRun(
    _ model: ModelConfiguration, _ configuration: RunConfiguration, plan quantization: QuantizationPlan,
    sharing: UnitSharing, weights: Arena, scratch: Arena
  ) throws -> LinearOperators {
    let precision = configuration.training.precision
    guard !precision.isFullPrecision else { return LinearOperators(layerCount: model.layerCount) }
    let layout = ParameterLayout(model)
    let tokens = configuration.training.sequencesPerLane * configuration.data.context
    let chunk = LanguageHead(tokens: tokens, vocabulary: model.vocabularySize).chunk
    let cost = precision.smallLayers == .fp32 ? LinearCost(table: KernelTable.current.name) : nil
    // Only names of products: a pattern for a norm or the embedding would do nothing.
    let products = ProductShape.all(model).map { product in
      let isHead = product.name == ParameterLayout.headName
      return (product: product, isHead: isHead, names: isHead ? [product.name] : product.tensorNames(layout))
    }
    let overrides = try precision.overrides(for: products.flatMap { $0.names })
    var plan = LinearPlan()
    for (product, isHead, names) in products {
      let wish =
        isHead
        ? overrides.arithmetic(ofHead: product.name, default: precision.ofHead)
        : try overrides.arithmetic(of: names, default: precision.ofLayers)
      plan.add(
        product.name, inputs: product.inputs, outputs: product.outputs, tokens: isHead ? chunk : tokens, wish: wish,
        hasCodes: product.tensorNames(layout).allSatisfy(quantization.isQuantized), cost: cost)
    }
    return LinearOperators(
      model, plan, quantization: quantization, formats: configuration.quantization.formats, tokens: tokens,
      headTokens: chunk, seed: configuration.training.seed, sharing: sharing, weights: weights, scratch: scratch)
  }
}
