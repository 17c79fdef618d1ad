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
/// A step (see `step()`): the schedule names its formats; every lane runs forward and backward on its own sequences, while
/// weights in these formats come in unit by unit and gradients leave; owners sum them; one global norm and one finite flag
/// decide together; AdamW updates the owned rows. With exact wires every number depends on (seed, step, global position)
/// alone.
public final class Trainer {
  public let configuration: RunConfiguration
  public let model: ModelConfiguration
  public let communicator: Communicator
  /// Optimizer steps done.
  public internal(set) var stepsDone = 0
  /// Micro-batches of the next step that are done: their gradients and losses are summed. 0 between steps.
  var microBatchesDone = 0

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
  /// Told of every unit, so that a rank that stands still is noticed.
  var watchdog: Watchdog?
  let gradients: Parameters
  let localSums: LocalSums?
  let space: Workspace
  private let teacher: Teacher?
  let reducer: GradientReducer
  private let owner: GradientOwner
  let lossSum: OrderedSum
  private let normSum: OrderedSum
  private let learningRate: LearningRateSchedule
  private var place = PassPlace()
  /// Seconds of the running lane that were spent on weights and on reductions.
  private var waiting = (weights: 0.0, reduce: 0.0)

  /// Where the running lane stands in its step. Under schedule `sum` there is a pass for each format.
  private struct PassPlace {
    var pass = 0, micro = 0, round = 0
    /// Counts the passes of a step.
    var number = 0
    var isFirst = true, isLast = false
    /// The lane's format; nil in full precision, and on a rank that has no lane in the round.
    var format: MXFormat?
  }

  /// Lays out everything; touches no weight. A trainer that is only built costs address space, not memory.
  public init(
    _ configuration: RunConfiguration, model: ModelConfiguration, tokens: TokenStream, communicator: Communicator
  ) throws {
    let training = configuration.training, quantization = configuration.quantization
    let communication = configuration.communication
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

    let sharing: UnitSharing = communication.sharding == .layers ? .layers : .everyUnit
    let parameters = Parameters(model, in: memory.weights, sharing: sharing)
    plan = try configuration.plan(for: parameters.layout.names)
    schedule = try configuration.formatSchedule()
    lanes = LaneSchedule(lanes: training.lanes, ranks: communicator.size)
    state = ShardedState(parameters.layout, rank: communicator.rank, ranks: communicator.size, in: memory.state)

    // Lanes that run different formats at once need their codes at once; one gather of the anchor serves them all.
    let together = quantization.path == .direct && quantization.schedule == .formatParallel
    let depth = communication.overlap ? 2 : 0
    linear = try LinearOperators.forRun(
      model, configuration, plan: plan, sharing: sharing, weights: memory.operands, scratch: memory.activations)
    weights = try WeightPublisher(
      parameters, linear, state, plan: plan, path: quantization.forwardPath, scaleRule: quantization.scaleRule,
      wire: WeightWire(communication.weights, isQuantized: quantization.objective == .quantized), sharing: sharing,
      slots: together ? quantization.formats.count : 1, depth: depth, communicator: communicator, in: memory.codes,
      transit: memory.communication)

    gradients = Parameters(model, in: memory.gradients, sharing: sharing)
    let options = GradientWireOptions(configuration)
    let owner = GradientOwner(
      state, plan, clips: quantization.estimator == .clipped && schedule != nil, rule: quantization.scaleRule)
    self.owner = owner
    reducer = try GradientReducer(
      communicator, state.units.map(\.shards), lanes: training.lanes, options: options, sink: owner,
      in: memory.communication)
    let passes = (schedule?.passCount ?? 1) * training.accumulation * lanes.roundCount
    localSums = options.wire.sumsLocally && sharing == .everyUnit && passes > 1
      ? LocalSums(parameters.layout, in: memory.gradients) : nil

    let perLane = training.sequencesPerLane
    space = try Workspace(
      model, sequences: perLane, length: configuration.data.context, purpose: .training,
      recompute: training.recompute == .layers, activationFormat: plan.activations, linear: linear,
      in: memory.activations)
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
    // Reductions are numbered pass by pass; a sum over all of a step's lanes has one format.
    let numbersPerPass = training.accumulation * lanes.roundCount
    owner.format = { [unowned self] lane, number in
      schedule?.pass(number / numbersPerPass, step: stepsDone, lane: lane).format
    }
  }

