import Calibration
import Formats
import Kernels
import Tensors
import TestSupport
import Testing

@Suite struct MagRTests {
  /// Inputs of low rank: K directions of which an eighth carry the energy; weights as they come out of training.
  final class Problem {
    static let K = 256, T = 1024, N = 200
    let arena = Arena("MagR")
    var x: Tensor
    var weight: Tensor
    let gram: Gram

    init() {
      let (K, T, N) = (Self.K, Self.T, Self.N), rank = K / 8
      var z = Tensor(rows: T, columns: rank, in: arena), basis = Tensor(rows: K, columns: rank, in: arena)
      z.fill(Draws(1, "z").normal)
      basis.fill { Draws(1, "basis").normal($0) / Double(rank).squareRoot() }
      x = Tensor(rows: T, columns: K, in: arena)
      Linear.forward(&x, of: z, weight: basis)
      weight = Tensor(rows: N, columns: K, in: arena)
      weight.fill { Draws(1, "w").student($0, degrees: 5) / 16 }
      gram = Gram(columns: K, tokens: T, in: arena)
      let values = x.floats()
      for i in 0..<K {
        for j in 0...i {
          let sum = (0..<T).reduce(0.0) { $0 + Double(values[$1 * K + i]) * Double(values[$1 * K + j]) }
          gram.values[i * K + j] = sum
          gram.values[j * K + i] = sum
        }
      }
    }

    func copyOfWeight() -> Tensor {
      var w = Tensor(rows: Self.N, columns: Self.K, in: arena)
      w.copy(from: weight)
      return w
    }

    func output(_ w: borrowing Tensor) -> [Float] {
      var y = Tensor(rows: Self.T, columns: Self.N, in: arena)
      Linear.forward(&y, of: x, weight: w)
      return y.floats()
    }

    /// Relative output error of rounding with one exact scale a row.
    func roundingError(_ w: borrowing Tensor, bits: Int) -> Double {
      let (K, N) = (Self.K, Self.N), largest = Float(1 << (bits - 1) - 1)
      var q = Tensor(rows: N, columns: K, in: arena)
      let values = w.floats()
      q.fill { i in
        let row = values[i / K * K..<(i / K + 1) * K], scale = row.map(\.magnitude).max()! / largest
        return Double((values[i] / scale).rounded() * scale)
      }
      return relativeError(output(q), output(weight))
    }
  }

  @Test func rowMaximaFallAndOutputsStay() {
    let problem = Problem(), inputs = MagR.Inputs(problem.gram, in: problem.arena)
    var w = problem.copyOfWeight()
    let report = MagR().reduce(&w, inputs: inputs)
    let change = relativeError(problem.output(w), problem.output(problem.weight))
    figure("MagR: row maxima \(report.maximaBefore / 200) -> \(report.maximaAfter / 200), output change \(change)")
    #expect(report.rows == Problem.N)
    #expect(report.reduction >= 0.15)
    #expect(change <= 1e-4 && report.relativeChange <= 1e-4)
    #expect(abs(report.relativeChange / change - 1) < 0.05, "reported \(report.relativeChange), is \(change)")
    for bits in 2...4 {
      let plain = problem.roundingError(problem.weight, bits: bits), reduced = problem.roundingError(w, bits: bits)
      figure("MagR: INT\(bits) rounding \(plain) -> \(reduced)")
      #expect(reduced < plain)
    }
  }

  @Test func withoutPenaltyNothingChanges() {
    let problem = Problem(), inputs = MagR.Inputs(problem.gram, in: problem.arena)
    var w = problem.copyOfWeight()
    let report = MagR(penalty: 0).reduce(&w, inputs: inputs)
    #expect(w.floats() == problem.weight.floats() && report.reduction == 0 && report.outputChange == 0)
    _ = MagR(penalty: 1e-12, iterations: 20).reduce(&w, inputs: inputs)
    #expect(relativeError(w.floats(), problem.weight.floats()) < 1e-12)
  }

