public import Communication
import Formats
import Kernels
import Quantization
public import Settings
import Tensors
public import Text
public import Transformer

/// One model being trained by all ranks of a communicator.
///
/// A step (see `step()`): the schedule names its formats; weights in them are published; every lane runs forward and
/// backward on its own sequences; owners sum lanes in lane order; one global norm and one finite flag decide together;
/// AdamW updates the owned rows. Every number depends on (seed, step, global position) alone.
public final class Trainer {
  public let configuration: RunConfiguration
  public let model: ModelConfiguration
  public let communicator: Communicator
  /// Optimizer steps done.
  public internal(set) var stepsDone = 0

  let state: ShardedState
  let weights: WeightPublisher
  let plan: QuantizationPlan
  let schedule: FormatSchedule?
  let lanes: LaneSchedule
  let batches: BatchPlan
  let tokens: TokenStream
  let memory: TrainerMemory

  /// The arithmetic of every linear layer.
  public let linear: LinearOperators
  private let gradients: Parameters
  private let space: Workspace
  private let teacher: Teacher?
  private let reducer: ExactReducer
  private let lossSum: OrderedSum
  private let normSum: OrderedSum
  private let learningRate: LearningRateSchedule
  private let clips: Bool
  /// The pass of the running step: under schedule `sum` there is one for each format.
  private var pass = 0
  /// Seconds of the running lane that were spent on reductions. A variable that a closure changes would be a box on the
  /// heap for every lane.
  private var reducing = 0.0

  /// Lays out everything; touches no weight. A trainer that is only built costs address space, not memory.
  public init(
    _ configuration: RunConfiguration, model: ModelConfiguration, tokens: TokenStream, communicator: Communicator
  ) throws {
    let training = configuration.training, quantization = configuration.quantization
    let memory = TrainerMemory()
    // Before anything is laid out: some scratch is a thread's own.
    if training.threads > 1 { ThreadTeam.configure(threads: training.threads) }
    self.configuration = configuration
    self.model = model
    self.tokens = tokens
    self.communicator = communicator
    self.memory = memory
    batches = try BatchPlan(
      tokens, context: configuration.data.context, seed: training.seed, shuffle: configuration.data.shuffle)

    let parameters = Parameters(model, in: memory.weights)
    plan = try configuration.plan(for: parameters.layout.names)
    schedule = try configuration.formatSchedule()
    lanes = LaneSchedule(lanes: training.lanes, ranks: communicator.size)
    state = ShardedState(parameters.layout, rank: communicator.rank, ranks: communicator.size, in: memory.state)

    // Lanes that run different formats at once need their codes at once; one gather of the anchor serves them all.
    let together = quantization.path == .direct && quantization.schedule == .formatParallel
    linear = try LinearOperators.forRun(
      model, configuration, plan: plan, weights: memory.operands, scratch: memory.activations)
    weights = WeightPublisher(
      parameters, linear, state, plan: plan, path: quantization.forwardPath, scaleRule: quantization.scaleRule,
      slots: together ? quantization.formats.count : 1, communicator: communicator, in: memory.codes,
      staging: memory.communication)
    reducer = ExactReducer(communicator, lanes, staging: weights.staging)
    clips = quantization.estimator == .clipped && schedule != nil

    gradients = Parameters(model, in: memory.gradients)
    let perLane = training.sequencesPerLane
    space = try Workspace(
      model, sequences: perLane, length: configuration.data.context, purpose: .training,
      activationFormat: plan.activations, linear: linear, in: memory.activations)
    teacher = try configuration.distillation.isOn
      ? Teacher(
        Parameters(model, in: memory.teacher),
        distillation: .init(
          hardWeight: Float(configuration.distillation.hardWeight), softWeight: Float(configuration.distillation.weight),
          temperature: Float(configuration.distillation.temperature)),
        sequences: perLane, length: configuration.data.context, in: memory.teacher)
      : nil
    lossSum = OrderedSum(slots: training.batch, on: communicator, in: memory.communication)
    normSum = OrderedSum(slots: state.rowCount, on: communicator, in: memory.communication)
    learningRate = training.learningRateSchedule
  }

