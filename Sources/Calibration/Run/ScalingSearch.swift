import Communication
import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// Finds the diagonal of every site of one layer and writes it into the weights: SmoothQuant by a formula, AWQ by trying
/// which of 20 leaves the module's output closest to what it was once it is rounded.
///
/// The module of q, k and v is attention with o, that of gate and up is the feed-forward; o and down stand for
/// themselves (llm-awq). Losses are sums over whole sequences in their order, so every rank finds the same diagonal.
struct ScalingSearch {
  /// Runs the layer without online rotations.
  let pass: LayerPass
  let layer: Int
  let stream: ResidualStream
  let communicator: Communicator
  let settings: CalibrationSettings
  let sequences: Int
  /// What the weights will be rotated by, after they are scaled.
  let rotations: OnlineRotations

  /// The chosen candidate, and its loss relative to no scaling, where there was a choice.
  struct Outcome {
    var candidate: Int?
    var loss: Double?
  }

  private var w: LayerParameters { pass.parameters.layers[layer] }
  private var c: ModelConfiguration { pass.parameters.configuration }

  func run() throws -> [ChannelScaling.Site: Outcome] {
    switch settings.recipe.scaling {
    case .none: return [:]
    case .smoothQuant(let alpha): return try smoothQuant(alpha: alpha)
    case .awq: return try awq()
    }
  }

  // MARK: SmoothQuant

  private func smoothQuant(alpha: Double) throws -> [ChannelScaling.Site: Outcome] {
    let magnitudes = try magnitudes(of: SmoothQuant.sites)
    for site in SmoothQuant.sites {
      let weights = SmoothQuant.columnMaxima(of: w.weight(of: site.online))
      let factors = SmoothQuant.factors(activations: magnitudes[site]!.maxima, weights: weights, alpha: alpha)
      ChannelScaling(site, factors).apply(to: w, c)
    }
    return [:]
  }

  // MARK: AWQ

  private func awq() throws -> [ChannelScaling.Site: Outcome] {
    let sites = AWQ.sites(c).sites
    let magnitudes = try magnitudes(of: sites)
    let sample = try Sample(self)
    var found: [ChannelScaling.Site: Outcome] = [:]
    for site in sites {
      let means = magnitudes[site]!.means
      sample.remember(site)
      let arena = Arena("weight under search")
      var weight = w.weight(of: site.online)
      var original = Tensor(rows: weight.rows, columns: weight.columns, in: arena)
      original.copy(from: weight)
      let gram = try moments(of: site)
      let search = try AWQ.search { candidate in
        try round(&weight, of: original, factors: AWQ.factors(means: means, candidate: candidate), site, gram)
        return try sample.loss(site)
      }
      weight.copy(from: original)
      ChannelScaling(site, AWQ.factors(means: means, candidate: search.candidate)).apply(to: w, c)
      found[site] = Outcome(
        candidate: search.candidate, loss: search.unscaledLoss > 0 ? search.loss / search.unscaledLoss : 1)
    }
    return found
  }

  /// Q(W · diag s · R) · Rᵀ · diag s⁻¹, rounded as it will be: what scales are best depends on who rounds afterwards.
  private func round(
    _ out: inout Tensor, of weight: borrowing Tensor, factors: [Float], _ site: ChannelScaling.Site, _ gram: Gram?
  ) throws {
    out.copy(from: weight)
    out.multiplyColumns(by: factors.span)
    rotations.rotateWeight(&out, layer: layer, site: site.online)
    let name = site.online.tensorName(layer)
    var plan = settings.rounding(settings.format(of: name))
    if gram == nil { plan = RoundingPlan(format: plan.format, method: .nearest, scales: plan.scales) }
    let rounded = try SharedRounding(communicator: communicator).solve(
      out, name: name, plan: plan, gram: gram?.scaled(by: factors)
    ).rounded
    BlockCodec.dequantize(&out, from: rounded.packed)
    rotations.rotateWeight(&out, layer: layer, site: site.online, inverse: true)
    out.divideColumns(by: factors.span)
  }

  /// Second moments of the unscaled input; nil where rounding needs none. Behind an online rotation candidates are rounded to
  /// nearest: the rotated moments of each would cost more than solving.
  private func moments(of site: ChannelScaling.Site) throws -> Gram? {
    let name = site.online.inputName(layer)
    guard settings.method.rounding != .nearest, !rotations.rotates(layer: layer, site: site.online) else { return nil }
    let a = pass.activations(of: layer), layer = layer
    let accumulator = MomentAccumulator(
      columns: site.online.width(in: c), tokens: stream.length, on: communicator, in: Arena("moments"))
    return try accumulator.gram(name, tokens: sequences * stream.length, in: Arena("gram")) { moments in
      for index in stream.sequences.indices {
        stream.loadResidual(index, into: &pass.residual(of: layer).x)
        pass.attentionInput(layer: layer)
        if site == .queryKeyValue {
          try moments.add(a.normed)
          continue
        }
        pass.attend(layer: layer)
        if site == .output {
          try moments.add(a.outputInput)
          continue
        }
        pass.addAttention(layer: layer)
        pass.gateUpInput(layer: layer)
        if site == .gateUp {
          try moments.add(a.middleNormed)
          continue
        }
        pass.gate(layer: layer)
        try moments.add(a.gated)
      }
    }
  }

