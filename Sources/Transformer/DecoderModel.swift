public import Kernels
public import Tensors

/// The whole model: token ids to loss, and back to the gradient of every parameter.
public enum DecoderModel {
  /// Runs all layers on `space.ids`; afterwards `space.hidden` holds the final norm's output.
  public static func forward(_ w: Parameters, _ space: Workspace) {
    let c = w.configuration
    Embedding.forward(&space.residuals[0].x, of: space.ids, table: w.embedding)
    for i in 0..<c.layerCount {
      DecoderLayer.forward(
        w.layers[i], space.linear.layers[i], space.layers[i], input: space.residuals[i], output: space.residuals[i + 1], c, space)
    }
    RMSNorm.forward(
      &space.hidden, rstd: &space.finalRstd, of: space.residuals[c.layerCount].x, gain: w.finalNorm,
      epsilon: c.normEpsilon)
  }

  /// Forward and loss only: `space.loss[t]` in nats, 0 where nothing is scored.
  public static func loss(_ w: Parameters, _ space: Workspace) {
    forward(w, space)
    space.head.forward(
      loss: &space.loss, of: space.hidden, weight: w.head, targets: space.targets, logits: &space.logits)
  }

  /// Forward, loss and the gradients of `scale · Σ loss`, written to `dw` (every unit is overwritten).
  ///
  /// - Parameters:
  ///   - scale: usually 1 / (scored tokens of the whole global batch).
  ///   - teacher: with a frozen teacher, the loss is distillation's and `scale` applies to it.
  ///   - unitIsComplete: called with a unit's index as soon as its gradient is final, last unit first; the embedding
  ///     comes last, a tied head's part of it included.
  public static func lossAndGradients(
    _ w: Parameters, _ dw: Parameters, _ space: Workspace, scale: Float, teacher: Teacher? = nil,
    unitIsComplete: (Int) throws -> Void
  ) rethrows {
    guard let g = space.gradients else { preconditionFailure("gradients need a workspace for training") }
    let c = w.configuration
    forward(w, space)
    if let teacher {
      teacher.run(on: space)
      space.head.distill(
        loss: &space.loss, dHidden: &g.hidden, dWeight: &dw.head, of: space.hidden, weight: w.head,
        teacherHidden: teacher.space.hidden, teacherWeight: teacher.parameters.head, targets: space.targets,
        scale: scale, teacher.distillation, logits: &space.logits, teacherLogits: &teacher.space.logits,
        projection: space.linear.head)
    } else {
      space.head.forwardBackward(
        loss: &space.loss, dHidden: &g.hidden, dWeight: &dw.head, of: space.hidden, weight: w.head,
        targets: space.targets, scale: scale, logits: &space.logits, projection: space.linear.head)
    }
    g.residual.fillWithZeros()
    dw.finalNorm.fillWithZeros()
    RMSNorm.backward(
      dx: &g.residual, dGain: &dw.finalNorm, from: g.hidden, input: space.residuals[c.layerCount].x,
      gain: w.finalNorm, rstd: space.finalRstd)
    try unitIsComplete(c.layerCount + 1)
    for i in (0..<c.layerCount).reversed() {
      DecoderLayer.backward(
        w.layers[i], dw.layers[i], space.linear.layers[i], space.layers[i], input: space.residuals[i], g, c, space)
      try unitIsComplete(i + 1)
    }
    Embedding.backward(
      &dw.embedding, from: g.residual, ids: space.ids, output: c.tiedHead ? .accumulate : .overwrite)
    try unitIsComplete(0)
  }
}

/// A frozen model that a student learns from.
public final class Teacher {
  public let parameters: Parameters
  public let distillation: LanguageHead.Distillation
  let space: Workspace

  /// - Parameter sequences, length: the student's workspace shape.
  public init(
    _ parameters: Parameters, distillation: LanguageHead.Distillation, sequences: Int, length: Int, in arena: Arena
  ) throws(ModelError) {
    self.parameters = parameters
    self.distillation = distillation
    space = try Workspace(
      parameters.configuration, sequences: sequences, length: length, purpose: .inference, in: arena)
  }

  func run(on student: Workspace) {
    space.ids.copy(from: student.ids)
    DecoderModel.forward(parameters, space)
  }
}
