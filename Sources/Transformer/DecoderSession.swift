public import Formats
import Kernels
import Quantization
public import Tensors

extension ModelConfiguration {
  /// The longest text this model can attend to here.
  public var contextLimit: Int { min(maximumPositions, slidingWindow ?? maximumPositions) }
}

/// A model that reads a text once, token after token: keys and values of what was read stay in a cache.
///
/// Legend: n new tokens, D hidden, G·d key width; cache (capacity, G·d) a layer. The arithmetic is that of
/// `DecoderLayer.forward`, against the cache instead of the batch.
public final class DecoderSession {
  public let parameters: Parameters
  /// Tokens the cache holds at most.
  public let capacity: Int
  /// Linear inputs are rounded to this format on the fly.
  public let activationFormat: MXFormat?
  /// Tokens read so far.
  public private(set) var position = 0

  /// Tokens of one pass; a longer prompt takes several.
  public let passLength: Int

  private let arena = Arena("decoder")
  private let rotary: RotaryTables
  private let rotations: OnlineRotations
  private let caches: [LayerCache]
  private var ids: HostBuffer<Int32>  // (pass)
  private let space: PassActivations
  private var last: Tensor  // (1, D)  final norm of the last token
  private var lastRstd: Tensor
  private var scores: Tensor
  /// Logits after the last token read, (1, V).
  public private(set) var logits: Tensor

  /// - Parameter capacity: at most `contextLimit` of the configuration.
  public init(_ parameters: Parameters, capacity: Int, activationFormat: MXFormat? = nil) throws(ModelError) {
    let c = parameters.configuration
    guard capacity > 0, capacity <= c.contextLimit else {
      throw ModelError("model", "a text of \(capacity) tokens, the model attends to \(c.contextLimit)",
        hint: "Choose 1 to \(c.contextLimit) tokens.")
    }
    self.parameters = parameters
    self.capacity = capacity
    self.activationFormat = activationFormat
    passLength = min(capacity, 512)
    rotary = RotaryTables(c.rotary, positions: capacity, headDimension: c.headDimension, in: arena)
    rotations = try OnlineRotations(c, in: arena)
    caches = (0..<c.layerCount).map { [arena] _ in LayerCache(capacity, c.keyWidth, in: arena) }
    ids = HostBuffer(count: passLength, in: arena)
    space = PassActivations(c, tokens: passLength, in: arena)
    last = Tensor(rows: 1, columns: c.hiddenSize, in: arena)
    lastRstd = Tensor(rows: 1, columns: 1, in: arena)
    scores = Tensor(rows: Swift.min(passLength, 128), columns: capacity + 1, in: arena)
    logits = Tensor(rows: 1, columns: c.vocabularySize, in: arena)
  }

  /// Bytes of the cache and of everything else this decoder holds beside the weights.
  public var reservedBytes: Int { arena.reservedBytes }

  /// Forgets the text.
  public func reset() { position = 0 }

  /// Reads further tokens; afterwards `logits` are those after the last of them.
  ///
  /// - Precondition: at least one token, ids of the vocabulary, room in the cache.
  public func read(_ tokens: some Collection<Int32>) {
    precondition(!tokens.isEmpty && position + tokens.count <= capacity,
      "\(tokens.count) tokens after \(position) of \(capacity)")
    var rest = tokens[...]
    while !rest.isEmpty {
      let pass = rest.prefix(passLength)
      for (i, token) in pass.enumerated() {
        precondition(token >= 0 && Int(token) < parameters.configuration.vocabularySize, "token \(token)")
        ids[i] = token
      }
      rest = rest.dropFirst(pass.count)
      run(pass.count, wantsLogits: rest.isEmpty)
    }
  }

  public func read(_ token: Int32) { read(CollectionOfOne(token)) }

  /// The sampler's choice for the next token.
  public func next(_ sampler: Sampler) throws(ModelError) -> Int32 {
    let row = logits.rows(0..<1)
    return try sampler.sample(row.span, position: position)
  }

  private func run(_ n: Int, wantsLogits: Bool) {
    let c = parameters.configuration
    var x = space.x.rows(0..<n)
    Embedding.forward(&x, of: ids, table: parameters.embedding)
    for layer in 0..<c.layerCount { forward(layer, &x, c) }
    position += n
    guard wantsLogits else { return }
    RMSNorm.forward(
      &last, rstd: &lastRstd, of: x.rows(n - 1..<n), gain: parameters.finalNorm, epsilon: c.normEpsilon)
    Linear.forward(&logits, of: last, weight: parameters.head)
  }

