import Checkpoints
public import Communication
import Quantization
import Settings
import Tensors
import Transformer

/// What a step will send, before there is one.
extension Trainer {
  /// Of every step after the first: that one sends whole weights where later ones send differences. Differences of
  /// codes are taken for codes, which they do not exceed by more than their headers.
  public var communicationForecast: CommunicationForecast {
    let map = communicator.topology?.map ?? NodeMap(sizes: [communicator.size])
    return CommunicationForecast(
      map, GradientWireOptions(configuration).wire, reductions: reductionsOfStep,
      gathers: weights.gathers(newFormats: passesOfStep.map { $0.isFirstOfFormat }, together: formatsTogether),
      // The norm's sum of every row, and the loss of every sequence.
      summed: [8 * state.rowCount, 8 * configuration.training.batch])
  }

  /// The passes of a step: how many ranks have a lane, and whether the formats are others than in the pass before.
  private var passesOfStep: [(contributors: Int, isFirstOfFormat: Bool)] {
    (0..<(schedule?.passCount ?? 1)).flatMap { pass in
      (0..<configuration.training.accumulation).flatMap { micro in
        (0..<lanes.roundCount).map { round in
          (lanes.lanes(inRound: round).count, pass > 0 && micro == 0 && round == 0)
        }
      }
    }
  }

  private var reductionsOfStep: [CommunicationForecast.Reduction] {
    let contributors = localSums == nil
      ? passesOfStep.map(\.contributors) : [min(lanes.lanes, communicator.size)]
    return contributors.flatMap { count in
      state.units.reversed().map { .init($0.shards, contributors: count) }
    }
  }

  /// Formats that travel at once: those of lanes that differ, where no anchor serves them all.
  private var formatsTogether: Int {
    let quantization = configuration.quantization
    let differ = quantization.path == .direct && quantization.schedule == .formatParallel
    return differ ? min(quantization.formats.count, lanes.lanes) : 1
  }
}

extension WeightPublisher {
  /// What the passes of a step gather, in the order of use.
  ///
  /// - Parameters:
  ///   - newFormats: for every pass, whether it needs other formats than the pass before.
  ///   - together: formats that travel at once.
  func gathers(newFormats: [Bool], together: Int) -> [CommunicationForecast.Gather] {
    let last = units.count - 1
    var held = Array(repeating: -1, count: places.count)
    var gathers: [CommunicationForecast.Gather] = []
    for isNew in newFormats {
      // The anchor serves every format; differences to a replica are there already.
      var isStale = units.map { isNew && path == .direct && messages.replica == nil && !$0.quantized.isEmpty }
      for use in 0..<2 * last {
        let unit = use <= last ? use : 2 * last - use, place = places.place(of: unit), isThere = held[place] == unit
        guard !isThere || isStale[unit] else { continue }
        held[place] = unit
        isStale[unit] = false
        let isDense = !isThere || sharing == .layers
        gathers.append(
          .init(
            bytes: messages.publishedBytes(ofUnit: unit, formats: together, isDense: isDense), isInBackward: use > last))
      }
    }
    return gathers
  }
}

extension Trainer {
  /// Speeds of links that are worth knowing about, in Gbit/s.
  private static let forecastSpeeds = [1, 10, 25, 100]
  /// Between processes that copy through memory.
  private static let withinNode = LinkModel(latency: 2e-6, bytesPerSecond: 5e9)

  /// What leaves a node in a step, and what that takes on some links; nothing more than the wires on one node.
  var communicationFacts: [RunPlan.Fact] {
    let nodes = communicator.topology?.map.nodeCount ?? 1
    var facts: [RunPlan.Fact] = [
      ("nodes", .integer(nodes), communicator.nodeDescription),
      ("wires", .string(wireDescription), wireDescription),
    ]
    guard nodes > 1 else { return facts }
    let forecast = communicationForecast
    let flows = [("gradient", forecast.gradients), ("weight", forecast.weights)]
    for (name, flow) in flows {
      facts.append(
        (
          "\(name)_bytes_out_of_a_node_per_step", .integer(flow.bytesOutOfNode),
          "\(Figures.bytes(flow.bytesOutOfNode)) in at most \(flow.messagesBetweenNodes) messages of a rank"
        ))
    }
    for speed in Self.forecastSpeeds {
      let links = LinkModels(within: Self.withinNode, between: LinkModel(gigabitsPerSecond: Double(speed)))
      let gradients = forecast.gradients.seconds(on: links), weights = forecast.weights.seconds(on: links)
      facts.append(
        (
          "communication_per_step_at_\(speed)_gbit",
          ["gradient_seconds": .number(gradients), "weight_seconds": .number(weights)],
          "\(Figures.fixed(gradients + weights, 4)) s: gradients \(Figures.fixed(gradients, 4)), "
            + "weights \(Figures.fixed(weights, 4))"
        ))
    }
    return facts
  }
}
