import Calibration
import Communication
import Formats
import Foundation
import Kernels
import Tensors
import TestSupport
import Testing
import Text
import Transformer

/// The linearity theorem on trained weights: what Σ α t² predicts, and what formats do.
@Suite(.enabled(if: SharedData.isPresent, "\(SharedData.absence)")) struct AllocationModelTests {
  private static func rounded(_ source: Parameters, _ plan: [String: MXFormat], in arena: Arena) -> Parameters {
    let target = Parameters(source.configuration, in: arena)
    for (unit, spec) in source.layout.all {
      var region = target.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      region.copy(from: source.units[unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns))
      if let format = plan[spec.name] { BlockCodec.roundTrip(inPlace: &region, format: format) }
    }
    return target
  }

  @Test func predictionsHoldOnTrainedWeights() throws {
    let name = ProcessInfo.processInfo.environment["MFQAT_ALLOCATION_MODEL"] ?? "stories260K/hf"
    let text = ProcessInfo.processInfo.environment["MFQAT_ALLOCATION_TEXT"] ?? "golden/text/tinystories_200k.txt"
    let arena = Arena("allocation"), start = Date()
    let source = try HuggingFaceFolder(SharedData.url("models/" + name).path)
    let parameters = Parameters(source.configuration, in: arena)
    try source.load(into: parameters)
    let tokenizer = try Tokenizer(contentsOf: source.path + "/tokenizer.json")
    let ids = try tokenizer.encode(utf8: Array(SharedData.data(text)))
    let windows = (0..<8).map { Array(ids[$0 * 256..<($0 + 1) * 256]) }

    let groups = AllocationGroup.all(of: source.configuration)
    let formats: [MXFormat] = [.mxint2, .mxint3, .mxint4, .mxint5, .mxint6, .mxint8]
    let errors = try FormatErrors.ofRounding(parameters, groups: groups, formats: formats, on: .solo(), in: arena)
    let probe = try OutputProbe(parameters, windows: windows, sequences: 8, in: arena)
    for noise in NoiseSensitivity.Noise.allCases {
      let settings = NoiseSensitivity(draws: Int(ProcessInfo.processInfo.environment["MFQAT_DRAWS"] ?? "2")!, noise: noise)
      let sensitivities = try settings.measure(parameters, groups: groups, probe: probe, on: .solo(), in: arena)
      let alphas = sensitivities.map(\.alpha)
      for format in formats {
        let uniform = FormatAllocation.uniform(groups: groups, alphas: alphas, errors: errors, format: format)
        let measured = probe.change(Self.rounded(parameters, uniform.plan.formats, in: arena))
        let best = try FormatAllocation.best(
          groups: groups, alphas: alphas, errors: errors, bitsPerWeight: uniform.bitsPerWeight)
        let better = probe.change(Self.rounded(parameters, best.plan.formats, in: arena))
        print("\(name) \(noise) \(format): predicted \(uniform.predicted), measured KL \(measured), ratio "
          + "\(uniform.predicted / measured); DP at \(best.bitsPerWeight) bits: predicted \(best.predicted), measured \(better)")
      }
    }
    print("seconds \(Date().timeIntervalSince(start))")
  }
}
