import Formats
import Kernels
import Quantization
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

  /// Nor does a visitor of another module cost any, nor layers that share memory and run again for backward.
  @Test(arguments: ArithmeticCase.models)
  func aVisitedStepAllocatesNothing(_ model: TinyModel) throws {
    for arithmetic in [ArithmeticCase("fp32", .fp32), ArithmeticCase("int8", .int8), ArithmeticCase("mx", .mx)] {
      let c = try model.configuration(), arena = Arena("test"), tokens = 22
      let full = try CodedModel(c, format: nil, in: arena)
      let linear = arithmetic.operators(c, full.plan, tokens: tokens, sharing: .layers, weights: arena, scratch: arena)
      let space = try Workspace(
        c, sequences: 2, length: 11, purpose: .training, recompute: true, linear: linear, in: arena)
      let ids = randomTokens(tokens, vocabulary: c.vocabularySize, seed: 2)
      space.fill(ids, targets: nextTokens(ids, length: 11))
      let slot = Parameters(c, in: arena, sharing: .layers), gradients = Parameters(c, in: arena, sharing: .layers)
      let visitor = FetchingVisitor(full: full.parameters, slot: slot, linear: linear, space: space)
      for _ in 0..<2 { try DecoderModel.lossAndGradients(slot, gradients, space, scale: 0.1, visiting: visitor) }
      var failed = false
      let count = AllocationCounter.count {
        do {
          try DecoderModel.lossAndGradients(slot, gradients, space, scale: 0.1, visiting: visitor)
        } catch {
          failed = true
        }
      }
      #expect(count == 0 && !failed, "\(arithmetic.name)")
    }
  }

  /// Could throw anything, as one that communicates does.
  private struct FetchingVisitor: UnitVisitor {
    typealias Failure = any Error
    let full: Parameters, slot: Parameters
    let linear: LinearOperators
    let space: Workspace

    func willUse(unit: Int, _ direction: PassDirection) throws {
      slot.units[unit].flat.copy(from: full.units[unit].flat)
      linear.prepare(unit: unit, of: slot, for: space.uses(of: unit, direction)) { _ in nil }
    }
  }
}
