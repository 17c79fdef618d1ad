public import Checkpoints
public import Communication
import Formats
import Kernels
import Quantization
import Tensors
public import Transformer

/// A calibration from a model to an anchor, unit by unit, over the ranks of a communicator.
///
///     let run = try CalibrationRun(model, settings, sample: sample, on: communicator)
///     let record = try run.run(out: "anchor")
///
/// Sequences are shared out over ranks for statistics, tiles of rows for rounding; what comes out is the same on any number
/// of ranks and threads. Memory of a rank: the residual stream of its sequences and attention's output (two layers' worth of
/// activations), one unit's weights, the second moments of one input. Every finished unit is on disk, so that an
/// interrupted calibration goes on where it stood.
public final class CalibrationRun {
  public let settings: CalibrationSettings
  public let source: any ModelSource
  /// What the anchor's configuration will be; RoSTE may drop some of its rotations.
  public private(set) var target: ModelConfiguration
  /// What the model's shape leaves out of the method.
  public let notes: [String]
  /// Of this rank; nil where no text is looked at.
  public let memory: CalibrationMemory?
  let sample: CalibrationSample?
  private let allocation: AllocationReport?
  let communicator: Communicator
  private let report: (CalibrationProgress) -> Void
  let layout: ParameterLayout
  private let parameters: Parameters
  private let quantized: Set<String>
  let fixed: FixedReparameterisation?
  private let arena = Arena("calibration")
  /// Of the source's weights; on the root, once it has begun.
  private(set) var modelIdentity: String?

  /// Refuses methods that do not fit the model, and selections that a product cannot follow.
  ///
  /// - Parameters:
  ///   - sample: what the method looks at; nil for one that reads no text.
  ///   - allocation: what the formats in `settings` were chosen by, for the record.
  ///   - report: called on the root after every unit.
  public init(
    _ source: any ModelSource, _ settings: CalibrationSettings, sample: CalibrationSample?,
    allocation: AllocationReport? = nil, on communicator: Communicator,
    report: @escaping (CalibrationProgress) -> Void = { _ in }
  ) throws {
    precondition(allocation.map { $0.plan.formats == settings.allocation } ?? true, "formats of another allocation")
    try settings.check()
    guard sample != nil || !settings.method.readsText else {
      throw CalibrationError("method '\(settings.method)'", "needs text to look at", hint: "Give --text.")
    }
    let recipe = settings.recipe
    guard !recipe.recordsNormScales || source.configuration.transforms.isEmpty else {
      throw CalibrationError("method '\(settings.method)'", "norm scales follow from weights that are not rotated online",
        hint: "Record them when the model is rotated.")
    }
    // A model that is rotated already can be rounded anew, but not take other coordinates.
    fixed = recipe.changesCoordinates ? try FixedReparameterisation(recipe, of: source.configuration) : nil
    let target = fixed?.target ?? source.configuration
    self.source = source
    self.settings = settings
    self.allocation = allocation
    self.sample = settings.method.readsText ? sample : nil
    self.target = target
    notes = fixed?.notes ?? []
    self.communicator = communicator
    self.report = { if communicator.isRoot { report($0) } }
    layout = ParameterLayout(target)
    quantized = try Self.products(source, settings, layout)
    parameters = Parameters(target, in: arena, sharing: .layers)
    memory = try self.sample.map { sample in
      let own = (sample.sequences.count + communicator.size - 1) / communicator.size
      return try CalibrationMemory(
        target, own: own, context: min(sample.context, target.contextLimit), correctsUpstream: settings.method.correctsUpstream)
    }
  }

  /// Products whose tensors are selected, by their first tensor. One product has one input, one format, one solution.
  private static func products(
    _ source: any ModelSource, _ settings: CalibrationSettings, _ layout: ParameterLayout
  ) throws -> Set<String> {
    let names = try source.quantizedNames(settings.selection, ParameterLayout(source.configuration))
    var chosen: Set<String> = [], placed: Set<String> = []
    for unit in layout.units {
      let places = ProductPlaces(unit)
      for product in places.products {
        let tensors = places.tensors(of: product), selected = tensors.filter(names.contains)
        placed.formUnion(selected)
        guard !selected.isEmpty else { continue }
        guard selected.count == tensors.count, Set(tensors.map(settings.format(of:))).count == 1 else {
          throw CalibrationError(product, "is one product with \(tensors.joined(separator: ", ")), which have to be treated alike",
            hint: "Select all of them or none, in one format.")
        }
        chosen.insert(product)
      }
    }
    if let other = names.subtracting(placed).min() {
      throw CalibrationError(other, "is no linear layer of the decoder, and calibration rounds nothing else",
        hint: "Leave it out of the selection.")
    }
    return chosen
  }

  // MARK: Units

