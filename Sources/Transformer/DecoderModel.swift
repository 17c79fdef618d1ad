public import Kernels
public import Tensors

/// The whole model: token ids to loss, and back to the gradient of every parameter.
public enum DecoderModel {
  /// Runs all layers on `space.ids`; afterwards `space.hidden` holds the final norm's output.
  ///
  /// The last unit asked for is the head's: a product with the head may follow.
  public static func forward<Visitor: UnitVisitor>(
    _ w: Parameters, _ space: Workspace, visiting visitor: Visitor
  ) throws(Visitor.Failure) {
    let c = w.configuration
    precondition(space.rotations.transforms == c.transforms, "a workspace for other online rotations than the model's")
    try visitor.willUse(unit: 0, .forward)
    Embedding.forward(&space.residuals[0].x, of: space.ids, table: w.embedding)
    for i in 0..<c.layerCount {
      try visitor.willUse(unit: i + 1, .forward)
      try DecoderLayer.forward(
        LayerStages(w, space, layer: i), input: space.residuals[i], output: space.residuals[i + 1], visiting: visitor)
    }
    try visitor.willUse(unit: c.layerCount + 1, .forward)
    RMSNorm.forward(
      &space.hidden, rstd: &space.finalRstd, of: space.residuals[c.layerCount].x, gain: w.finalNorm,
      epsilon: c.normEpsilon)
  }

  /// Forward and loss only: `space.loss[t]` in nats, 0 where nothing is scored.
  public static func loss<Visitor: UnitVisitor>(
    _ w: Parameters, _ space: Workspace, visiting visitor: Visitor
  ) throws(Visitor.Failure) {
    try forward(w, space, visiting: visitor)
    try space.head.forward(
      loss: &space.loss, of: space.hidden, weight: w.head, targets: space.targets, logits: &space.logits
    ) { () throws(Visitor.Failure) in try visitor.poll() }
  }

  /// Forward, loss and the gradients of `scale · Σ loss`, written to `dw` (every unit is overwritten).
  ///
  /// - Parameters:
  ///   - scale: usually 1 / (scored tokens of the whole global batch).
  ///   - teacher: with a frozen teacher, the loss is distillation's and `scale` applies to it.
  ///   - visitor: brings units in, and takes each gradient as soon as it is final.
  public static func lossAndGradients<Visitor: UnitVisitor>(
    _ w: Parameters, _ dw: Parameters, _ space: Workspace, scale: Float, teacher: Teacher? = nil,
    visiting visitor: Visitor
  ) throws(Visitor.Failure) {
    guard let g = space.gradients else { preconditionFailure("gradients need a workspace for training") }
    let c = w.configuration
    try forward(w, space, visiting: visitor)
    try headGradients(w, dw, space, g, scale: scale, teacher: teacher, visiting: visitor)
    g.residual.fillWithZeros()
    dw.finalNorm.fillWithZeros()
    RMSNorm.backward(
      dx: &g.residual, dGain: &dw.finalNorm, from: g.hidden, input: space.residuals[c.layerCount].x,
      gain: w.finalNorm, rstd: space.finalRstd)
    try visitor.didComplete(unit: c.layerCount + 1)
    for i in (0..<c.layerCount).reversed() {
      try visitor.willUse(unit: i + 1, .backward)
      // The last layer's activations are those of the forward pass that has just ended.
      if space.recomputes && i < c.layerCount - 1 {
        try DecoderLayer.forward(
          LayerStages(w, space, layer: i), input: space.residuals[i], output: nil, visiting: visitor)
      }
      try DecoderLayer.backward(
        LayerStages(w, space, layer: i), dw.layers[i], input: space.residuals[i], g, visiting: visitor)
      try visitor.didComplete(unit: i + 1)
    }
    Embedding.backward(
      &dw.embedding, from: g.residual, ids: space.ids, output: c.tiedHead ? .accumulate : .overwrite)
    try visitor.didComplete(unit: 0)
  }

  /// Loss, the gradient of the final norm's output and that of the head's matrix.
  private static func headGradients<Visitor: UnitVisitor>(
    _ w: Parameters, _ dw: Parameters, _ space: Workspace, _ g: GradientScratch, scale: Float, teacher: Teacher?,
    visiting visitor: Visitor
  ) throws(Visitor.Failure) {
    if let teacher {
      try teacher.run(on: space, visiting: visitor)
      try space.head.distill(
        loss: &space.loss, dHidden: &g.hidden, dWeight: &dw.head, of: space.hidden, weight: w.head,
        teacherHidden: teacher.space.hidden, teacherWeight: teacher.parameters.head, targets: space.targets,
        scale: scale, teacher.distillation, logits: &space.logits, teacherLogits: &teacher.space.logits,
        projection: space.linear.head
      ) { () throws(Visitor.Failure) in try visitor.poll() }
    } else {
      try space.head.forwardBackward(
        loss: &space.loss, dHidden: &g.hidden, dWeight: &dw.head, of: space.hidden, weight: w.head,
        targets: space.targets, scale: scale, logits: &space.logits, projection: space.linear.head
      ) { () throws(Visitor.Failure) in try visitor.poll() }
    }
  }
}

/// The same for a model that is in memory as a whole.
extension DecoderModel {
  public static func forward(_ w: Parameters, _ space: Workspace) {
    forward(w, space, visiting: ResidentWeights())
  }

  public static func loss(_ w: Parameters, _ space: Workspace) {
    loss(w, space, visiting: ResidentWeights())
  }

  public static func lossAndGradients(
    _ w: Parameters, _ dw: Parameters, _ space: Workspace, scale: Float, teacher: Teacher? = nil
  ) {
    lossAndGradients(w, dw, space, scale: scale, teacher: teacher, visiting: ResidentWeights())
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

  /// Polls the student's visitor; the teacher's own units are always in memory.
  func run<Visitor: UnitVisitor>(on student: Workspace, visiting visitor: Visitor) throws(Visitor.Failure) {
    space.ids.copy(from: student.ids)
    try DecoderModel.forward(parameters, space, visiting: Polls(visitor: visitor))
  }

  private struct Polls<Student: UnitVisitor>: UnitVisitor {
    typealias Failure = Student.Failure
    let visitor: Student

    func poll() throws(Failure) { try visitor.poll() }
  }
}
