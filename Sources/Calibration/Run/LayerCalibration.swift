import Communication
import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// One layer: scaled, rotated, then its four products rounded one after the other, each on inputs that the rounded ones
/// before it have made (GPTQ's true-sequential order).
///
///     stage     computes for every sequence                    second moments of   rounds
///     qkv       norm                                           normed              q, k, v
///     o         norm, q k v, attention, which is kept          outputInput         o
///     gate_up   residual + o, in the residual's place          middleNormed        gate, up
///     down      norm, gate, up                                 gated               down
///     -         the same and down: the next layer's residual
///
/// Memory beside the stream: one sequence's activations, and the moments of one input at a time.
struct LayerCalibration {
  let layer: Int
  let settings: CalibrationSettings
  let communicator: Communicator
  /// First tensors of the products that are rounded.
  let quantized: Set<String>
  /// Weights of this layer; foldings and fixed rotations are done.
  let parameters: Parameters
  /// nil where the method reads no text: then weights alone decide.
  let text: Text?

  /// What the sequences need to pass through the layer.
  struct Text {
    let stream: ResidualStream
    /// Sequences of all ranks.
    let sequences: Int
    /// Runs the layer as it is read, before the method's online rotations.
    let plain: Workspace
    /// Makes a workspace whose passes apply these transforms.
    let workspace: (OnlineTransforms) throws -> Workspace
    /// The model as it was, beside the rounded one; nil where nothing is compared with it.
    let reference: Reference?

    var tokens: Int { sequences * stream.length }
  }

  /// The same sequences through the unrounded layer.
  struct Reference {
    let stream: ResidualStream
    let parameters: Parameters
    let space: Workspace

    func pass() -> LayerPass { LayerPass(parameters, space) }
  }

  struct Result {
    /// Codes of the rounded products, by the name of their first tensor.
    var rounded: [String: SharedRounding.Rounded] = [:]
    var figures: [ProductFigures] = []
    /// What this layer runs with: RoSTE may have dropped some.
    var transforms: OnlineTransforms
    /// Of the weights before they were rounded, where the method scales them.
    var coordinates: String?
  }

  private static let sites: [OnlineTransforms.Site] = [.queryKeyValue, .output, .gateUp, .down]

  private var w: LayerParameters { parameters.layers[layer] }
  private var c: ModelConfiguration { parameters.configuration }

  /// Leaves the rounded values in the layer, and the next layer's residual in the stream. Collective.
  ///
  /// - Parameter transforms: that the method would apply.
  func run(_ transforms: OnlineTransforms) throws -> Result {
    let arena = Arena("layer under calibration")
    var result = Result(transforms: transforms)
    text?.reference?.parameters.units[layer + 1].flat.copy(from: parameters.units[layer + 1].flat)
    var rotations = try OnlineRotations(transforms, for: c, in: arena)
    var scalings: [ChannelScaling.Site: ScalingSearch.Outcome] = [:], choices: [OnlineTransforms.Site: RotationChoice] = [:]
    if let text {
      scalings = try ScalingSearch(
        pass: LayerPass(parameters, text.plain), layer: layer, stream: text.stream, communicator: communicator,
        settings: settings, sequences: text.sequences, rotations: rotations
      ).run()
      choices = try choose(rotations, LayerPass(parameters, text.plain), text)
    }
    for (site, choice) in choices where !choice.rotates { result.transforms[layer, site] = nil }
    if !choices.isEmpty { rotations = try OnlineRotations(result.transforms, for: c, in: arena) }
    // A source with rotations of its own stores its weights in their coordinates already.
    if settings.recipe.online != .none { rotations.rotateWeights(of: w, index: layer) }
    result.coordinates = CoordinateFingerprint.layer(parameters.units[layer + 1], settings.recipe)

    if let text {
      try sequential(LayerPass(parameters, text.workspace(result.transforms)), text, &result)
    } else {
      for site in Self.sites { try round(site, gram: nil, sample: nil, &result) }
    }
    for i in result.figures.indices {
      guard let site = Self.sites.first(where: { $0.tensorName(layer) == result.figures[i].name }) else { continue }
      let scaling = scalings.first { $0.key.online == site }?.value
      result.figures[i].scalingCandidate = scaling?.candidate
      result.figures[i].scalingLoss = scaling?.loss
      result.figures[i].rotates = choices[site]?.rotates
    }
    return result
  }

