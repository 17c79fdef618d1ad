import Checkpoints
import Formats
import Foundation
import TestSupport
import Testing

/// Anchors take at most 2 % more than the entropy of their planes' bytes, and less than interleaved blocks would. Codes of
/// 4 bits are no anchor's; they may take a little more.
struct AnchorSizeTests {
  /// The formats of 8, 6 and 4 bits. Below that zstd's codes of whole bits are too coarse: three codes of 2 bits have an
  /// entropy near 1.4 bits.
  static let formats = MXFormat.all.filter { [8, 6, 4].contains($0.bits) }

  enum Values: String, CaseIterable {
    case gaussian, rowScales, studentT

    func rows(_ rows: Int, _ columns: Int) -> [[Float]] {
      (0..<rows).map { row in
        let scale = self == .rowScales ? exp(0.5 * normal(row, 9)) : 1
        return (0..<columns).map { column in
          let index = row * columns + column
          let tail = self == .studentT ? 2 / sqrt((2...5).reduce(0) { $0 + pow(normal(index, UInt64($1)), 2) }) : 1
          return Float(0.02 * scale * normal(index, 1) * tail)
        }
      }
    }
  }

  @Test(arguments: formats, Values.allCases)
  func madeUpWeights(format: MXFormat, values: Values) throws {
    let scratch = try Scratch()
    let writer = try ContainerWriter(directory: scratch("a"), format: format.name, scaleRule: ScaleRule.floor.name)
    try add("weight", values.rows(384, 1024), format, writer)
    try writer.commit(verifying: true)
    try expectSmall(scratch("a"), "\(format), \(values)", isShort: format.bits == 4)
  }

  @Test(
    .enabled(if: SharedData.isPresent, "\(SharedData.absence)"),
    arguments: [MXFormat.mxint8, .mxfp8_e4m3], ["models/tinystories-656k", "models/novels-llama-11m"])
  func realWeights(format: MXFormat, folder: String) throws {
    let scratch = try Scratch(), tensors = try ModelFolderTensors(SharedData.url(folder).path)
    let writer = try ContainerWriter(directory: scratch("a"), format: format.name, scaleRule: ScaleRule.floor.name)
    // The first matrices will do: the scalar codec is slow.
    var elements = 0
    for name in tensors.names.sorted() where elements < 1_000_000 {
      let shape = try tensors.requireEntry(name).shape
      guard shape.dimensions.count == 2 else { continue }
      let all = try tensors.read(name)
      try add(
        name, (0..<shape.rows).map { Array(all[$0 * shape.columns..<($0 + 1) * shape.columns]) }, format, writer)
      elements += shape.rows * shape.columns
    }
    try writer.commit()
    try expectSmall(scratch("a"), "\(format), \(folder)")
  }

  private func add(_ name: String, _ rows: [[Float]], _ format: MXFormat, _ writer: ContainerWriter) throws {
    let packed = rows.map { ScalarCodec.quantize(row: $0, as: format) }
    try writer.addPacked(
      name: name, shape: [rows.count, rows[0].count], format: format.name, rows: 0..<rows.count,
      codes: packed.flatMap(\.codes).span, scales: packed.flatMap(\.scales).span)
  }

  private func expectSmall(_ path: String, _ what: String, isShort: Bool = false) throws {
    let anchor = try TensorContainer(path)
    var stored = 0, entropy = 0.0, interleaved = 0
    for tensor in anchor.tensors {
      let planes = try anchor.planeSizes(tensor.name)
      #expect(planes.reduce(0) { $0 + $1.content } == tensor.contentSize)
      stored += planes.reduce(0) { $0 + $1.stored }
      entropy += planes.reduce(0) { $0 + $1.entropy }
      interleaved += try anchor.interleavedSize(tensor.name)
    }
    // Sixteen codes of whole bits cannot follow every distribution.
    #expect(Double(stored) <= (isShort ? 1.021 : 1.02) * entropy, "\(what): \(stored) bytes, entropy \(entropy)")
    #expect(stored < interleaved, "\(what)")
  }
}

/// A Gaussian value of its index (Box-Muller).
func normal(_ index: Int, _ seed: UInt64) -> Double {
  let bits = word(index, seed: seed)
  let radius = sqrt(-2 * log((Double(bits >> 32) + 0.5) * 0x1p-32))
  return radius * cos(2 * Double.pi * Double(bits & 0xFFFF_FFFF) * 0x1p-32)
}
