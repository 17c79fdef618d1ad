import Formats
import Foundation
import Kernels
import Tensors
import Testing

/// N(0, 1) by Box and Muller from counted random bits.
private let gaussian: [Float] = {
  let random = CounterRandom(seed: 18, stream: "gaussian")
  return (0..<(CodecNoise.count / 2)).flatMap { index -> [Float] in
    let word = random.words(UInt64(index))
    let radius = (-2 * log((Double(word.0) + 0.5) * 0x1p-32)).squareRoot()
    let angle = 2 * Double.pi * Double(word.1) * 0x1p-32
    return [Float(radius * cos(angle)), Float(radius * sin(angle))]
  }
}()

private enum CodecNoise {
  static let rows = 4096
  static let columns = 1024
  static let count = rows * columns
  static let harness = CodecHarness(table: .current, rows: rows, columns: columns)

  static func decibels(_ values: [Float]) -> Double {
    var signal = 0.0, noise = 0.0
    for index in 0..<count {
      let x = Double(gaussian[index]), error = x - Double(values[index])
      signal += x * x
      noise += error * error
    }
    return 10 * log10(signal / noise)
  }

  static func sliced(_ target: MXFormat, from anchor: MXFormat) throws -> PackedMatrix {
    harness.slice(harness.quantize(gaussian, anchor), CompiledSlice(try SlicePlan(from: anchor, to: target)))
  }
}

private func e(_ exponentBits: Int, _ mantissaBits: Int) -> MXFormat {
  MXFormat("e\(exponentBits)m\(mantissaBits)", .float(exponentBits: exponentBits, mantissaBits: mantissaBits))
}

/// Signal to noise on 131072 blocks of N(0, 1): direct quantization, the slice, and how many codes differ (%).
@Suite struct BlockCodecNoiseTests {
  @Test(arguments: [
    (MXFormat.mxint8, 41.661), (.mxfp8_e4m3, 30.635), (.mxfp8_e5m2, 25.359),
  ])
  func anchors(anchor: MXFormat, expected: Double) {
    #expect(abs(CodecNoise.decibels(CodecNoise.harness.roundTrip(gaussian, anchor)) - expected) < 0.05)
  }

  @Test(arguments: [
    (MXFormat.mxint8, MXFormat.mxint7, 35.642, 33.213, 24.96), (.mxint8, .mxint6, 29.616, 28.870, 12.50),
    (.mxint8, .mxint5, 23.592, 23.395, 6.21), (.mxint8, .mxint4, 17.555, 17.505, 3.08),
    (.mxint8, .mxint3, 11.505, 11.492, 1.54), (.mxint8, .mxint2, 5.434, 5.431, 0.69),
    (.mxfp8_e4m3, e(4, 2), 25.359, 23.103, 24.6), (.mxfp8_e4m3, e(3, 3), 31.432, 30.635, 1.0),
    (.mxfp8_e4m3, .mxfp6_e3m2, 25.359, 23.102, 24.3), (.mxfp8_e4m3, .mxfp6_e2m3, 30.939, 30.032, 6.2),
    (.mxfp8_e4m3, e(3, 1), 19.267, 18.672, 11.8), (.mxfp8_e4m3, e(2, 2), 24.871, 22.805, 19.0),
    (.mxfp8_e4m3, .mxfp4, 18.786, 18.249, 9.30),
    (.mxfp8_e5m2, .mxfp6_e3m2, 25.359, 25.359, 0.4), (.mxfp8_e5m2, .mxfp6_e2m3, 30.939, 25.261, 36.1),
    (.mxfp8_e5m2, .mxfp4, 18.786, 17.028, 18.4),
  ])
  func slices(anchor: MXFormat, target: MXFormat, direct: Double, slice: Double, differing: Double) throws {
    let quantized = CodecNoise.harness.quantize(gaussian, target)
    let sliced = try CodecNoise.sliced(target, from: anchor)
    let directSNR = CodecNoise.decibels(CodecNoise.harness.dequantize(quantized, target))
    let sliceSNR = CodecNoise.decibels(CodecNoise.harness.dequantize(sliced, target))
    #expect(abs(directSNR - direct) < 0.05)
    #expect(abs(sliceSNR - slice) < 0.05)
    #expect(sliceSNR <= directSNR + 0.01)
    #expect(sliced.scales == quantized.scales)
    // Codes are compared without the sign of zero; the reference gives the E5M2 and E4M3 rows to one decimal.
    let mask = target.element.magnitudeMask
    let count = zip(sliced.codes, quantized.codes).count { $0 & mask | $1 & mask != 0 && $0 != $1 }
    #expect(abs(100 * Double(count) / Double(CodecNoise.count) - differing) < 0.15)
  }

  @Test(arguments: [(ScaleRule.floor, 18.786), (.rceil, 18.758), (.even, 19.028)])
  func scaleRulesOfE2M1(rule: ScaleRule, expected: Double) {
    #expect(abs(CodecNoise.decibels(CodecNoise.harness.roundTrip(gaussian, .mxfp4, rule)) - expected) < 0.05)
  }
}
