import Checkpoints
import Communication
import Quantization
import Settings
import Tensors
import Text
import Training
import Transformer

/// Steps of one trainer, measured.
struct StepMeasurement {
  let command: StepCommand
  let objective: MeasuredObjective
  let ranks: Int
  let tokensPerStep: Int
  let operationsPerToken: Double
  let first: Double
  let times: Sample
  let phases: [PhaseSeconds]
  let losses: [Double]
  let peakBytes: Int
  let forecastBytes: Int
  /// What every matrix product runs in; fp32 where nothing is said.
  let arithmetic: [String: LinearArithmetic]

  init(_ command: StepCommand, _ objective: MeasuredObjective, on communicator: Communicator) throws {
    let settings = try command.settings(objective, lanes: command.lanes ?? communicator.size)
    let context = settings.data.context, batch = settings.training.batch
    let model = try command.config.configuration(context: context)
    let random = CounterRandom(seed: 1, stream: "bench tokens")
    let tokens = (0..<4 * batch * context).map {
      Int32(random.integer(UInt64($0), below: UInt64(model.vocabularySize)))
    }
    let trainer = try Trainer(settings, model: model, tokens: .memory(tokens), communicator: communicator)
    try trainer.initialize()

    var times = Sample(), phases: [PhaseSeconds] = [], losses: [Double] = []
    let began = Instant.now
    losses.append(try trainer.step().loss)
    first = (Instant.now - began).wall
    let start = Instant.now.wall
    func isEnough() throws -> Bool {
      let enough = command.steps.map { times.count >= $0 }
        ?? (times.count >= 3 && Instant.now.wall - start > command.seconds)
      return try communicator.agree(on: enough)
    }
    repeat {
      let record = try times.measure { try trainer.step() }
      phases.append(record.seconds)
      losses.append(record.loss)
    } while try !isEnough()

    self.command = command
    self.objective = objective
    ranks = communicator.size
    tokensPerStep = batch * context
    operationsPerToken = model.operationsPerToken(context: context)
    self.times = times
    self.phases = phases
    self.losses = losses
    peakBytes = ProcessMemory.peakBytes
    forecastBytes = trainer.memoryForecast.total
    arithmetic = Dictionary(uniqueKeysWithValues: trainer.linear.decisions.map { ($0.name, $0.arithmetic) })
  }

  var median: Double { Double(tokensPerStep) / times.wall.median }
  var leastDisturbed: Double { Double(tokensPerStep) / times.wall.quantile(0.1) }
  var byProcessorTime: Double { Double(tokensPerStep) / times.processor.median }
  /// How far the peak lies above the forecast.
  var forecastError: Double { Double(peakBytes) / Double(forecastBytes) - 1 }

  private func median(_ phase: (PhaseSeconds) -> Double) -> Double { phases.map(phase).median }

  var members: [(String, JSONValue)] {
    [
      ("bench", "step"), ("config", .string(command.config.rawValue)), ("objective", .string(objective.name)),
      ("ranks", .integer(ranks)), ("tokens_per_step", .integer(tokensPerStep)), ("steps", .integer(times.count)),
      ("tokens_per_second_median", median.json), ("tokens_per_second_p10", leastDisturbed.json),
      ("tokens_per_second_processor", byProcessorTime.json),
      ("gflops_median", (median * operationsPerToken / 1e9).json), ("spread", times.wall.spread.json),
      ("utilization", (times.processor.reduce(0, +) / times.wall.reduce(0, +)).json),
      ("first_step_seconds", first.json),
      ("seconds", [
        "step": times.wall.median.json, "weights": median(\.weights).json, "compute": median(\.compute).json,
        "reduce": median(\.reduce).json, "update": median(\.update).json,
      ]),
      ("peak_bytes", .integer(peakBytes)), ("forecast_bytes", .integer(forecastBytes)),
      ("forecast_error", forecastError.json), ("loss_first", losses[0].json), ("loss_last", losses[losses.count - 1].json),
    ]
  }

  var text: String {
    let step = times.wall.median
    func share(_ phase: (PhaseSeconds) -> Double) -> String {
      "\((1000 * median(phase)).fixed(1)) ms (\((100 * median(phase) / step).fixed(1)) %)"
    }
    return """
      step of \(command.config.rawValue), \(objective.name), \(tokensPerStep) tokens, \(ranks) rank\(ranks == 1 ? "" : "s")
      \(MachineRecord.current.text)

      tokens/s       median \(median.fixed(0)), least disturbed tenth \(leastDisturbed.fixed(0)), by processor time \
      \(byProcessorTime.fixed(0)); \(times.count) steps, spread \((100 * times.wall.spread).fixed(0)) %
      arithmetic     \((median * operationsPerToken / 1e9).fixed(1)) GFLOP/s
      phases         compute \(share(\.compute)), reduce \(share(\.reduce)), update \(share(\.update)), weights \
      \(share(\.weights))
      peak memory    \((Double(peakBytes) / 0x1p20).fixed(1)) MiB, forecast \((Double(forecastBytes) / 0x1p20).fixed(1)) \
      MiB (\((100 * forecastError).fixed(1)) %)
      loss           \(losses[0].fixed(4)) to \(losses[losses.count - 1].fixed(4))

      """
  }
}