  /// Loads the starting weights and publishes them; the teacher is the model that the run started from.
  public func load(from source: any ModelSource) throws {
    try communicator.onEveryRank {
      try state.load(from: source)
      try loadTeacher(from: source)
    }
    try weights.mastersChanged()
  }

  func loadTeacher(from source: any ModelSource) throws {
    if let teacher { try source.load(into: teacher.parameters) }
  }

  /// Starts a new model.
  public func initialize() throws {
    let settings = configuration.model.initialization
    state.initialize(
      Initialization(seed: configuration.training.seed, standardDeviation: Float(settings.standardDeviation)))
    try weights.mastersChanged()
  }

  /// One optimizer step.
  ///
  /// - Throws: `TrainingError.notFinite` on every rank in the same step, before any weight has changed.
  public func step() throws -> StepRecord {
    var clock = PhaseClock()
    let training = configuration.training
    let before = communicator.statistics
    var isFirst = true

    for pass in 0..<(schedule?.passCount ?? 1) {
      self.pass = pass
      try clock.measure(.weights) { try publish() }
      for micro in 0..<training.accumulation {
        for round in 0..<lanes.roundCount {
          try runLane(inRound: round, micro: micro, isFirst: isFirst, &clock)
          isFirst = false
        }
      }
    }

    let loss = try lossSum.total() / Double(scoredTokens)
    let norm = try clock.measure(.update) { try gradientNorm() }
    guard try communicator.agree(on: !(loss.isFinite && norm.isFinite)) == false else {
      throw TrainingError.notFinite(step: stepsDone + 1, loss: loss, gradientNorm: norm)
    }
    let rate = learningRate.rate(step: stepsDone)
    clock.measure(.update) { update(rate: rate, norm: norm) }
    try clock.measure(.weights) { try weights.mastersChanged() }
    stepsDone += 1

    return StepRecord(
      step: stepsDone, tokens: stepsDone * training.batch * configuration.data.context, loss: loss, learningRate: rate,
      gradientNorm: norm, schedule: schedule, lanes: training.lanes,
      tokensInStep: training.batch * configuration.data.context, seconds: clock.seconds,
      traffic: communicator.statistics.since(before))
  }

  /// Tokens with a target in the whole step: what the loss and its gradient are averaged over.
  private var scoredTokens: Int { configuration.training.batch * (configuration.data.context - 1) }

  private func format(ofLane lane: Int) -> FormatPass? { schedule?.pass(pass, step: stepsDone, lane: lane) }

  /// Codes for every lane's format of this pass: all ranks gather the same, and what is there is not gathered again.
  private func publish() throws {
    linear.place(step: stepsDone)
    weights.prepareDense()
    for lane in 0..<lanes.lanes {
      if let work = format(ofLane: lane) { try weights.publish(work.format) }
    }
  }

  /// Forward and backward of this rank's lane, if it has one in this round; the reductions are everyone's.
  private func runLane(inRound round: Int, micro: Int, isFirst: Bool, _ clock: inout PhaseClock) throws {
    reducing = 0
    let start = PhaseClock.now
    if let lane = lanes.lane(ofRank: communicator.rank, inRound: round) {
      let work = format(ofLane: lane)
      if let work { weights.materialize(work.format) }
      fill(lane: lane, micro: micro)
      linear.place(step: stepsDone, firstToken: firstSequence(lane: lane, micro: micro) * space.length)
      let scale = Float((work?.weight ?? 1) / Double(scoredTokens))
      try DecoderModel.lossAndGradients(
        weights.parameters, gradients, space, scale: scale, teacher: teacher,
        visiting: GradientHandover(trainer: self, round: round, overwrite: isFirst))
      recordLoss(lane: lane, micro: micro, weight: work?.weight ?? 1)
    } else {
      for unit in (0..<state.units.count).reversed() { try reduce(unit, round: round, overwrite: isFirst) }
    }
    clock.add(.reduce, reducing)
    clock.add(.compute, PhaseClock.now - start - reducing)
  }

