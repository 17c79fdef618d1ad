public import Checkpoints

/// What `mfqat compare` found: models made from one start by rounding, calibration or training, on equal tokens
/// (after arXiv 2410.14570).
public struct PathReport: Sendable, Equatable {
  public struct Candidate: Sendable, Equatable {
    public var source: String
    /// The format of its quantized tensors; `fp32` for a dense model.
    public var format: String
    /// How the weights came about.
    public var method: String
    public var bitsPerWeight: Double
    /// Mean nats a token.
    public var nll: Double
    /// ‖ŵ - w₀‖ / ‖w₀‖ over the quantized tensors, and over all parameters.
    public var quantizedDistance: Double
    public var modelDistance: Double
    /// Σ t² = Σ ‖Ŵ - W₀‖² / ‖W₀‖² over the quantized tensors.
    public var localError: Double
    /// Σ ‖(W - Ŵ)X‖² / ‖WX‖² over the products of a calibrated anchor, on its calibration text; nil where nobody has
    /// recorded it.
    public var outputError: Double?
    /// Losses from the start (t = 0) to the candidate (t = 1), and beyond if asked for.
    public var line: [Point]
    /// The first t at which the loss is too far above the start's, or the last measured if it never is.
    public var basinEnd: Double
    public var leavesBasin: Bool

    /// ‖w(t) - w₀‖ / ‖w₀‖ over all parameters at the basin's end.
    public var basinRadius: Double { basinEnd * modelDistance }
    public var perplexity: Double { EvaluationRecord.Result.exponential(nll) }

    public init(
      source: String, format: String, method: String, bitsPerWeight: Double, nll: Double, quantizedDistance: Double,
      modelDistance: Double, localError: Double, outputError: Double? = nil, line: [Point], basinEnd: Double, leavesBasin: Bool
    ) {
      self.source = source
      self.format = format
      self.method = method
      self.bitsPerWeight = bitsPerWeight
      self.nll = nll
      self.quantizedDistance = quantizedDistance
      self.modelDistance = modelDistance
      self.localError = localError
      self.outputError = outputError
      self.line = line
      self.basinEnd = basinEnd
      self.leavesBasin = leavesBasin
    }
  }

  public struct Point: Sendable, Equatable {
    public var t: Double
    public var nll: Double

    public init(t: Double, nll: Double) {
      self.t = t
      self.nll = nll
    }
  }

  public var start: String
  /// Of the start, in the arithmetic of the candidates.
  public var startNLL: Double
  public var text: [String]
  public var context: Int
  public var tokensScored: Int
  /// The format that inputs of linear layers were rounded to; nil for fp32.
  public var activations: String?
  /// Tensors that quantized distances and local errors are over.
  public var tensorCount: Int
  /// How far, as a share of itself, the start's loss may rise inside the basin.
  public var basinRise: Double
  public var candidates: [Candidate]
  /// Spearman's correlation over the candidates of local error and loss; nil where there are too few.
  public var rankCorrelation: Double?
  /// The same of output error and loss, over the candidates that have one.
  public var outputRankCorrelation: Double?

  public init(
    start: String, startNLL: Double, text: [String], context: Int, tokensScored: Int, activations: String?,
    tensorCount: Int, basinRise: Double, candidates: [Candidate], rankCorrelation: Double?,
    outputRankCorrelation: Double? = nil
  ) {
    self.start = start
    self.startNLL = startNLL
    self.text = text
    self.context = context
    self.tokensScored = tokensScored
    self.activations = activations
    self.tensorCount = tensorCount
    self.basinRise = basinRise
    self.candidates = candidates
    self.rankCorrelation = rankCorrelation
    self.outputRankCorrelation = outputRankCorrelation
  }
}

// MARK: - Machines

extension PathReport {
  /// Whether any candidate has been calibrated on text.
  private var hasOutputErrors: Bool { candidates.contains { $0.outputError != nil } }

