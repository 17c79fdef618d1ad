import Foundation
import Formats
import Kernels
import TestSupport
import Testing

/// Just enough of safetensors: 8 bytes of header length, a JSON header, the data.
private struct Safetensors {
  private let data: Data
  private let start: Int
  private let header: [String: [String: Any]]

  init(_ path: String) throws {
    data = try SharedData.data(path)
    let length = data.prefix(8).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
    start = 8 + length
    let json = try JSONSerialization.jsonObject(with: data.subdata(in: 8..<start))
    header = (json as! [String: Any]).compactMapValues { $0 as? [String: Any] }
  }

  var names: [String] { header.keys.filter { $0 != "__metadata__" }.sorted() }

  func shape(_ name: String) -> [Int] { header[name]!["shape"] as! [Int] }

  func bytes(_ name: String) -> [UInt8] {
    let range = header[name]!["data_offsets"] as! [Int]
    return Array(data[(start + range[0])..<(start + range[1])])
  }

  func floats(_ name: String) -> [Float] {
    let raw = bytes(name)
    precondition(header[name]!["dtype"] as! String == "F32")
    return stride(from: 0, to: raw.count, by: 4).map { at in
      Float(bitPattern: (0..<4).reduce(0) { $0 | UInt32(raw[at + $1]) << UInt32(8 * $1) })
    }
  }
}

/// The files keep the sign of a zero everywhere; here a block without a nonzero code has none. Clears those signs and
/// says in how many blocks there were any.
private func clearSignsOfZeroBlocks(_ packed: inout PackedMatrix, _ values: inout [Float], _ format: MXFormat) -> Int {
  stride(from: 0, to: values.count, by: MXFormat.blockSize).count { start in
    let block = start..<(start + MXFormat.blockSize)
    guard packed.codes[block].allSatisfy({ $0 & format.element.magnitudeMask == 0 }) else { return false }
    let hadSigns = packed.codes[block].contains { $0 != 0 }
    for index in block {
      packed.codes[index] = 0
      values[index] = 0
    }
    return hadSigns
  }
}

/// Codes, scales and values made by other libraries and by exact arithmetic: see the README beside the files.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)")) struct BlockCodecGoldenTests {
  @Test(arguments: MXFormat.all) func everyMatrix(format: MXFormat) throws {
    let inputs = try Safetensors("golden/formats/inputs.safetensors")
    let golden = try Safetensors("golden/formats/\(format.name).safetensors")
    #expect(inputs.names.count == 7)
    for name in inputs.names {
      let shape = inputs.shape(name), x = inputs.floats(name)
      var expected = PackedMatrix(codes: golden.bytes("\(name).codes"), scales: golden.bytes("\(name).scales"))
      var dequantized = golden.floats("\(name).dequantized")
      let signedBlocks = clearSignsOfZeroBlocks(&expected, &dequantized, format)
      #expect(signedBlocks == 0 || name == "tiny" && format.family == .float, "\(name)")
      let values = bits(dequantized)
      for table in KernelTable.available {
        let harness = CodecHarness(table: table, rows: shape[0], columns: shape[1])
        #expect(harness.quantize(x, format) == expected, "\(table.name) \(name)")
        #expect(bits(harness.dequantize(expected, format)) == values, "\(table.name) \(name)")
        #expect(bits(harness.roundTrip(x, format)) == values, "\(table.name) \(name)")
      }
      for row in 0..<shape[0] {
        let columns = (row * shape[1])..<((row + 1) * shape[1])
        let packed = ScalarCodec.quantize(row: Array(x[columns]), as: format)
        #expect(packed.codes == Array(expected.codes[columns]), "\(name) row \(row)")
        #expect(packed.scales == Array(expected.scales[(row * 3)..<(row * 3 + 3)]), "\(name) row \(row)")
      }
    }
  }
}
