import Formats
import Kernels
import Tensors
import Testing
import TestSupport
import Transformer

/// Memory is laid out before the first step: the steps themselves take none.
@Suite(.enabled(if: AllocationCounter.isAvailable, "\(AllocationCounter.absence)"))
struct AllocationTests {
  /// The control: what allocates is seen.
  @Test func counterCounts() {
    var kept: [[Int]] = []
    let count = AllocationCounter.count { for i in 1...10 { kept.append(Array(0..<100 * i)) } }
    #expect(count >= 10)
    #expect(kept.last?.last == 999)
    #expect(AllocationCounter.count {} == 0)
  }

  @Test(arguments: TinyModel.all)
  func aStepAllocatesNothing(_ model: TinyModel) throws {
    for format in [nil, MXFormat.mxint8] {
      let c = try model.configuration(), arena = Arena("test"), B = 2, S = 11
      let w = Parameters(c, in: arena), g = Parameters(c, in: arena), m = Parameters(c, in: arena), v = Parameters(c, in: arena)
      fillRandomly(w, seed: 1)
      let space = try Workspace(c, sequences: B, length: S, purpose: .training, activationFormat: format, in: arena)
      let ids = randomTokens(B * S, vocabulary: c.vocabularySize, seed: 2)
      space.fill(ids, targets: nextTokens(ids, length: S))
      let teacher = try Teacher(
        w, distillation: LanguageHead.Distillation(hardWeight: 0.5, softWeight: 0.5, temperature: 2), sequences: B,
        length: S, in: arena)
      let places = w.layout.all
      var sums = HostBuffer<Double>(count: places.reduce(0) { $0 + $1.spec.rows }, in: arena)

      func step(_ number: Int, teacher: Teacher?) {
        DecoderModel.lossAndGradients(w, g, space, scale: 0.1, teacher: teacher)
        var row = 0, total = 0.0
        for (unit, spec) in places {
          GradientNorm.rowSums(
            of: g.units[unit].flat, at: spec.offset, rows: spec.rows, columns: spec.columns, into: &sums, at: row)
          row += spec.rows
        }
        for i in 0..<row { total += sums[i] }
        let update = AdamW(
          learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: number,
          gradientScale: Float(min(1, 1 / (total.squareRoot() + 1e-6))))
        for (unit, spec) in places {
          update.update(
            master: &w.units[unit].flat, m: &m.units[unit].flat, v: &v.units[unit].flat, gradient: g.units[unit].flat,
            range: spec.offset..<spec.offset + spec.count, decays: spec.decays)
        }
      }
      step(1, teacher: nil)
      step(2, teacher: teacher)
      #expect(AllocationCounter.count { step(3, teacher: nil) } == 0, "format \(format?.name ?? "none")")
      #expect(AllocationCounter.count { step(4, teacher: teacher) } == 0, "with a teacher, format \(format?.name ?? "none")")
    }
  }
}