  fileprivate func reduce(_ unit: Int, round: Int, overwrite: Bool) throws {
    let start = PhaseClock.now
    defer { reducing += PhaseClock.now - start }
    let shard = state.units[unit]
    try reducer.reduce(
      &gradients.units[unit].flat, round: round, of: shard.shards, into: &shard.gradient, overwrite: overwrite,
      hook: { contribution, lane in
        if clips { clip(&contribution, shard, format(ofLane: lane)!.format) }
      })
  }

  /// The clipped estimator: no gradient where the master lies beyond its block's largest value.
  private func clip(_ contribution: inout Tensor, _ shard: UnitShard, _ format: MXFormat) {
    for run in shard.runs where plan.isQuantized(shard.layout.parameters[run.matrix].name) {
      var rows = contribution.region(run.shardOffset, rows: run.rows.count, columns: run.columns)
      BlockCodec.clipGradient(
        &rows, at: shard.master.region(run.shardOffset, rows: run.rows.count, columns: run.columns), format: format,
        rule: configuration.quantization.scaleRule)
    }
  }

  /// Position of a lane's first sequence in the step.
  private func firstSequence(lane: Int, micro: Int) -> Int {
    (micro * lanes.lanes + lane) * space.sequences
  }

  private func fill(lane: Int, micro: Int) {
    let first = stepsDone * configuration.training.batch + firstSequence(lane: lane, micro: micro)
    let context = space.length
    for sequence in 0..<space.sequences {
      let start = batches.tokens(window: batches.windowIndex(sample: first + sequence)).lowerBound
      for t in 0..<context {
        space.ids[sequence * context + t] = tokens[start + t]
        space.targets[sequence * context + t] = t + 1 < context ? tokens[start + t + 1] : BatchPlan.noTarget
      }
    }
  }

  private func recordLoss(lane: Int, micro: Int, weight: Double) {
    let first = firstSequence(lane: lane, micro: micro)
    for sequence in 0..<space.sequences {
      var sum = 0.0
      for t in sequence * space.length..<(sequence + 1) * space.length { sum += space.loss[t] }
      lossSum.add(weight * sum, at: first + sequence)
    }
  }

  private func gradientNorm() throws -> Double {
    for unit in state.units {
      unit.sumSquares()
      normSum.place(unit.rowSums, of: unit.shards, at: unit.firstRow)
    }
    return try normSum.total().squareRoot()
  }

  private func update(rate: Double, norm: Double) {
    let t = configuration.training
    // As torch.nn.utils.clip_grad_norm_ does it.
    let scale = t.clip > 0 ? min(1, t.clip / (norm + 1e-6)) : 1
    let optimizer = AdamW(
      learningRate: Float(rate), beta1: Float(t.betas[0]), beta2: Float(t.betas[1]), epsilon: Float(t.epsilon),
      weightDecay: Float(t.weightDecay), step: stepsDone + 1, gradientScale: Float(scale))
    for unit in state.units { unit.update(optimizer) }
  }
}

/// Reduces every unit's gradient as soon as it is final.
private struct GradientHandover: UnitVisitor {
  typealias Failure = any Error
  let trainer: Trainer
  let round: Int
  let overwrite: Bool

  func didComplete(unit: Int) throws { try trainer.reduce(unit, round: round, overwrite: overwrite) }
}

/// What checkpoints and the anchor are made of.
extension Trainer {
  package enum StateKind { case master, firstMoment, secondMoment }

  /// Whole tensors, unit by unit, on every rank. Collective; uses the gradient buffers, which are idle between steps.
  package func forEachGatheredUnit(
    _ kind: StateKind, _ body: (_ spec: ParameterSpec, _ values: Span<Float>) throws -> Void
  ) throws {
    for (index, unit) in state.units.enumerated() {
      let full = gradients.units[index]
      switch kind {
      case .master: try weights.gather.gatherRows(unit.master, of: unit.shards, into: &full.flat)
      case .firstMoment: try weights.gather.gatherRows(unit.firstMoment, of: unit.shards, into: &full.flat)
      case .secondMoment: try weights.gather.gatherRows(unit.secondMoment, of: unit.shards, into: &full.flat)
      }
      try communicator.onEveryRank {
        for spec in unit.layout.parameters {
          let values = full.flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
          try body(spec, values.span)
        }
      }
    }
  }
}
