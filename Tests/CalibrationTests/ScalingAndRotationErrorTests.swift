import Calibration
import Formats
import Kernels
import Quantization
import Tensors
import TestSupport
import Testing

/// Errors on synthetic data, against reference values that another program computed with other generators: direction,
/// and size within a band.
@Suite struct ScalingAndRotationErrorTests {
  /// One layer, errors in this order: plain, α = .25, .5, .75, blocks of 32, full width.
  struct Case: Sendable, CustomTestStringConvertible {
    let weights: MXFormat, activations: MXFormat
    let reference: [Double]
    var testDescription: String { "\(weights) x \(activations)" }
  }
  static let cases = [
    Case(weights: .mxint4, activations: .mxint8, reference: [2.391e-2, 9.8e-3, 7.2e-3, 1.13e-2, 1.37e-2, 1.55e-2]),
    Case(weights: .mxint4, activations: .mxint4, reference: [4.532e-2, 2.36e-2, 1.44e-2, 1.73e-2, 1.92e-2, 2.50e-2]),
    Case(weights: .mxfp4, activations: .mxfp4, reference: [4.251e-2, 3.72e-2, 3.46e-2, 3.69e-2, 2.38e-2, 2.33e-2]),
  ]

  @Test(arguments: cases)
  func scalingAndRotationErrorsAreThoseOfTheReference(_ one: Case) {
    let layer = SyntheticLayer(), signs = RotationSigns(seed: 4, stream: "test").masks(count: SyntheticLayer.width)
    var errors = [layer.error(weights: one.weights, activations: one.activations)]
    for alpha in [0.25, 0.5, 0.75] {
      let s = layer.smoothQuantFactors(alpha)
      errors.append(
        layer.error(weights: one.weights, activations: one.activations) { SyntheticLayer.scale(&$0, &$1, by: s) })
    }
    for block in [32, 256] {
      errors.append(
        layer.error(weights: one.weights, activations: one.activations) {
          rotateBlocks(&$0, block: block, signs: signs)
          rotateBlocks(&$1, block: block, signs: signs)
        })
    }
    figure("\(one): plain, SmoothQuant .25 .5 .75, H32, H256: \(errors), reference \(one.reference)")
    for (error, reference) in zip(errors, one.reference) {
      #expect(error > reference / 1.5 && error < reference * 1.5, "\(error), reference \(reference)")
    }
    for i in 1...5 { #expect(errors[i] < errors[0], "each helps on MX") }
  }

  @Test(arguments: [MXFormat.mxint8, .mxint4])
  func smoothQuantsErrorHasItsOptimumInside(_ activations: MXFormat) {
    let layer = SyntheticLayer()
    let errors = stride(from: 0.0, through: 1.0, by: 0.125).map { alpha in
      let s = layer.smoothQuantFactors(alpha)
      return layer.error(weights: .mxint4, activations: activations) { SyntheticLayer.scale(&$0, &$1, by: s) }
    }
    let best = errors.indices.min { errors[$0] < errors[$1] }!
    figure("W4 x \(activations), alpha 0 to 1 by 1/8: \(errors)")
    #expect((2...6).contains(best), "α = \(Double(best) / 8)")
    // Down to the optimum and up again, but for the steps of scales that are powers of two.
    for i in 0..<best { #expect(errors[i + 1] < 1.1 * errors[i]) }
    for i in best..<8 { #expect(errors[i + 1] > errors[i] / 1.1) }
    #expect(errors[0] > 1.5 * errors[best] && errors[8] > 1.5 * errors[best])
  }

  @Test func smoothQuantsFactorsAreItsFormula() {
    let s = SmoothQuant.factors(activations: [4, 0, 1], weights: [1, 0.25, 0], alpha: 0.5)
    #expect(abs(s[0] - 2) < 1e-6 && abs(s[1] - Float(1e-5 / 0.25).squareRoot()) < 1e-6)
    #expect(abs(s[2] - Float(1 / 1e-5).squareRoot()) < 1e-2)
    let arena = Arena("maxima")
    var w = Tensor(rows: 2, columns: 3, in: arena)
    w.fill { [1, -5, 2, -3, 4, 0][$0] }
    #expect(SmoothQuant.columnMaxima(of: w) == [3, 5, 2])
  }

  // MARK: Elements by themselves

  enum Source: String, Sendable { case laplace, student, spiky, shifted }

  struct Row: Sendable, CustomTestStringConvertible {
    let format: MXFormat, source: Source, block: Int, isSigned: Bool, reference: Double
    init(_ format: MXFormat, _ source: Source, _ block: Int, _ reference: Double, signed: Bool = true) {
      (self.format, self.source, self.block, self.reference, isSigned) = (format, source, block, reference, signed)
    }
    var testDescription: String {
      "\(format) \(source.rawValue) \(block > 0 ? (isSigned ? "sH" : "H") + "\(block)" : "none")"
    }
  }
  /// ‖x - Q(x)‖² / ‖x‖² of 2^18 samples; block 0 is no rotation. t3 has no fourth moment: its plain errors scatter
  /// most.
  static let rows = [
    Row(.mxfp4, .laplace, 0, 1.605e-2), Row(.mxfp4, .laplace, 16, 1.333e-2), Row(.mxfp4, .laplace, 32, 1.323e-2),
    Row(.mxfp4, .laplace, 128, 1.349e-2), Row(.mxfp4, .laplace, 4096, 1.347e-2), Row(.mxfp4, .student, 0, 2.062e-2),
    Row(.mxfp4, .student, 32, 1.289e-2), Row(.mxint4, .laplace, 0, 2.505e-2), Row(.mxint4, .laplace, 16, 1.532e-2),
    Row(.mxint4, .laplace, 32, 1.473e-2), Row(.mxint4, .laplace, 128, 1.487e-2), Row(.mxint4, .laplace, 4096, 1.494e-2),
    Row(.mxint4, .spiky, 0, 2.274e-2), Row(.mxint4, .spiky, 16, 9.272e-3), Row(.mxint4, .spiky, 32, 6.987e-3),
    Row(.mxint4, .spiky, 128, 8.600e-3), Row(.mxint4, .spiky, 4096, 1.476e-2), Row(.mxfp4, .shifted, 0, 1.253e-2),
    Row(.mxfp4, .shifted, 32, 2.311e-2, signed: false), Row(.mxfp4, .shifted, 32, 1.273e-2),
    Row(.mxint4, .shifted, 0, 1.073e-2), Row(.mxint4, .shifted, 32, 6.616e-2, signed: false),
    Row(.mxint4, .shifted, 32, 1.651e-2),
  ]

  @Test func blockRotationsOfSamplesAreThoseOfTheReference() {
    for row in Self.rows {
      let arena = Arena("samples"), draws = Draws(11, row.source.rawValue), spikes = Draws(12, "spikes")
      var x = Tensor(rows: 64, columns: 4096, in: arena)
      x.fill { i in
        switch row.source {
        case .laplace: draws.laplace(i)
        case .student: draws.student(i, degrees: 3)
        case .spiky: draws.normal(i) * (spikes.uniform(i) < 0.005 ? 30 : 1)
        case .shifted: draws.normal(i) + 2
        }
      }
      let signs = row.isSigned ? RotationSigns(seed: 2, stream: "samples").masks(count: 4096) : []
      if row.block > 0 { rotateBlocks(&x, block: row.block, signs: signs) }
      var rounded = Tensor(rows: 64, columns: 4096, in: arena)
      BlockCodec.roundTrip(&rounded, of: x, format: row.format)
      let error = relativeError(rounded.floats(), x.floats())
      let band = row.source == .spiky || row.source == .student ? 0.15 : 0.1
      figure("\(row.testDescription): \(error), reference \(row.reference)")
      #expect(abs(error / row.reference - 1) < band, "\(row.testDescription): \(error), reference \(row.reference)")
    }
  }
}