  // MARK: Inputs

  /// Mean and largest magnitudes of the inputs of `sites`, over all sequences.
  private func magnitudes(
    of sites: [ChannelScaling.Site]
  ) throws -> [ChannelScaling.Site: (means: [Float], maxima: [Float])] {
    let arena = Arena("magnitudes"), c = c
    let books = Dictionary(uniqueKeysWithValues: sites.map { site in
      (site, ChannelMagnitudes(columns: site.online.width(in: c), sequences: sequences, in: arena))
    })
    let a = pass.activations(of: layer)
    for (index, sequence) in stream.sequences.enumerated() {
      stream.loadResidual(index, into: &pass.residual(of: layer).x)
      pass.attentionInput(layer: layer)
      books[.queryKeyValue]?.add(a.normed, sequence: sequence)
      pass.attend(layer: layer)
      books[.output]?.add(a.outputInput, sequence: sequence)
      pass.addAttention(layer: layer)
      pass.gateUpInput(layer: layer)
      books[.gateUp]?.add(a.middleNormed, sequence: sequence)
      guard let down = books[.down] else { continue }
      pass.gate(layer: layer)
      down.add(a.gated, sequence: sequence)
    }
    var found: [ChannelScaling.Site: (means: [Float], maxima: [Float])] = [:]
    for site in sites {
      found[site] = try books[site]!.finish(
        site.online.inputName(layer), tokens: sequences * stream.length, on: communicator)
    }
    return found
  }

  /// A few whole sequences, spread over all, and what the two halves of the layer give on them.
  private final class Sample {
    private let search: ScalingSearch
    /// Places in the stream of those sequences that are this rank's, and their numbers.
    private let own: [(index: Int, sequence: Int)]
    private let sum: OrderedSum
    private var middles: Tensor  // (own · T, D)
    private var outputs: Tensor  // (own · T, D)
    private var output: Tensor  // (T, D)

    init(_ search: ScalingSearch) throws {
      self.search = search
      let T = search.stream.length, D = search.c.hiddenSize, arena = Arena("sample of a search")
      let count = max(1, min(search.sequences, search.settings.searchTokens / T))
      let chosen = Set((0..<count).map { $0 * search.sequences / count })
      own = search.stream.sequences.enumerated().filter { chosen.contains($0.element) }.map { ($0.offset, $0.element) }
      sum = OrderedSum(slots: search.sequences, on: search.communicator, in: arena)
      middles = Tensor(rows: own.count * T, columns: D, in: arena)
      outputs = Tensor(rows: own.count * T, columns: D, in: arena)
      output = Tensor(rows: T, columns: D, in: arena)
      let pass = search.pass, layer = search.layer
      for (k, place) in own.enumerated() {
        search.stream.loadResidual(place.index, into: &pass.residual(of: layer).x)
        pass.attentionInput(layer: layer)
        pass.attend(layer: layer)
        pass.addAttention(layer: layer)
        var rows = middles.rows(k * T..<(k + 1) * T)
        rows.copy(from: pass.activations(of: layer).middle)
      }
    }

    /// Keeps what the module of `site` gives with the weights as they are.
    func remember(_ site: ChannelScaling.Site) {
      for k in own.indices {
        run(site, k)
        var rows = outputs.rows(k * output.rows..<(k + 1) * output.rows)
        rows.copy(from: output)
      }
    }

    /// Σ of squared differences to what was kept. Collective.
    func loss(_ site: ChannelScaling.Site) throws -> Double {
      for (k, place) in own.enumerated() {
        run(site, k)
        let rows = outputs.rows(k * output.rows..<(k + 1) * output.rows)
        sum.place(rows.squaredDistance(to: output), at: place.sequence)
      }
      return try sum.total()
    }

    private func run(_ site: ChannelScaling.Site, _ k: Int) {
      let pass = search.pass, layer = search.layer, a = pass.activations(of: layer)
      switch site {
      case .queryKeyValue, .output:
        search.stream.loadResidual(own[k].index, into: &pass.residual(of: layer).x)
        pass.attentionInput(layer: layer)
        pass.attend(layer: layer)
        Linear.forward(&output, of: a.outputInput, weight: search.w.output)
      case .gateUp, .down:
        a.middle.copy(from: middles.rows(k * output.rows..<(k + 1) * output.rows))
        pass.gateUpInput(layer: layer)
        pass.gate(layer: layer)
        Linear.forward(&output, of: a.gated, weight: search.w.down)
      }
    }
  }
}

extension ChannelScaling.Site {
  /// The same place as a place of rotations.
  var online: OnlineTransforms.Site {
    switch self {
    case .queryKeyValue: .queryKeyValue
    case .output: .output
    case .gateUp: .gateUp
    case .down: .down
    }
  }
}
