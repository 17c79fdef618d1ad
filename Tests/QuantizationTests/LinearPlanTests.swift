import Quantization
import Testing

/// Which layers leave fp32: decided from figures for a kernel table, and from nothing else.
@Suite struct LinearPlanTests {
  static let tables = ["avx512_bf16", "avx512_vnni", "avx512", "avx2", "scalar"]

  private static func arithmetic(
    _ precision: MatmulPrecision, _ policy: RotationPolicy = .contraction
  ) -> LinearArithmetic {
    var arithmetic = LinearArithmetic()
    arithmetic.forward = precision
    arithmetic.backward = precision
    arithmetic.weightGradient = precision
    arithmetic.policy = policy
    return arithmetic
  }

  private static func plan(
    _ table: String?, _ wish: LinearArithmetic, sizes: [Int] = [1024, 32], tokens: Int = 2048
  ) -> LinearPlan {
    var plan = LinearPlan()
    for size in sizes {
      plan.add(
        "of \(size)", inputs: size, outputs: size, tokens: tokens, wish: wish, hasCodes: false,
        cost: table.map { LinearCost(table: $0) })
    }
    return plan
  }

  @Test(arguments: [MatmulPrecision.int8, .mx, .bf16])
  func largeLayersLeaveAndSmallOnesStay(_ precision: MatmulPrecision) throws {
    let wish = Self.arithmetic(precision), plan = Self.plan("avx512_bf16", wish)
    #expect(plan.arithmetic(of: "of 1024") == wish)
    #expect(plan.arithmetic(of: "of 32").isFullPrecision)
    try #require(plan.decisions.map(\.name) == ["of 1024", "of 32"])
    let (large, small) = (plan.decisions[0], plan.decisions[1])
    #expect(!large.isTooSmall && large.predictedSpeedup >= LinearPlan.threshold && large.arithmetic == wish)
    #expect(small.isTooSmall && small.predictedSpeedup < LinearPlan.threshold && small.arithmetic.isFullPrecision)
    #expect(small.inputs == 32 && small.outputs == 32)
  }

  @Test func withoutFiguresAWishIsKept() {
    let plan = Self.plan(nil, Self.arithmetic(.int8))
    #expect(plan.decisions.allSatisfy { !$0.isTooSmall && $0.arithmetic.forward == .int8 })
  }

  @Test func fullPrecisionIsNoDecision() {
    let plan = Self.plan("avx512_bf16", .fullPrecision)
    #expect(plan.decisions.isEmpty && plan.arithmetic(of: "of 1024").isFullPrecision)
    #expect(plan.arithmetic(of: "anything").isFullPrecision)
  }

  /// The same on every rank and after a resume.
  @Test(arguments: tables) func theTableAloneDecides(_ table: String) {
    let wish = Self.arithmetic(.int8), sizes = [32, 64, 288, 768, 1024, 4096]
    #expect(Self.plan(table, wish, sizes: sizes) == Self.plan(table, wish, sizes: sizes))
    if table == "scalar" {
      let decisions = Self.plan(table, wish, sizes: sizes).decisions
      #expect(decisions.allSatisfy { $0.isTooSmall }, "the reference gains nothing")
    }
  }

  @Test func largerIsNeverSlower() {
    for table in Self.tables {
      for precision in [MatmulPrecision.int8, .mx, .bf16] {
        let plan = Self.plan(table, Self.arithmetic(precision), sizes: [32, 128, 512, 2048, 8192])
        let speedups = plan.decisions.map(\.predictedSpeedup)
        #expect(speedups == speedups.sorted(), "\(table) \(precision): \(speedups)")
      }
    }
  }

  /// Rotations of their own and a search for the largest magnitude cost passes over the operands.
  @Test func whatCostsMore() {
    let cost = LinearCost(table: "avx512_bf16")
    func speedup(_ wish: LinearArithmetic, hasCodes: Bool = false) -> Double {
      cost.speedup(wish, inputs: 768, outputs: 768, tokens: 1024, hasCodes: hasCodes)
    }
    #expect(speedup(Self.arithmetic(.int8, .halo2)) < speedup(Self.arithmetic(.int8)))
    #expect(speedup(Self.arithmetic(.mx)) < speedup(Self.arithmetic(.int8)))
    #expect(speedup(Self.arithmetic(.int8), hasCodes: true) < speedup(Self.arithmetic(.int8)))
    #expect(speedup(.fullPrecision) == 1)
    var forward = LinearArithmetic()
    forward.forward = .int8
    #expect(speedup(forward) > 1 && speedup(forward) < speedup(Self.arithmetic(.int8)), "one product of three")
  }
}