  // MARK: Stages

  private func sequential(_ pass: LayerPass, _ text: Text, _ result: inout Result) throws {
    let a = pass.activations(of: layer), stream = text.stream
    let original = text.reference.map { OriginalLayer(layer: layer, pass: $0.pass(), stream: $0.stream) }
    try stage(.queryKeyValue, text, original, &result) { index in
      stream.loadResidual(index, into: &pass.residual(of: layer).x)
      pass.attentionInput(layer: layer)
      return LayerInput(a.normed)
    }
    try stage(.output, text, original, &result) { index in
      stream.loadResidual(index, into: &pass.residual(of: layer).x)
      pass.attentionInput(layer: layer)
      pass.attend(layer: layer)
      stream.storeAttended(index, a.outputInput)
      return LayerInput(a.outputInput, pass.residual(of: layer).x)
    }
    for index in stream.sequences.indices {
      stream.loadResidual(index, into: &pass.residual(of: layer).x)
      stream.loadAttended(index, into: &a.outputInput)
      pass.addAttention(layer: layer)
      stream.storeResidual(index, a.middle)
      original?.keepMiddle(index)
    }
    try stage(.gateUp, text, original, &result) { index in
      stream.loadResidual(index, into: &a.middle)
      pass.gateUpInput(layer: layer)
      return LayerInput(a.middleNormed)
    }
    try stage(.down, text, original, &result) { index in
      stream.loadResidual(index, into: &a.middle)
      pass.gateUpInput(layer: layer)
      pass.gate(layer: layer)
      return LayerInput(a.gated, a.middle)
    }
    for index in stream.sequences.indices {
      stream.loadResidual(index, into: &a.middle)
      pass.gateUpInput(layer: layer)
      pass.gate(layer: layer)
      pass.addFeedForward(layer: layer)
      stream.storeResidual(index, pass.residual(of: layer + 1).x)
      original?.finish(index)
    }
  }

  /// Moments of one input over all sequences, then the weight that reads it.
  ///
  /// - Parameter compute: brings the input of an own sequence about, and says where it is; twice where the moments need a
  ///   second pass.
  private func stage(
    _ site: OnlineTransforms.Site, _ text: Text, _ original: OriginalLayer?, _ result: inout Result,
    compute: (_ index: Int) -> LayerInput
  ) throws {
    let columns = site.width(in: c), name = site.inputName(layer)
    let sample = settings.clips ? InputSample(columns: columns, tokens: text.stream.length) : nil
    let gram: Gram
    var raises: [DampingRaise] = []
    do {
      let arena = Arena("moments")
      let moments = MomentAccumulator(
        columns: columns, tokens: text.stream.length, outputs: original == nil ? nil : w.weight(of: site).rows, on: communicator, in: arena)
      gram = try moments.gram(name, tokens: text.tokens, in: Arena("gram")) { moments in
        for (index, sequence) in text.stream.sequences.enumerated() {
          let input = compute(index)
          if sequence == 0 { sample?.take(input.x) }
          if let original {
            try moments.add(input.x, error: original.error(site, index, of: input, weight: w.weight(of: site)))
          } else {
            try moments.add(input.x)
          }
        }
      }
      if original != nil && quantized.contains(site.tensorName(layer)) {
        var cross = moments.crossMoments(in: arena), weight = w.weight(of: site)
        raises = try SharedRounding(communicator: communicator).correct(
          &weight, by: &cross, gram: gram, damping: settings.damping, name: name)
      }
    }
    try sample?.share(on: communicator)
    let count = result.figures.count
    try round(site, gram: gram, sample: sample, &result)
    if result.figures.count > count {
      result.figures[count].dampingRaises.insert(contentsOf: raises.map { "upstream: \($0)" }, at: 0)
    }
  }