  @Test func groupsHaveMaximaOfTheirOwn() {
    let problem = Problem(), inputs = MagR.Inputs(problem.gram, in: problem.arena), K = Problem.K
    var w = problem.copyOfWeight()
    let report = MagR.grouped(32).reduce(&w, inputs: inputs)
    func groupMaxima(_ w: [Float]) -> Float {
      stride(from: 0, to: w.count, by: 32).reduce(0) { $0 + w[$1..<$1 + 32].map(\.magnitude).max()! }
    }
    let fall = 1 - groupMaxima(w.floats()) / groupMaxima(problem.weight.floats())
    figure("MagR in groups of 32: maxima of groups -\(fall), output change \(report.relativeChange)")
    #expect(fall > 0.05 && report.relativeChange < 1e-4)
    // One group as wide as the row is the row.
    var a = problem.copyOfWeight(), b = problem.copyOfWeight()
    _ = MagR(penalty: 1e-3, group: K, iterations: 10).reduce(&a, inputs: inputs)
    _ = MagR(penalty: 1e-3, iterations: 10).reduce(&b, inputs: inputs)
    #expect(a.floats() == b.floats())
  }

  /// Tiles in any order, by any rank, are the bits of the whole.
  @Test func tilesAreTheWhole() {
    let problem = Problem(), inputs = MagR.Inputs(problem.gram, in: problem.arena), method = MagR(iterations: 15)
    var whole = problem.copyOfWeight(), parts = problem.copyOfWeight()
    let report = method.reduce(&whole, inputs: inputs)
    #expect(MagR.tileCount(rows: Problem.N) == 2 && MagR.rows(ofTile: 1, of: Problem.N) == 128..<200)
    let second = method.reduce(&parts, inputs: inputs, tiles: 1..<2)
    #expect(parts.rows(0..<128).floats() == problem.weight.rows(0..<128).floats())
    let first = method.reduce(&parts, inputs: inputs, tiles: 0..<1)
    #expect(parts.floats() == whole.floats())
    #expect(MagR.Report() + first[0] + second[0] == report)
  }

  @Test func threadsDoNotShow() {
    let problem = Problem(), inputs = MagR.Inputs(problem.gram, in: problem.arena), method = MagR(iterations: 15)
    var alone = problem.copyOfWeight(), together = problem.copyOfWeight()
    let report = method.reduce(&alone, inputs: inputs)
    ThreadTeam.configure(threads: 2)
    defer { ThreadTeam.configure(threads: 1) }
    #expect(method.reduce(&together, inputs: inputs) == report)
    #expect(together.floats() == alone.floats())
  }

  /// ŵ = prox(v) minimises ½‖u - v‖² + a‖u‖_∞ : no step along a coordinate or the clamp improves it.
  @Test func theStepIsTheProximalOne() {
    let problem = Problem(), K = Problem.K, arena = Arena("prox")
    // Inputs without energy leave v = w: one iteration is the proximal step itself.
    let silent = Gram(columns: K, tokens: 1, in: arena)
    let inputs = MagR.Inputs(silent, in: arena)
    for a in [1e-3, 0.05, 1.0, 50] {
      var u = problem.copyOfWeight()
      _ = MagR(penalty: a, iterations: 1).reduce(&u, inputs: inputs)
      let v = problem.weight.rows(0..<1).floats().map(Double.init), result = u.rows(0..<1).floats().map(Double.init)
      func objective(_ t: Double) -> Double {
        v.reduce(0) { $0 + max(abs($1) - t, 0) * max(abs($1) - t, 0) } / 2 + a * t
      }
      let t = result.map(abs).max()!
      for (x, y) in zip(v, result) { #expect(abs(y - max(-t, min(t, x))) < 1e-6) }
      #expect(objective(t) <= objective(t * 1.001) + 1e-9 && objective(t) <= objective(max(0, t * 0.999)) + 1e-9)
      if a == 50 { #expect(t == 0, "‖v‖₁ is below a") }
    }
  }
}
