import Checkpoints
import Foundation
import TestSupport
import Testing

/// Real model folders, every value compared with a reading of the file written for this test.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)"))
struct SharedModelTests {
  @Test(arguments: [
    ("models/stories260K/hf", 260_032), ("models/tinystories-656k", 656_000), ("models/novels-llama-11m", 11_015_040),
    ("models/novels-qwen3-29m", 29_369_856),
  ])
  func everyTensorLoads(folder: String, parameters: Int) throws {
    let data = try SharedData.data(folder + "/model.safetensors")
    let headerLength = (0..<8).reduce(0) { $0 | Int(data[$1]) << (8 * $1) }
    let header = try #require(
      try JSONSerialization.jsonObject(with: data[8..<8 + headerLength]) as? [String: [String: Any]])
    let tensors = try ModelFolderTensors(SharedData.url(folder).path)
    #expect(Set(tensors.names) == Set(header.keys.filter { $0 != "__metadata__" }))

    var count = 0
    for name in tensors.names {
      let values = try tensors.read(name)
      count += values.count
      let offsets = try #require(header[name]?["data_offsets"] as? [Int])
      let isHalf = header[name]?["dtype"] as? String == "BF16"
      let differences = unsafe data.withUnsafeBytes { bytes in
        (0..<values.count).count { index in
          let start = 8 + headerLength + offsets[0]
          let expected: UInt32 =
            unsafe isHalf
            ? UInt32(bytes.loadUnaligned(fromByteOffset: start + 2 * index, as: UInt16.self)) << 16
            : bytes.loadUnaligned(fromByteOffset: start + 4 * index, as: UInt32.self)
          return values[index].bitPattern != expected
        }
      }
      #expect(differences == 0, "\(name)")
      #expect(offsets[1] - offsets[0] == values.count * (isHalf ? 2 : 4))

      // Rows in the middle equal the same part of the whole.
      let shape = try tensors.requireEntry(name).shape
      let rows = shape.rows / 3..<max(shape.rows / 3, shape.rows * 2 / 3)
      var part = [Float](repeating: 0, count: rows.count * shape.columns)
      var span = part.mutableSpan
      try tensors.read(name, rows: rows, into: &span)
      #expect(part == Array(values[rows.lowerBound * shape.columns..<rows.upperBound * shape.columns]), "\(name)")
    }
    #expect(count == parameters)
  }

  @Test func tiedMatrixIsNamedInMetadata() throws {
    let tensors = try ModelFolderTensors(SharedData.url("models/tinystories-656k").path)
    #expect(tensors.metadata["model.embed_tokens.weight"] == "lm_head.weight")
    #expect(tensors.entry("lm_head.weight") != nil && tensors.entry("model.embed_tokens.weight") == nil)
  }

  @Test func jsonOfModelFoldersParsesAsFoundationDoes() throws {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
      let path = "models/novels-llama-11m/" + file
      let value = try JSONScanner.parse(file: SharedData.url(path).path)
      let again = try JSONSerialization.jsonObject(with: Data(value.serialized())) as? NSDictionary
      let direct = try JSONSerialization.jsonObject(with: try SharedData.data(path)) as? NSDictionary
      #expect(again != nil && again == direct, "\(file)")
    }
  }
}
