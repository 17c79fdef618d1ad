import Kernels

/// What the numbers of a run are a function of. A checkpoint continues the run it is of and no other.
package struct RunIdentity: Sendable {
  /// Every key as used: `RunConfiguration.resolvedYAML()`.
  let settings: String
  /// What tells the training text from another: `TokenStream.identity`.
  let text: String
  /// What tells the tokenizer and the teacher from others: `ModelOrigin.identity`. Empty where nobody wrote it down.
  let model: String
  /// Kernels that may round differently in the last bit.
  let arithmetic: String

  package init(settings: String, text: String, model: String = "", arithmetic: String) {
    (self.settings, self.text, self.model, self.arithmetic) = (settings, text, model, arithmetic)
  }

  static var arithmetic: String { "kernels \(KernelTable.current.name), OpenBLAS \(BLAS.coreName)" }

  /// Where the run of `other` differs from this one in what decides its numbers; nil if it is the same run.
  package func difference(from other: RunIdentity) -> String? {
    let keys = ResolvedSettings.differences(settings, other.settings).filter { !ResolvedSettings.isFree($0.key) }
    if !keys.isEmpty { return ResolvedSettings.words(keys, "now", "in the checkpoint") }
    if text != other.text { return "the training text is now \(text), in the checkpoint \(other.text)" }
    let before = other.modelParts
    for (name, hash) in modelParts {
      // A part that one of them lacks was not recorded: whether there is a teacher, settings say.
      guard let old = before.first(where: { $0.name == name })?.hash, old != hash else { continue }
      return "\(name == "teacher" ? "the teacher (model.path)" : name) is now \(hash), in the checkpoint \(old)"
    }
    return nil
  }

  private var modelParts: [(name: String, hash: String)] {
    model.split(separator: ";").compactMap { part in
      let words = part.split(separator: " ")
      return words.count == 2 ? (String(words[0]), String(words[1])) : nil
    }
  }
}

/// Resolved configurations, compared key by key.
enum ResolvedSettings {
  typealias Difference = (key: String, first: String, second: String)

  /// Whether a key decides no number of a run: what it says and keeps. Where its text lies does not either: the text
  /// itself is compared.
  static func isFree(_ key: String) -> Bool {
    [
      "logging.", "checkpoint.", "data.train", "data.validation", "quantization.evaluate_formats", "training.threads",
      "training.recompute", "communication.overlap", "communication.check_every", "communication.watchdog_seconds",
    ].contains { key.hasPrefix($0) }
  }

  static func differences(_ a: String, _ b: String) -> [Difference] {
    let first = entries(a), second = entries(b)
    var found: [Difference] = []
    for (key, value) in first {
      let other = second.first { $0.key == key }?.value ?? "absent"
      if other != value { found.append((key, value, other)) }
    }
    for (key, value) in second where !first.contains(where: { $0.key == key }) { found.append((key, "absent", value)) }
    let orders = [first, second].map { $0.map(\.key).filter { $0.hasPrefix(orderedSection) } }
    if found.isEmpty, orders[0] != orders[1] {
      let words = orders.map { keys in
        "in the order " + keys.map { String($0.dropFirst(orderedSection.count)) }.joined(separator: ", ")
      }
      found.append((String(orderedSection.dropLast()), words[0], words[1]))
    }
    return found
  }

  /// The section whose keys mean something else in another order: the last pattern that matches holds.
  private static let orderedSection = "training.precision.layers."

  /// "training.steps is 6 now and 8 in the checkpoint, and 2 keys more".
  static func words(_ differences: [Difference], _ first: String, _ second: String) -> String {
    let shown = differences.prefix(3).map { "\($0.key) is \($0.first) \(first) and \($0.second) \(second)" }
    let more = differences.count - shown.count
    return shown.joined(separator: ", ") + (more > 0 ? ", and \(more) keys more" : "")
  }

  /// The scalars and lists of a resolved configuration under their full keys, in order.
  static func entries(_ yaml: String) -> [(key: String, value: String)] {
    var path: [(indent: Int, key: Substring)] = []
    var entries: [(key: String, value: String)] = []
    for line in yaml.split(separator: "\n") {
      let indent = line.prefix { $0 == " " }.count
      let body = line.dropFirst(indent)
      if body.hasPrefix("- "), let last = entries.indices.last {
        entries[last].value += (entries[last].value.isEmpty ? "" : ", ") + body.dropFirst(2)
        continue
      }
      guard let colon = body.firstIndex(of: ":") else { continue }
      while let last = path.last, last.indent >= indent { path.removeLast() }
      path.append((indent, body[..<colon]))
      entries.append(
        (
          path.map { String($0.key) }.joined(separator: "."),
          String(body[body.index(after: colon)...].drop { $0 == " " })
        ))
    }
    return entries
  }
}
