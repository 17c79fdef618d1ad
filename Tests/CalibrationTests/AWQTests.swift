import Calibration
import Formats
import Kernels
import Quantization
import Tensors
import TestSupport
import Testing
import Transformer

@Suite struct AWQTests {
  struct Refused: Error {}

  static func means(_ x: borrowing Tensor) -> [Float] {
    let values = x.floats(), columns = x.columns, rows = x.rows
    return (0..<columns).map { j in
      (0..<rows).reduce(Float(0)) { $0 + values[$1 * columns + j].magnitude } / Float(rows)
    }
  }

  @Test func ratioZeroIsPlainRoundingToTheBit() {
    let layer = SyntheticLayer()
    let s = AWQ.factors(means: Self.means(layer.inputs), candidate: 0)
    #expect(s.allSatisfy { $0 == 1 })
    for format in [MXFormat.mxint4, .mxfp4] {
      var scaled = layer.copy(layer.weight), plain = layer.copy(layer.weight)
      AWQ.scaledRounding(&scaled, of: layer.weight, factors: s, format: format)
      BlockCodec.roundTrip(inPlace: &plain, format: format)
      #expect(scaled.floats() == plain.floats())
    }
  }

  /// Rounding behind an online rotation, seen from in front of it.
  @Test func roundingHappensBehindTheRotation() throws {
    let layer = SyntheticLayer(), s = AWQ.factors(means: Self.means(layer.inputs), candidate: 8)
    var c = try ReparameterisationModel.wide.configuration()
    c.hiddenSize = SyntheticLayer.width
    let rotations = try OnlineRotations(
      OnlineRecipe.blocks(32).transforms(for: c, signSeed: 1).transforms, for: c, in: layer.arena)
    var seen = layer.copy(layer.weight)
    AWQ.scaledRounding(&seen, of: layer.weight, factors: s, format: .mxint4) {
      rotations.apply(to: &$0, layer: 0, site: .gateUp, inverse: $1)
    }
    let error = layer.error(weights: .mxint4) { x, w in
      SyntheticLayer.scale(&x, &w, by: s)
      rotations.apply(to: &x, layer: 0, site: .gateUp)
      rotations.rotateWeight(&w, layer: 0, site: .gateUp)
    }
    let same = relativeError(layer.product(layer.heldOut, seen), layer.product(layer.heldOut, layer.weight))
    #expect(abs(same / error - 1) < 1e-3, "\(same), \(error)")
  }

  @Test func factorsAreBalancedAndNeverZero() {
    let s = AWQ.factors(means: [0, 1, 16], candidate: 10)  // r = ½: 1e-4, 1, 4
    #expect(s.allSatisfy { $0 > 0 })
    #expect(abs(s.max()! * s.min()! - 1) < 1e-5)
    #expect(abs(s[2] / s[1] - 4) < 1e-5)
  }

  /// The candidate that the search takes is at least as good as rounding to nearest, where it was chosen and elsewhere.
  @Test(arguments: [(MXFormat.mxint4, 2.359e-2, 6.396e-3), (.mxint3, 9.318e-2, 2.617e-2), (.mxfp4, 1.593e-2, 1.348e-2)])
  func theChosenScaleIsAtMostRounding(_ format: MXFormat, _ rounding: Double, _ scaled: Double) throws {
    let layer = SyntheticLayer(), means = Self.means(layer.inputs)
    let exact = layer.product(layer.inputs, layer.weight)
    var rounded = layer.copy(layer.weight)
    let search = AWQ.search { candidate in
      AWQ.scaledRounding(
        &rounded, of: layer.weight, factors: AWQ.factors(means: means, candidate: candidate), format: format)
      return relativeError(layer.product(layer.inputs, rounded), exact)
    }
    #expect(search.losses.count == 20 && search.loss <= search.unscaledLoss && search.loss == search.losses.min())
    let plain = layer.error(weights: format)
    AWQ.scaledRounding(
      &rounded, of: layer.weight, factors: AWQ.factors(means: means, candidate: search.candidate), format: format)
    let chosen = relativeError(layer.product(layer.heldOut, rounded), layer.product(layer.heldOut, layer.weight))
    figure("\(format) weights only: RTN \(plain) (reference \(rounding)), AWQ \(chosen) (\(scaled)), "
      + "candidate \(search.candidate)")
    #expect(chosen < plain)
    for (value, reference) in [(plain, rounding), (chosen, scaled)] {
      #expect(value > reference / 1.5 && value < reference * 1.5)
    }
  }

  @Test func equalLossesKeepTheLowerRatio() throws {
    #expect(AWQ.search { _ in 1 }.candidate == 0)
    #expect(AWQ.search { $0 < 4 ? 2 : 1 }.candidate == 4)
    #expect(AWQ.search { $0 == 0 ? .nan : Double(20 - $0) }.candidate == 19)
    #expect(AWQ.search { $0 == 7 ? .nan : 1 }.candidate == 0)
    #expect(throws: Refused.self) { try AWQ.search { (_) throws(Refused) -> Double in throw Refused() } }
  }

  @Test func sharedValuesKeepTheirScale() throws {
    #expect(AWQ.sites(try ReparameterisationModel.llama.configuration()).sites == [.queryKeyValue, .gateUp, .down])
    #expect(AWQ.sites(try ReparameterisationModel.llama.configuration()).notes.count == 1)
    #expect(AWQ.sites(try ReparameterisationModel.wide.configuration()).sites == ChannelScaling.Site.allCases)
  }

  // MARK: Clip

  @Test(arguments: [MXFormat.mxint4, .mxfp4, .mxint3], [false, true])
  func aClippedBlockIsNoWorseOnItsInputs(_ format: MXFormat, _ largerToo: Bool) {
    let layer = SyntheticLayer(), K = SyntheticLayer.width
    let clip = AWQClip(inputs: layer.inputs, format: format, largerToo: largerToo)
    var before = 0.0, after = 0.0, changed = 0, partial = 0.0
    for i in 0..<64 {
      let row = layer.weight.rows(i..<i + 1), choice = clip.choose(row: row.span)
      #expect(choice.offsets.count == K / 32 && choice.offsets.allSatisfy { clip.offsets.contains(Int($0)) })
      #expect(choice.after <= choice.before)
      before += choice.before
      after += choice.after
      changed += choice.offsets.filter { $0 != 0 }.count
      // The loss, from its definition.
      let w = row.floats(), q = clip.rounded(row: row.span, choice), x = layer.inputs.floats()
      for block in 0..<K / 32 where i < 4 {
        for t in 0..<AWQClip.sampleLimit {
          let dot = (block * 32..<block * 32 + 32).reduce(0.0) {
            $0 + Double(x[t * K + $1]) * (Double(w[$1]) - Double(q[$1]))
          }
          partial += dot * dot
        }
      }
      if i == 3 { #expect(abs(partial / after - 1) < 1e-6, "\(partial), reported \(after)") }
    }
    figure("clip \(format), \(clip.offsets): \(changed) of \(64 * K / 32) blocks, loss \(before) -> \(after)")
    #expect(changed > 0 && after < before)
  }

  @Test func aBlockWithoutClippingIsTheCodecs() {
    let layer = SyntheticLayer()
    let clip = AWQClip(inputs: layer.inputs, format: .mxfp4)
    var plain = layer.copy(layer.weight)
    BlockCodec.roundTrip(inPlace: &plain, format: .mxfp4)
    let row = AWQClip.Row(offsets: Array(repeating: 0, count: SyntheticLayer.width / 32))
    #expect(clip.rounded(row: layer.weight.rows(5..<6).span, row) == plain.rows(5..<6).floats())
  }
}
