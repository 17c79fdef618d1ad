import Checkpoints
import Communication
import Settings
import Tensors
import Text
import Training
import Transformer

/// Steps of one trainer on one pair of wires. Figures are medians over steps and seconds those of the slowest rank, if
/// nothing else is said.
struct CommunicationMeasurement {
  let pair: String
  let overlap: Bool
  let nodes: Int
  let parameters: Int
  let forecast: CommunicationForecast
  /// Of rank 0.
  let times: Sample
  /// Seconds of a step in which a rank was not in a call for communication, and of forward and backward alone; the
  /// least, which is what a prediction for an undisturbed step begins with.
  let local: Double
  let compute: Double
  /// Seconds in calls for communication, and from the start of every transfer to its end.
  let exposed: Double
  let span: Double
  /// Of a step, over all ranks; sums, norms and flags are in the last only.
  let gradientBytes: Int
  let weightBytes: Int
  let bytesBetweenNodes: Int

  init(_ command: CommunicationCommand, _ pair: String, overlap: Bool, on communicator: Communicator) throws {
    let settings = try command.settings(pair, overlap: overlap, ranks: communicator.size)
    let context = settings.data.context, batch = settings.training.batch
    let model = try command.config.configuration(context: context)
    let random = CounterRandom(seed: 1, stream: "bench tokens")
    let tokens = (0..<64 * batch * context).map {
      Int32(random.integer(UInt64($0), below: UInt64(model.vocabularySize)))
    }
    let trainer = try Trainer(settings, model: model, tokens: .memory(tokens), communicator: communicator)
    try trainer.initialize()

    // The first step sends whole weights on every wire, and opens connections.
    for _ in 0..<2 { _ = try trainer.step() }
    var times = Sample(), records: [StepRecord] = []
    for _ in 0..<command.steps {
      try communicator.barrier()
      records.append(try times.measure { try trainer.step() })
    }

    func slowest(_ seconds: Double) throws -> Double { Double(try communicator.maximum(Int64(seconds * 1e9))) / 1e9 }
    func total(_ bytes: (CommunicationStatistics) -> Int) throws -> Int {
      Int(try communicator.sum(Int64(records.reduce(0) { $0 + bytes($1.traffic) } / records.count)))
    }
    self.pair = pair
    self.overlap = overlap
    nodes = communicator.topology?.map.nodeCount ?? 1
    parameters = model.parameterCount
    forecast = trainer.communicationForecast
    self.times = times
    local = try slowest(zip(times.wall, records).map { $0 - $1.traffic.seconds }.least)
    compute = try slowest(records.map(\.seconds.compute).least)
    exposed = try slowest(records.map(\.traffic.seconds).median)
    span = try slowest(records.map(\.traffic.span).median)
    gradientBytes = try total(\.gradients.bytesBetweenNodes)
    weightBytes = try total(\.weights.bytesBetweenNodes)
    bytesBetweenNodes = try total(\.bytesBetweenNodes)
  }

  var hiddenFraction: Double { span > 0 ? max(0, 1 - exposed / span) : 0 }

  /// Of a parameter, on the link of one node: N nodes fetch what comes from N - 1 others.
  func bits(_ bytes: Int) -> Double {
    nodes > 1 ? 8 * Double(bytes) / Double(parameters * (nodes - 1)) : 0
  }

  var members: [(String, JSONValue)] {
    [
      ("bench", "communication"), ("wires", .string(pair)), ("overlap", .bool(overlap)), ("nodes", .integer(nodes)),
      ("parameters", .integer(parameters)), ("steps", .integer(times.count)),
      ("steps_per_second", (1 / times.wall.median).json), ("step_seconds_median", times.wall.median.json),
      ("step_seconds_min", times.wall.least.json), ("spread", times.wall.spread.json), ("local_seconds", local.json),
      ("compute_seconds", compute.json), ("exposed_seconds", exposed.json), ("transfer_seconds", span.json),
      ("hidden_fraction", hiddenFraction.json), ("bytes_between_nodes", .integer(bytesBetweenNodes)),
      ("gradient_bytes_between_nodes", .integer(gradientBytes)),
      ("weight_bytes_between_nodes", .integer(weightBytes)),
      ("forecast_gradient_bytes_between_nodes", .integer(forecast.gradients.bytesBetweenNodes)),
      ("forecast_weight_bytes_between_nodes", .integer(forecast.weights.bytesBetweenNodes)),
      ("gradient_bits", bits(gradientBytes).json), ("weight_bits", bits(weightBytes).json),
    ]
  }
}