  /// Loads the starting weights and publishes them; the teacher is the model that the run started from.
  public func load(from source: any ModelSource) throws {
    try communicator.onEveryRank {
      try state.load(from: source)
      try loadTeacher(from: source)
    }
    weights.mastersReplaced()
  }

  func loadTeacher(from source: any ModelSource) throws {
    if let teacher { try source.load(into: teacher.parameters) }
  }

  /// Starts a new model.
  public func initialize() throws {
    let settings = configuration.model.initialization
    state.initialize(
      Initialization(seed: configuration.training.seed, standardDeviation: Float(settings.standardDeviation)))
    weights.mastersReplaced()
  }

  /// One optimizer step.
  ///
  /// - Throws: `TrainingError.notFinite` on every rank in the same step, before any weight has changed.
  public func step() throws -> StepRecord { try step(pausingIf: { false })! }

  /// One optimizer step, or the rest of one, or a part of it.
  ///
  /// - Parameter mayPause: asked between micro-batches; must say the same on every rank. Not asked where ranks sum several
  ///   lanes by themselves: what they hold then fits no other ranks.
  /// - Returns: nil if the step has been left: `microBatchesDone` says where.
  func step(pausingIf mayPause: () throws -> Bool) throws -> StepRecord? {
    var clock = PhaseClock()
    let training = configuration.training
    let before = communicator.statistics
    let isChecked = configuration.communication.checkEvery > 0
      && (stepsDone + 1) % configuration.communication.checkEvery == 0
    weights.passingDigest = isChecked && weights.sharing == .layers ? WeightDigest() : nil
    place = PassPlace()
    place.isFirst = microBatchesDone == 0
    place.number = microBatchesDone * lanes.roundCount
    let first = microBatchesDone, microBatches = microBatchesPerStep
    microBatchesDone = 0

    for microBatch in first..<microBatches {
      if microBatch > first, localSums == nil, try mayPause() {
        try reducer.drain()
        microBatchesDone = microBatch
        return nil
      }
      for round in 0..<lanes.roundCount {
        (place.pass, place.micro) = microBatch.quotientAndRemainder(dividingBy: training.accumulation)
        place.round = round
        place.isLast = microBatch == microBatches - 1 && round == lanes.roundCount - 1
        try runLane(&clock)
        place.isFirst = false
        place.number += 1
      }
    }
    note(.waitingForGradients)
    try clock.measure(.reduce) { try reducer.drain() }

    note(.waitingForControl)
    let loss = try clock.measure(.reduce) { try lossSum.total() / Double(scoredTokens) }
    let norm = try clock.measure(.update) { try gradientNorm() }
    let isBad = try clock.measure(.update) { try communicator.agree(on: !(loss.isFinite && norm.isFinite)) }
    guard !isBad else {
      throw TrainingError.notFinite(step: stepsDone + 1, loss: loss, gradientNorm: norm)
    }
    if isChecked { try clock.measure(.weights) { try requireEqualWeights() } }
    note(.updating)
    let rate = learningRate.rate(step: stepsDone)
    clock.measure(.update) { update(rate: rate, norm: norm) }
    weights.mastersChanged()
    stepsDone += 1

    return StepRecord(
      step: stepsDone, tokens: stepsDone * training.batch * configuration.data.context, loss: loss, learningRate: rate,
      gradientNorm: norm, schedule: schedule, lanes: training.lanes,
      // Of a step that was resumed in its middle, those of the rest, as the seconds are.
      tokensInStep: training.batch * configuration.data.context * (microBatches - first) / microBatches, seconds: clock.seconds,
      traffic: communicator.statistics.since(before))
  }

  /// Under schedule `sum` those of all formats.
  var microBatchesPerStep: Int { (schedule?.passCount ?? 1) * configuration.training.accumulation }