  private func forward(_ layer: Int, _ x: inout Tensor, _ c: ModelConfiguration) {
    let n = x.rows, w = parameters.layers[layer], cache = caches[layer]
    var normed = space.normed.rows(0..<n)
    RMSNorm.forward(&normed, rstd: &space.rstd, of: x, gain: w.inputNorm, epsilon: c.normEpsilon)
    prepare(&normed, layer, .queryKeyValue)
    var queryKeyValue = space.queryKeyValue.rows(0..<n)
    Linear.forward(&queryKeyValue, of: normed, weight: w.queryKeyValue)
    if w.queryKeyValueBias.count > 0 { Linear.addBias(&queryKeyValue, bias: w.queryKeyValueBias) }

    var attended = space.attended.rows(0..<n)
    if c.queryKeyNorm {
      var queryKey = space.queryKey.rows(0..<n)
      RMSNorm.forwardPerHead(
        &queryKey, toColumn: 0, rstd: &space.headRstd, rstdRow: 0, of: queryKeyValue, fromColumn: 0,
        heads: c.queryHeads, gain: w.queryNorm, epsilon: c.normEpsilon)
      RMSNorm.forwardPerHead(
        &queryKey, toColumn: c.queryWidth, rstd: &space.headRstd, rstdRow: c.queryHeads, of: queryKeyValue,
        fromColumn: c.queryWidth, heads: c.keyHeads, gain: w.keyNorm, epsilon: c.normEpsilon)
      turn(&queryKey, layer, c)
      cache.store(keys: queryKey, keyColumn: c.queryWidth, values: queryKeyValue, c, at: position)
      attend(&attended, queryKey, cache, c)
    } else {
      turn(&queryKeyValue, layer, c)
      cache.store(keys: queryKeyValue, keyColumn: c.queryWidth, values: queryKeyValue, c, at: position)
      attend(&attended, queryKeyValue, cache, c)
    }
    prepare(&attended, layer, .output)
    Linear.forward(&x, of: attended, weight: w.output, output: .accumulate)
    if w.outputBias.count > 0 { Linear.addBias(&x, bias: w.outputBias) }

    RMSNorm.forward(&normed, rstd: &space.rstd, of: x, gain: w.postAttentionNorm, epsilon: c.normEpsilon)
    prepare(&normed, layer, .gateUp)
    var gateUp = space.gateUp.rows(0..<n), gated = space.gated.rows(0..<n)
    Linear.forward(&gateUp, of: normed, weight: w.gateUp)
    if w.gateUpBias.count > 0 { Linear.addBias(&gateUp, bias: w.gateUpBias) }
    SwiGLU.forward(&gated, of: gateUp)
    prepare(&gated, layer, .down)
    Linear.forward(&x, of: gated, weight: w.down, output: .accumulate)
    if w.downBias.count > 0 { Linear.addBias(&x, bias: w.downBias) }
  }

  private func turn(_ x: inout Tensor, _ layer: Int, _ c: ModelConfiguration) {
    RotaryEmbedding.apply(
      &x, column: 0, heads: c.queryHeads + c.keyHeads, cosines: rotary.cosines, sines: rotary.sines, first: position,
      period: capacity, direction: .forward)
    rotations.apply(to: &x, layer: layer, site: .queryKey)
  }

  private func attend(_ y: inout Tensor, _ queries: borrowing Tensor, _ cache: LayerCache, _ c: ModelConfiguration) {
    Attention.decode(
      &y, queries: queries, queryColumn: 0, rows: y.rows, past: position, keys: cache.keys, values: cache.values,
      queryHeads: c.queryHeads, keyHeads: c.keyHeads, headDimension: c.headDimension, scratch: &scores)
  }

  /// The input of a linear layer: rotated where the model is, then rounded.
  private func prepare(_ x: inout Tensor, _ layer: Int, _ site: OnlineTransforms.Site) {
    rotations.apply(to: &x, layer: layer, site: site)
    if let activationFormat { BlockCodec.roundTrip(inPlace: &x, format: activationFormat) }
  }
}

/// Keys (rotated) and values of one layer, (capacity, G·d) each.
private final class LayerCache {
  var keys: Tensor
  var values: Tensor

  init(_ capacity: Int, _ width: Int, in arena: Arena) {
    keys = Tensor(rows: capacity, columns: width, in: arena)
    values = Tensor(rows: capacity, columns: width, in: arena)
  }

  /// Values stand behind queries and keys in the columns of `source`.
  func store(
    keys from: borrowing Tensor, keyColumn: Int, values source: borrowing Tensor, _ c: ModelConfiguration,
    at position: Int
  ) {
    let width = c.keyWidth
    precondition(position + from.rows <= keys.rows, "\(from.rows) rows at \(position) of \(keys.rows)")
    for t in 0..<from.rows {
      // Sound: rows and columns were checked above and by the shapes of the activations.
      unsafe (keys.unsafeMutableAddress() + (position + t) * width).update(
        from: from.unsafeAddress() + t * from.columns + keyColumn, count: width)
      unsafe (values.unsafeMutableAddress() + (position + t) * width).update(
        from: source.unsafeAddress() + t * source.columns + c.queryWidth + c.keyWidth, count: width)
    }
  }
}

/// Activations of one pass; all layers share them.
private final class PassActivations {
  var x: Tensor  // (n, D)  residual stream
  var normed: Tensor  // (n, D)
  var rstd: Tensor  // (n)
  var queryKeyValue: Tensor  // (n, W)
  var queryKey: Tensor  // (n, H·d + G·d); empty without query-key norm
  var headRstd: Tensor  // (H + G, n)
  var attended: Tensor  // (n, H·d)
  var gateUp: Tensor  // (n, 2F)
  var gated: Tensor  // (n, F)

  init(_ c: ModelConfiguration, tokens n: Int, in arena: Arena) {
    x = Tensor(rows: n, columns: c.hiddenSize, in: arena)
    normed = Tensor(rows: n, columns: c.hiddenSize, in: arena)
    rstd = Tensor(rows: 1, columns: n, in: arena)
    queryKeyValue = Tensor(rows: n, columns: c.queryKeyValueWidth, in: arena)
    queryKey = Tensor(rows: c.queryKeyNorm ? n : 0, columns: c.queryWidth + c.keyWidth, in: arena)
    headRstd = Tensor(rows: c.queryKeyNorm ? c.queryHeads + c.keyHeads : 0, columns: n, in: arena)
    attended = Tensor(rows: n, columns: c.queryWidth, in: arena)
    gateUp = Tensor(rows: n, columns: 2 * c.feedForwardSize, in: arena)
    gated = Tensor(rows: n, columns: c.feedForwardSize, in: arena)
  }
}
