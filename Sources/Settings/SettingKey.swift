import Quantization

/// A value a setting can have.
protocol SettingValue: Sendable {
  /// What the configuration has to contain, for errors: "an integer".
  static var expectation: String { get }
  /// The same for the reference, where formats need not be listed at every key.
  static var typeName: String { get }
  /// The value, or nil after a problem was added to the report.
  static func decode(_ node: SettingNode, at path: String, _ report: inout SettingsReport) -> Self?
  /// The value written back, such that decoding it gives an equal value.
  var node: SettingNode { get }
  /// Keys of a section; nil for a single value.
  static var documentation: [KeyDocumentation]? { get }
  /// How an optional of this type says that there is none.
  static var absence: String { get }
}

extension SettingValue {
  static var typeName: String { expectation }
  static var documentation: [KeyDocumentation]? { nil }
  static var absence: String { "null" }
}

/// One key of a section: its name, where it lives, what it means. This table is all there is: decoding, writing, unknown
/// keys and the commented reference are made from it.
struct SettingKey<Section>: Sendable {
  let documentation: KeyDocumentation
  let decode: @Sendable (SettingNode, String, inout SettingsReport, inout Section) -> Void
  let encode: @Sendable (Section) -> SettingNode

  var name: String { documentation.name }

  init<Value: SettingValue>(
    _ name: String, _ property: any WritableKeyPath<Section, Value> & Sendable, required: Bool = false, _ sentence: String
  ) {
    documentation = KeyDocumentation(
      name: name, sentence: sentence, expectation: Value.expectation, typeName: Value.typeName, isRequired: required,
      keys: Value.documentation)
    decode = { node, path, report, section in
      if let value = Value.decode(node, at: path, &report) { section[keyPath: property] = value }
    }
    encode = { $0[keyPath: property].node }
  }
}

/// What the reference says about a key.
struct KeyDocumentation: Sendable {
  let name: String
  let sentence: String
  let expectation: String
  let typeName: String
  let isRequired: Bool
  /// The keys below it, if it is a section.
  let keys: [KeyDocumentation]?
}

/// A mapping with a fixed set of keys.
protocol SettingsSection: SettingValue {
  static var keys: [SettingKey<Self>] { get }
  init()
}

extension SettingsSection {
  static var expectation: String { "a mapping with \(keys.map(\.name).joined(separator: ", "))" }
  static var documentation: [KeyDocumentation]? { keys.map(\.documentation) }

  static func decode(_ node: SettingNode, at path: String, _ report: inout SettingsReport) -> Self? {
    var section = Self()
    let entries: [SettingNode.Entry]
    switch node.content {
    case .mapping(let found): entries = found
    case .null: entries = []  // `logging:` with all its keys commented out
    case .scalar, .sequence:
      report.add(path, at: node.origin, expected: expectation, found: node.summary)
      return nil
    }
    for entry in entries {
      let keyPath = path.isEmpty ? entry.key : "\(path).\(entry.key)"
      guard let key = keys.first(where: { $0.name == entry.key }) else {
        report.add(keyPath, at: entry.origin ?? entry.value.origin,
                   expected: "one of \(keys.map(\.name).joined(separator: ", "))", found: "an unknown key",
                   hint: KeyDocumentation.suggestion(for: entry.key, among: keys.map(\.documentation)))
        continue
      }
      report.origins[keyPath] = entry.value.origin ?? entry.origin
      key.decode(entry.value, keyPath, &report, &section)
    }
    for key in keys where !entries.contains(where: { $0.key == key.name }) {
      let keyPath = path.isEmpty ? key.name : "\(path).\(key.name)"
      if key.documentation.isRequired {
        report.add(keyPath, expected: key.documentation.expectation, found: "nothing", hint: "this key has no default")
      } else if key.documentation.keys != nil {
        // A section left out misses the keys it must have.
        key.decode(SettingNode(.mapping([])), keyPath, &report, &section)
      }
    }
    return section
  }

  var node: SettingNode {
    SettingNode(.mapping(Self.keys.map { SettingNode.Entry(key: $0.name, value: $0.encode(self)) }))
  }
}

extension KeyDocumentation {
  /// What other trainers call our keys.
  static let peerNames = [
    "lr": "training.learning_rate", "batch_size": "training.batch", "max_steps": "training.steps",
    "warmup": "training.warmup_steps", "min_lr": "training.minimum_learning_rate_ratio",
    "grad_clip": "training.clip", "max_grad_norm": "training.clip", "gradient_accumulation_steps": "training.accumulation",
    "beta1": "training.betas", "beta2": "training.betas",
    "seqlen": "data.context", "seq_len": "data.context", "sequence_length": "data.context", "max_length": "data.context",
    "dataset": "data.train", "ignore": "quantization.exclude", "scheme": "quantization.formats",
    "lambda": "quantization.weights", "lambdas": "quantization.weights",
    "save_total_limit": "checkpoint.keep", "keep_period": "checkpoint.keep_every", "async": "checkpoint.background",
    "save_every": "checkpoint.every", "save_steps": "checkpoint.every", "interval": "checkpoint.every",
    "eval_every": "logging.validate_every",
  ]

  /// "did you mean": the section that has exactly this key, else the nearest key of this one.
  static func suggestion(for name: String, among keys: [KeyDocumentation]) -> String {
    let keyPaths = RunConfiguration.keys.flatMap { section in
      section.documentation.keys?.map { "\(section.name).\($0.name)" } ?? []
    }
    if let known = peerNames[name.lowercased()], keyPaths.contains(known) { return "did you mean \(known)?" }
    let owner = RunConfiguration.keys.map(\.documentation).first { $0.keys?.contains { $0.name == name } ?? false }
    if let owner { return "did you mean \(owner.name).\(name)?" }
    let names = keys.map(\.name)
    if let nearest = NearestName.plausible(for: name, among: names) { return "did you mean \(nearest)?" }
    return NearestName.to(name, among: names).map { "the nearest is \($0)" } ?? ""
  }
}
