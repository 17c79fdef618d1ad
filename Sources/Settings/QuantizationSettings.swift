public import Formats
public import Quantization

/// `quantization`: the formats trained for, and how.
public struct QuantizationSettings: Sendable, Hashable {
  var chosenObjective: Automatic<Objective> = .auto
  /// The formats trained on; under `full_precision` those that validation reports.
  public var formats: [MXFormat] = []
  /// λ of each format; empty means the schedule's default.
  public var weights: [Double] = []
  var chosenSchedule: Automatic<FormatSchedule.Kind> = .auto
  /// Share of the steps each format gets in a curriculum; empty means equal shares.
  public var curriculumFractions: [Double] = []
  public var path = ForwardPathKind.viaAnchor
  var chosenAnchor: Automatic<MXFormat> = .auto
  public var estimator = GradientEstimator.straightThrough
  public var scaleRule = ScaleRule.floor
  /// Glob patterns over checkpoint names.
  public var include = TensorSelection.decoderLinears
  public var exclude: [String] = []
  /// Format of the inputs of quantized matmuls; nil keeps them in full precision.
  public var activations: MXFormat?
  /// Formats that validation reports; empty means `formats`.
  public var evaluateFormats: [MXFormat] = []

  public init() {}

  /// Default: quantized when there are formats.
  public var objective: Objective {
    get { chosenObjective.or(formats.isEmpty ? .fullPrecision : .quantized) }
    set { chosenObjective = .chosen(newValue) }
  }

  /// Default: single for one format, round_robin for several.
  public var schedule: FormatSchedule.Kind {
    get { chosenSchedule.or(formats.count > 1 ? .roundRobin : .single) }
    set { chosenSchedule = .chosen(newValue) }
  }

  /// The format the anchor checkpoint is written in. Default: the family's, mxint8 or mxfp8_e4m3.
  public var anchor: MXFormat {
    get { chosenAnchor.or((formats.first?.family ?? .integer).anchor) }
    set { chosenAnchor = .chosen(newValue) }
  }

  /// Formats of both families and no anchor named: nothing says what to write.
  var isAnchorAmbiguous: Bool { chosenAnchor == .auto && Set(formats.map(\.family)).count > 1 }

  public var forwardPath: ForwardPath {
    switch path {
    case .direct: .direct
    case .viaAnchor: .viaAnchor(anchor)
    }
  }

  public var selection: TensorSelection { TensorSelection(include: include, exclude: exclude) }

  /// What validation reports.
  public var formatsToEvaluate: [MXFormat] { evaluateFormats.isEmpty ? formats : evaluateFormats }

  /// Every `auto` replaced by what it means here.
  mutating func resolve() {
    objective = objective
    schedule = schedule
    if !isAnchorAmbiguous { anchor = anchor }
  }
}

/// The two forward paths, without the anchor's format.
public enum ForwardPathKind: String, Sendable, Hashable, CaseIterable {
  case direct
  case viaAnchor = "via_anchor"
}

extension ForwardPathKind: NamedSetting {}

extension QuantizationSettings: SettingsSection {
  static let keys: [SettingKey<Self>] = [
    SettingKey("objective", \.chosenObjective, """
      Whether the loss is computed with quantized weights; auto is quantized when formats are given, else \
      full_precision. Under full_precision the formats are only what validation reports.
      """),
    SettingKey("formats", \.formats, "Formats trained for, of \(MXFormat.all.map(\.name).joined(separator: ", "))."),
    SettingKey("weights", \.weights, """
      Factor of each format's loss, in the order of formats; [] is 1 each, under schedule sum 1/count each.
      """),
    SettingKey("schedule", \.chosenSchedule, """
      Which format a step runs: single (the only one), curriculum (phases from narrow to wide), round_robin (the next \
      one each step), random (drawn each step), sum (all of them on the same sequences), format_parallel (all of them \
      at once on different lanes); auto is single for one format and round_robin for several.
      """),
    SettingKey("curriculum_fractions", \.curriculumFractions, """
      Share of the steps each format gets under schedule curriculum, in the order of formats; [] is equal shares.
      """),
    SettingKey("path", \.path, """
      How a weight becomes a format: via_anchor (cut out of the anchor's codes, as the anchor file will give it) or \
      direct (rounded once from full precision).
      """),
    SettingKey("anchor", \.chosenAnchor, """
      Format of the anchor checkpoint, out of which every format of path via_anchor must be cut; auto is mxint8 for \
      MXINT formats and mxfp8_e4m3 for MXFP formats.
      """),
    SettingKey("estimator", \.estimator, """
      Gradient of a rounded weight: straight_through (passes everywhere) or clipped (0 where the weight was clipped).
      """),
    SettingKey("scale_rule", \.scaleRule, """
      How a block's scale follows from its largest element; rceil and even need path direct, because only floor lets \
      formats be cut out of an anchor.
      """),
    SettingKey("include", \.include, """
      Glob patterns over checkpoint names of the weights to quantize: * stops at a dot, ** does not, {a,b} is either.
      """),
    SettingKey("exclude", \.exclude, "Glob patterns of weights to leave in full precision although include names them."),
    SettingKey("activations", \.activations, "Format of the inputs of quantized matmuls; none keeps full precision."),
    SettingKey("evaluate_formats", \.evaluateFormats, "Formats that validation reports; [] is those of formats."),
  ]
}
