package import Checkpoints

/// In what two calibrations differ, in words: for one that would go on from, or be compared with, what another made.
package enum CalibrationDifference {
  /// The first aspect, depth first: "damping: 0.01 instead of 0.1"; nil for equal ones.
  package static func first(_ found: JSONObject, _ wanted: JSONObject) -> String? {
    func text(_ value: JSONValue?) -> String {
      value.map { String(decoding: $0.serialized(), as: UTF8.self) } ?? "nothing"
    }
    for key in wanted.keys + found.keys.filter({ wanted[$0] == nil }) {
      // As text: 1 and 1.0 are one number, whichever of them was read back.
      let (old, new) = (text(found[key]), text(wanted[key]))
      guard old != new else { continue }
      if let found = found[key]?.object, let wanted = wanted[key]?.object { return first(found, wanted) }
      return "\(key): \(old) instead of \(new)"
    }
    return nil
  }
}
