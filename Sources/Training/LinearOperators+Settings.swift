import Kernels
import Quantization
import Settings
import Tensors
import Transformer

extension LinearOperators {
  /// The operators of a run: what its configuration wishes, less what would not pay.
  static func forRun(
    _ model: ModelConfiguration, _ configuration: RunConfiguration, plan quantization: QuantizationPlan, weights: Arena,
    scratch: Arena
  ) throws -> LinearOperators {
    let precision = configuration.training.precision
    guard !precision.isFullPrecision else { return LinearOperators(layerCount: model.layerCount) }
    let layout = ParameterLayout(model)
    let tokens = configuration.training.sequencesPerLane * configuration.data.context
    let chunk = LanguageHead(tokens: tokens, vocabulary: model.vocabularySize).chunk
    let cost = precision.smallLayers == .fp32 ? LinearCost(table: KernelTable.current.name) : nil
    let overrides = try precision.overrides(for: layout.names + [ParameterLayout.headName])
    var plan = LinearPlan()
    for product in ProductShape.all(model) {
      let isHead = product.name == ParameterLayout.headName
      let names = isHead ? [product.name] : product.tensorNames(layout)
      let wish = try overrides.arithmetic(of: names, default: isHead ? precision.ofHead : precision.ofLayers)
      plan.add(
        product.name, inputs: product.inputs, outputs: product.outputs, tokens: isHead ? chunk : tokens, wish: wish,
        hasCodes: product.tensorNames(layout).allSatisfy(quantization.isQuantized), cost: cost)
    }
    return LinearOperators(
      model, plan, quantization: quantization, formats: configuration.quantization.formats, tokens: tokens,
      headTokens: chunk, seed: configuration.training.seed, weights: weights, scratch: scratch)
  }
}
