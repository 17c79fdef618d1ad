import Checkpoints
import Foundation
import Tensors
import TestSupport
import Testing
import Transformer

/// A directory of its own for one test, removed with it.
final class TemporaryFolder {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("transformer-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ text: String, _ name: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + name)) }
}

/// Prints a measured figure where `MFQAT_FIGURES` asks for it.
func figure(_ text: @autoclosure () -> String) {
  if ProcessInfo.processInfo.environment["MFQAT_FIGURES"] != nil { print("figure:", text()) }
}

extension SafeTensorsFile {
  /// The values of an I32 or I64 tensor.
  func readIntegers(_ name: String) throws -> [Int32] {
    let entry = try requireEntry(name), bytes = try readBytes(name)
    let width = bytes.count / entry.shape.count
    try #require(width == 4 || width == 8, "\(name) has \(width) bytes an element")
    return (0..<entry.shape.count).map { i in
      Int32(truncatingIfNeeded: (0..<width).reduce(0) { $0 | UInt64(bytes[i * width + $1]) << UInt64(8 * $1) })
    }
  }
}

/// Targets of next-token prediction: the token that follows in the same sequence, -1 at its end.
func nextTokens(_ ids: [Int32], length: Int) -> [Int32] {
  ids.indices.map { $0 % length == length - 1 ? -1 : ids[$0 + 1] }
}

extension Workspace {
  func fill(_ newIDs: [Int32], targets newTargets: [Int32]) {
    precondition(newIDs.count == tokens && newTargets.count == tokens)
    for t in 0..<tokens {
      ids[t] = newIDs[t]
      targets[t] = newTargets[t]
    }
  }

  /// Σ loss in nats.
  var lossSum: Double { (0..<tokens).reduce(0) { $0 + loss[$1] } }

  var losses: [Double] { (0..<tokens).map { loss[$0] } }
}

extension Tensor {
  borrowing func floats() -> [Float] {
    let span = span
    return (0..<count).map { span[$0] }
  }

  mutating func fill(_ values: [Float]) {
    precondition(values.count == count, "\(values.count) values for \(count)")
    var span = mutableSpan
    for i in values.indices { span[i] = values[i] }
  }
}

extension Parameters {
  /// The values of one parameter.
  func values(_ unit: Int, _ spec: ParameterSpec) -> [Float] {
    units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns).floats()
  }

  func fill(_ unit: Int, _ spec: ParameterSpec, _ values: [Float]) {
    var region = units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
    region.fill(values)
  }

  /// Every value of the model, unit after unit.
  var allValues: [Float] { units.flatMap { $0.flat.floats() } }

  /// NaN everywhere: what is overwritten shows.
  func poison() {
    for unit in units { unit.poison() }
  }
}

extension UnitParameters {
  /// NaN everywhere: what is read although it is gone shows.
  func poison() { flat.fill([Float](repeating: .nan, count: layout.elementCount)) }
}

/// ‖a - b‖ / ‖b‖; NaN anywhere gives NaN, which no bound accepts.
func relativeDistance(_ a: [Float], _ b: [Float]) -> Double {
  precondition(a.count == b.count)
  var difference = 0.0, norm = 0.0
  for (x, y) in zip(a, b) {
    difference += (Double(x) - Double(y)) * (Double(x) - Double(y))
    norm += Double(y) * Double(y)
  }
  return (difference / norm).squareRoot()
}