  private func round(
    _ site: OnlineTransforms.Site, gram: Gram?, sample: InputSample?, _ result: inout Result
  ) throws {
    let name = site.tensorName(layer)
    guard quantized.contains(name) else { return }
    let format = settings.format(of: name)
    // q and k are not clipped: the softmax does not weigh their errors as a product does.
    let clip = sample.map {
      SharedRounding.Clip(
        rule: AWQClip(inputs: $0.values, format: format),
        firstRow: site == .queryKeyValue ? c.queryWidth + c.keyWidth : 0)
    }
    var weight = w.weight(of: site)
    let (rounded, figures) = try SharedRounding(communicator: communicator).round(
      &weight, name: name, plan: settings.rounding(format), gram: gram, magR: settings.recipe.magR, clip: clip)
    result.rounded[name] = rounded
    result.figures.append(figures)
  }

  // MARK: RoSTE

  /// Errors with and without the rotation of every site that is free to choose. Collective.
  private func choose(
    _ rotations: OnlineRotations, _ pass: LayerPass, _ text: Text
  ) throws -> [OnlineTransforms.Site: RotationChoice] {
    let sites = settings.recipe.freeSites.filter { rotations.rotates(layer: layer, site: $0) }
    guard !sites.isEmpty else { return [:] }
    let a = pass.activations(of: layer), arena = Arena("choice of rotations")
    let sums = OrderedSum(slots: 2 * sites.count * text.sequences, on: communicator, in: arena)
    for (index, sequence) in text.stream.sequences.enumerated() {
      text.stream.loadResidual(index, into: &pass.residual(of: layer).x)
      pass.forward(layer: layer)
      for (k, site) in sites.enumerated() {
        func place(_ x: borrowing Tensor) {
          let errors = RotationChoice.errors(
            of: x, format: settings.activations, rotations: rotations, layer: layer, site: site)
          sums.place(errors.plain, at: 2 * (k * text.sequences + sequence))
          sums.place(errors.rotated, at: 2 * (k * text.sequences + sequence) + 1)
        }
        switch site {
        case .queryKeyValue: place(a.normed)
        case .output: place(a.outputInput)
        case .gateUp: place(a.middleNormed)
        case .down: place(a.gated)
        case .queryKey: break
        }
      }
    }
    let all = try sums.slotsOfAllRanks()
    var choices: [OnlineTransforms.Site: RotationChoice] = [:]
    for (k, site) in sites.enumerated() {
      let weights = RotationChoice.errors(
        of: w.weight(of: site), format: settings.format(of: site.tensorName(layer)), rotations: rotations, layer: layer,
        site: site)
      choices[site] = .decide(
        weights: [weights],
        activations: (0..<text.sequences).map { s in
          let at = 2 * (k * text.sequences + s)
          return RotationChoice.Errors(plain: all[at], rotated: all[at + 1])
        })
    }
    return choices
  }
}

/// The first tokens of sequence 0 as one linear layer sees them, on every rank.
final class InputSample {
  fileprivate(set) var values: Tensor  // (T, K)

  fileprivate init(columns: Int, tokens: Int) {
    values = Tensor(rows: min(tokens, AWQClip.sampleLimit), columns: columns, in: Arena("sample of inputs"))
  }

  fileprivate func take(_ x: borrowing Tensor) { values.copy(from: x.rows(0..<values.rows)) }

  /// The root has sequence 0.
  fileprivate func share(on communicator: Communicator) throws { try communicator.broadcast(&values, as: .control) }
}

extension LayerParameters {
  /// The weight that reads a site, under a second name.
  func weight(of site: OnlineTransforms.Site) -> Tensor {
    switch site {
    case .queryKeyValue: queryKeyValue.rows(0..<queryKeyValue.rows)
    case .output: output.rows(0..<output.rows)
    case .gateUp: gateUp.rows(0..<gateUp.rows)
    case .down: down.rows(0..<down.rows)
    case .queryKey: preconditionFailure("queries and keys are no input of a weight")
    }
  }
}

extension OnlineTransforms.Site {
  /// The first tensor of the product that reads the site.
  func tensorName(_ layer: Int) -> String {
    let part =
      switch self {
      case .queryKeyValue: "self_attn.q_proj"
      case .output: "self_attn.o_proj"
      case .gateUp: "mlp.gate_proj"
      case .down: "mlp.down_proj"
      case .queryKey: preconditionFailure("queries and keys are no input of a weight")
      }
    return "model.layers.\(layer).\(part).weight"
  }

  /// For messages.
  func inputName(_ layer: Int) -> String { "model.layers.\(layer), input of \(rawValue)" }
}
