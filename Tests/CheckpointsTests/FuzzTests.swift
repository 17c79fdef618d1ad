import Checkpoints
import Foundation
import Testing

/// Damaged inputs are refused or consistent; they never trap.
@Suite struct FuzzTests {
  private func mutated(_ bytes: [UInt8], _ index: Int) -> [UInt8] {
    var bytes = bytes
    let tokens: [[UInt8]] = ["}", "{", "[", "]", ",", "\"", "9223372036854775807", "-1", "\\", "1e9", ":", "\u{0}"].map
    { Array($0.utf8) }
    for step in 0..<1 + index % 3 {
      let random = word(3 * index + step, seed: 77)
      let position = Int(random >> 8) % max(bytes.count, 1)
      guard !bytes.isEmpty else { break }
      switch random % 4 {
      case 0: bytes[position] ^= 1 << UInt8(random >> 56 & 7)
      case 1: bytes.remove(at: position)
      case 2: bytes.replaceSubrange(position..<position, with: tokens[Int(random >> 40) % tokens.count])
      default: bytes[position] = UInt8(ascii: "0") + UInt8(random >> 48 & 0xFF) % 10
      }
    }
    return bytes
  }

  @Test func safetensorsHeaders() throws {
    let scratch = try Scratch()
    let writer = try SafeTensorsWriter(
      scratch("m"),
      tensors: [.init("a", .f32, [3, 4]), .init("b", .bf16, [5]), .init("c", .f16, [2, 2]), .init("d", .u8, [7])])
    try writer.append("a", [Float](repeating: 1, count: 12).span)
    try writer.append("b", [Float](repeating: 1, count: 5).span)
    try writer.append("c", [Float](repeating: 1, count: 4).span)
    try writer.append("d", bytes: [UInt8](repeating: 1, count: 7).span)
    try writer.commit()
    let original = try contents(scratch("m"))
    let header = original.count - (48 + 10 + 8 + 7)
    var opened = 0
    for index in 0..<3000 {
      let text = mutated(Array(original[8..<header]), index)
      let bytes = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text + original[header...]
      guard let file = try? SafeTensorsFile(scratch.write(bytes, "x")) else { continue }
      opened += 1
      var end = 8 + text.count
      for entry in file.entries {
        #expect(entry.bytes.lowerBound == end && entry.bytes.count * 8 == entry.shape.count * entry.type.bits)
        end = entry.bytes.upperBound
        if entry.type.isReadable { #expect(try file.read(entry.name).count == entry.shape.count) }
      }
      #expect(end == bytes.count)
    }
    #expect(opened > 0 && opened < 2500)
  }

  @Test func jsonThatParsesHasAStableCanonicalForm() throws {
    let original = Array(
      #"{"a":[1,-2.5e-3,"x\u00e9\n",{"b":null,"c":[[],{}]}],"long":12345678901234567890,"t":true}"#.utf8)
    var parsed = 0
    for index in 0..<5000 {
      guard let value = try? JSONScanner.parse(mutated(original, index)) else { continue }
      parsed += 1
      let canonical = value.serialized()
      #expect(try JSONScanner.parse(canonical).serialized() == canonical)
    }
    #expect(parsed > 100)
  }

  @Test func partsOfAnAnchor() throws {
    let scratch = try Scratch()
    let writer = ContainerPartWriter(directory: scratch.path, writer: 3)
    try writer.addDense(name: "t", shape: [2, 3], values: weights(6, seed: 1).span)
    let original = try writer.finish().json
    for index in 0..<2000 {
      guard let part = try? ContainerPart(json: mutated(original, index)) else { continue }
      let anchor = try ContainerWriter(directory: scratch("anchor"), format: "mxint8", scaleRule: "floor")
      anchor.add(part)
      // The part's file is not in the anchor's directory, so nothing may get through.
      _ = refusal { try anchor.commit(verifying: true) }
    }
    #expect(try names(in: scratch.path) == ["data-00003-00000.zst"])
  }
}