  /// Calibrates what is not done yet, writes the anchor to `out`, and removes the finished units. Collective.
  public func run(out: String) throws -> CalibrationRecord {
    let store = UnitStore(beside: out, layout)
    let done = try begin(store, out)
    var record = CalibrationRecord(
      settings, sample: sample?.identity, notes: notes, ranks: communicator.size, memory: memory)
    record.allocation = allocation
    let text = try communicator.onEveryRank { try sample.map { try layerText($0) } }
    for unit in 0..<layout.units.count {
      let clock = ContinuousClock.now
      let result: UnitStore.Unit
      if unit < done {
        result = try communicator.onEveryRank { try store.load(unit, into: parameters.units[unit]) }
        try advance(unit, result, text)
      } else {
        result = try calibrate(unit, text)
        try communicator.onRoot {
          try store.save(
            unit, parameters.units[unit], result, format: settings.format, scales: settings.storedScales)
        }
      }
      for site in result.droppedSites.compactMap(OnlineTransforms.Site.init(rawValue:)) {
        target.transforms[unit - 1, site] = nil
      }
      let seconds = Self.seconds(since: clock)
      record.add(result, seconds: seconds)
      report(
        CalibrationProgress(
          unit: layout.units[unit].name, done: unit + 1, total: layout.units.count, figures: result.figures,
          seconds: seconds, isResumed: unit < done))
    }
    record.transforms = target.transforms
    record.coordinates = CoordinateFingerprint(settings.recipe, of: source.coordinates)
      .coordinates(layers: record.layerCoordinates)
    try communicator.onRoot { try writeAnchor(store, out, &record) }
    record.peakBytes = Int(try communicator.maximum(Int64(ProcessMemory.peakBytes)))
    return record
  }

  /// Agrees on what is done.
  private func begin(_ store: UnitStore, _ out: String) throws -> Int {
    let seen = try communicator.onEveryRank { try JSONValue.object(surroundings()).serialized(order: .given) }
    try communicator.requireSame(
      String(decoding: seen, as: UTF8.self), what: "what is calibrated",
      hint: "All ranks must see the same model, text and settings, on processors with the same kernels."
    ) { found, root in
      let (found, root) = (try? JSONScanner.parse(Array(found.utf8)).object, try? JSONScanner.parse(Array(root.utf8)).object)
      return CalibrationDifference.first(found ?? JSONObject(), root ?? JSONObject()) ?? "it cannot be read"
    }
    let identity = try communicator.fromRoot {
      String(decoding: JSONValue.object(try self.identity()).serialized(order: .given), as: UTF8.self)
    }
    let done = try communicator.fromRoot {
      guard !FileBytes.exists(out) || FileBytes.isDirectory(out) && FileBytes.names(in: out).isEmpty else {
        throw CalibrationError(out, "exists already", hint: "Remove it or choose another --out: nothing is overwritten.")
      }
      return String(try store.begin(JSONScanner.parse(Array(identity.utf8), path: store.directory).object ?? JSONObject()))
    }
    return Int(done) ?? 0
  }

  /// Everything that decides the bits of a unit.
  private func identity() throws -> JSONObject {
    let model = try WeightIdentity.of(source.path).description
    modelIdentity = model
    var identity = JSONObject()
    identity["version"] = 2
    identity["model"] = .string(model)
    for (key, value) in try surroundings().members { identity[key] = value }
    return identity
  }

  /// The part of it that costs nothing to find out on every rank.
  private func surroundings() throws -> JSONObject {
    var object = JSONObject()
    object["configuration"] = .string(ContentHash(try source.sidecar(type(of: source).configurationFile)).description)
    object["text"] = sample.map { .string($0.identity) } ?? .null
    object["settings"] = settings.json
    object["kernels"] = .string("\(KernelTable.current.name), OpenBLAS \(BLAS.coreName)")
    return object
  }

  private func layerText(_ sample: CalibrationSample) throws -> LayerCalibration.Text {
    guard sample.context <= target.contextLimit else {
      throw CalibrationError(
        "context", "\(sample.context) tokens, the model attends to \(target.contextLimit)",
        hint: "Choose a --context of at most \(target.contextLimit).")
    }
    // Those that the weights are stored in, where the model was rotated before.
    let stored = source.configuration.transforms
    let activations = settings.roundsInputs ? settings.activations : nil
    func workspace(_ transforms: OnlineTransforms, _ activations: MXFormat?) throws -> Workspace {
      var c = target
      c.transforms = transforms
      return try Workspace(
        c, sequences: 1, length: sample.context, purpose: .inference, activationFormat: activations,
        in: Arena("a sequence's activations"))
    }
    // One workspace serves all layers, unless layers choose their rotations.
    var last: (transforms: OnlineTransforms, space: Workspace)?
    func shared(_ transforms: OnlineTransforms) throws -> Workspace {
      if let last, last.transforms == transforms { return last.space }
      let space = try workspace(transforms, activations)
      last = (transforms, space)
      return space
    }
    func stream(_ inside: ResidualStream.Inside) -> ResidualStream {
      ResidualStream(
        target, sequences: sample.sequences.count, length: sample.context, keeping: inside, on: communicator, in: arena)
    }
    let reference = settings.method.correctsUpstream
      ? LayerCalibration.Reference(
        stream: stream(.middle), parameters: Parameters(target, in: arena, sharing: .layers), space: try workspace(stored, nil))
      : nil
    return LayerCalibration.Text(
      stream: stream(.attended), sequences: sample.sequences.count, plain: try workspace(stored, nil),
      workspace: shared, reference: reference)
  }