  /// Figures that are not finite are null. `activations` is there only where it was asked for, output errors where a
  /// candidate has one.
  public var json: JSONValue {
    func number(_ value: Double?) -> JSONValue { EvaluationRecord.number(value) }
    var object = JSONObject()
    object["start"] = [
      "source": .string(start), "nll": number(startNLL),
      "perplexity": number(EvaluationRecord.Result.exponential(startNLL)),
    ]
    object["text"] = text.count == 1 ? .string(text[0]) : .array(text.map { .string($0) })
    object["context"] = .integer(context)
    object["tokens_scored"] = .integer(tokensScored)
    object["activations"] = activations.map { .string($0) }
    object["tensors"] = .integer(tensorCount)
    object["basin_rise"] = number(basinRise)
    object["candidates"] = .array(candidates.map { candidate in
      let value: JSONValue = [
        "source": .string(candidate.source), "format": .string(candidate.format),
        "method": .string(candidate.method), "bits_per_weight": number(candidate.bitsPerWeight),
        "nll": number(candidate.nll), "perplexity": number(candidate.perplexity),
        "distance": number(candidate.quantizedDistance), "model_distance": number(candidate.modelDistance),
        "local_error": number(candidate.localError),
        "line": .array(candidate.line.map { ["t": number($0.t), "nll": number($0.nll)] }),
        "basin": [
          "t": number(candidate.basinEnd), "radius": number(candidate.basinRadius),
          "left": .bool(candidate.leavesBasin),
        ],
      ]
      var object = value.object ?? JSONObject()
      if hasOutputErrors { object["output_error"] = number(candidate.outputError) }
      return .object(object)
    })
    object["rank_correlation"] = number(rankCorrelation)
    if hasOutputErrors { object["output_rank_correlation"] = number(outputRankCorrelation) }
    return .object(object)
  }
}

// MARK: - People

extension PathReport {
  public var plain: String {
    """
    \(table.plain)
    \(lines.plain)
    \(notes)

    """
  }

  /// A row the start, a row a candidate.
  public var table: TextTable {
    var table = TextTable([
      .init(""), .init("model"), .init("format"), .init("how"), .init("nats per token", .right),
      .init("perplexity", .right), .init("distance", .right), .init("of model", .right), .init("local error", .right),
    ] + (hasOutputErrors ? [.init("output error", .right)] : []) + [.init("basin radius", .right)])
    table.add([
      "start", start, "", "", Figures.fixed(startNLL, 5),
      Figures.perplexity(EvaluationRecord.Result.exponential(startNLL)), "", "", "", "",
    ] + (hasOutputErrors ? [""] : []))
    for (index, candidate) in candidates.enumerated() {
      table.add([
        Self.name(index), candidate.source, candidate.format, candidate.method, Figures.fixed(candidate.nll, 5),
        Figures.perplexity(candidate.perplexity), Figures.fixed(candidate.quantizedDistance, 5),
        Figures.fixed(candidate.modelDistance, 5), Figures.fixed(candidate.localError, 5),
      ] + (hasOutputErrors ? [candidate.outputError.map { Figures.fixed($0, 5) } ?? "-"] : []) + [
        (candidate.leavesBasin ? "" : ">= ") + Figures.fixed(candidate.basinRadius, 5),
      ])
    }
    return table
  }

  /// A row a point of the line, a column a candidate.
  public var lines: TextTable {
    var table = TextTable([.init("t", .right)] + candidates.indices.map { .init(Self.name($0), .right) })
    for (row, point) in (candidates.first?.line ?? []).enumerated() {
      table.add([Figures.fixed(point.t, 2)] + candidates.map { Figures.fixed($0.line[row].nll, 5) })
    }
    return table
  }

  private var notes: String {
    let rounded = activations.map { ", linear inputs in \($0)" } ?? ""
    let calibrated = candidates.filter { $0.outputError != nil }.count
    let outputs = calibrated == 0 ? "" : """
      \nOutput error: sum of the relative squared errors of the products' outputs on the calibration text. Rank \
      correlation of it and loss, over \(calibrated): \(Self.correlation(outputRankCorrelation, of: calibrated)).
      """
    return """
      Nats a token at w0 + t (w - w0): t = 0 is the start, t = 1 the candidate.
      \(text.joined(separator: ", ")): \(Figures.grouped(tokensScored)) tokens scored in windows of \
      \(context)\(rounded).
      Distance: |w - w0| / |w0| over \(tensorCount) tensors, and over the model. Local error: sum of their squared \
      relative errors. Basin: until the loss is \(Figures.fixed(100 * basinRise, 2)) % above the start's, as a \
      distance of the model.
      Rank correlation of local error and loss: \(Self.correlation(rankCorrelation, of: candidates.count)).\(outputs)
      """
  }

  private static func correlation(_ value: Double?, of count: Int) -> String {
    value.map { Figures.fixed($0, 3) }
      ?? (count < 3 ? "needs 3 candidates or more" : "not defined here: one side has no order")
  }

  /// A, B, ... Z, then numbers.
  static func name(_ index: Int) -> String {
    index < 26 ? String(Unicode.Scalar(UInt8(ascii: "A") + UInt8(index))) : "\(index + 1)"
  }
}