  /// Tokens with a target in the whole step: what the loss and its gradient are averaged over.
  private var scoredTokens: Int { configuration.training.batch * (configuration.data.context - 1) }

  private func format(ofLane lane: Int) -> FormatPass? { schedule?.pass(place.pass, step: stepsDone, lane: lane) }

  func note(_ phase: StepPhase, unit: Int? = nil) { watchdog?.note(phase, step: stepsDone + 1, unit: unit) }

  /// Forward and backward of this rank's lane, if it has one in this round; gathers and reductions are everyone's.
  private func runLane(_ clock: inout PhaseClock) throws {
    waiting = (0, 0)
    let start = PhaseClock.now
    try weights.begin((0..<lanes.lanes).lazy.map { self.format(ofLane: $0)?.format }, training: true)
    waiting.weights += PhaseClock.now - start
    let visit = TrainingVisit(trainer: self)
    if let lane = lanes.lane(ofRank: communicator.rank, inRound: place.round) {
      let work = format(ofLane: lane)
      place.format = work?.format
      fill(lane: lane, micro: place.micro)
      linear.place(step: stepsDone, firstToken: firstSequence(lane: lane, micro: place.micro) * space.length)
      let scale = Float((work?.weight ?? 1) / Double(scoredTokens))
      try DecoderModel.lossAndGradients(
        weights.parameters, gradients, space, scale: scale, teacher: teacher, visiting: visit)
      recordLoss(lane: lane, micro: place.micro, weight: work?.weight ?? 1)
    } else {
      try visit.walk(units: state.units.count)
    }
    clock.add(.weights, waiting.weights)
    clock.add(.reduce, waiting.reduce)
    clock.add(.compute, PhaseClock.now - start - waiting.weights - waiting.reduce)
  }

  /// Brings in a unit's weights, in the format of this rank's lane.
  func use(_ unit: Int, _ direction: PassDirection) throws {
    let start = PhaseClock.now
    defer { waiting.weights += PhaseClock.now - start }
    note(.waitingForWeights, unit: unit)
    let uses = weights.sharing == .layers ? space.uses(of: unit, direction) : .all
    try weights.use(unit, as: place.format, for: uses)
    note(direction == .forward ? .forward : .backward, unit: unit)
  }

  /// The same without a lane: the other ranks need this one's rows.
  func bring(_ unit: Int) throws {
    note(.waitingForWeights, unit: unit)
    try weights.bring(unit)
  }

  /// Hands over a unit's gradient, or this rank's part in everybody else's.
  func reduce(_ unit: Int) throws {
    let start = PhaseClock.now
    defer { waiting.reduce += PhaseClock.now - start }
    note(.waitingForGradients, unit: unit)
    let shards = state.units[unit].shards
    let inRound = lanes.lanes(inRound: place.round)
    let isOwn = communicator.rank < inRound.count
    guard let localSums else {
      let isExact = configuration.communication.gradients == .exact
      try reducer.reduce(
        &gradients.units[unit].flat, unit: unit, of: shards, contributors: inRound.count,
        firstLane: isExact ? inRound.lowerBound : nil, overwrite: place.isFirst, step: stepsDone, number: place.number)
      return
    }
    if isOwn { localSums.add(gradients.units[unit].flat, to: unit, isFirst: place.isFirst) }
    guard place.isLast else { return }
    try reducer.reduce(
      &localSums.units[unit].values, unit: unit, of: shards, contributors: min(lanes.lanes, communicator.size),
      firstLane: nil, overwrite: true, step: stepsDone, number: 0)
  }

  /// Lets what is in flight progress.
  func poll() throws {
    try weights.poll()
    try reducer.poll()
  }

  /// Compares what ranks hold of the weights.
  private func requireEqualWeights() throws {
    var digest = weights.passingDigest ?? WeightDigest()
    if weights.passingDigest == nil {
      for unit in state.units.indices { digest.absorb(weights, unit) }
    }
    weights.passingDigest = nil
    try communicator.requireEqual(digest.value, what: "replica of the weights in step \(stepsDone + 1)")
  }

  /// Position of a lane's first sequence in the step.
  func firstSequence(lane: Int, micro: Int) -> Int {
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