  private func calibrate(_ unit: Int, _ text: LayerCalibration.Text?) throws -> UnitStore.Unit {
    try communicator.onEveryRank { try read(unit, into: parameters) }
    var result = UnitStore.Unit()
    let last = layout.units.count - 1
    if unit == 0 {
      fixed?.apply(embedding: &parameters.embedding)
      embed(text)
    } else if unit == last {
      try fixed?.apply(finalNorm: &parameters.finalNorm, head: &parameters.head)
    } else {
      let w = parameters.layers[unit - 1]
      if settings.recipe.recordsNormScales {
        let scales = SLaNC.Layer(w, target)
        result.normScales = [scales.postAttention, scales.postFeedForward]
      }
      try fixed?.apply(to: w, index: unit - 1)
      let layer = try LayerCalibration(
        layer: unit - 1, settings: settings, communicator: communicator, quantized: quantized, parameters: parameters,
        text: text
      ).run(target.transforms)
      result.rounded = layer.rounded
      result.coordinates = layer.coordinates
      result.figures = layer.figures
      result.droppedSites = OnlineTransforms.Site.allCases.filter {
        target.transforms[unit - 1, $0] != nil && layer.transforms[unit - 1, $0] == nil
      }.map(\.rawValue)
    }
    return result
  }

  /// A finished unit's part of the forward pass.
  private func advance(_ unit: Int, _ result: UnitStore.Unit, _ text: LayerCalibration.Text?) throws {
    guard let text, unit < layout.units.count - 1 else { return }
    if unit == 0 { return embed(text) }
    var transforms = target.transforms
    for site in result.droppedSites.compactMap(OnlineTransforms.Site.init(rawValue:)) { transforms[unit - 1, site] = nil }
    let pass = LayerPass(parameters, try text.workspace(transforms)), layer = unit - 1
    for index in text.stream.sequences.indices {
      text.stream.loadResidual(index, into: &pass.residual(of: layer).x)
      pass.forward(layer: layer)
      text.stream.storeResidual(index, pass.residual(of: layer + 1).x)
    }
    guard let reference = text.reference else { return }
    try communicator.onEveryRank {
      try read(unit, into: reference.parameters)
      try fixed?.apply(to: reference.parameters.layers[layer], index: layer)
    }
    let original = OriginalLayer(layer: layer, pass: reference.pass(), stream: reference.stream)
    for index in reference.stream.sequences.indices {
      original.keepMiddle(index)
      original.finish(index)
    }
  }

  private func embed(_ text: LayerCalibration.Text?) {
    guard let text, let sample else { return }
    let pass = LayerPass(parameters, text.plain)
    for (index, sequence) in text.stream.sequences.enumerated() {
      for (t, id) in sample.sequences[sequence].enumerated() { text.plain.ids[t] = id }
      pass.embed()
      text.stream.storeResidual(index, pass.residual(of: 0).x)
      text.reference?.stream.storeResidual(index, pass.residual(of: 0).x)
    }
  }

  /// Weights of a unit as the source has them; a head of its own begins as a tied source's embedding.
  func read(_ unit: Int, into parameters: Parameters) throws {
    let stored = Dictionary(uniqueKeysWithValues: ParameterLayout(source.configuration).all.map { ($0.spec.name, $0.spec) })
    for spec in layout.units[unit].parameters {
      let name = spec.name == ParameterLayout.headName ? NormFolding.headSource(of: source.configuration) : spec.name
      guard let original = stored[name] else { preconditionFailure("no tensor \(name) in \(source.path)") }
      var region = parameters.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      do {
        var values = region.mutableSpan
        try source.read(original, rows: 0..<original.rows, into: &values)
      }
      guard region.isFinite else {
        throw CalibrationError(source.path, "tensor '\(name)' holds NaN or infinity", hint: "No format can hold these weights.")
      }
    }
  }

  private static func seconds(since start: ContinuousClock.Instant) -> Double {
    let duration = start.duration(to: .now)
    return Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
  }
}
