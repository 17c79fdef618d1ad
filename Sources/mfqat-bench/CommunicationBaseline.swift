import Checkpoints
import Foundation

/// Steps of an earlier run on links that cost next to nothing.
struct CommunicationBaseline {
  private var locals: [String: Double] = [:]

  /// - Parameter file: what `mfqat-bench communication --json` printed.
  init(file: String) throws {
    for line in try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n") where line.hasPrefix("{") {
      guard let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any],
        object["bench"] as? String == "communication", object["overlap"] as? Bool == false,
        let wires = object["wires"] as? String, let step = object["step_seconds_min"] as? Double,
        let model = object["model_seconds"] as? Double
      else { continue }
      locals[wires] = max(0, step - model)
    }
  }

  /// Seconds of an undisturbed step on these wires that its links do not explain; nil if they were not measured.
  func local(of wires: String) -> Double? { locals[wires] }
}
