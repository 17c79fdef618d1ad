import Kernels
import Tensors

/// The forward pass a layer, and a stage of it, at a time: for whoever looks at the inputs of linear layers and replaces
/// weights between the stages.
///
/// Stages of a layer, in order, with what each completes in `activations`:
///
///     attentionInput   normed         input of q, k, v
///     attend           outputInput    input of o
///     addAttention     middle         residual after attention
///     gateUpInput      middleNormed   input of gate and up
///     gate             gated          input of down
///     addFeedForward   residual       of the next layer
///
/// Inputs are rotated where the model has online rotations, and rounded to the workspace's activation format. A stage
/// reads what the stages before it left and the weights as they are now; it may run again, with other weights, as long
/// as nothing it reads was written since: `addFeedForward` writes `residual(of: layer + 1)`, which in a workspace for
/// inference is the memory of `residual(of: layer)`. All stages in order are the bits of `DecoderModel.forward`.
package struct LayerPass {
  package let parameters: Parameters
  package let space: Workspace

  /// - Parameter space: its rotations are those that the weights stand in as they are now, whatever the configuration will
  ///   say once they are finished.
  package init(_ parameters: Parameters, _ space: Workspace) {
    self.parameters = parameters
    self.space = space
  }

  /// The residual stream that layer `layer` reads; with the number of layers, what the last one left.
  package func residual(of layer: Int) -> Residual { space.residuals[layer] }

  package func activations(of layer: Int) -> LayerActivations { space.layers[layer] }

  /// Rows of the embedding for `space.ids`, into the first residual. Reads unit 0.
  package func embed() { Embedding.forward(&space.residuals[0].x, of: space.ids, table: parameters.embedding) }

  package func attentionInput(layer: Int) { stages(layer).attentionInput(space.residuals[layer]) }

  /// q, k, v from `normed`, attention, the input of o.
  package func attend(layer: Int) {
    stages(layer).project()
    stages(layer).attend()
  }

  package func addAttention(layer: Int) { stages(layer).addAttention(space.residuals[layer]) }

  package func gateUpInput(layer: Int) { stages(layer).gateUpInput() }

  /// gate and up from `middleNormed`, the input of down.
  package func gate(layer: Int) {
    stages(layer).expand()
    stages(layer).gate()
  }

  package func addFeedForward(layer: Int) { stages(layer).addFeedForward(space.residuals[layer + 1]) }

  /// All stages of a layer.
  package func forward(layer: Int) {
    attentionInput(layer: layer)
    attend(layer: layer)
    addAttention(layer: layer)
    gateUpInput(layer: layer)
    gate(layer: layer)
    addFeedForward(layer: layer)
  }

  /// Final norm of the last residual into `space.hidden`, and the loss of `space.targets` into `space.loss`. Reads the
  /// last unit, and unit 0 where the head is tied.
  package func loss() {
    finalNorm()
    space.head.forward(
      loss: &space.loss, of: space.hidden, weight: parameters.head, targets: space.targets, logits: &space.logits) {}
  }

  package func finalNorm() {
    let c = parameters.configuration
    RMSNorm.forward(
      &space.hidden, rstd: &space.finalRstd, of: space.residuals[c.layerCount].x, gain: parameters.finalNorm,
      epsilon: c.normEpsilon)
  }

  private func stages(_ layer: Int) -> LayerStages { LayerStages(parameters, space, layer: layer) }
}
